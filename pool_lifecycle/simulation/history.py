"""Writes down what happens in a simulation: an observer of the manager that ends as a `Timeline`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from attrs import define, evolve, field

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import Mark, PoolEvent, PoolState
from pool_lifecycle.records import (
    CircuitMoved,
    Moved,
    Record,
    RestartScheduled,
    StormBegan,
)
from pool_lifecycle.shared_circuits import name_of
from pool_lifecycle.simulation.timeline import (
    Act,
    Attempt,
    CircuitLife,
    CircuitSpan,
    PoolLife,
    Span,
    StormSeen,
    Timeline,
)
from pool_lifecycle.snapshot import Intent, Snapshot
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.waits import Awaits

S, E = PoolState, PoolEvent

_AWAITED = {Awaits.DELAY: "back-off", Awaits.WINDOW: "window", Awaits.TURN: "host's budget"}
_OPERATORS = {E.START, E.RESET, E.ALLOW_ONE}
_FAILS = {E.CRASHED, E.FAILED}
_RUNNING = frozenset({S.STAGING, S.STARTING, S.READY, S.DRAINING})
"""The states of an attempt: of all that a simulated pool can be in."""

STOPPED = "stopped"

ROUNDING = 6
"""Digits kept of a second, so that the float at which virtual time begins does not show."""


@define(eq=False)
class Waiting:
    """How long a pool waits for its next start, and for what. The reason may change on the way.

    While it is stopped it waits for nothing.
    """

    since: float
    because: str = ""
    lasted: dict[str, float] = field(factory=dict)
    ended_by: str = ""

    def now_for(self, because: str, now: float) -> None:
        """From now on it waits for something else."""
        if now > self.since and self.because != STOPPED:
            self.lasted[self.because] = self.lasted.get(self.because, 0.0) + now - self.since
        self.since, self.because = now, because

    def told(self) -> str:
        """What it waited for, the longest first."""
        named = sorted((one for one in self.lasted if one), key=lambda one: -self.lasted[one])
        what = " + ".join(named) or "at once"
        return f"{what}, until {self.ended_by}" if self.ended_by else what


@define(eq=False)
class PoolHistory:
    """What has happened to one pool so far."""

    spec: PoolSpec
    spans: list[Span] = field(factory=list)
    attempts: list[Attempt] = field(factory=list)
    acts: list[Act] = field(factory=list)
    storms: list[StormSeen] = field(factory=list)
    waiting: Waiting = field(factory=lambda: Waiting(0.0, "first start"))

    def moved(self, record: Moved, snapshot: Snapshot, now: float) -> None:
        """A row was taken, and led to `snapshot`."""
        notice = record.notice
        self._span(notice.target, now, wanted=snapshot.intent is Intent.RUN, why=notice.why)
        if notice.target is notice.source and notice.target is not S.BACKING_OFF:
            return
        if notice.source in _RUNNING and notice.target not in _RUNNING:
            self._ends(notice.event, now)
        if notice.source is S.RECOVERING or (notice.source is S.STAGING and notice.event is E.FAILED):
            self._judged(snapshot)
        if notice.target is S.STAGING:
            self._begins(now, restart=notice.mark == Mark.RESTART)
        elif notice.target is S.READY and notice.source is S.STARTING:
            self.attempts[-1] = evolve(self.attempts[-1], ready=now)
        elif notice.target in (S.BACKING_OFF, S.FAILED, S.STOPPED):
            self._waits(notice.target, notice.event, snapshot, now)

    def scheduled(self, record: RestartScheduled, now: float) -> None:
        """It is known how long the next start waits, and for what."""
        self.waiting.now_for(_AWAITED.get(record.awaits, ""), now)

    def life(self, end: float, circuits: tuple[CircuitLife, ...], unused: int) -> PoolLife:
        """All of it, from the begin to `end`."""
        if self.spans:
            self.spans[-1] = evolve(self.spans[-1], end=end)
        return PoolLife(
            self.spec.pool_id,
            tuple(_joined(span for span in self.spans if span.end > span.begin)),
            tuple(self.attempts),
            tuple(self.acts),
            tuple(self.storms),
            circuits,
            tuple(sorted(self.spec.devices)),
            unused,
        )

    def _span(self, state: PoolState, now: float, *, wanted: bool, why: str) -> None:
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.state, last.wanted) == (state, wanted):
            return
        if last is not None:
            self.spans[-1] = evolve(last, end=now)
        self.spans.append(Span(state, now, now, wanted, why))

    def _begins(self, now: float, *, restart: bool) -> None:
        waiting = self.waiting
        waiting.now_for("", now)
        waited = sum(waiting.lasted.values())
        because = waiting.told() if self.attempts else "first start"
        self.attempts.append(Attempt(now, round(waited, ROUNDING), because, restart))
        self.waiting = Waiting(now)

    def _ends(self, event: PoolEvent, now: float) -> None:
        self.waiting = Waiting(now)
        self.attempts[-1] = evolve(
            self.attempts[-1], end=now, ended_as=_ENDS.get(event, str(event)), failed=event in _FAILS
        )

    def _judged(self, snapshot: Snapshot) -> None:
        cause, last = snapshot.cause, self.attempts[-1]
        if cause is not None and last.failed:
            self.attempts[-1] = evolve(last, ended_as=str(cause.kind), told=str(cause))

    def _waits(self, state: PoolState, event: PoolEvent, snapshot: Snapshot, now: float) -> None:
        self.waiting.ended_by = str(event) if state is S.BACKING_OFF and event in _OPERATORS else ""
        because = STOPPED if state is S.STOPPED else ""
        self.waiting.now_for(_barred(snapshot) if state is S.FAILED else because, now)


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Without the seams that states of no duration leave behind."""
    for _, alike in groupby(spans, key=lambda span: (span.state, span.wanted)):
        first, *rest = alike
        yield evolve(first, end=rest[-1].end) if rest else first


