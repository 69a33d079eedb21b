"""What was stored, on another clock: every time in it is moved by the same number of seconds. Pure.

The clock of a host begins anew with every boot. How long it was from one boot to a time in the next is only
to be had from the wall clock, which people and programs set: so what was left of a time-out may shrink with
it, at once to nothing, but never grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import AttrsInstance, evolve

from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.shapes import Many, Maybe, Plain, Record, Row, Shape, fields_of
from pool_lifecycle.snapshot import Instance, Plan, Snapshot

TIMES: dict[type[AttrsInstance], frozenset[str]] = {
    Moment: frozenset({"at"}),
    Snapshot: frozenset({"since", "deadline", "not_before", "restarts"}),
    Instance: frozenset({"launched_at", "healthy_at", "kill_at"}),
    Circuit: frozenset({"until"}),
    Crash: frozenset({"at"}),
    Storm: frozenset({"at"}),
    KeptLease: frozenset({"since", "expires_at"}),
    KeptHost: frozenset({"full_at", "failed_at"}),
}
"""The fields whose numbers with a fraction are times on the monotonic clock."""

STEADY: dict[type[AttrsInstance], frozenset[str]] = {
    Moment: frozenset({"wall"}),
    Snapshot: frozenset({"rules"}),
    Circuit: frozenset({"timeout"}),
    Plan: frozenset({"drain_deadline"}),
    Storm: frozenset({"period"}),
}
"""The fields whose numbers with a fraction mean the same on every clock: durations, and the wall clock's."""


def shift(moment: Moment, now: Moment) -> float:
    """Seconds to be added to a time on `moment`'s clock so that it means the same on that of `now`.

    0 on the same clock. On another one, what was d seconds ahead at `moment` is d less the time that has
    passed by the wall clock: none, when that says that it is earlier now than then.
    """
    if now.clock == moment.clock:
        return 0.0
    elapsed = max(0.0, now.wall - moment.wall)
    return now.at - moment.at - elapsed


def shifted(kept: Kept, by: float) -> Kept:
    """The same with every time in it `by` seconds later, also that at which it was stored."""
    moved: Kept = _KEPT(kept, by) if by else kept
    return moved


def shifted_host(kept: KeptHost, by: float) -> KeptHost:
    """The same with every time in it `by` seconds later, also that at which it was stored."""
    moved: KeptHost = _HOST(kept, by) if by else kept
    return moved


# --- how a value of each shape is moved -----------------------------------------------------------------

Mover = Callable[[Any, float], Any]


def _mover(shape: Shape, where: str, *, times: bool = False) -> Mover | None:
    """Moves the times in such a value; None where there is nothing to move. `times`: it is made of them."""
    match shape:
        case Plain(kind):
            return _moved if _is_time(kind, where, times=times) else None
        case Maybe(of):
            inner = _mover(of, where, times=times)
            return inner and (lambda value, by: None if value is None else inner(value, by))
        case Many(of):
            each = _mover(of, where, times=times)
            return each and (lambda values, by: tuple([each(value, by) for value in values]))
        case Row(places):
            movers = [_mover(place, where, times=times) or _left for place in places]
            return lambda row, by: tuple([move(value, by) for move, value in zip(movers, row, strict=True)])
        case Record(kind):
            return _record(kind)


def _is_time(kind: type, where: str, *, times: bool) -> bool:
    if kind is float and not times:
        raise TypeError(f"{where} has to be named in TIMES or in STEADY")
    return kind is float


def _record(kind: type[AttrsInstance]) -> Mover | None:
    movers = {name: move for name, shape in fields_of(kind).items() if (move := _field(kind, name, shape))}
    if not movers:
        return None
    return lambda value, by: evolve(
        value, **{name: move(getattr(value, name), by) for name, move in movers.items()}
    )


def _field(kind: type[AttrsInstance], name: str, shape: Shape) -> Mover | None:
    if name in STEADY.get(kind, ()):
        return None
    return _mover(shape, f"{kind.__name__}.{name}", times=name in TIMES.get(kind, ()))


def _moved(value: float, by: float) -> float:
    return value + by


def _left(value: Any, _by: float) -> Any:
    return value


_KEPT, _HOST = _record(Kept) or _left, _record(KeptHost) or _left
