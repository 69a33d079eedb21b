"""What whoever asked is told: the words, and the moments that the tests of the pool do not show."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.answers import DONE, NO_PERMIT, Answer, judge_of
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import PoolLifecycleError, ReloadFailed, ReloadRefused, StartFailed, Superseded
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
from tests.worlds import NEW, a_spec

S, E = PoolState, PoolEvent
BROKEN = Cause(FailureClass.EXIT, Stage.LAUNCH, "it does not start", remedy="look at the log")
POOL = Snapshot.new(a_spec(), lineage="x", now=0.0)
NEWS = Notify(E.GONE, S.STOPPING, S.STOPPED, "because")


def judged(wish: Wish, notice: Notify = NEWS, **facts: Any) -> Answer | None:
    judge = judge_of(wish)
    assert judge is not None
    return judge(evolve(POOL, **facts), notice)


def told(wish: Wish, notice: Notify = NEWS, **facts: Any) -> PoolLifecycleError:
    answer = judged(wish, notice, **facts)
    assert answer is not None
    assert answer.error is not None
    return answer.error


@pytest.mark.parametrize("wish", [Resume(), Reset(), AllowOne()])
def test_some_wishes_are_answered_by_their_row(wish: Wish) -> None:
    """Nobody waits for more."""
    assert judge_of(wish) is None


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
    judge, other = judge_of(Start()), judge_of(Start())
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


def test_a_start_against_an_open_circuit_says_when_it_may_be_tried() -> None:
    """Also when nothing has failed yet that could be told."""
    circuit = Circuit("general", BreakerState.OPEN, 5, 1, 300.0, until=310.0)
    facts: dict[str, Any] = {"state": S.FAILED, "intent": Intent.RUN, "since": 10.0, "circuits": (circuit,)}
    error = told(Start(), **facts)
    assert isinstance(error, StartFailed)
    assert error.cause is NO_PERMIT
    assert "the circuit allows a trial 300 s after it failed; reset it to start at once" in str(error)
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


@pytest.mark.parametrize(
    ("strategy", "remedy"),
    [(Strategy.DRAIN_FIRST, "reset the circuit first"), (Strategy.SURGE, "use strategy stage_first")],
)
def test_a_refused_reload_says_what_would_help(strategy: Strategy, remedy: str) -> None:
    """A surge that does not fit is not helped by resetting a circuit."""
    refused = Notify(E.RELOAD, S.READY, S.READY, "no start would be allowed", Mark.REFUSED)
    error = told(Reload(Target(NEW), strategy), refused, state=S.READY, intent=Intent.RUN)
    assert isinstance(error, ReloadRefused)
    assert error.remedy.startswith(remedy)
    assert ("surge" in error.what, "circuit" in error.what) == (
        strategy is Strategy.SURGE,
        "circuit" in remedy,
    )


def test_a_surge_against_an_open_circuit_is_refused_for_the_circuit() -> None:
    """One reason: the one that another strategy would meet as well."""
    refused = Notify(E.RELOAD, S.READY, S.READY, "no start would be allowed", Mark.REFUSED)
    opened = (Circuit("general", BreakerState.OPEN, until=310.0),)
    wish = Reload(Target(NEW), Strategy.SURGE)
    error = told(wish, refused, state=S.READY, intent=Intent.RUN, circuits=opened)
    assert str(error).endswith("reload refused: a circuit is not closed; reset the circuit first")


def test_a_reload_that_ended_for_no_known_cause_says_the_row() -> None:
    """For example when a circuit opened while the model was staged."""
    ended = Notify(E.STAGED, S.RELOADING_STAGING, S.READY, "a circuit opened meanwhile", Mark.REFUSED)
    error = told(Reload(Target(NEW)), ended, state=S.READY, intent=Intent.RUN)
    assert isinstance(error, ReloadFailed)
    assert "a circuit opened meanwhile" in str(error)
