"""One step of a pool: `step(snapshot, event, now) -> (snapshot, effects)`. Pure.

A step reads the event (is it too late? which event of the table is it?), notes the facts it brings, feeds
the circuits, takes the row, enters the state, and lists the effects. Nothing is half done: an event that
the state has no row for raises IllegalEvent and the snapshot, a frozen value, is what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from pool_lifecycle import circuits
from pool_lifecycle.barring import nothing_to_allow
from pool_lifecycle.breaker import BreakerEvent, BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.coupling import FEEDS, RETURNS_PERMIT, TAKES_PERMIT, WAITS_FOR_PERMIT, Feed, Whose
from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import (
    AllowOne,
    CircuitDue,
    Cleared,
    Declared,
    Drain,
    Event,
    Exited,
    Failed,
    Healthy,
    Launched,
    Outcome,
    Overdue,
    RanStably,
    Reload,
    Reset,
    Resume,
    Shared,
    Start,
    Stop,
    Unhealthy,
    Wish,
)
from pool_lifecycle.guards import LIFECYCLE_GUARDS, permit
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, Limit, PoolEvent, PoolState
from pool_lifecycle.machine import TableMachine
from pool_lifecycle.notes import ended, enter, note, noted_row
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.classes import GENERAL
from pool_lifecycle.restart.storm import Crash, Storm, kind_of
from pool_lifecycle.snapshot import (
    Cancel,
    CircuitChanged,
    CloseGate,
    Dropped,
    Effect,
    Emit,
    Invoke,
    Notify,
    OpenGate,
    Persist,
    Snapshot,
    evolved,
    own_circuits,
)
from pool_lifecycle.table import Row
from pool_lifecycle.wording import seconds

_MACHINE = TableMachine(LIFECYCLE, LIFECYCLE_GUARDS)
_ACTIVITY = {state: Activity(one.activity) for state, one in LIFECYCLE.states.items() if one.activity}
_STATES: dict[str, PoolState] = {state: state for state in PoolState}
_CLOSE, _PERSIST = CloseGate(), Persist()
_FEEDS = {(feed.state, feed.event): feed for feed in FEEDS}

_ASKED = frozenset(wish.kind for wish in (Start, Stop, Drain, Resume, Reload, Reset, AllowOne))
"""What people can ask for."""

Stepped = tuple[Snapshot, tuple[Effect, ...]]


def step(snapshot: Snapshot, event: Event, now: float) -> Stepped:
    """The pool after `event` at `now` (monotonic seconds), and what is to be done about it.

    Raises IllegalEvent when the state has no row for the event; nothing happened then.
    """
    read = _read(event, snapshot, now)
    if isinstance(read, Dropped):
        return snapshot, (Emit(read),)
    draft, kind, event = read
    if kind is None:
        return draft, _effects_of_facts(snapshot, draft)
    if (snapshot.state, kind) not in LIFECYCLE.rows:
        possible = [one for one in LIFECYCLE.legal(snapshot.state) if one in _ASKED]
        hint = nothing_to_allow(snapshot) if kind is PoolEvent.ALLOW_ONE else ""
        raise IllegalEvent(snapshot.pool_id, snapshot.state, kind, possible, hint)
    draft = _fed(note(draft, kind, event, now), snapshot.state, kind, event, now)
    row = _MACHINE.take(snapshot.state, kind, draft, event)
    assert row is not None  # the last row of every (state, event) has no guard
    draft = noted_row(draft, row, event, now)
    notice = _notice(snapshot, draft, kind, row)
    if row.to is None:
        return draft, _effects_of_staying(snapshot, draft, notice)
    draft = _coupled(enter(draft, notice.target, row, event, now), now)
    return draft, _effects_of_moving(snapshot, draft, notice)


# --- reading: is it too late, and which event of the table is it? ---------------------------------------

Read = tuple[Snapshot, PoolEvent | None, Event] | Dropped


@singledispatch
def _read(event: Any, _snapshot: Snapshot, _now: float) -> Read:
    raise TypeError(f"{event!r} is not an event of a pool")


@_read.register
def _(event: Wish, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    return snapshot, event.kind, event


@_read.register
def _(event: Outcome, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    if event.epoch != snapshot.epoch:
        return Dropped(event.kind, event.epoch)
    return snapshot, event.kind, event


@_read.register
def _(event: Healthy, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    if event.epoch != snapshot.epoch:
        return Dropped(event.kind, event.epoch)
    newest = snapshot.newest
    if newest is None or newest.exit is None:
        return snapshot, event.kind, event
    # It answered, and ended before this news of it came: it must not become the one that serves.
    failed = Failed(epoch=event.epoch, chance=event.chance, cause=_ended_early(newest.exit))
    return snapshot, PoolEvent.FAILED, failed


@_read.register
def _(event: Overdue, snapshot: Snapshot, now: float) -> Read:
    if event.epoch != snapshot.epoch:
        return Dropped(event.kind, event.epoch)
    if snapshot.deadline is None or now < snapshot.deadline:  # given more time since it was sent
        return snapshot, None, event
    kind = LIFECYCLE.states[snapshot.state].on_deadline
    if kind != PoolEvent.FAILED:
        return snapshot, None if kind is None else PoolEvent(kind), event
    failed = Failed(epoch=event.epoch, chance=event.chance, cause=_late(snapshot, event))
    return snapshot, PoolEvent.FAILED, failed


@_read.register
def _(event: Launched, snapshot: Snapshot, now: float) -> Read:
    for one in snapshot.engines:
        if one.token == event.token and one.handle is None and one.exit is None:
            running = evolved(one, handle=event.handle, launched_at=now, log_begin=event.log_begin)
            return snapshot.with_engine(running), None, event
    return snapshot, None, event


@_read.register
def _(event: Exited, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    server = snapshot.server
    for one in (*snapshot.engines, *snapshot.quarantine):
        if one.token == event.token and one.exit is None:
            draft = ended(snapshot, one, event)
            if one is server and LIFECYCLE.states[snapshot.state].live:
                return draft, _ending_of_server(snapshot, event), event
            return draft, None, event
    return snapshot, None, event


def _ending_of_server(snapshot: Snapshot, event: Exited) -> PoolEvent:
    """Where the table knows no end on purpose, an end is a failure, whatever the exit code."""
    finished = event.graceful and event.status.success
    known = (snapshot.state, PoolEvent.FINISHED) in LIFECYCLE.rows
    return PoolEvent.FINISHED if finished and known else PoolEvent.CRASHED


@_read.register
def _(event: Cleared, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    left = tuple(one for one in snapshot.quarantine if one.token != event.token)
    return snapshot if left == snapshot.quarantine else evolved(snapshot, quarantine=left), None, event


@_read.register
def _(event: Unhealthy, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    server = snapshot.server
    serves = server is not None and server.token == event.token and LIFECYCLE.states[snapshot.state].live
    return snapshot, PoolEvent.CRASHED if serves else None, event


@_read.register
def _(event: CircuitDue, snapshot: Snapshot, now: float) -> Read:
    def due(circuit: Circuit) -> bool:
        return (circuit.name, circuit.openings, circuit.state) == (
            event.circuit,
            event.opening,
            BreakerState.OPEN,
        )

    return _woken(snapshot, _feed(snapshot, BreakerEvent.TIMEOUT, now, due), event)


@_read.register
def _(event: Shared, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    name = event.circuit.name
    after = tuple(event.circuit if one.name == name else one for one in snapshot.circuits)
    draft = snapshot if after == snapshot.circuits else evolved(snapshot, circuits=after)
    return _woken(snapshot, draft, event)


@_read.register
def _(event: Declared, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    """Circuits that there are still, go on as they were."""
    if event.rules == snapshot.rules:
        return snapshot, None, event
    known = {one.name: one for one in snapshot.circuits}
    own = tuple(known.get(one.name, one) for one in own_circuits(event.rules.classes))
    shared = tuple(one for one in snapshot.circuits if one.shared)
    return _woken(snapshot, evolved(snapshot, rules=event.rules, circuits=(*own, *shared)), event)


def _woken(snapshot: Snapshot, draft: Snapshot, event: Event) -> Read:
    """Circuits have changed: who waits in vain for a permit no longer does."""
    wake = snapshot.state is WAITS_FOR_PERMIT and draft is not snapshot and permit(draft)
    return draft, PoolEvent.PERMITTED if wake else None, event


@_read.register
def _(event: RanStably, snapshot: Snapshot, now: float) -> Read:  # noqa: ARG001
    lives = LIFECYCLE.states[snapshot.state].live and snapshot.serving == event.generation
    return snapshot, PoolEvent.STABLE if lives else None, event


def _ended_early(status: ExitStatus) -> Cause:
    """Why an engine that ended before it was taken for healthy failed."""
    kind = FailureClass.EXIT if status.signal is None else FailureClass.SIGNAL
    kind = kind if status.known else FailureClass.UNKNOWN
    return Cause(kind, Stage.HEALTH, f"it ended as it became ready: {status}", exit=status)


def _late(snapshot: Snapshot, event: Overdue) -> Cause:
    """Why a state that lasted too long failed."""
    lasted = seconds((snapshot.deadline or snapshot.since) - snapshot.since)
    seen = f"; last seen: {event.observed}" if event.observed else ""
    if LIFECYCLE.states[snapshot.state].limit == Limit.STAGING:
        return Cause(FailureClass.STAGING, Stage.STAGING, f"the model was not in place within {lasted}{seen}")
    log = f"look at the engine's log, {event.log}" if event.log else "look at the engine's log"
    return Cause(
        FailureClass.START_TIMEOUT,
        event.stage,
        f"{_MISSED[event.stage]} within {lasted}{seen}",
        remedy=f"{log}; if it is only slow, give it a larger limits.start",
    )


_MISSED = {
    Stage.HEALTH: "no healthy answer",
    Stage.WARM_UP: "healthy, but no successful warm-up",
    Stage.HANDOFF: "healthy, but not handed off",
}
"""What an engine that starts has not come to in time, by how far it came."""


# --- circuits -------------------------------------------------------------------------------------------


Concerned = Callable[[Circuit], bool]


def _fed(snapshot: Snapshot, state: PoolState, kind: PoolEvent, event: Event, now: float) -> Snapshot:
    """The snapshot after its circuits heard what the event means for them."""
    rule = _FEEDS.get((state, kind)) or _FEEDS.get((None, kind))
    if rule is None:
        return snapshot
    if rule.verdict:
        return _convicted(snapshot, rule, event, now)
    after = _feed(snapshot, rule.news, now, _CONCERNED[rule.whose](snapshot, event))
    return after if permit(after) or not rule.together else snapshot


def _convicted(snapshot: Snapshot, rule: Feed, event: Event, now: float) -> Snapshot:
    """The snapshot after a failure that has got its class."""
    cause, rules = snapshot.cause, snapshot.rules
    assert cause is not None  # a verdict is on a failure
    window = rules.window
    recent = tuple(one for one in snapshot.crashes if one.at + window.period > now)
    crashes, counted = (*recent, Crash(now, cause.kind)), rules.treatment(cause.kind).counted
    snapshot = evolved(snapshot, crashes=crashes, crash_count=snapshot.crash_count + counted)
    snapshot = _feed(snapshot, rule.news, now, _CONCERNED[rule.whose](snapshot, event))
    if not window.storming(snapshot.restarts, now):
        return snapshot
    name, remedy = kind_of(snapshot.crashes)
    storm = Storm(now, name, len(snapshot.restarts), window.period, remedy)
    return _feed(evolved(snapshot, storm=storm), BreakerEvent.TRIP, now, lambda one: one.name == GENERAL)


def _of_its_class(snapshot: Snapshot, _event: Event) -> Concerned:
    assert snapshot.cause is not None  # a verdict is on a failure
    rule, pool_id = snapshot.rules.treatment(snapshot.cause.kind), snapshot.pool_id
    return lambda one: rule.ends_trial if one.holder == pool_id else rule.counted and one.name == rule.circuit


def _long_enough(snapshot: Snapshot, event: Event) -> Concerned:
    """A trial has its own, shorter, period."""
    assert isinstance(event, RanStably)
    rules, trial, period = snapshot.rules, BreakerState.TRIAL, event.period
    return lambda one: period >= (rules.policy(one).stable if one.state is trial else rules.backoff.stable)


_CONCERNED: dict[Whose, Callable[[Snapshot, Event], Concerned]] = {
    Whose.ALL: lambda _snapshot, _event: lambda _one: True,
    Whose.ITS_CLASS: _of_its_class,
    Whose.UNSHARED: lambda _snapshot, _event: lambda one: not one.shared,
    Whose.LONG_ENOUGH: _long_enough,
}


def _feed(snapshot: Snapshot, news: BreakerEvent, now: float, concerned: Concerned) -> Snapshot:
    policy, who = snapshot.rules.policy, snapshot.pool_id
    after = tuple(
        circuits.feed(one, news, policy=policy(one), who=who, now=now) if concerned(one) else one
        for one in snapshot.circuits
    )
    return snapshot if after == snapshot.circuits else evolved(snapshot, circuits=after)


def _coupled(snapshot: Snapshot, now: float) -> Snapshot:
    """The snapshot after entering its state took the permit, or gave it back."""
    if snapshot.state in TAKES_PERMIT:
        return _feed(snapshot, BreakerEvent.TAKEN, now, lambda _circuit: True)
    if snapshot.state in RETURNS_PERMIT:
        return _feed(snapshot, BreakerEvent.ABANDONED, now, lambda one: one.holder == snapshot.pool_id)
    return snapshot


# --- effects --------------------------------------------------------------------------------------------


def _effects_of_facts(before: Snapshot, after: Snapshot) -> tuple[Effect, ...]:
    return (_PERSIST, *_circuit_news(before, after)) if after != before else ()


def _effects_of_staying(before: Snapshot, after: Snapshot, notice: Notify) -> tuple[Effect, ...]:
    stored = (_PERSIST,) if after != before else ()
    return (*stored, notice, *_circuit_news(before, after))


def _effects_of_moving(before: Snapshot, after: Snapshot, notice: Notify) -> tuple[Effect, ...]:
    old, new = LIFECYCLE.states[before.state], LIFECYCLE.states[after.state]
    same_gate = old.serving and new.serving and before.serving == after.serving
    effects: list[Effect] = []
    if old.serving and not new.serving:
        effects.append(_CLOSE)
    if old.activity:
        effects.append(Cancel(before.epoch))
    effects.append(_PERSIST)
    if new.serving and not same_gate:
        assert after.serving is not None  # a serving state is only entered with a healthy engine
        effects.append(OpenGate(after.serving))
    if new.activity:
        effects.append(Invoke(_ACTIVITY[after.state], after.epoch))
    return (*effects, notice, *_circuit_news(before, after))


def _notice(before: Snapshot, draft: Snapshot, kind: PoolEvent, row: Row) -> Notify:
    target = before.state if row.to is None else _STATES[row.to]
    changing = draft.plan.cause if draft.plan is not None else None
    return Notify(kind, before.state, target, row.why, row.mark, draft.cause or changing)


def _circuit_news(before: Snapshot, after: Snapshot) -> tuple[Emit, ...]:
    if after.circuits is before.circuits:
        return ()
    old = {one.name: one for one in before.circuits}
    return tuple(
        Emit(CircuitChanged.between(old[new.name], new))
        for new in after.circuits
        if new.name in old and old[new.name].state is not new.state
    )
