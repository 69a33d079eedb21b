"""Everything there is to know about a pool, as one frozen, hashable value; and what a step asks for.

Times are seconds on the monotonic clock that the caller's `now` comes from.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import astuple, field, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.lifecycle import Activity, PoolEvent, PoolState
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.restart.classes import ClassPolicies, Treatment, circuit_names, treatment
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.restart.window import Times, Window
from pool_lifecycle.spec import Limits, PoolSpec
from pool_lifecycle.waits import Awaits

if TYPE_CHECKING:
    from attrs import evolve

    evolved = evolve
else:

    def evolved(value: Any, **changes: Any) -> Any:
        """`attrs.evolve`, and typed as that, for snapshots and what steps change in them: it is faster.

        For values with a `__dict__` whose fields are neither checked nor converted.
        """
        other = _new(value.__class__)
        _set(other, "__dict__", value.__dict__ | changes)
        return other

    _new, _set = object.__new__, object.__setattr__  # called ten times for a crash


class Intent(enum.StrEnum):
    """What was last asked for. `RUN_WHEN_LOADED`: stop now, run again under the next manager."""

    STOPPED = "stopped"
    RUN = "run"
    RUN_WHEN_LOADED = "run_when_loaded"


@frozen(unsafe_hash=True, cache_hash=True)
class Rules:  # noqa: PLW1641 - attrs makes the hash
    """The numbers a pool's steps go by. `fixed_port`: the port of its engine was declared.

    `shared_breaker` is for the circuits that it shares with other pools. `variant` is that of the engine that
    is declared (empty: not known).
    """

    limits: Limits = field(factory=Limits)
    backoff: Backoff = field(factory=Backoff)
    breaker: Breaker = field(factory=Breaker)
    window: Window = field(factory=Window)
    classes: ClassPolicies = field(factory=ClassPolicies)
    fixed_port: bool = False
    shared_breaker: Breaker = field(factory=Breaker)
    variant: str = ""

    def __eq__(self, other: object) -> bool:
        """Snapshots are compared at every step, and nearly always have the very same rules."""
        if self is other or not isinstance(other, Rules):
            return self is other
        return astuple(self, recurse=False) == astuple(other, recurse=False)

    def policy(self, circuit: Circuit) -> Breaker:
        """The numbers of a circuit."""
        return self.shared_breaker if circuit.shared else self.breaker

    def treatment(self, kind: FailureClass) -> Treatment:
        """How failures of a class are treated."""
        return treatment(kind, self.classes, fixed_port=self.fixed_port)


_rules = lru_cache(maxsize=256)(Rules)
"""Pools with the same numbers share one value."""


def rules_of(spec: PoolSpec, shared_breaker: Breaker) -> Rules:
    """The numbers that a pool is declared with."""
    numbers = (spec.limits, spec.backoff, spec.breaker, spec.window, spec.classes)
    return _rules(*numbers, spec.engine.port is not None, shared_breaker, spec.variant)


@lru_cache(maxsize=256)
def own_circuits(classes: ClassPolicies) -> tuple[Circuit, ...]:
    """Those that no other pool has, as they are at first."""
    return tuple(map(Circuit, circuit_names(classes)))


@frozen(slots=False)
class Instance:
    """One launch of the engine. One-shot: once `exit` is set it never lives again.

    `kill_at` is when what is left of its tree is killed; it only ever moves earlier. `handle` and
    `launched_at` are None until the launch has become a process, `healthy_at` until it has answered. Its
    output begins at byte `log_begin` of the pool's log; of the other one, if `aside`: two that live side by
    side have files of their own. `failure` is why it failed, where that is no failure of the pool: as the new
    model's engine in a change, or as the old one's beside it.
    """

    generation: int
    token: str
    target: Target
    handle: EngineHandle | None = None
    launched_at: float | None = None
    log_begin: int = 0
    aside: bool = False
    healthy_at: float | None = None
    kill_at: float | None = None
    exit: ExitStatus | None = None
    failure: Cause | None = None


@frozen
class Plan:
    """A change of model under way; `cause` is why the new model failed, once it has."""

    target: Target
    strategy: Strategy
    drain_deadline: float | None = None
    cause: Cause | None = None


@frozen(slots=False)
class Snapshot:
    """A pool at one instant.

    `epoch` grows with every change of state. `deadline` is when the state has lasted too long,
    `not_before` the earliest next start while backing off, and `awaits` why not earlier. `serving` is the
    generation that is, or was last, the one leases go to. `lineage` makes launch tokens unique beyond this
    record. `cause` is the last failure that has not been overcome by a healthy start. `crash_count` is the
    number of failures that count, `restart_count` that of starts after a failure, each until a run is long
    enough to clear it; `crashes` and `restarts` are the latest of them, no older than the window's period.
    `quarantine` lists what could not be killed.
    """

    pool_id: str
    target: Target
    rules: Rules
    lineage: str
    state: PoolState = PoolState.STOPPED
    epoch: int = 0
    since: float = 0.0
    deadline: float | None = None
    not_before: float | None = None
    awaits: Awaits = Awaits.NOTHING
    intent: Intent = Intent.STOPPED
    engines: tuple[Instance, ...] = ()
    serving: int | None = None
    generation: int = 0
    plan: Plan | None = None
    circuits: tuple[Circuit, ...] = (Circuit("general"),)
    cause: Cause | None = None
    crash_count: int = 0
    crashes: tuple[Crash, ...] = ()
    restart_count: int = 0
    restarts: Times = ()
    storm: Storm | None = None
    quarantine: tuple[Instance, ...] = ()

    @classmethod
    def new(
        cls,
        spec: PoolSpec,
        *,
        lineage: str,
        now: float,
        shared: tuple[Circuit, ...] = (),
        shared_breaker: Breaker = Breaker(),  # noqa: B008 - a frozen value
    ) -> Snapshot:
        """A pool that has never run. `lineage` is a random name, drawn by the caller.

        `shared` has the circuits that it shares with other pools, `shared_breaker` their numbers.
        """
        own = own_circuits(spec.classes)
        circuits = (*own, *shared) if shared else own
        rules = rules_of(spec, shared_breaker)
        return cls(spec.pool_id, spec.target, rules, lineage, since=now, circuits=circuits)

    @property
    def server(self) -> Instance | None:
        """The engine that leases go to, if it is still kept."""
        for one in self.engines:  # no generator, as this is asked several times in every step
            if one.generation == self.serving:
                return one
        return None

    @property
    def spares(self) -> tuple[Instance, ...]:
        """The engines that do not serve."""
        return tuple(one for one in self.engines if one.generation != self.serving)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Everything that engines are launched for, or may have to be."""
        changing = () if self.plan is None else (self.plan.target,)
        return (self.target, *changing, *(one.target for one in self.engines))

    @property
    def holds_on(self) -> bool:
        """Whether something of it cannot be killed, and so holds what it has of the host."""
        return self.state is PoolState.STUCK or bool(self.quarantine)

    @property
    def spare_lives(self) -> bool:
        """Whether an engine that does not serve could: it was healthy, and nobody has asked it to end.

        Both are on the same devices: where one of these is at fault neither can.
        """
        return not any(one.fault for one in self.circuits) and any(
            one.healthy_at is not None and one.exit is None and one.kill_at is None for one in self.spares
        )

    @property
    def crashed_beside(self) -> Instance | None:
        """The engine of the committed model, if it crashed while a new model proves itself beside it."""
        beside = self.spares if self.state is PoolState.SURGING_PROVING else ()
        return next((one for one in beside if one.failure is not None), None)

    @property
    def unproven(self) -> bool:
        """Whether what serves, or did until its drain, is a new model that the pool is not committed to."""
        server = self.server
        return server is not None and server.target != self.target

    @property
    def newest(self) -> Instance | None:
        """The engine launched last, if it is still kept."""
        return self.engines[-1] if self.engines else None

    def with_engine(self, instance: Instance) -> Snapshot:
        """The same with `instance` in the place of the one with its token, wherever that is listed."""

        def swap(listed: tuple[Instance, ...]) -> tuple[Instance, ...]:
            return tuple(instance if one.token == instance.token else one for one in listed)

        return evolved(self, engines=swap(self.engines), quarantine=swap(self.quarantine))