_ENDS = {E.STOP: STOPPED, E.DRAIN: "drained", E.DRAINED: "drained", E.FINISHED: "graceful"}
"""How it is called when an attempt ends by an event that is no failure."""


def _barred(snapshot: Snapshot) -> str:
    """What keeps a failed pool from starting."""
    if snapshot.cause is not None and not snapshot.cause.heals:
        return "an operator"
    names = [one.name for one in snapshot.circuits if one.state in (BreakerState.OPEN, BreakerState.TRIAL)]
    return f"circuit {', '.join(sorted(names))}" if names else "a permit"


@define(eq=False)
class CircuitHistory:
    """What has happened to one circuit so far. It is closed at first."""

    name: str
    pools: tuple[str, ...]
    shared: bool
    spans: list[CircuitSpan] = field(factory=lambda: [CircuitSpan(BreakerState.CLOSED, 0.0, 0.0, 0)])

    def moved(self, state: BreakerState, failures: int, now: float) -> None:
        """It changed its state."""
        last = self.spans[-1]
        if last.state is not state:
            self.spans[-1] = evolve(last, end=now)
            self.spans.append(CircuitSpan(state, now, now, failures))

    def life(self, end: float) -> CircuitLife:
        """All of it."""
        spans = (*self.spans[:-1], evolve(self.spans[-1], end=end))
        return CircuitLife(self.name, self.pools, self.shared, tuple(spans))


@define(eq=False)
class History:
    """What has happened to all pools so far. `begin` is when it began, on the loop's clock.

    `seen` returns a pool as it is now; a record is told when the step that it is about has been taken.
    """

    begin: float
    specs: tuple[PoolSpec, ...]
    seen: Callable[[str], Snapshot]
    pools: dict[str, PoolHistory] = field(init=False)
    _circuits: dict[tuple[str, str], CircuitHistory] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.pools = {spec.pool_id: PoolHistory(spec) for spec in self.specs}

    def after(self, at: float) -> float:
        """Seconds after the begin."""
        return round(at - self.begin, ROUNDING)

    def observe(self, record: Record) -> None:
        """The observer."""
        now, pool = self.after(record.at), self.pools[record.pool_id]
        match record:
            case Moved():
                pool.moved(record, self.seen(record.pool_id), now)
            case RestartScheduled():
                pool.scheduled(record, now)
            case StormBegan(storm=storm):
                pool.storms.append(StormSeen(now, storm.kind, storm.restarts, storm.period, storm.remedy))
            case CircuitMoved(change=change):
                self._circuit(record.pool_id, change.circuit).moved(change.new, change.failures, now)
            case _:
                pass

    def timeline(self, end: float, *, rested: bool, seed: int, unused: Callable[[str], int]) -> Timeline:
        """All of it."""
        lives = {key: one.life(end) for key, one in sorted(self._circuits.items())}
        pools = tuple(
            pool.life(end, tuple(life for (owner, _), life in lives.items() if owner == name), unused(name))
            for name, pool in self.pools.items()
        )
        shared = tuple(life for (owner, _), life in lives.items() if not owner)
        return Timeline(end, rested, seed, pools, shared)

    def _circuit(self, pool_id: str, name: str) -> CircuitHistory:
        """Its history; that of a device's is nobody's own."""
        on_it = tuple(spec.pool_id for spec in self.specs if name in map(name_of, spec.devices))
        key = ("" if on_it else pool_id, name)
        return self._circuits.setdefault(key, CircuitHistory(name, on_it or (pool_id,), bool(on_it)))
