"""What each guard of the tables asks. Pure questions about a snapshot and an event."""

from __future__ import annotations

from collections.abc import Callable

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.events import Event, Reload, Strategy
from pool_lifecycle.lifecycle import When
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Intent, Snapshot
from pool_lifecycle.waits import Awaits

Guard = Callable[[Snapshot, Event], bool]


def permit(snapshot: Snapshot) -> bool:
    """Every circuit is closed, has a free permit, or is this pool's own trial."""
    return all(allows(circuit, snapshot.pool_id) for circuit in snapshot.circuits)


def allows(circuit: Circuit, pool_id: str) -> bool:
    """Whether this one circuit lets the pool start."""
    return circuit.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN) or circuit.holder == pool_id


def reload_permit(snapshot: Snapshot) -> bool:
    """A reload may not use up a free permit: circuits are closed, or this pool's own trial."""
    return all(
        circuit.state is BreakerState.CLOSED or circuit.holder == snapshot.pool_id
        for circuit in snapshot.circuits
    )


def can_heal(snapshot: Snapshot) -> bool:
    """Trying again may help."""
    return snapshot.cause is None or snapshot.cause.heals


def _refused(snapshot: Snapshot, event: Event) -> bool:
    assert isinstance(event, Reload)
    return not reload_permit(snapshot) or (event.strategy is Strategy.SURGE and event.short is not None)


def _asks_for(strategy: Strategy) -> Guard:
    return lambda _snapshot, event: isinstance(event, Reload) and event.strategy is strategy


def _staged_ahead(snapshot: Snapshot, _event: Event) -> bool:
    return snapshot.plan is not None and snapshot.plan.strategy is Strategy.STAGE_FIRST


def _same_target(snapshot: Snapshot, event: Event) -> bool:
    return isinstance(event, Reload) and snapshot.plan is not None and event.target == snapshot.plan.target


LIFECYCLE_GUARDS: dict[When, Guard] = {
    When.PERMIT: lambda snapshot, _: permit(snapshot),
    When.NO_PERMIT: lambda snapshot, _: not permit(snapshot),
    When.STOP_WANTED: lambda snapshot, _: snapshot.intent is not Intent.RUN,
    When.CAN_HEAL: lambda snapshot, _: can_heal(snapshot),
    When.DELAYED: lambda snapshot, _: snapshot.awaits is Awaits.DELAY,
    When.FAILED_BEFORE: lambda snapshot, _: snapshot.cause is not None,
    When.CANNOT_HEAL: lambda snapshot, _: not can_heal(snapshot),
    When.NO_QUARANTINE: lambda snapshot, _: permit(snapshot),
    When.SAME_MODEL: lambda snapshot, event: isinstance(event, Reload) and event.target == snapshot.target,
    When.SAME_TARGET: _same_target,
    When.REFUSED: _refused,
    When.DRAIN_FIRST: _asks_for(Strategy.DRAIN_FIRST),
    When.STAGE_FIRST: _asks_for(Strategy.STAGE_FIRST),
    When.STAGED_AHEAD: _staged_ahead,
    When.SPARE_LEFT: lambda snapshot, _: bool(snapshot.spares),
    When.SPARE_LIVES: lambda snapshot, _: snapshot.spare_lives,
    When.OLD_CRASHED: lambda snapshot, _: snapshot.crashed_beside is not None,
    When.UNPROVEN: lambda snapshot, _: snapshot.unproven,
    When.UNPROVEN_BESIDE: lambda snapshot, _: snapshot.unproven and bool(snapshot.spares),
    When.TRUSTED: lambda snapshot, _: not snapshot.rules.limits.proving,
}
"""`NO_QUARANTINE` is asked after the circuits heard `allow_one`: one that still refuses is a quarantine, or
somebody else's trial."""
