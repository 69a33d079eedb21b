"""What kind of storm it is."""

from __future__ import annotations

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.restart.storm import Crash, kind_of

F = FailureClass


def crashes(*kinds: FailureClass) -> list[Crash]:
    return [Crash(float(place), kind) for place, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "name", "word"),
    [
        ([F.OUT_OF_MEMORY] * 5, "oom_storm", "memory"),
        ([F.CUDA] * 7 + [F.EXIT] * 3, "cuda_storm", "driver"),
        ([F.PORT_IN_USE] * 10, "port_in_use_storm", "ports"),
        ([F.EXIT] * 5, "exit_storm", "logs"),
        ([F.OUT_OF_MEMORY] * 4, "crash_storm", "logs"),
        ([F.EXIT] * 4 + [F.SIGNAL] * 4, "crash_storm", "logs"),
        ([], "crash_storm", "logs"),
    ],
)
def test_five_of_a_kind_name_the_storm(kinds: list[FailureClass], name: str, word: str) -> None:
    """B-SUPER-038: and the remedy is for that class."""
    found, remedy = kind_of(crashes(*kinds))
    assert found == name
    assert word in remedy
