"""When a device is to blame."""

from __future__ import annotations

import pytest

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.blame import Blame


@pytest.mark.parametrize(
    ("failed_at", "guilty"),
    [
        ({"a": 1000.0}, False),
        ({"a": 1000.0, "b": 1000.0}, True),
        ({"a": 701.0, "b": 1000.0}, True),
        ({"a": 700.0, "b": 1000.0}, False),  # that was 300 s ago
        ({}, False),
    ],
)
def test_several_pools_within_the_period(failed_at: dict[str, float], guilty: bool) -> None:
    """B-SUPER-x7: two pools within 300 s; one pool alone is its own fault, however often it fails."""
    assert Blame().lies_with_device(failed_at, 1000.0) is guilty


@pytest.mark.parametrize("said", [{"pools": 1}, {"period": 0.0}, {"breaker": None}])
def test_hostile_values_are_refused_by_name(said: dict[str, int]) -> None:
    """B-CONFIG-x1: one pool alone never blames a device."""
    with pytest.raises(ConfigError) as raised:
        Blame(**said)  # type: ignore[arg-type]
    assert [problem.key for problem in raised.value.problems] == list(said)
