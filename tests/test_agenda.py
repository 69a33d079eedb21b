"""When a pool next needs telling that something has become due."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.agenda import next_due
from pool_lifecycle.events import CircuitDue, Overdue, RanStably
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.step import step
from tests.pools import EPOCH, HALF_OPEN, NOW, OPEN, QUARANTINE, SERVER, SOMEBODY_ELSES, TRIAL, pool_in

S = PoolState

HEALTHY_AT = SERVER.healthy_at or 0.0


@pytest.mark.parametrize("state", [S.STOPPED, S.READY, S.FAILED, S.STUCK])
def test_a_steady_pool_wakes_nobody(state: PoolState) -> None:
    """V8 Quiet: where nothing is to come, nothing is waited for."""
    assert next_due(pool_in(state)) is None


def test_the_deadline_of_the_state() -> None:
    """It names the epoch, so that it can be too late."""
    assert next_due(pool_in(S.STARTING)) == (NOW, Overdue(EPOCH))


def test_the_time_out_of_a_circuit() -> None:
    """It names the opening, so that it can be too late; in whatever state the pool is."""
    assert next_due(pool_in(S.FAILED, circuits=(OPEN,))) == (NOW + 300, CircuitDue("general", 1))


@pytest.mark.parametrize("circuit", [HALF_OPEN, QUARANTINE, SOMEBODY_ELSES, TRIAL])
def test_circuits_that_nothing_but_events_will_change(circuit: Circuit) -> None:
    """V8: half-open may last, a quarantine has no time-out, a trial needs an engine that lives."""
    assert next_due(pool_in(S.FAILED, circuits=(circuit,))) is None


def test_the_earliest_comes_first() -> None:
    """One timer is enough."""
    pool = pool_in(S.STARTING, deadline=NOW + 301, circuits=(OPEN,))
    assert next_due(pool) == (NOW + 300, CircuitDue("general", 1))
    assert next_due(evolve(pool, deadline=NOW + 299)) == (NOW + 299, Overdue(EPOCH))


@pytest.mark.parametrize("state", [S.READY, S.RETIRING])
def test_the_end_of_a_trial(state: PoolState) -> None:
    """B-SUPER-024: 60 s after the engine became healthy, in any state in which it lives."""
    pool = pool_in(state, deadline=None, circuits=(TRIAL,))
    assert next_due(pool) == (HEALTHY_AT + 60, RanStably(1, 60.0))


def test_somebody_elses_trial_is_not_waited_for() -> None:
    """V8: its end would be due for ever, since only its holder's runs decide it."""
    assert next_due(pool_in(S.READY, circuits=(SOMEBODY_ELSES,))) is None


def test_counts_are_cleared_after_a_long_run() -> None:
    """B-SUPER-014: 300 s after the engine became healthy, if there is a count to clear."""
    due = (HEALTHY_AT + 300, RanStably(1, 300.0))
    assert next_due(pool_in(S.READY, crash_count=1)) == due
    counted = (Circuit("general", failures=1),)
    assert next_due(pool_in(S.READY, circuits=counted)) == due
    assert next_due(pool_in(S.READY, circuits=counted, crash_count=1)) == due


@pytest.mark.parametrize("state", [S.STOPPED, S.FAILED, S.STUCK])
def test_counts_wait_for_an_engine_that_lives(state: PoolState) -> None:
    """No run, no stable run."""
    assert next_due(pool_in(state, crash_count=3)) is None


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("circuit", [Circuit("general", failures=2), OPEN, HALF_OPEN, TRIAL, SOMEBODY_ELSES])
def test_what_was_due_is_over_once_it_is_told(state: PoolState, circuit: Circuit) -> None:
    """V8: told of everything as it falls due, a pool comes to rest or to a later time: no timer spins."""
    pool = pool_in(state, circuits=(circuit,), crash_count=2, restart_count=1, restarts=(NOW,))
    for _ in range(50):
        appointment = next_due(pool)
        if appointment is None:
            break
        pool, _ = step(pool, appointment[1], appointment[0])
        assert next_due(pool) != appointment
