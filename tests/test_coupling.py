"""A pool and its circuits together: verdict, permit, return, blame, wake."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import LOST, Cause, FailureClass
from pool_lifecycle.coupling import FEEDS, RETURNS_PERMIT, TAKES_PERMIT
from pool_lifecycle.events import (
    AllowOne,
    CircuitDue,
    Due,
    Exited,
    Failed,
    Gone,
    Halt,
    Healthy,
    Overdue,
    RanStably,
    Reload,
    Reset,
    Staged,
    Start,
    Stop,
    Strategy,
)
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Crash
from pool_lifecycle.snapshot import CircuitChanged, Emit, Intent, Snapshot
from pool_lifecycle.step import step
from tests.pools import (
    BLAMELESS,
    CRASH,
    EPOCH,
    HALF_OPEN,
    HOPELESS,
    NEW,
    NO_ROOM,
    NOW,
    OLD,
    OPEN,
    QUARANTINE,
    SOMEBODY_ELSES,
    TRIAL,
    after,
    effects,
    event,
    pool_in,
)

S = PoolState

ALMOST = Circuit("general", failures=4)
"""One more failure opens it."""

CRASHED_BEFORE = Crash(NOW - 50, FailureClass.EXIT)


def circuit(pool: Snapshot) -> Circuit:
    """The pool's own circuit."""
    return pool.circuits[0]


def failed(pool: Snapshot) -> Failed:
    """The activity under way failed."""
    return Failed(epoch=pool.epoch, cause=CRASH)


# --- verdict ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (S.RECOVERING, PoolEvent.GONE),
        (S.RECOVERING, PoolEvent.STUCK),
        (S.STAGING, PoolEvent.FAILED),
    ],
)
def test_a_verdict_counts_one_failure(state: PoolState, kind: PoolEvent) -> None:
    """What failed is counted once it is cleared up, by the circuits and for the back-off."""
    pool = pool_in(state, crash_count=2)
    done = after(pool, event(kind, pool))
    assert circuit(done).failures == 1
    assert done.crash_count == 3


@pytest.mark.parametrize("state", [S.RECOVERING, S.STAGING])
def test_the_failure_that_opens_a_circuit_already_sees_it_open(state: PoolState) -> None:
    """B-SUPER-020: circuits are fed first, guards asked after: the fifth failure ends in failed."""
    pool = pool_in(state, circuits=(ALMOST,))
    done = after(pool, Gone(EPOCH) if state is S.RECOVERING else failed(pool))
    assert done.state is S.FAILED
    assert circuit(done).state is BreakerState.OPEN


def test_an_opening_circuit_has_no_arrow_of_its_own() -> None:
    """A pool that serves goes on serving while its circuit opens or falls due."""
    pool = pool_in(S.READY, circuits=(OPEN,))
    assert after(pool, CircuitDue("general", 1)).state is S.READY


@pytest.mark.parametrize("state", [S.RECOVERING, S.STAGING])
def test_what_an_operator_did_counts_nothing(state: PoolState) -> None:
    """B-SUPER-x4: endings on purpose feed no circuit and lengthen no back-off."""
    pool = pool_in(state, cause=BLAMELESS)
    done = after(pool, Gone(EPOCH) if state is S.RECOVERING else evolve(failed(pool), cause=BLAMELESS))
    assert (circuit(done), done.crash_count) == (circuit(pool), 0)
    assert done.state is S.BACKING_OFF


def test_a_stop_during_recovery_does_not_undo_the_verdict() -> None:
    """It is stopped, and the failure is counted none the less."""
    done = after(pool_in(S.RECOVERING), Stop(), Gone(EPOCH))
    assert (done.state, circuit(done).failures) == (S.STOPPED, 1)


# --- permit ----------------------------------------------------------------------------------------------


def test_every_launch_takes_the_permit() -> None:
    """Whatever launches takes it, and so does the staging that leads to a launch."""
    launching = {state for state, one in LIFECYCLE.states.items() if one.launches}
    assert launching | {S.STAGING} == TAKES_PERMIT


