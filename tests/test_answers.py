"""What whoever asked is told: the words, and the moments that the tests of the pool do not show."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.answers import DONE, NO_PERMIT, Answer, judge_of
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import (
    NoRoomForTwo,
    PoolLifecycleError,
    ReloadFailed,
    ReloadRefused,
    StartBarred,
    StartFailed,
    Superseded,
)
from pool_lifecycle.events import (
    AllowOne,
    Drain,
    Halt,
    Reload,
    Reset,
    Resume,
    Start,
    Stop,
    Strategy,
    Target,
    Wish,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Mark, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Instance, Intent, Notify, Plan, Snapshot
from pool_lifecycle.waits import Awaits
from tests.worlds import NEW, a_spec

S, E = PoolState, PoolEvent
BROKEN = Cause(FailureClass.EXIT, Stage.LAUNCH, "it does not start", remedy="look at the log")
POOL = Snapshot.new(a_spec(), lineage="x", now=0.0)
NEWS = Notify(E.GONE, S.STOPPING, S.STOPPED, "because")


def judged(wish: Wish, notice: Notify = NEWS, **facts: Any) -> Answer | None:
    judge = judge_of(wish, lambda: 10.0)
    assert judge is not None
    return judge(evolve(POOL, **facts), notice)


def told(wish: Wish, notice: Notify = NEWS, **facts: Any) -> PoolLifecycleError:
    answer = judged(wish, notice, **facts)
    assert answer is not None
    assert answer.error is not None
    return answer.error


def test_a_resume_is_answered_by_its_row() -> None:
    """Nobody waits for more; one that comes too late is told so."""
    too_late = Notify(E.RESUME, S.SURGING_PROVING, S.SURGING_PROVING, "too late", Mark.REFUSED)
    error = told(Resume(), too_late, state=S.SURGING_PROVING)
    assert isinstance(error, ReloadRefused)
    assert str(error).endswith("resume refused: too late; wait for the change of model to end")
    assert judged(Resume(), evolve(too_late, mark=Mark.JOINED), state=S.READY) == DONE
    assert judged(Resume(), evolve(too_late, event=E.STAGED), state=S.READY) == DONE


@pytest.mark.parametrize("wish", [Start(), Stop(), Halt(), Drain(), Reload(Target(NEW))])
@pytest.mark.parametrize("state", PoolState)
def test_nobody_waits_where_nothing_will_happen(wish: Wish, state: PoolState) -> None:
    """V4: in a stable state in which the wish cannot come true any more there is an answer."""
    plan = Plan(Target(NEW), Strategy.DRAIN_FIRST) if state in CHANGING else None
    intent = Intent.RUN if isinstance(wish, Start | Reload) else Intent.STOPPED
    answer = judged(wish, evolve(NEWS, target=state), state=state, plan=plan, intent=intent)
    if state in {S.STOPPED, S.FAILED, S.STUCK, S.READY}:
        waits_for_ready = isinstance(wish, Stop | Halt) and state is S.READY
        assert (answer is None) == waits_for_ready


def test_a_start_is_answered_as_soon_as_it_serves() -> None:
    """In every serving state."""
    for state in LIFECYCLE.states.values():
        if state.serving:
            assert judged(Start(), state=state.name, intent=Intent.RUN) == DONE


@pytest.mark.parametrize(
    ("wish", "state", "intent", "by"),
    [
        (E.STOP, S.STOPPING, Intent.STOPPED, "a stop"),
        (E.DRAIN, S.STOPPING, Intent.STOPPED, "a drain"),
        (E.HALT, S.STOPPING, Intent.RUN_WHEN_LOADED, "the end of the manager"),
    ],
)
def test_a_start_says_what_overtook_it(wish: PoolEvent, state: PoolState, intent: Intent, by: str) -> None:
    """Known from an earlier row than the one that ends it; a start under way before is not confused."""
    judge, other = judge_of(Start(), lambda: 0.0), judge_of(Start(), lambda: 0.0)
    assert judge is not None
    assert other is not None
    assert judge(evolve(POOL, state=state, intent=intent), Notify(wish, S.STARTING, state, "why")) is None
    stopped = evolve(POOL, state=S.STOPPED, intent=intent)
    answer, unaware = judge(stopped, NEWS), other(stopped, NEWS)
    assert answer is not None
    assert isinstance(answer.error, Superseded)
    assert answer.error.by == by
    assert unaware is not None
    assert isinstance(unaware.error, Superseded)
    assert unaware.error.by == "a stop"


def test_a_failed_start_says_when_it_goes_on() -> None:
    """With the remedy, if there is one, and without a dangling semicolon, if there is none."""
    facts: dict[str, Any] = {"state": S.BACKING_OFF, "intent": Intent.RUN, "not_before": 12.5, "since": 10.0}
    error = told(Start(), cause=BROKEN, **facts)
    assert isinstance(error, StartFailed)
    assert error.remedy == "look at the log; the next attempt is in 2.5 s"
    assert told(Start(), cause=evolve(BROKEN, remedy=""), **facts).remedy == "the next attempt is in 2.5 s"


OPEN = Circuit("general", BreakerState.OPEN, 5, 1, 300.0, until=310.0)
SHUT = Circuit("cuda")
DEVICE = Circuit("device 0", BreakerState.OPEN, 0, 1, 60.0, until=70.0, shared=True)
QUARANTINE = evolve(DEVICE, until=None)
OTHERS = evolve(DEVICE, state=BreakerState.TRIAL, until=None, holder="other")


def test_a_start_against_an_open_circuit_says_when_it_may_be_tried() -> None:
    """Also when nothing has failed yet that could be told."""
    facts: dict[str, Any] = {"state": S.FAILED, "intent": Intent.RUN, "since": 0.0, "circuits": (OPEN, SHUT)}
    error = told(Start(), **facts)
    assert isinstance(error, StartFailed)
    assert error.cause is NO_PERMIT
    assert (error.circuit, error.due_in) == ("general", 300.0)
    assert str(error).endswith(
        "circuit 'general' is open after 5 failures in a row; it allows one trial in 5 min; "
        "reset it, or allow one start"
    )
    hopeless = evolve(BROKEN, heals=False, remedy="mend it")
    assert told(Start(), cause=hopeless, **facts).remedy == "mend it"


def test_stuck_names_what_could_not_be_ended() -> None:
    """Every generation, with its pid where there is one."""
    engines = (Instance(1, "a", Target()), Instance(2, "b", Target()))
    error = told(Stop(), state=S.STUCK, engines=engines)
    assert "generation 1 (pid unknown), generation 2 (pid unknown) could not be ended" in str(error)
    assert "the engine could not be ended" in str(told(Stop(), state=S.STUCK))


CHANGE = Plan(Target(NEW), Strategy.DRAIN_FIRST)
BUSY = Notify(E.RELOAD, S.RELOADING_STAGING, S.RELOADING_STAGING, "one change at a time", Mark.BUSY)


def test_busy_concerns_only_who_wanted_something_else() -> None:
    """B-RELOAD-x5."""
    facts: dict[str, Any] = {"state": S.RELOADING_STAGING, "plan": CHANGE, "intent": Intent.RUN}
    assert judged(Reload(Target(NEW)), BUSY, **facts) is None
    assert isinstance(told(Reload(Target("file:/other")), BUSY, **facts), ReloadRefused)


def test_the_last_change_has_to_be_cleared_up_first() -> None:
    """B-RELOAD-x5: what is in the way is named, though no change is under way any more."""
    busy = Notify(
        E.RELOAD, S.RETIRING, S.RETIRING, "the engine of the last change still has to go", Mark.BUSY
    )
    error = told(Reload(Target("file:/other")), busy, state=S.RETIRING, intent=Intent.RUN)
    assert isinstance(error, ReloadRefused)
    assert str(error).endswith("of the last change still has to go; wait until it is gone")
    unchanged = evolve(busy, mark=Mark.UNCHANGED)
    assert judged(Reload(Target(NEW)), unchanged, state=S.RETIRING, intent=Intent.RUN) == DONE


SHORT = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "1.5 GiB are missing on device 0", remedy="free some")
REFUSED = Notify(E.RELOAD, S.READY, S.READY, "no start would be allowed", Mark.REFUSED)


@pytest.mark.parametrize(
    ("circuit", "kind", "words"),
    [
        (SHUT, NoRoomForTwo, "reload refused: 1.5 GiB are missing on device 0; free some"),
        (OPEN, ReloadRefused, "reload refused: circuit 'general' is open; reset it first"),
    ],
)
def test_a_refused_surge_says_what_would_help(circuit: Circuit, kind: type, words: str) -> None:
    """B-RELOAD-x2: the shortfall; but a circuit comes first, which another strategy would meet as well."""
    wish = Reload(Target(NEW), Strategy.SURGE, short=SHORT)
    error = told(wish, REFUSED, state=S.READY, intent=Intent.RUN, circuits=(circuit,))
    assert type(error) is kind
    assert str(error).endswith(words)


@pytest.mark.parametrize(("source", "room"), [(S.SURGING_STAGING, False), (S.RELOADING_STAGING, True)])
@pytest.mark.parametrize("stage", [Stage.PREFLIGHT, Stage.STAGING])
def test_a_surge_that_found_no_room_is_refused(source: PoolState, room: bool, stage: Stage) -> None:
    """B-RELOAD-x2: also once the model is there, whose size says more; any other failure is one."""
    cause = evolve(SHORT, stage=stage)
    ended = Notify(E.FAILED, source, S.READY, "the old engine was never touched", Mark.UNTOUCHED, cause)
    error = told(Reload(Target(NEW), Strategy.SURGE), ended, state=S.READY, intent=Intent.RUN)
    refused = not room and stage is Stage.PREFLIGHT
    assert type(error) is (NoRoomForTwo if refused else ReloadFailed)
    assert isinstance(error, NoRoomForTwo | ReloadFailed)
    assert error.cause == cause


@pytest.mark.parametrize("state", [S.RETIRING, S.READY])
def test_a_change_is_over_once_it_is_committed(state: PoolState) -> None:
    """And not before: while the new model proves itself, whoever asked for it waits."""
    done = Notify(E.DEADLINE, S.SURGING_PROVING, state, "proven", Mark.COMMITTED)
    wish = Reload(Target(NEW))
    assert judged(wish, done, state=state, intent=Intent.RUN) == DONE
    proving = Notify(E.HEALTHY, S.SURGING_STARTING, S.SURGING_PROVING, "it serves")
    facts: dict[str, Any] = {"plan": CHANGE, "intent": Intent.RUN}
    assert judged(wish, proving, state=S.SURGING_PROVING, **facts) is None
    assert judged(wish, proving, state=S.RELOADING_PROVING, **facts) is None


@pytest.mark.parametrize("event", [E.CRASHED, E.RESUME])
def test_a_new_model_that_did_not_prove_itself_is_told_of(event: PoolEvent) -> None:
    """B-RELOAD-007: by what it failed of, or who called it off."""
    cause = BROKEN if event is E.CRASHED else None
    reverted = Notify(event, S.SURGING_PROVING, S.RETIRING, "the old one serves again", Mark.REVERTED, cause)
    error = told(Reload(Target(NEW)), reverted, state=S.RETIRING, intent=Intent.RUN)
    if event is E.CRASHED:
        assert isinstance(error, ReloadFailed)
        assert error.cause == BROKEN
    else:
        assert isinstance(error, Superseded)
        assert error.by == "a resume"


@pytest.mark.parametrize("state", [S.READY, S.RETIRING, S.RELOADING_PROVING, S.SURGING_PROVING])
def test_a_drain_is_over_once_the_pool_serves_again(state: PoolState) -> None:
    """B-DRAIN-x2: whatever it serves again; the outcome says that it was called off."""
    again = Notify(E.RESUME, S.DRAINING, state, "it serves again")
    assert judged(Drain(), again, state=state, intent=Intent.RUN) == DONE


@pytest.mark.parametrize(
    ("circuit", "words"),
    [
        (DEVICE, "circuit 'device 0' is open; wait until it is closed; other pools share it"),
        (OTHERS, "circuit 'device 0' is half_open; wait until it is closed; other pools share it"),
        (evolve(OPEN, state=BreakerState.HALF_OPEN, until=None), "'general' is half_open; reset it first"),
    ],
)
def test_a_refused_reload_names_the_circuit(circuit: Circuit, words: str) -> None:
    """Also one that only is not closed: a reload may not use up its one trial."""
    facts: dict[str, Any] = {"state": S.READY, "intent": Intent.RUN, "circuits": (SHUT, circuit)}
    assert str(told(Reload(Target(NEW)), REFUSED, **facts)).endswith(words)


def test_a_reload_that_ended_for_no_known_cause_says_the_row() -> None:
    """For example when a circuit opened while the model was staged."""
    ended = Notify(E.STAGED, S.RELOADING_STAGING, S.READY, "a circuit opened meanwhile", Mark.REFUSED)
    error = told(Reload(Target(NEW)), ended, state=S.READY, intent=Intent.RUN)
    assert isinstance(error, ReloadFailed)
    assert "a circuit opened meanwhile" in str(error)


RESET = Notify(E.RESET, S.FAILED, S.FAILED, "another one is open", Mark.NO_PERMIT)
ALLOW = Notify(E.ALLOW_ONE, S.FAILED, S.FAILED, "not overridden", Mark.REFUSED)


@pytest.mark.parametrize(
    ("circuit", "due_in", "words"),
    [
        (
            DEVICE,
            60.0,
            "as several pools failed on that device; it allows one trial in 1 min; allow one start",
        ),
        (
            QUARANTINE,
            None,
            (
                "circuit 'device 0' is in quarantine, as something on that device cannot be killed; "
                "it ends once that is gone; restarting the host ends it too"
            ),
        ),
        (OTHERS, None, "pool 'other' has its one trial; wait for the end of that trial"),
    ],
)
@pytest.mark.parametrize(("wish", "notice"), [(Reset(), RESET), (AllowOne(), ALLOW)])
def test_a_circuit_left_open_is_told(
    wish: Wish, notice: Notify, circuit: Circuit, due_in: float | None, words: str
) -> None:
    """B-SUPER-028, 039: which one, until when, and what would help: whoever asked is not left in the dark."""
    error = told(wish, notice, state=S.FAILED, circuits=(SHUT, circuit))
    assert isinstance(error, StartBarred)
    assert (error.circuit, error.due_in) == ("device 0", due_in)
    assert str(error).endswith(words)


@pytest.mark.parametrize("wish", [Reset(), AllowOne()])
def test_a_reset_that_leaves_nothing_open_is_done(wish: Wish) -> None:
    """At its own row, not at somebody else's; a trial of the pool itself keeps it from nothing."""
    trial = Circuit("device 0", BreakerState.TRIAL, holder="chat", shared=True)
    own = Notify(wish.kind, S.FAILED, S.BACKING_OFF, "why", Mark.IN_TURN)
    assert judged(wish, NEWS, state=S.FAILED, circuits=(DEVICE,)) is None
    assert judged(wish, own, state=S.BACKING_OFF, circuits=(SHUT, trial)) == DONE


def test_of_several_open_circuits_the_last_to_allow_a_trial_counts() -> None:
    """And what helps is what helps against all of them."""
    error = told(Start(), state=S.FAILED, intent=Intent.RUN, cause=BROKEN, circuits=(OPEN, DEVICE))
    assert isinstance(error, StartFailed)
    assert (error.circuit, error.due_in) == ("general", 300.0)
    assert str(error).endswith("it allows one trial in 5 min; allow one start")


def test_a_start_held_back_by_the_window_says_so() -> None:
    """B-SUPER-033."""
    facts: dict[str, Any] = {"state": S.BACKING_OFF, "intent": Intent.RUN, "since": 10.0, "not_before": 60.5}
    error = told(Start(), cause=BROKEN, awaits=Awaits.WINDOW, **facts)
    assert str(error).endswith("the next attempt is in 50.5 s, as there were many restarts lately")
    assert isinstance(error, StartFailed)
    assert (error.circuit, error.due_in) == (None, 50.5)
