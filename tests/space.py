"""The space of all that can happen to one pool, made finite: what could come next, and what is the same.

Time is abstracted: of a deadline, a circuit's time-out or a healthy answer only the presence is kept, and
whatever could become due may become due at any moment. Epochs, generations and tokens are renumbered.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from attrs import evolve

from pool_lifecycle import circuits
from pool_lifecycle.breaker import BreakerEvent, BreakerState
from pool_lifecycle.causes import LOST, Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import (
    AllowOne,
    CircuitDue,
    Cleared,
    Drain,
    Drained,
    Due,
    Event,
    Exited,
    Failed,
    Gone,
    Halt,
    Healthy,
    Launched,
    Overdue,
    Postponed,
    Progressed,
    RanStably,
    Reload,
    Reset,
    Resume,
    Shared,
    Staged,
    Start,
    Stop,
    Strategy,
    Target,
    Unhealthy,
    Wish,
)
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.lifecycle import LIFECYCLE, Activity
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.restart.classes import TREATMENTS
from pool_lifecycle.snapshot import Instance, Plan, Rules, Snapshot, evolved
from pool_lifecycle.spec import Limits
from pool_lifecycle.waits import Awaits

NOW = 1000.0

OLD, NEW, OTHER = Target("file:/old.gguf"), Target("file:/new.gguf"), Target("file:/other.gguf")

HEALS = Cause(FailureClass.EXIT, Stage.RUN, "it may work next time")
HOPELESS = Cause(FailureClass.BAD_CONFIG, Stage.RUN, "it cannot work", heals=False)
BLAMELESS = Cause(FailureClass.KILLED_BY_OPERATOR, Stage.RUN, "somebody killed it")
CUDA_FAILED = Cause(FailureClass.CUDA, Stage.RUN, "its device failed it")
NO_ROOM = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "there is no room for two")
CAUSES = (HEALS, HOPELESS, BLAMELESS, CUDA_FAILED)

GENERAL, CUDA, DEVICE = "general", "cuda", "device"

RULES = Rules(breaker=Breaker(threshold=2))
TRUSTING = evolve(RULES, limits=Limits(proving=0.0))
"""New models need not prove themselves. Nothing else depends on it, so it is tried where that is asked."""

FIRST = Snapshot(
    "p",
    OLD,
    RULES,
    "x",
    circuits=(Circuit(GENERAL), Circuit(CUDA), Circuit(DEVICE, shared=True)),
)
"""A pool with a circuit for all, one for a class of failures, and one that it shares with others."""

WISHES: tuple[Wish, ...] = (
    Start(),
    Stop(grace=0.0),
    Halt(),
    Drain(deadline=0.0),
    Resume(),
    Reset(),
    AllowOne(),
    Reload(OLD),
    Reload(OTHER),
    *(Reload(NEW, strategy) for strategy in Strategy),
    Reload(NEW, Strategy.SURGE, short=NO_ROOM),
)


def handle(token: str) -> EngineHandle:
    """How a launched engine is found again."""
    return EngineHandle("memory", token, "127.0.0.1", 9000)


def happenings(pool: Snapshot) -> Iterator[Event]:
    """Everything that nobody asked for and that could happen next: outcomes, facts, news of time."""
    yield from outcomes(pool)
    if pool.deadline is not None:
        yield Overdue(pool.epoch)
    for one in (*pool.engines, *pool.quarantine):
        yield from _facts(one)
    for one in pool.quarantine:
        yield Cleared(one.token)
    for circuit in pool.circuits:
        if circuit.until is not None:
            yield CircuitDue(circuit.name, circuit.openings)
        if circuit.state is BreakerState.TRIAL and circuit.holder != pool.pool_id:
            yield from _shared(circuit)  # somebody else's trial ends, too
    server = pool.server
    if server is not None and server.healthy_at is not None:
        yield RanStably(server.generation, pool.rules.breaker.stable)
        yield RanStably(server.generation, pool.rules.backoff.stable)


def outcomes(pool: Snapshot) -> Iterator[Event]:
    """What the activity under way could report."""
    epoch = pool.epoch
    match LIFECYCLE.states[pool.state].activity:
        case Activity.STAGE:
            yield Staged(epoch)
            yield Progressed(epoch)
            yield from (Failed(epoch=epoch, cause=cause) for cause in CAUSES)
        case Activity.LAUNCH:
            yield Healthy(epoch)
            yield Progressed(epoch)
            yield from (Failed(epoch=epoch, cause=cause) for cause in CAUSES)
        case Activity.DRAIN:
            yield Drained(epoch)
        case Activity.END | Activity.RETIRE | Activity.LINGER:
            yield Gone(epoch)
        case Activity.BACK_OFF:
            yield Due(epoch)
            yield Postponed(epoch=epoch, until=NOW)


def _facts(one: Instance) -> Iterator[Event]:
    if one.handle is None:
        yield Launched(one.token, handle(one.token))
    if one.exit is None:
        yield from (Exited(one.token, ExitStatus(code=1), cause) for cause in CAUSES)
        yield Exited(one.token, ExitStatus(code=0), HEALS, graceful=True)
    yield Unhealthy(one.token, HEALS)


def elsewhere(pool: Snapshot) -> Iterator[Shared]:
    """What others could do to the circuit that they share with the pool: try, fail or succeed with it."""
    for one in pool.circuits:
        if one.shared and one.holder != pool.pool_id:
            yield from _shared(one)
            yield Shared(evolve(one, state=BreakerState.TRIAL, timeout=1.0, until=None, holder="somebody"))


def _shared(circuit: Circuit) -> Iterator[Shared]:
    rest = Circuit(circuit.name, shared=True)
    yield Shared(rest)
    yield Shared(evolve(rest, state=BreakerState.HALF_OPEN, timeout=1.0))
    yield Shared(evolve(rest, state=BreakerState.OPEN, timeout=1.0, until=NOW))


def tripped(pool: Snapshot, name: str) -> Snapshot:
    """Somebody outside opens a circuit: a storm, or trouble of another pool on the same device."""
    policy, who = pool.rules.breaker, "somebody"
    after = tuple(
        circuits.feed(one, BreakerEvent.TRIP, policy=policy, who=who, now=NOW) if one.name == name else one
        for one in pool.circuits
    )
    return evolve(pool, circuits=after)


def canonical(pool: Snapshot) -> Snapshot:
    """The one that stands for all that differ from `pool` only in what decides nothing."""
    number = {one.generation: place for place, one in enumerate(pool.engines, start=1)}
    return evolved(
        pool,
        target=OLD,
        rules=RULES,
        epoch=1,
        since=0.0,
        deadline=_there(pool.deadline),
        not_before=_there(pool.not_before),
        awaits=Awaits.DELAY if pool.awaits is Awaits.DELAY else Awaits.NOTHING,
        engines=tuple(_instance(pool, one, number[one.generation]) for one in pool.engines),
        serving=number.get(pool.serving) if pool.serving is not None else None,
        generation=len(pool.engines),
        plan=None if pool.plan is None else _plan(pool.plan),
        circuits=tuple(map(_circuit, pool.circuits)),
        crash_count=0,
        crashes=(),
        restart_count=0,
        restarts=(),
        storm=None,
        cause=_cause(pool.cause),
        quarantine=(),
    )


def _there(value: float | None) -> float | None:
    return None if value is None else NOW


def _instance(pool: Snapshot, one: Instance, number: int) -> Instance:
    ending = LIFECYCLE.states[pool.state].activity in (Activity.END, Activity.LINGER)
    return Instance(
        number,
        f"{pool.pool_id}.{number}.{pool.lineage}",
        OLD if one.target == pool.target else NEW,
        handle(str(number)),
        healthy_at=_there(one.healthy_at),
        kill_at=_there(one.kill_at),
        exit=None if one.exit is None or ending else LOST,
        failure=_cause(one.failure) if one is pool.crashed_beside else None,
    )


def _plan(plan: Plan) -> Plan:
    return Plan(NEW, plan.strategy, cause=_cause(plan.cause))


def _cause(cause: Cause | None) -> Cause | None:
    if cause is None:
        return None
    return next(one for one in CAUSES if _meaning(one) == _meaning(cause))


def _meaning(cause: Cause) -> tuple[bool, bool, str]:
    """What becomes of it: whether it is tried again, whether it counts, and for which circuit."""
    treatment = TREATMENTS[cause.kind]
    return cause.heals, treatment.counted, treatment.circuit


@cache
def _circuit(circuit: Circuit) -> Circuit:
    counts = circuit.state is BreakerState.CLOSED
    return evolve(
        circuit,
        failures=circuit.failures if counts else 0,
        openings=0,
        timeout=0.0 if counts else 1.0,
        until=_there(circuit.until),
    )
