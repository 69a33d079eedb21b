"""What comes next, in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.outlook import next_attempt, what_next
from tests.pools import CRASH, NOW, OPEN, QUARANTINE, SOMEBODY_ELSES, TRIAL, pool_in

S = PoolState


@pytest.mark.parametrize(
    ("state", "facts", "words"),
    [
        (S.STOPPED, {}, ""),
        (S.STARTING, {"circuits": (TRIAL,)}, ""),
        (S.READY, {}, ""),
        (S.READY, {"circuits": (TRIAL,), "since": NOW}, "on trial, circuit 'general' closes in 0 ms"),
        (
            S.BACKING_OFF,
            {"not_before": NOW + 2, "crash_count": 3},
            "restart 1 in 2.0 s (back-off after 3 failures in a row)",
        ),
        (S.FAILED, {}, "trying again cannot help by itself"),
        (S.FAILED, {"cause": CRASH}, ""),
        (S.FAILED, {"cause": CRASH, "circuits": (OPEN,)}, "circuit 'general' is open, one trial in 5 min"),
        (
            S.FAILED,
            {"cause": CRASH, "circuits": (OPEN, QUARANTINE)},
            "circuit 'device' is in quarantine, as something on that device cannot be killed",
        ),
        (
            S.FAILED,
            {"cause": CRASH, "circuits": (SOMEBODY_ELSES,)},
            "circuit 'device' is half-open, and pool 'other' has its one trial",
        ),
    ],
)
def test_a_few_words_say_what_is_next(state: PoolState, facts: dict[str, Any], words: str) -> None:
    """B-SUPER-015, 022, 024: for a line of a table, or a column of a list."""
    assert what_next(pool_in(state, **facts), NOW) == words


def test_a_wait_that_is_over_waits_for_what_is_seen() -> None:
    """Memory of a device, for example; else the restart is due."""
    pool = pool_in(S.BACKING_OFF, not_before=NOW - 1, deadline=NOW + 59, restart_count=4)
    assert next_attempt(pool, NOW) == "restart 5 at once"
    assert next_attempt(pool, NOW, "no memory") == "restart 5 once that is over, in 59.0 s at the latest"