def _into(state: PoolState) -> tuple[Snapshot, Staged | Start | Gone]:
    """A pool one event before `state`, with a half-open circuit, and that event."""
    ways: dict[PoolState, tuple[Snapshot, Staged | Start | Gone]] = {
        S.STAGING: (pool_in(S.STOPPED), Start()),
        S.STARTING: (pool_in(S.STAGING), Staged(EPOCH)),
        S.RELOADING_STARTING: (pool_in(S.RELOADING_STOPPING, intent=Intent.RUN), Gone(EPOCH)),
        S.RELOADING_RESTORING: (pool_in(S.RELOADING_UNDOING), Gone(EPOCH)),
        S.SURGING_STARTING: (pool_in(S.SURGING_STAGING), Staged(EPOCH)),
    }
    return ways[state]


@pytest.mark.parametrize("state", sorted(TAKES_PERMIT))
def test_entering_takes_the_free_permit(state: PoolState) -> None:
    """B-SUPER-022, S15: a half-open circuit's one permit is taken by who goes to launch."""
    pool, last = _into(state)
    done = after(evolve(pool, circuits=(HALF_OPEN,)), last)
    assert done.state is state
    assert circuit(done) == TRIAL


@pytest.mark.parametrize("state", sorted(TAKES_PERMIT))
@pytest.mark.parametrize("other", [evolve(OPEN, name="device"), SOMEBODY_ELSES])
def test_all_circuits_or_none(state: PoolState, other: Circuit) -> None:
    """S15: while one circuit refuses, nothing is launched and the others' permits stay free."""
    pool, last = _into(state)
    done = after(evolve(pool, circuits=(HALF_OPEN, other)), last)
    assert done.state in (S.FAILED, S.READY)
    assert done.circuits == (HALF_OPEN, other)


@pytest.mark.parametrize("state", sorted(TAKES_PERMIT))
def test_a_trial_goes_on_through_its_own_start(state: PoolState) -> None:
    """B-SUPER-023: who has the permit needs no second one."""
    pool, last = _into(state)
    done = after(evolve(pool, circuits=(TRIAL,)), last)
    assert (done.state, circuit(done)) == (state, TRIAL)


@pytest.mark.parametrize("refusing", [OPEN, HALF_OPEN, SOMEBODY_ELSES])
def test_a_reload_without_permit_is_refused(refusing: Circuit) -> None:
    """A reload may not use up a free permit: it needs every circuit closed, or its own trial."""
    pool = pool_in(S.READY, circuits=(refusing,))
    assert after(pool, Reload(NEW)) == pool


@pytest.mark.parametrize("granting", [Circuit("general"), TRIAL])
def test_a_reload_with_permit_begins(granting: Circuit) -> None:
    """Closed circuits and a trial of one's own let a reload begin."""
    pool = pool_in(S.READY, circuits=(granting,))
    assert after(pool, Reload(NEW)).state is S.RELOADING_DRAINING


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("short", [None, NO_ROOM])
def test_only_a_surge_has_to_fit(strategy: Strategy, short: Cause | None) -> None:
    """B-RELOAD-x2: two engines at once are refused where they do not fit; one after the other may go."""
    refused = after(pool_in(S.READY), Reload(NEW, strategy, short=short)).state is S.READY
    assert refused == (strategy is Strategy.SURGE and short is not None)


# --- return ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "last", "rest"),
    [
        (S.STAGING, Stop(), S.STOPPED),
        (S.STAGING, Halt(), S.STOPPED),
        (S.STOPPING, Gone(EPOCH), S.STOPPED),
        (S.STOPPING, Overdue(EPOCH), S.STUCK),
    ],
)
def test_a_trial_given_up_gives_its_permit_back(
    state: PoolState, last: Stop | Halt | Gone | Overdue, rest: PoolState
) -> None:
    """V5 PermitReturns: where nothing will be launched the permit is free again."""
    done = after(pool_in(state, circuits=(TRIAL,)), last)
    assert rest in RETURNS_PERMIT
    assert (done.state, circuit(done)) == (rest, HALF_OPEN)


def test_a_trial_that_another_circuit_stops_is_given_up() -> None:
    """V5: it does not wait in failed with the permit of one circuit in its hand."""
    device = evolve(OPEN, name="device")
    done = after(pool_in(S.STAGING, circuits=(TRIAL, device)), Staged(EPOCH))
    assert (done.state, done.circuits) == (S.FAILED, (HALF_OPEN, device))


