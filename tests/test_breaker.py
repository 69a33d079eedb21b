"""Every state and every event of a circuit, written down a second time."""

from __future__ import annotations

import re

import pytest

from pool_lifecycle.breaker import BREAKER, BreakerEvent, BreakerState
from pool_lifecycle.table import Kind

EXPECTED = """
closed
    failure[below threshold] > . (count); failure > open (open); trip > open (open); stable > . (clear)
    taken > .; allow_one > .; reset > . (clear); quarantine > open (hold)
open
    timeout[quarantined] > .; timeout > half_open (free); quarantine > . (hold)
    release[quarantined] > half_open (free); release > .
    allow_one[quarantined] > .; allow_one > trial (grant)
    failure > .; stable > .; trip > .; reset > closed (clear)
half_open
    taken > trial (grant); allow_one > trial (grant); failure > open (open); trip > open (open)
    stable > .; reset > closed (clear); quarantine > open (hold)
trial
    failure[holder] > open (open, time-out doubled); failure > .; stable[holder] > closed (clear); stable > .
    taken > .; allow_one > .; abandoned > half_open (free); trip > open (open); reset > closed (clear)
    quarantine > open (hold)
"""
"""`event[guard] > state (what happens to the numbers)`; `> .` stays; what is not listed is ignored."""

_ROW = re.compile(r"(\w+)(?:\[([^]]+)\])? > (\S+)(?: \(([^)]+)\))?")

Way = tuple[str | None, str | None, str | None]


def _read() -> dict[tuple[str, str], list[Way]]:
    ways: dict[tuple[str, str], list[Way]] = {}
    state = ""
    for line in EXPECTED.strip().splitlines():
        if not line.startswith(" "):
            state = line
            continue
        for text in line.strip().split("; "):
            match = _ROW.fullmatch(text)
            assert match, text
            event, when, to, mark = match.groups()
            ways.setdefault((state, event), []).append((when, None if to == "." else to, mark))
    return ways


WAYS = _read()


@pytest.mark.parametrize("event", BreakerEvent)
@pytest.mark.parametrize("state", BreakerState)
def test_rows(state: BreakerState, event: BreakerEvent) -> None:
    """For each of the 40 pairs the rows are the expected ones, in the expected order."""
    rows = BREAKER.rows.get((state, event), ())
    assert [(row.when, row.to, row.mark) for row in rows] == WAYS.get((state, event), [])


def test_states() -> None:
    """A circuit begins and rests closed, and every one of its states may last."""
    assert (BREAKER.initial, BREAKER.rest) == ("closed", "closed")
    assert set(BREAKER.states) == set(BreakerState)
    assert {state.kind for state in BREAKER.states.values()} == {Kind.STABLE}