# --- effects: what a step asks of whoever took it, in this order ----------------------------------------


@frozen
class CloseGate:
    """Grant no more leases. Comes before Persist."""


@frozen
class Cancel:
    """Cancel the activity begun at `epoch`, and wait for it (within bounds) before the next Invoke."""

    epoch: int


@frozen
class Persist:
    """Store the new snapshot before going on: intent before effect."""


@frozen
class OpenGate:
    """Grant leases on `generation`. Comes after Persist."""

    generation: int


@frozen
class Invoke:
    """Begin `activity` for the state entered at `epoch`; it reports one outcome with that epoch."""

    activity: Activity
    epoch: int


@frozen
class Notify:
    """A row was taken, because of `why`: whoever waits for the pool is to look.

    `cause` is the failure that has to do with it: of the pool, else of the change of model that this row
    ends or belongs to.
    """

    event: PoolEvent
    source: PoolState
    target: PoolState
    why: str
    mark: str | None = None
    cause: Cause | None = None


@frozen
class CircuitChanged:
    """A circuit changed its state; part of Emit.

    `failures` in a row led to it; `timeout` is how long it stays open, and `until` when (None: not open, or
    without an end). `shared`: other pools have it too.
    """

    circuit: str
    old: BreakerState
    new: BreakerState
    failures: int
    timeout: float = 0.0
    until: float | None = None
    shared: bool = False

    @classmethod
    def between(cls, old: Circuit, new: Circuit) -> CircuitChanged:
        """What became of `old`."""
        return cls(new.name, old.state, new.state, new.failures, new.timeout, new.until, new.shared)


@frozen
class Dropped:
    """An outcome came after its state had ended; it had no effect."""

    event: PoolEvent
    epoch: int


@frozen
class Emit:
    """Something for observers that is not a row of the pool."""

    news: CircuitChanged | Dropped


Effect = CloseGate | Cancel | Persist | OpenGate | Invoke | Notify | Emit
