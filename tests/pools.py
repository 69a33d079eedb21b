"""A pool in every state, and an event of every kind: what the tests of the pure ring begin with."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import (
    AllowOne,
    CircuitDue,
    Drain,
    Drained,
    Due,
    Event,
    Exited,
    Failed,
    Gone,
    Halt,
    Healthy,
    Overdue,
    Postponed,
    Progressed,
    RanStably,
    Reload,
    Reset,
    Resume,
    Staged,
    Start,
    Stop,
    Strategy,
    Target,
)
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Effect, Instance, Intent, Plan, Rules, Snapshot
from pool_lifecycle.spec import Limits
from pool_lifecycle.step import step
from pool_lifecycle.waits import Awaits
from tests.laws import CHANGING, ON_THE_WAY

S, E = PoolState, PoolEvent

NOW = 1000.0
EPOCH = 7

OLD, NEW, OTHER = Target("file:/old.gguf"), Target("file:/new.gguf"), Target("file:/other.gguf")

CRASH = Cause(FailureClass.SIGNAL, Stage.RUN, "killed by SIGSEGV", exit=ExitStatus(signal=11))
HOPELESS = Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "unknown flag --fast", heals=False)
BLAMELESS = Cause(FailureClass.KILLED_BY_OPERATOR, Stage.RUN, "killed by an operator")

OPEN = Circuit("general", BreakerState.OPEN, failures=5, openings=1, timeout=300.0, until=NOW + 300)
HALF_OPEN = evolve(OPEN, state=BreakerState.HALF_OPEN, until=None)
TRIAL = evolve(HALF_OPEN, state=BreakerState.TRIAL, holder="chat")
SOMEBODY_ELSES = Circuit("device", BreakerState.TRIAL, 5, 1, 300.0, holder="other")
NO_ROOM = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "there is no room for two")

TRUSTING = Rules(Limits(proving=0.0))
"""New models need not prove themselves."""

QUARANTINE = Circuit("device", BreakerState.OPEN, openings=1)


def handle(token: str) -> EngineHandle:
    """How a launched engine is found again."""
    return EngineHandle("memory", token, "127.0.0.1", 9000)


def engine(generation: int, *, target: Target = OLD, **changes: Any) -> Instance:
    """An engine that was launched; `healthy_at` and the rest as asked."""
    token = f"chat.{generation}.x"
    return evolve(Instance(generation, token, target, handle(token)), **changes)


SERVER = engine(1, healthy_at=900.0)
SPARE = engine(2, target=NEW)
PROVING = evolve(SPARE, healthy_at=990.0)
"""A new model that serves, and has to prove itself."""

_ENGINES = {
    S.STARTING: (engine(1),),
    S.STOPPING: (evolve(SERVER, kill_at=NOW),),
    S.RECOVERING: (evolve(SERVER, kill_at=NOW),),
    S.STUCK: (evolve(SERVER, kill_at=NOW - 30),),
    S.RELOADING_STOPPING: (evolve(SERVER, kill_at=NOW),),
    S.RELOADING_STARTING: (SPARE,),
    S.RELOADING_UNDOING: (evolve(SPARE, kill_at=NOW),),
    S.RELOADING_RESTORING: (engine(3),),
    S.RELOADING_PROVING: (PROVING,),
    S.SURGING_STARTING: (SERVER, SPARE),
    S.SURGING_PROVING: (SERVER, PROVING),
    S.RETIRING: (SERVER, evolve(SPARE, kill_at=NOW)),
}

_SERVING = {S.RELOADING_PROVING: 2, S.SURGING_PROVING: 2}

_CAUSES = {S.RECOVERING: CRASH, S.BACKING_OFF: CRASH, S.FAILED: HOPELESS}


def pool_in(state: PoolState, **changes: Any) -> Snapshot:
    """The pool "chat" in `state`, its deadline just reached, everything else in its favour."""
    declared = LIFECYCLE.states[state]
    engines = _ENGINES.get(state, (SERVER,) if declared.live else ())
    strategy = Strategy.SURGE if state.startswith("surging") else Strategy.DRAIN_FIRST
    pool = Snapshot(
        "chat",
        OLD,
        Rules(),
        "x",
        state,
        EPOCH,
        since=NOW - 100,
        deadline=NOW if declared.limit else None,
        not_before=NOW if state is S.BACKING_OFF else None,
        awaits=Awaits.DELAY if state is S.BACKING_OFF else Awaits.NOTHING,
        intent=Intent.RUN if state in {*ON_THE_WAY, S.RECOVERING} else Intent.STOPPED,
        engines=engines,
        serving=_SERVING.get(state, 1)
        if declared.live or engines == (evolve(SERVER, kill_at=NOW),)
        else None,
        generation=max((one.generation for one in engines), default=0),
        plan=Plan(NEW, strategy) if state in CHANGING else None,
        cause=_CAUSES.get(state),
    )
    return evolve(pool, **changes)


def event(kind: PoolEvent, pool: Snapshot, **changes: Any) -> Event:
    """An event that is read as `kind` where the table has a row for it."""
    epoch = pool.epoch
    serving = pool.serving or 0
    events: dict[PoolEvent, Event] = {
        E.START: Start(),
        E.STOP: Stop(),
        E.DRAIN: Drain(),
        E.RESUME: Resume(),
        E.RELOAD: Reload(NEW),
        E.RESET: Reset(),
        E.ALLOW_ONE: AllowOne(),
        E.HALT: Halt(),
        E.STAGED: Staged(epoch),
        E.HEALTHY: Healthy(epoch),
        E.FAILED: Failed(epoch=epoch, cause=CRASH),
        E.DRAINED: Drained(epoch),
        E.GONE: Gone(epoch),
        E.STUCK: Overdue(epoch),
        E.DUE: Due(epoch),
        E.DEADLINE: Overdue(epoch),
        E.PROGRESSED: Progressed(epoch),
        E.POSTPONED: Postponed(epoch=epoch, until=NOW + 5),
        E.CRASHED: Exited(f"chat.{serving}.x", ExitStatus(signal=11), CRASH),
        E.FINISHED: Exited(f"chat.{serving}.x", ExitStatus(code=0), CRASH, graceful=True),
        E.STABLE: RanStably(serving, 300.0),
        E.PERMITTED: CircuitDue("general", 1),
    }
    return evolve(events[kind], **changes)


def after(pool: Snapshot, *events: Event, now: float = NOW) -> Snapshot:
    """The pool after some events in a row."""
    for one in events:
        pool, _ = step(pool, one, now)
    return pool


def effects(pool: Snapshot, one: Event, now: float = NOW) -> tuple[Effect, ...]:
    """What a step asks for."""
    return step(pool, one, now)[1]
