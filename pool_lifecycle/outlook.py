"""What comes next for a pool that does not serve, when, and what would change that: in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pool_lifecycle.barring import bars, expectation, storm_of, worst
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.waits import Awaits
from pool_lifecycle.wording import plural, seconds, sentence


def what_next(snapshot: Snapshot, now: float, observed: str = "") -> str:
    """In a few words: the next attempt, or why there is none, or what an engine on trial has yet to do."""
    if snapshot.state is PoolState.BACKING_OFF:
        return next_attempt(snapshot, now, observed)
    if snapshot.state is PoolState.FAILED:
        return _no_attempt(snapshot, now)
    trial = next((one for one in snapshot.circuits if one.holder == snapshot.pool_id), None)
    server = snapshot.server
    if (
        trial is None
        or server is None
        or server.healthy_at is None
        or not LIFECYCLE.states[snapshot.state].live
    ):
        return ""
    left = seconds(_to_run(trial, server.healthy_at, snapshot, now))
    return f"on trial, circuit {trial.name!r} closes in {left}"


def _no_attempt(snapshot: Snapshot, now: float) -> str:
    if snapshot.cause is not None and not snapshot.cause.heals:
        return "trying again cannot help by itself"
    bar = worst(snapshot)
    if bar is None or bar.due is None:
        return "" if bar is None else bar.why
    return f"circuit {bar.circuit!r} is open, one trial in {seconds(max(0.0, bar.due - now))}"


def _to_run(circuit: Circuit, healthy_at: float, snapshot: Snapshot, now: float) -> float:
    """How long a trial has to last yet."""
    return max(0.0, healthy_at + snapshot.rules.policy(circuit).stable - now)


def next_attempt(snapshot: Snapshot, now: float, observed: str = "") -> str:
    """When a pool that backs off starts again, and what it waits for; `observed` says that better, if known.

    `restart 3 in 4.0 s (back-off after 3 failures in a row)`
    """
    number = snapshot.restart_count + 1
    wait = (snapshot.not_before or now) - now
    if wait > 0:
        return f"restart {number} in {seconds(wait)} ({observed or _reason(snapshot)})"
    if observed and snapshot.deadline is not None:
        latest = seconds(max(0.0, snapshot.deadline - now))
        return f"restart {number} once that is over, in {latest} at the latest"
    return f"restart {number} at once"


def _reason(snapshot: Snapshot) -> str:
    if snapshot.awaits is Awaits.TURN:
        return "the host restarts one pool after the other"
    if snapshot.awaits is Awaits.WINDOW:
        window = snapshot.rules.window
        return f"at most {plural(window.limit, 'restart')} within {seconds(window.period)}"
    return f"back-off after {plural(snapshot.crash_count, 'failure')} in a row"


def circuits(snapshot: Snapshot, now: float) -> Iterator[str]:
    """A sentence for every circuit that is not closed."""
    yield from (sentence(expectation(bar, now)) for bar in bars(snapshot))
    for circuit in snapshot.circuits:
        if circuit.state is BreakerState.HALF_OPEN:
            yield f"Circuit {circuit.name!r} is half-open: one start may be tried, and decides."
        elif circuit.holder == snapshot.pool_id:
            yield _trial(circuit, snapshot, now)


def _trial(circuit: Circuit, snapshot: Snapshot, now: float) -> str:
    """What closes it: the run has to last."""
    name, server = f"Circuit {circuit.name!r}", snapshot.server
    if server is None or server.healthy_at is None:
        stable = seconds(snapshot.rules.policy(circuit).stable)
        return f"{name} is half-open: this start is its one trial, and closes it once it has run {stable}."
    left = seconds(_to_run(circuit, server.healthy_at, snapshot, now))
    return f"{name} is half-open: this run is its one trial, and closes it in {left}."


def what_helps(snapshot: Snapshot) -> Iterator[str]:
    """A sentence for everything that somebody could do about it."""
    cause = snapshot.cause
    if snapshot.state is PoolState.BACKING_OFF:
        yield from _mending(snapshot)
        yield "A start skips the back-off." if snapshot.awaits is Awaits.DELAY else ""
    elif cause is not None and not cause.heals:
        yield "Trying again cannot help by itself."
        yield sentence(cause.remedy)
        yield "Then start it."
    else:
        yield from _mending(snapshot)
        yield _way_out(snapshot)


def _way_out(snapshot: Snapshot) -> str:
    """What would let a pool start that a circuit keeps from it."""
    bar = worst(snapshot)
    if bar is None:
        return "Start it to try again."
    return sentence(bar.helps if bar.due is None else f"to try at once, {bar.helps}")


def _mending(snapshot: Snapshot) -> Iterator[str]:
    """What would keep it from failing again: by a storm's remedy, as that has seen more, or the failure's."""
    storms = [storm for one in snapshot.circuits if (storm := storm_of(one, snapshot)) is not None]
    if storms:
        yield sentence(storms[0].remedy)
    elif snapshot.cause is not None:
        yield sentence(snapshot.cause.remedy)