def test_somebody_elses_trial_is_not_given_back() -> None:
    """Only its holder gives a trial up."""
    done = after(pool_in(S.STAGING, circuits=(SOMEBODY_ELSES,)), Stop())
    assert done.circuits == (SOMEBODY_ELSES,)


# --- blame -----------------------------------------------------------------------------------------------


def test_a_new_model_that_fails_counts_nothing() -> None:
    """B-RELOAD-x5: through undoing and restoring to ready, and no circuit heard of it."""
    pool = pool_in(S.RELOADING_STARTING, circuits=(ALMOST,))
    undoing = after(pool, failed(pool))
    restoring = after(undoing, Gone(undoing.epoch))
    done = after(restoring, Healthy(restoring.epoch))
    assert done.state is S.READY
    assert (circuit(done), done.crash_count) == (ALMOST, 0)


@pytest.mark.parametrize(
    "state", [S.SURGING_STARTING, S.SURGING_STAGING, S.STAGING_AHEAD, S.RELOADING_STAGING]
)
def test_a_new_model_that_fails_beside_the_old_counts_nothing(state: PoolState) -> None:
    """B-RELOAD-x1, B-RELOAD-x5: the engine that serves is not to blame."""
    pool = pool_in(state, circuits=(ALMOST,))
    done = after(pool, failed(pool))
    assert done.state in (S.READY, S.RETIRING)
    assert (circuit(done), done.crash_count, done.cause) == (ALMOST, 0, None)


@pytest.mark.parametrize("state", [S.RELOADING_PROVING, S.SURGING_PROVING])
@pytest.mark.parametrize("granting", [ALMOST, TRIAL])
def test_a_new_model_that_does_not_prove_itself_counts_nothing(state: PoolState, granting: Circuit) -> None:
    """B-RELOAD-x5, S12: no circuit hears of it, not even a trial of the pool's, and no counter changes."""
    pool = pool_in(state, circuits=(granting,), crash_count=3, restart_count=2, crashes=(CRASHED_BEFORE,))
    done = after(pool, event(PoolEvent.CRASHED, pool))
    if state is S.RELOADING_PROVING:
        done = after(done, Gone(done.epoch))
        done = after(done, Healthy(done.epoch))
    assert done.state in (S.READY, S.RETIRING)
    assert (done.circuits, done.cause) == ((granting,), None)
    assert (done.crash_count, done.restart_count, done.crashes) == (3, 2, (CRASHED_BEFORE,))


def test_with_both_engines_gone_it_is_an_ordinary_failure() -> None:
    """B-RELOAD-x3: there is nothing to go back to but a start of the old model, in its turn."""
    pool = pool_in(S.SURGING_PROVING)
    pool = after(pool, Exited("chat.1.x", LOST, CRASH), Exited("chat.2.x", LOST, CRASH))
    done = after(pool, Gone(pool.epoch))
    assert (done.state, done.target) == (S.BACKING_OFF, OLD)
    assert done.cause is not None
    assert (done.cause.kind, done.cause.exit) == (CRASH.kind, CRASH.exit)
    assert done.cause.message.endswith(f"(beside a new model that then failed as well: {CRASH})")
    assert (circuit(done).failures, done.crash_count) == (1, 1)


def test_a_restoration_that_fails_counts_one() -> None:
    """B-RELOAD-x3: the old model failed as well, which is an ordinary failure."""
    pool = pool_in(S.RELOADING_RESTORING)
    recovering = after(pool, failed(pool))
    done = after(recovering, Gone(recovering.epoch))
    assert (done.state, circuit(done).failures, done.crash_count) == (S.BACKING_OFF, 1, 1)


def test_only_these_events_are_news_for_circuits() -> None:
    """The verdicts, an operator's two wishes and a stable run; each says why."""
    assert {(feed.state, feed.event) for feed in FEEDS} == {
        (S.RECOVERING, PoolEvent.GONE),
        (S.RECOVERING, PoolEvent.STUCK),
        (S.STAGING, PoolEvent.FAILED),
        (S.FAILED, PoolEvent.ALLOW_ONE),
        (None, PoolEvent.RESET),
        (None, PoolEvent.STABLE),
    }
    assert all(feed.why for feed in FEEDS)


