"""One step: which effects, in which order; what is too late, what never is; nothing half done."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.causes import LOST, Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import (
    Cleared,
    Drain,
    Drained,
    Due,
    Event,
    Exited,
    Failed,
    Gone,
    Healthy,
    Launched,
    Outcome,
    Overdue,
    Progressed,
    RanStably,
    Reload,
    Resume,
    Staged,
    Start,
    Stop,
    Strategy,
    Unhealthy,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, Mark, PoolEvent, PoolState
from pool_lifecycle.snapshot import (
    Cancel,
    CloseGate,
    Dropped,
    Effect,
    Emit,
    Invoke,
    Notify,
    OpenGate,
    Persist,
    Snapshot,
)
from pool_lifecycle.spec import Limits
from pool_lifecycle.step import step
from tests.pools import (
    CRASH,
    EPOCH,
    NEW,
    NOW,
    SERVER,
    SPARE,
    after,
    effects,
    engine,
    event,
    handle,
    pool_in,
)

S, E = PoolState, PoolEvent

WEDGED = Cause(FailureClass.HEALTH, Stage.RUN, "3 health checks in a row failed")


def order(listed: tuple[Effect, ...]) -> list[type]:
    """The kinds of some effects, in their order."""
    return [type(one) for one in listed]


def notice(pool: Snapshot, one: Event) -> Notify:
    """What whoever waits is told."""
    (found,) = [effect for effect in effects(pool, one) if isinstance(effect, Notify)]
    return found


# --- effects ---------------------------------------------------------------------------------------------


def test_the_gate_closes_before_the_state_is_stored() -> None:
    """S10: nobody gets a lease between the decision to drain and its record."""
    assert effects(pool_in(S.READY), Drain())[:-1] == (
        CloseGate(),
        Cancel(EPOCH),
        Persist(),
        Invoke(Activity.DRAIN, EPOCH + 1),
    )


def test_the_gate_opens_after_the_state_is_stored() -> None:
    """S17: a lease is only ever granted on what the store knows to be ready."""
    assert effects(pool_in(S.STARTING), Healthy(EPOCH))[:-1] == (
        Cancel(EPOCH),
        Persist(),
        OpenGate(1),
        Invoke(Activity.WATCH, EPOCH + 1),
    )


def test_the_gate_moves_to_the_new_generation() -> None:
    """B-RELOAD-x2: a surge moves the gate to the new engine once that is stored; nobody is ever refused."""
    listed = effects(pool_in(S.SURGING_STARTING), Healthy(EPOCH))
    assert order(listed) == [Cancel, Persist, OpenGate, Invoke, Notify]
    assert listed[2] == OpenGate(2)


@pytest.mark.parametrize("one", [Resume(), Exited("chat.2.x", LOST, CRASH), Unhealthy("chat.2.x", CRASH)])
def test_the_gate_moves_back_to_the_old_generation(one: Event) -> None:
    """B-RELOAD-x2, S12: a new model that does not prove itself: nobody is refused on the way back either."""
    listed = effects(pool_in(S.SURGING_PROVING), one)
    assert order(listed) == [Cancel, Persist, OpenGate, Invoke, Notify]
    assert listed[2] == OpenGate(1)


@pytest.mark.parametrize(
    ("state", "one"),
    [
        (S.READY, Reload(NEW, Strategy.STAGE_FIRST)),
        (S.READY, Reload(NEW, Strategy.SURGE)),
        (S.SURGING_STAGING, Staged(EPOCH)),
        (S.STAGING_AHEAD, Resume()),
        (S.RETIRING, Gone(EPOCH)),
        (S.SURGING_PROVING, Overdue(EPOCH)),
        (S.RELOADING_PROVING, Overdue(EPOCH)),
    ],
)
def test_the_gate_stays_open_where_the_same_engine_serves_on(state: PoolState, one: Event) -> None:
    """B-RELOAD-x4: nobody is refused while the old engine goes on serving."""
    assert not {CloseGate, OpenGate} & set(order(effects(pool_in(state), one)))


def test_a_state_without_work_invokes_none() -> None:
    """Nothing is begun for a pool that rests; what ran before is cancelled."""
    assert effects(pool_in(S.STAGING), Stop())[:-1] == (Cancel(EPOCH), Persist())


def test_what_begins_is_stored_before_it_begins() -> None:
    """S17, intent before effect: Persist comes before Invoke in every state and for every row."""
    for state in PoolState:
        for kind in PoolEvent:
            try:
                listed = order(effects(pool_in(state), event(kind, pool_in(state))))
            except IllegalEvent:
                continue
            assert Invoke not in listed or listed.index(Persist) < listed.index(Invoke)


def test_a_join_that_changes_nothing_writes_nothing() -> None:
    """V8 Quiet: asked for what is so already, the pool answers and stores nothing."""
    assert order(effects(pool_in(S.READY), Start())) == [Notify]
    assert notice(pool_in(S.READY), Start()).mark == Mark.JOINED


def test_a_join_that_changes_facts_stores_them() -> None:
    """A start while stopping is kept: it must survive the manager."""
    assert order(effects(pool_in(S.STOPPING), Start())) == [Persist, Notify]


def test_a_notice_says_what_happened() -> None:
    """Event, from where, to where, why, and the mark of the row."""
    assert notice(pool_in(S.DRAINING), Overdue(EPOCH)) == Notify(
        E.DEADLINE, S.DRAINING, S.STOPPING, "time is up: the leases left are lost", Mark.FORCED
    )


# --- too late, or not ------------------------------------------------------------------------------------

OUTCOMES = (Staged, Healthy, Drained, Gone, Due, Progressed, Overdue)


@pytest.mark.parametrize("state", PoolState)
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_outcomes_of_other_epochs_are_dropped(state: PoolState, outcome: type[Outcome], epoch: int) -> None:
    """What belongs to a state that has ended has no effect but to be counted."""
    pool = pool_in(state)
    assert step(pool, outcome(epoch), NOW) == (pool, (Emit(Dropped(outcome.kind, epoch)),))


def test_a_failure_of_another_epoch_is_dropped() -> None:
    """Also where failed would be possible now."""
    late = Failed(epoch=EPOCH - 1, cause=CRASH)
    assert step(pool_in(S.STAGING), late, NOW) == (pool_in(S.STAGING), (Emit(Dropped(E.FAILED, EPOCH - 1)),))


def test_a_wish_is_never_too_late() -> None:
    """It carries no epoch: it is about the pool, not about a state of it."""
    assert after(pool_in(S.STAGING, epoch=99), Stop()).state is S.STOPPED


def test_every_change_of_state_is_a_new_epoch() -> None:
    """And nothing else is."""
    assert after(pool_in(S.READY), Start(), Resume()).epoch == EPOCH
    assert after(pool_in(S.READY), Drain(), Resume()).epoch == EPOCH + 2


def test_what_is_no_event_is_refused() -> None:
    """A programming error is told as one."""
    with pytest.raises(TypeError, match="'go' is not an event of a pool"):
        step(pool_in(S.READY), "go", NOW)  # type: ignore[arg-type]


# --- facts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.STARTING, S.STOPPING, S.RELOADING_STARTING, S.SURGING_STARTING])
def test_a_launch_is_recorded_whatever_the_state(state: PoolState) -> None:
    """S5 NoForgotten: what has become a process is known from then on, also when it is to end already."""
    pool = pool_in(state)
    newest = pool.newest
    assert newest is not None
    pool = pool.with_engine(evolve(newest, handle=None))
    done, listed = step(pool, Launched(newest.token, handle(newest.token)), NOW)
    assert done.newest is not None
    assert done.newest.handle == handle(newest.token)
    assert listed == (Persist(),)


@pytest.mark.parametrize("state", [S.STARTING, S.STOPPING, S.RECOVERING, S.STUCK, S.RELOADING_UNDOING])
def test_an_exit_is_recorded_whatever_the_state(state: PoolState) -> None:
    """S5: the end of a process is a fact in every state, and news to the pool only while it served."""
    pool = pool_in(state)
    newest = pool.newest
    assert newest is not None
    done, listed = step(pool, Exited(newest.token, ExitStatus(code=1), CRASH), NOW)
    assert done.newest is not None
    assert (done.state, done.newest.exit) == (state, ExitStatus(code=1))
    assert listed == (Persist(),)


def test_facts_are_never_dropped_for_their_age() -> None:
    """They carry a token, not an epoch: the engine that serves is dead, however often the state changed."""
    pool = after(pool_in(S.READY), Drain(), Resume(), Drain(), Resume())
    assert after(pool, Exited(SERVER.token, ExitStatus(code=1), CRASH)).state is S.RECOVERING


@pytest.mark.parametrize("news", [Exited(SERVER.token, LOST, CRASH), Launched(SERVER.token, handle("x"))])
def test_one_shot(news: Event) -> None:
    """S2 OneShot: how an engine ended is written once; later news about it changes nothing."""
    ended = evolve(SERVER, exit=ExitStatus(code=1), handle=None)
    pool = pool_in(S.RECOVERING, engines=(ended,))
    assert step(pool, news, NOW) == (pool, ())


@pytest.mark.parametrize("news", [Exited("chat.9.x", LOST, CRASH), Launched("chat.9.x", handle("x"))])
def test_news_of_an_unknown_launch_changes_nothing(news: Event) -> None:
    """S2: nothing is left of it, so nothing can be said of it."""
    assert step(pool_in(S.READY), news, NOW) == (pool_in(S.READY), ())


def test_a_second_handle_is_ignored() -> None:
    """S2: one launch is one process."""
    assert step(pool_in(S.READY), Launched(SERVER.token, handle("x")), NOW) == (pool_in(S.READY), ())


def test_the_end_of_the_spare_is_not_the_end_of_the_pool() -> None:
    """B-RELOAD-x2: only the engine that serves takes the pool with it."""
    for state, spare in ((S.SURGING_STARTING, 2), (S.RETIRING, 2), (S.SURGING_PROVING, 1)):
        assert after(pool_in(state), Exited(f"chat.{spare}.x", LOST, CRASH)).state is state


def test_the_end_of_the_quarantined_is_recorded() -> None:
    """S5: what could not be killed is still known, and its end too."""
    left = engine(5, kill_at=900.0)
    done = after(pool_in(S.READY, quarantine=(left,)), Exited(left.token, LOST, CRASH))
    assert (done.state, done.quarantine) == (S.READY, (evolve(left, exit=LOST),))
    gone = after(done, Cleared(left.token))
    assert (gone.state, gone.quarantine) == (S.READY, ())
    assert after(gone, Cleared(left.token)) is gone


LIVE = [state for state in PoolState if LIFECYCLE.states[state].live]


@pytest.mark.parametrize("state", LIVE)
def test_a_serving_engine_that_hangs_has_crashed(state: PoolState) -> None:
    """B-SUPER-002, V3: wherever it serves or drains, with the reason, and as a living one that has to end."""
    pool = pool_in(state)
    assert pool.server is not None
    done = after(pool, Unhealthy(pool.server.token, WEDGED))
    cause = done.plan.cause if done.plan is not None else done.cause
    then = {S.RELOADING_PROVING: S.RELOADING_UNDOING, S.SURGING_PROVING: S.RETIRING}
    assert (done.state, cause) == (
        then.get(state, S.RECOVERING),
        WEDGED if state is not S.SURGING_PROVING else None,
    )
    (hung,) = [one for one in done.engines if one.token == pool.server.token]
    assert (hung.exit, hung.kill_at) == (None, NOW + Limits().stop_grace)


@pytest.mark.parametrize("state", LIVE)
def test_news_of_another_engines_health_has_no_effect(state: PoolState) -> None:
    """S2: of a spare, or of an engine that served before."""
    pool = pool_in(state)
    for token in {SERVER.token, SPARE.token, "chat.0.x"} - {pool.server.token if pool.server else ""}:
        assert step(pool, Unhealthy(token, WEDGED), NOW) == (pool, ())


@pytest.mark.parametrize("state", [state for state in PoolState if state not in LIVE])
def test_a_hang_is_no_news_of_an_engine_that_serves_no_more(state: PoolState) -> None:
    """S2: it is to end anyway, or is gone."""
    pool = pool_in(state)
    for token in (SERVER.token, *(one.token for one in pool.engines)):
        assert step(pool, Unhealthy(token, WEDGED), NOW) == (pool, ())


def test_the_exit_of_an_engine_that_hung_keeps_the_reason() -> None:
    """B-SUPER-004: that we killed it is not why it failed."""
    hung = after(pool_in(S.READY), Unhealthy(SERVER.token, WEDGED))
    done = after(hung, Exited(SERVER.token, ExitStatus(signal=9), CRASH))
    assert (done.state, done.cause) == (S.RECOVERING, WEDGED)


@pytest.mark.parametrize(
    ("status", "graceful", "state"),
    [
        (ExitStatus(code=0), True, S.STOPPING),
        (ExitStatus(code=0), False, S.RECOVERING),
        (ExitStatus(code=1), True, S.RECOVERING),
        (ExitStatus(signal=15), True, S.RECOVERING),
        (LOST, True, S.RECOVERING),
    ],
)
def test_finished_needs_a_real_zero(status: ExitStatus, graceful: bool, state: PoolState) -> None:
    """B-SUPER-006, S16: graceful is exit code 0 where the profile says so; a lost status never is."""
    assert after(pool_in(S.READY), Exited(SERVER.token, status, CRASH, graceful)).state is state


def test_exit_zero_before_ready_is_no_wish_to_stop() -> None:
    """B-SUPER-006: an engine that was never healthy has not finished, it has failed to start."""
    done = after(pool_in(S.STARTING), Exited("chat.1.x", ExitStatus(code=0), CRASH, graceful=True))
    assert (done.state, done.intent) == (S.STARTING, pool_in(S.STARTING).intent)


# --- an engine that ends as it becomes healthy -----------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (S.STARTING, S.RECOVERING),
        (S.RELOADING_STARTING, S.RELOADING_UNDOING),
        (S.RELOADING_RESTORING, S.RECOVERING),
        (S.SURGING_STARTING, S.RETIRING),
    ],
)
def test_the_dead_do_not_become_ready(state: PoolState, then: PoolState) -> None:
    """S8 ReadyTruth: the answer was true when it was given; the exit came before the news of it."""
    pool = pool_in(state)
    assert pool.newest is not None
    done = after(pool, Exited(pool.newest.token, ExitStatus(signal=9), CRASH), Healthy(EPOCH))
    assert done.state is then
    assert done.serving == pool.serving


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (ExitStatus(code=0), FailureClass.EXIT),
        (ExitStatus(signal=9), FailureClass.SIGNAL),
        (LOST, FailureClass.UNKNOWN),
    ],
)
def test_the_dead_say_how_they_ended(status: ExitStatus, kind: FailureClass) -> None:
    """S16: the cause names the real status, and calls nothing graceful."""
    done = after(pool_in(S.STARTING), Exited("chat.1.x", status, CRASH), Healthy(EPOCH))
    assert done.cause == Cause(kind, Stage.HEALTH, f"it ended as it became ready: {status}", exit=status)


# --- news of time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in S if pool_in(state).deadline is not None])
def test_a_deadline_is_not_reached_before_its_time(state: PoolState) -> None:
    """An alarm set before the state was given more time is not the alarm of its new deadline."""
    pool = pool_in(state)
    assert step(pool, Overdue(EPOCH), NOW - 0.001) == (pool, ())
    assert step(pool, Overdue(EPOCH), NOW)[0].state is not state


@pytest.mark.parametrize("state", [state for state in S if pool_in(state).deadline is None])
def test_a_state_that_may_last_has_no_deadline(state: PoolState) -> None:
    """Time alone ends no stable state."""
    assert step(pool_in(state), Overdue(EPOCH), NOW) == (pool_in(state), ())


def test_a_start_that_takes_too_long_says_what_was_seen() -> None:
    """B-ERROR-020, B-PRELOAD-030: the time-out, the last thing seen, and what would help."""
    overdue = Overdue(EPOCH, observed="503 loading model", log="/state/chat.log")
    done = after(pool_in(S.STARTING), overdue)
    assert done.cause == Cause(
        FailureClass.START_TIMEOUT,
        Stage.HEALTH,
        "no healthy answer within 1 min 40 s; last seen: 503 loading model",
        remedy="look at the engine's log, /state/chat.log; if it is only slow, give it a larger limits.start",
    )
    assert str(done.cause).startswith("health check failed: ")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Stage.WARM_UP, "warm-up failed: healthy, but no successful warm-up within 1 min 40 s"),
        (Stage.HANDOFF, "handoff failed: healthy, but not handed off within 1 min 40 s"),
    ],
)
def test_a_start_that_takes_too_long_says_how_far_it_came(stage: Stage, said: str) -> None:
    """B-PRELOAD-030: an engine that was healthy does not fail its health check."""
    done = after(pool_in(S.STARTING), Overdue(EPOCH, stage=stage))
    assert str(done.cause) == said


def test_a_staging_that_takes_too_long_says_so() -> None:
    """The stage that failed opens the message."""
    done = after(pool_in(S.STAGING), Overdue(EPOCH))
    assert str(done.cause) == "staging failed: the model was not in place within 1 min 40 s"


@pytest.mark.parametrize("state", [S.STARTING, S.RECOVERING, S.STOPPED])
def test_a_stable_run_needs_a_living_server(state: PoolState) -> None:
    """News of a run that has ended clears nothing."""
    pool = pool_in(state, crash_count=3)
    assert step(pool, RanStably(pool.serving or 0, 300.0), NOW) == (pool, ())
