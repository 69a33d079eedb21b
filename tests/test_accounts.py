"""The accounts of drains and preloads."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.accounts import Accounts
from pool_lifecycle.answers import NO_PERMIT
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.records import DrainBegan, DrainEnd, DrainEnded, PreloadEnded, Record
from pool_lifecycle.snapshot import Notify, Snapshot
from tests.worlds import a_spec

S, E = PoolState, PoolEvent
POOL = Snapshot.new(a_spec(), lineage="x", now=0.0)


def follow(
    accounts: Accounts,
    move: tuple[PoolEvent, PoolState, PoolState],
    now: float,
    leases: int = 0,
    **facts: Any,
) -> list[Record]:
    """The records of a row from one state to another."""
    event, source, target = move
    notice = Notify(event, source, target, "because")
    before, after = evolve(POOL, state=source), evolve(POOL, state=target, **facts)
    return list(accounts.follow(notice, leases, before, after, now))


BEGIN = (E.DRAIN, S.READY, S.DRAINING)


def test_every_way_out_of_a_drain_has_a_name() -> None:
    """Whatever row of the table ends it."""
    for row in LIFECYCLE.states[S.DRAINING].rows:
        if row.to is None:
            continue
        accounts = Accounts("chat")
        follow(accounts, BEGIN, 10.0, leases=3, deadline=40.0)
        (record,) = follow(accounts, (PoolEvent(row.event), S.DRAINING, PoolState(row.to)), 12.0, leases=1)
        assert isinstance(record, DrainEnded)
        outcome = record.outcome
        assert (outcome.duration, outcome.leases_at_start, outcome.leases_left) == (2.0, 3, 1)


def test_a_drain_begins_with_its_leases_and_its_time() -> None:
    """B-DRAIN-010."""
    (record,) = follow(Accounts("chat"), BEGIN, 10.0, leases=3, deadline=40.0)
    assert record == DrainBegan("chat", 10.0, 3, 30.0)


def test_rows_that_stay_make_no_record() -> None:
    """A second drain that joins is no second begin, and no end."""
    assert follow(Accounts("chat"), (E.DRAIN, S.DRAINING, S.DRAINING), 1.0) == []


def test_an_outcome_is_of_a_drain_that_ended_after_it_was_asked_for() -> None:
    """Also when the one before ended in the same instant."""
    accounts = Accounts("chat")
    follow(accounts, BEGIN, 10.0)
    asked = accounts.asked(10.0)
    follow(accounts, (E.DRAINED, S.DRAINING, S.STOPPING), 12.0)
    assert accounts.outcome(asked, 13.0).end is DrainEnd.DRAINED
    late = accounts.asked(12.0)
    assert accounts.outcome(late, 13.0).end is DrainEnd.NOTHING_SERVED
    assert accounts.outcome(late, 13.0).duration == 1.0


CAUSE = Cause(FailureClass.EXIT, Stage.HEALTH, "no")


@pytest.mark.parametrize(
    ("path", "facts", "cause"),
    [
        ((S.STAGING, S.STARTING, S.READY), {}, None),
        ((S.STAGING, S.STARTING, S.RECOVERING), {"cause": CAUSE}, CAUSE),
        ((S.STAGING, S.BACKING_OFF), {"cause": CAUSE}, CAUSE),
        ((S.STAGING, S.FAILED), {}, NO_PERMIT),
    ],
)
def test_a_preload_ends_once_with_its_cause(
    path: tuple[PoolState, ...], facts: dict[str, Any], cause: Cause | None
) -> None:
    """From the begin of staging; a failure without a cause of its own is never taken for success."""
    accounts, found, source = Accounts("chat"), [], S.STOPPED
    for now, state in enumerate(path):
        found += follow(accounts, (E.STAGED, source, state), float(now), **facts)
        source = state
    assert found == [PreloadEnded("chat", float(len(path) - 1), float(len(path) - 1), cause)]


@pytest.mark.parametrize("target", [S.STOPPED, S.STOPPING])
def test_a_start_that_was_called_off_is_neither_success_nor_failure(target: PoolState) -> None:
    """Nobody's metrics suffer from an operator's change of mind."""
    accounts = Accounts("chat")
    follow(accounts, (E.START, S.STOPPED, S.STAGING), 0.0)
    assert follow(accounts, (E.STOP, S.STAGING, target), 1.0) == []