# --- wake ------------------------------------------------------------------------------------------------


def test_a_pool_that_waits_is_woken() -> None:
    """B-SUPER-022: the time-out is over, one trial start begins by itself."""
    pool = pool_in(S.FAILED, circuits=(OPEN,), cause=CRASH)
    done = after(pool, CircuitDue("general", 1))
    assert (done.state, circuit(done)) == (S.BACKING_OFF, HALF_OPEN)
    trying = after(done, Due(done.epoch))
    assert (trying.state, circuit(trying)) == (S.STAGING, TRIAL)


def test_who_cannot_heal_is_not_tried_again() -> None:
    """The circuit is half-open, and the permit stays free for who can use it."""
    pool = pool_in(S.FAILED, circuits=(OPEN,), cause=HOPELESS)
    done = after(pool, CircuitDue("general", 1))
    assert (done.state, circuit(done)) == (S.FAILED, HALF_OPEN)


def test_who_still_lacks_a_permit_goes_on_waiting() -> None:
    """One circuit of two is not enough."""
    device = evolve(OPEN, name="device")
    done = after(pool_in(S.FAILED, circuits=(OPEN, device), cause=CRASH), CircuitDue("general", 1))
    assert (done.state, done.circuits) == (S.FAILED, (HALF_OPEN, device))


@pytest.mark.parametrize("late", [CircuitDue("general", 0), CircuitDue("device", 1)])
def test_a_time_out_of_an_earlier_opening_is_too_late(late: CircuitDue) -> None:
    """S15: what fell due for an opening that is over, or for another circuit, opens no door."""
    pool = pool_in(S.FAILED, circuits=(OPEN,), cause=CRASH)
    assert step(pool, late, NOW) == (pool, ())


# --- wishes of operators ---------------------------------------------------------------------------------


def test_one_start_past_an_open_circuit() -> None:
    """B-SUPER-039: exactly one: it is a trial like any other, and fails like any other."""
    allowed = after(pool_in(S.FAILED, circuits=(OPEN,), cause=CRASH), AllowOne())
    assert (allowed.state, circuit(allowed)) == (S.BACKING_OFF, TRIAL)
    trying = after(allowed, Due(allowed.epoch))
    assert (trying.state, circuit(trying)) == (S.STAGING, TRIAL)
    done = after(trying, failed(trying))
    assert (done.state, circuit(done).state, circuit(done).timeout) == (S.FAILED, BreakerState.OPEN, 600.0)


@pytest.mark.parametrize("refusing", [QUARANTINE, SOMEBODY_ELSES])
def test_one_start_is_granted_by_all_circuits_or_none(refusing: Circuit) -> None:
    """A quarantine, or a trial that is somebody else's, is not overridden, and no permit is taken."""
    pool = pool_in(S.FAILED, circuits=(OPEN, refusing))
    assert after(pool, AllowOne()) == pool


def test_a_reset_starts_what_waits() -> None:
    """B-SUPER-028: circuits closed by an operator, the pool goes on."""
    done = after(pool_in(S.FAILED, circuits=(OPEN,)), Reset())
    closed = (S.BACKING_OFF, BreakerState.CLOSED, 0)
    assert (done.state, circuit(done).state, circuit(done).failures) == closed
    assert done.not_before == NOW


@pytest.mark.parametrize("state", sorted(set(S) - {S.FAILED}))
def test_a_reset_elsewhere_touches_nothing_but_circuits(state: PoolState) -> None:
    """B-SUPER-028: whatever the pool does, it goes on doing it."""
    pool = pool_in(state, circuits=(ALMOST,))
    assert after(pool, Reset()) == evolve(pool, circuits=(Circuit("general"),))


# --- stable runs -----------------------------------------------------------------------------------------


