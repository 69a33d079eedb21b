"""How the devices of a host are looked after."""

from __future__ import annotations

import math

import pytest

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.placement.policy import DevicePolicy


def test_defaults() -> None:
    """What a host does that says nothing."""
    assert DevicePolicy(reserve=256 * 2**20, release=60.0, look=10.0) == DevicePolicy()


def test_a_quarantine_may_be_left_to_people() -> None:
    """B-GPU-x2: until it is released; and nothing need be kept free."""
    assert DevicePolicy(reserve=0, release=None).release is None


@pytest.mark.parametrize(
    ("key", "hostile"),
    [
        *[("reserve", value) for value in (-1, 1.5, True, None, 2**51)],
        *[("release", value) for value in (-1.0, math.nan, math.inf, True, "60")],
        *[("look", value) for value in (0.0, 0.2, math.nan, None, True)],
    ],
)
def test_hostile_numbers_are_refused(key: str, hostile: object) -> None:
    """By name; a driver that is asked all the time would do nothing else."""
    with pytest.raises(ConfigError) as raised:
        DevicePolicy(**{key: hostile})  # type: ignore[arg-type]
    assert [problem.key for problem in raised.value.problems] == [key]
