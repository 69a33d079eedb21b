"""When to look again whether an engine is ready."""

from __future__ import annotations

import pytest

from pool_lifecycle.probing import interval, pause


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0, 0.010), (1, 0.010), (3, 0.030), (10, 0.100), (59.9, 0.100), (60, 0.500), (1800, 0.500)],
)
def test_looks_come_less_often_the_longer_it_loads(age: float, pause: float) -> None:
    """B-PRELOAD-x2: 1 % of the age, 10 to 100 ms, and 500 ms for very long loads."""
    assert interval(age) == pytest.approx(pause)


@pytest.mark.parametrize(("took", "waited"), [(0.0, 0.02), (0.005, 0.015), (0.01, 0.01), (5.0, 0.01)])
def test_the_time_a_look_takes_is_part_of_the_interval(took: float, waited: float) -> None:
    """B-PRELOAD-x2: the next look comes on time, but a slow engine has half the interval to itself."""
    assert pause(2.0, took) == pytest.approx(waited)
