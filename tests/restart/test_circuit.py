"""The numbers of a circuit breaker. What they do is in `test_circuits`."""

from __future__ import annotations

import math

import pytest

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.circuit import Breaker


def test_defaults() -> None:
    """B-SUPER-020, -022, -024, -025: five failures, 300 s, 60 s of trial, at most half an hour."""
    assert Breaker() == Breaker(threshold=5, timeout=300.0, timeout_max=1800.0, stable=60.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 0),
        ("threshold", 1001),
        ("threshold", 2.0),
        ("threshold", True),
        ("timeout", 0.0),
        ("timeout", math.nan),
        ("timeout_max", math.inf),
        ("stable", -1.0),
    ],
)
def test_hostile_numbers_are_refused(key: str, value: float) -> None:
    """B-SUPER-029: configurable, within reason."""
    with pytest.raises(ConfigError) as raised:
        Breaker(**{key: value})  # type: ignore[arg-type]
    assert [problem.key for problem in raised.value.problems] == [key]


def test_a_time_out_above_its_maximum_is_refused() -> None:
    """B-CONFIG-x1: contradictory times are refused."""
    with pytest.raises(ConfigError, match=r"timeout = 20.0: must not exceed timeout_max \(10\)"):
        Breaker(timeout=20.0, timeout_max=10.0)