def test_a_trial_has_a_shorter_period_than_the_counts() -> None:
    """B-SUPER-024, B-SUPER-014: 60 s close a trial, only 300 s forget failures."""
    pool = pool_in(S.READY, circuits=(TRIAL, evolve(ALMOST, name="cuda")), crash_count=3)
    minute = after(pool, RanStably(1, 60.0))
    assert [one.state for one in minute.circuits] == [BreakerState.CLOSED] * 2
    assert (minute.circuits[1].failures, minute.crash_count) == (4, 3)
    done = after(minute, RanStably(1, 300.0))
    assert (done.circuits[1].failures, done.crash_count) == (0, 0)


def test_a_stable_run_of_another_generation_is_no_news() -> None:
    """B-SUPER-024: the run that was stable is not the one that serves."""
    pool = pool_in(S.READY, circuits=(TRIAL,), crash_count=3)
    assert step(pool, RanStably(7, 300.0), NOW) == (pool, ())


def test_changes_of_circuits_are_told() -> None:
    """B-SUPER-026: old state, new state and the count, for each circuit that changed."""
    pool = pool_in(S.RECOVERING, circuits=(ALMOST, Circuit("cuda")))
    told = [one for one in effects(pool, Gone(EPOCH)) if isinstance(one, Emit)]
    opened = CircuitChanged("general", BreakerState.CLOSED, BreakerState.OPEN, 5, 300.0, NOW + 300)
    assert told == [Emit(opened)]


# --- policies that no exploration pins -------------------------------------------------------------------


def test_who_cannot_heal_never_retries() -> None:
    """A missing binary is not retried, whichever way it came to be known."""
    staging = pool_in(S.STAGING)
    assert after(staging, evolve(failed(staging), cause=HOPELESS)).state is S.FAILED
    for state in (S.RECOVERING, S.STUCK):
        assert after(pool_in(state, cause=HOPELESS, intent=Intent.RUN), Gone(EPOCH)).state is S.FAILED


@pytest.mark.parametrize(
    "state", [S.RECOVERING, S.STUCK, S.STOPPING, S.RELOADING_STOPPING, S.RELOADING_UNDOING]
)
def test_without_permit_it_goes_to_failed_not_to_backing_off(state: PoolState) -> None:
    """B-SUPER-020: no further restarts are scheduled while a circuit is open."""
    pool = pool_in(state, circuits=(OPEN,), intent=Intent.RUN)
    assert after(pool, Gone(EPOCH)).state is S.FAILED


@pytest.mark.parametrize(
    ("state", "last"), [(S.STOPPED, Start()), (S.BACKING_OFF, Due(EPOCH)), (S.BACKING_OFF, Start())]
)
def test_a_start_that_was_due_waits_for_the_permit_in_failed(state: PoolState, last: Start | Due) -> None:
    """The circuit opened meanwhile."""
    assert after(pool_in(state, circuits=(OPEN,)), last).state is S.FAILED


@pytest.mark.parametrize("granting", [Circuit("general"), HALF_OPEN])
def test_a_first_start_begins_at_once(granting: Circuit) -> None:
    """What never failed waits for nothing."""
    assert after(pool_in(S.STOPPED, circuits=(granting,)), Start()).state is S.STAGING


@pytest.mark.parametrize("state", [S.STOPPED, S.FAILED, S.BACKING_OFF])
@pytest.mark.parametrize("granting", [Circuit("general"), HALF_OPEN])
def test_an_operators_restart_skips_the_delay(state: PoolState, granting: Circuit) -> None:
    """S14: no delay for who asks, however many crashes there were."""
    pool = pool_in(state, circuits=(granting,), cause=CRASH, crash_count=7)
    done = after(pool, Start())
    assert (done.state, done.not_before) == (S.BACKING_OFF, NOW)


@pytest.mark.parametrize("state", [S.STOPPED, S.FAILED, S.BACKING_OFF])
def test_an_operators_restart_does_not_skip_the_window(state: PoolState) -> None:
    """S13 RestartBudget, B-SUPER-033: whoever asks, the eleventh restart in a minute waits."""
    restarts = tuple(NOW - 10 + place for place in range(10))
    done = after(pool_in(state, cause=CRASH, restarts=restarts, restart_count=10), Start())
    assert (done.state, done.not_before) == (S.BACKING_OFF, NOW - 10 + 60)
