"""What happens to a pool's circuits: one fed event at a time, through the breaker's table."""

from __future__ import annotations

from pool_lifecycle.breaker import BREAKER, BreakerDo, BreakerEvent, BreakerState, BreakerWhen
from pool_lifecycle.machine import TableMachine
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.snapshot import evolved

_GUARDS = {
    BreakerWhen.BELOW_THRESHOLD: lambda circuit, policy, _who: circuit.failures + 1 < policy.threshold,
    BreakerWhen.HOLDER: lambda circuit, _policy, who: circuit.holder == who,
    BreakerWhen.QUARANTINED: lambda circuit, _policy, _who: circuit.until is None,
}
_MACHINE = TableMachine(BREAKER, _GUARDS)
_CHANGES = {event for event, rows in BREAKER.rows.items() if any(row.to or row.mark for row in rows)}
"""The states and events with a row that changes something; most of what a circuit is fed changes nothing."""


def feed(circuit: Circuit, event: BreakerEvent, *, policy: Breaker, who: str, now: float) -> Circuit:
    """The circuit after `event`, reported by or granted to `who`; unchanged where no row changes it."""
    if (circuit.state, event) not in _CHANGES:
        return circuit
    row = _MACHINE.take(circuit.state, event, circuit, policy, who)
    assert row is not None  # there are rows, and the last one has no guard
    state = circuit.state if row.to is None else BreakerState(row.to)
    match row.mark:
        case BreakerDo.COUNT:
            return evolved(circuit, failures=circuit.failures + 1)
        case BreakerDo.OPEN:
            return _opened(circuit, event, circuit.timeout or policy.timeout, now)
        case BreakerDo.OPEN_DOUBLED:
            return _opened(
                circuit, event, min(2 * circuit.timeout, policy.timeout_max) or policy.timeout, now
            )
        case BreakerDo.CLEAR:
            return evolved(circuit, state=state, failures=0, timeout=0.0, until=None, holder=None)
        case BreakerDo.GRANT:
            return evolved(circuit, state=state, until=None, holder=who)
        case BreakerDo.FREE:
            return evolved(circuit, state=state, until=None, holder=None)
        case BreakerDo.HOLD:
            opened = circuit.openings + (circuit.state is not BreakerState.OPEN)
            return evolved(circuit, state=state, openings=opened, until=None, holder=None)
        case _:
            return circuit


def _opened(circuit: Circuit, event: BreakerEvent, timeout: float, now: float) -> Circuit:
    return evolved(
        circuit,
        state=BreakerState.OPEN,
        failures=circuit.failures + (event is BreakerEvent.FAILURE),
        openings=circuit.openings + 1,
        timeout=timeout,
        until=now + timeout,
        holder=None,
    )
