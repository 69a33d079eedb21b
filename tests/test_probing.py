"""When to look again whether an engine is ready."""

from __future__ import annotations

import pytest

from pool_lifecycle.probing import interval


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0, 0.010), (1, 0.010), (3, 0.030), (10, 0.100), (59.9, 0.100), (60, 0.500), (1800, 0.500)],
)
def test_looks_come_less_often_the_longer_it_loads(age: float, pause: float) -> None:
    """B-PRELOAD-x2: 1 % of the age, 10 to 100 ms, and 500 ms for very long loads."""
    assert interval(age) == pytest.approx(pause)
