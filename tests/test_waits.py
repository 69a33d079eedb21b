"""What a start that is due waits for, and what is said to help meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.events import Due, Failed, Gone, Postponed, Start
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.snapshot import Intent, Rules
from pool_lifecycle.waits import Awaits
from tests.pools import CRASH, EPOCH, NOW, after, pool_in

S = PoolState

FULL = tuple(NOW - 50 + number for number in range(10))
"""As many restarts within a minute as there may be; the window opens again 10 s from now."""


@pytest.mark.parametrize(
    ("facts", "last", "awaits"),
    [
        ({}, Gone(EPOCH), Awaits.DELAY),
        ({"restarts": FULL}, Gone(EPOCH), Awaits.WINDOW),
        ({"restarts": FULL, "crash_count": 9}, Gone(EPOCH), Awaits.DELAY),  # which is longer than the window
    ],
)
def test_a_restart_knows_what_it_waits_for(facts: dict[str, Any], last: Gone, awaits: Awaits) -> None:
    """B-SUPER-033: the longest of them, as that is what has to be over."""
    done = after(pool_in(S.RECOVERING, intent=Intent.RUN, **facts), last)
    assert (done.state, done.awaits) == (S.BACKING_OFF, awaits)


def test_an_operators_restart_waits_for_nothing() -> None:
    """S14: then, perhaps, for its turn on the host, which is told at once."""
    asked = after(pool_in(S.BACKING_OFF, crash_count=3), Start())
    assert asked.awaits is Awaits.NOTHING
    postponed = after(asked, Postponed(epoch=asked.epoch, until=NOW + 7))
    assert (postponed.awaits, postponed.not_before) == (Awaits.TURN, NOW + 7)
    assert after(postponed, Due(asked.epoch)).awaits is Awaits.NOTHING


def test_what_a_pool_says_would_help_comes_first() -> None:
    """B-SUPER-x2: before what the failure says of itself."""
    rules = Rules(classes=ClassPolicies(signal=ClassPolicy(remedy="call Bob")))
    cause = evolve(CRASH, remedy="look at the log")
    done = after(pool_in(S.STAGING, rules=rules), Failed(epoch=EPOCH, cause=cause))
    assert done.cause is not None
    assert done.cause.remedy == "call Bob"
