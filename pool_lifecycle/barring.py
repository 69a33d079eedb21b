"""Which circuits keep a pool from starting, and what would change that: for whoever tells people. Pure."""

from __future__ import annotations

import math

from attrs import evolve, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.guards import allows
from pool_lifecycle.placement.xid import told
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.classes import GENERAL
from pool_lifecycle.restart.storm import Storm
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.wording import plural, seconds


@frozen
class Bar:
    """One circuit that does not let a pool start. `due` is when it allows a trial; None: nobody can say.

    `why` says what is the matter with it, `helps` what can be done about it.
    """

    circuit: str
    why: str
    helps: str
    due: float | None


def bars(snapshot: Snapshot) -> tuple[Bar, ...]:
    """Every circuit in the way, the one that lasts longest first."""
    found = [_bar(one, snapshot) for one in snapshot.circuits if not allows(one, snapshot.pool_id)]
    return tuple(sorted(found, key=lambda bar: -math.inf if bar.due is None else -bar.due))


def _bar(circuit: Circuit, snapshot: Snapshot) -> Bar:
    name = f"circuit {circuit.name!r}"
    if circuit.state is BreakerState.TRIAL:
        why = f"{name} is half-open, and pool {circuit.holder!r} has its one trial"
        return Bar(circuit.name, why, "wait for the end of that trial", None)
    if circuit.until is None:
        return _quarantine(circuit, name)
    helps = ALLOWING if circuit.shared else "reset it, or allow one start"
    return Bar(circuit.name, f"{name} is open {_after(circuit, snapshot)}", helps, circuit.until)


def _quarantine(circuit: Circuit, name: str) -> Bar:
    if circuit.fault is not None:
        helps = "it ends when the device is well again; release the device to try before that"
        return Bar(circuit.name, f"{name} is in quarantine: {told(circuit.fault)}", helps, None)
    why = f"{name} is in quarantine, as something on that device cannot be killed"
    return Bar(circuit.name, why, "it ends once that is gone; restarting the host ends it too", None)


def _after(circuit: Circuit, snapshot: Snapshot) -> str:
    if (storm := storm_of(circuit, snapshot)) is not None:
        return f"because of a restart storm ({stormy(storm)})"
    if circuit.shared and not circuit.failures:
        return "as several pools failed on that device"
    return f"after {plural(circuit.failures, 'failure')} in a row"


def storm_of(circuit: Circuit, snapshot: Snapshot) -> Storm | None:
    """The storm that opened the circuit, if one did."""
    if snapshot.storm is None or circuit.name != GENERAL or circuit.until is None:
        return None
    return snapshot.storm if snapshot.storm.at + circuit.timeout >= circuit.until else None


def stormy(storm: Storm) -> str:
    """`oom_storm: 10 restarts within 1 min`."""
    return f"{storm.kind}: {plural(storm.restarts, 'restart')} within {seconds(storm.period)}"


ALLOWING = "allow one start"
"""What helps against every circuit but a quarantine, also against one that cannot be reset by a pool."""


def worst(snapshot: Snapshot) -> Bar | None:
    """The circuit that is longest in the way, with what helps against all; None when a start is possible."""
    found = bars(snapshot)
    if not found:
        return None
    first = found[0]
    if first.due is not None and any(bar.helps == ALLOWING for bar in found):
        return evolve(first, helps=ALLOWING)
    return first


def expectation(bar: Bar, now: float) -> str:
    """What is the matter with the circuit, and until when, as far as anybody can say."""
    if bar.due is None:
        return bar.why
    return f"{bar.why}; it allows one trial in {seconds(max(0.0, bar.due - now))}"


def nothing_to_allow(snapshot: Snapshot) -> str:
    """Why a pool that is not failed cannot be allowed one start."""
    bar = worst(snapshot)
    if bar is None:
        return "no circuit keeps it from starting"
    return f"{bar.why}; what may be allowed is a start that was asked for and barred"
