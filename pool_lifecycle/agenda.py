"""When a pool next needs telling that something has become due. Pure; the runtime keeps one timer for it."""

from __future__ import annotations

from collections.abc import Iterator

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.events import CircuitDue, Event, Overdue, RanStably
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.snapshot import Snapshot

Appointment = tuple[float, Event]


def next_due(snapshot: Snapshot) -> Appointment | None:
    """The earliest time at which an event becomes due, and the event; None when nothing is waited for."""
    return min(_agenda(snapshot), key=lambda one: one[0], default=None)


def _agenda(snapshot: Snapshot) -> Iterator[Appointment]:
    if snapshot.deadline is not None:
        yield snapshot.deadline, Overdue(snapshot.epoch)
    for circuit in snapshot.circuits:
        if circuit.until is not None:
            yield circuit.until, CircuitDue(circuit.name, circuit.openings)
    yield from _stable_periods(snapshot)


def _stable_periods(snapshot: Snapshot) -> Iterator[Appointment]:
    """Only while there is something for a stable run to clear: a steady pool wakes nobody."""
    server = snapshot.server
    if server is None or server.healthy_at is None or not LIFECYCLE.states[snapshot.state].live:
        return
    rules = snapshot.rules
    for circuit in snapshot.circuits:
        if circuit.holder == snapshot.pool_id:
            yield _run(server.generation, server.healthy_at, rules.policy(circuit).stable)
    if snapshot.restart_count:
        yield _run(server.generation, server.healthy_at, rules.window.stable)
    counts = snapshot.crash_count + sum(
        circuit.failures for circuit in snapshot.circuits if circuit.state is BreakerState.CLOSED
    )
    if counts:
        yield _run(server.generation, server.healthy_at, rules.backoff.stable)


def _run(generation: int, healthy_at: float, period: float) -> Appointment:
    return healthy_at + period, RanStably(generation, period)
