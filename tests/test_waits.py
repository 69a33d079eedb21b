"""What a pool that backs off waits for."""

from __future__ import annotations

import pytest

from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.waits import Awaits, awaits
from tests.pools import NOW, pool_in

FULL = tuple(NOW - 50 + number for number in range(10))


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"not_before": None}, Awaits.NOTHING),
        ({"not_before": NOW - 100}, Awaits.NOTHING),
        ({"not_before": NOW + 5}, Awaits.DELAY),
        ({"not_before": NOW + 10, "restarts": FULL}, Awaits.WINDOW),
        ({"not_before": NOW + 11, "restarts": FULL}, Awaits.DELAY),
    ],
)
def test_it_is_seen_from_the_times(facts: dict[str, float], what: Awaits) -> None:
    """B-SUPER-033: the window is to blame where the wait ends just as it opens."""
    assert awaits(pool_in(PoolState.BACKING_OFF, **facts)) is what
