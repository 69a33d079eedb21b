"""When somebody who asked something of a pool is answered, and how.

For each wish a table says in which states it is over and what that means. In any other state whoever asked
goes on waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen

from pool_lifecycle.barring import expectation, worst
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import (
    EngineStuck,
    NoRoomForTwo,
    PoolLifecycleError,
    ReloadFailed,
    ReloadRefused,
    StartBarred,
    StartFailed,
    Superseded,
)
from pool_lifecycle.events import AllowOne, Drain, Halt, Reload, Reset, Resume, Start, Stop, Wish
from pool_lifecycle.guards import reload_permit
from pool_lifecycle.lifecycle import LIFECYCLE, Mark, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.refusals import WATCHED, residue
from pool_lifecycle.snapshot import Intent, Notify, Snapshot
from pool_lifecycle.waits import Awaits
from pool_lifecycle.wording import seconds

S, M = PoolState, Mark


@frozen
class Answer:
    """The wish is over: with an error, or with success."""

    error: PoolLifecycleError | None = None


DONE = Answer()
Clock: TypeAlias = Callable[[], float]
Judge: TypeAlias = Callable[[Snapshot, Notify], Answer | None]
"""Given the pool after a row and the notice of that row: the answer, or None to go on waiting."""


NO_PERMIT = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "a circuit is open, so no start is allowed")
"""Why a pool is failed in which nothing has failed."""


def _start_failed(snapshot: Snapshot, now: float) -> Answer:
    cause, circuit, due = snapshot.cause or NO_PERMIT, None, snapshot.not_before
    remedies = [cause.remedy]
    if due is not None:
        remedies.append(f"the next attempt is in {seconds(max(0.0, due - now))}{_WAITS[snapshot.awaits]}")
    elif snapshot.state is S.FAILED and cause.heals and (bar := worst(snapshot)) is not None:
        circuit, due = bar.circuit, bar.due
        remedies += [expectation(bar, now), bar.helps]
    return Answer(
        StartFailed(
            cause,
            pool_id=snapshot.pool_id,
            state=snapshot.state,
            remedy="; ".join(filter(None, remedies)),
            circuit=circuit,
            due_in=None if due is None else max(0.0, due - now),
        )
    )


_WAITS: dict[Awaits, str] = {
    Awaits.NOTHING: "",
    Awaits.DELAY: "",
    Awaits.WINDOW: ", as there were many restarts lately",
    Awaits.TURN: ", as the host restarts one pool after the other",
}
"""What has to be said of the time until the next attempt."""


def _wish_for_circuits(event: PoolEvent, clock: Clock, snapshot: Snapshot, notice: Notify) -> Answer | None:
    """A reset, or one start allowed: done at once, unless some circuit does not hear of it."""
    if notice.event is not event:
        return None
    bar = worst(snapshot)
    if bar is None:
        return DONE
    now = clock()
    return Answer(
        StartBarred(
            expectation(bar, now),
            circuit=bar.circuit,
            due_in=None if bar.due is None else max(0.0, bar.due - now),
            pool_id=snapshot.pool_id,
            state=snapshot.state,
            remedy=bar.helps,
        )
    )


def _superseded(what: str, *, by: str, snapshot: Snapshot) -> Answer:
    return Answer(Superseded(what, by=by, pool_id=snapshot.pool_id, state=snapshot.state))


def _stuck(snapshot: Snapshot, _notice: Notify) -> Answer:
    return Answer(
        EngineStuck(
            f"{residue(snapshot)} could not be ended",
            pool_id=snapshot.pool_id,
            state=snapshot.state,
            remedy=WATCHED,
        )
    )


class _Starting:
    """Judges one start. It remembers who overtook it, as the row that ends it is often a later one."""

    __slots__ = ("_clock", "_overtaken_by")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._overtaken_by = "a stop"

    def __call__(self, snapshot: Snapshot, notice: Notify) -> Answer | None:
        self._overtaken_by = _OVERTAKES.get(notice.event, self._overtaken_by)
        if notice.mark in (M.IN_TURN, M.RESTART) or notice.source is notice.target is S.BACKING_OFF:
            return None  # on its way, through the wait that every restart has
        if LIFECYCLE.states[snapshot.state].serving:
            return DONE
        if snapshot.state in _START_FAILED and snapshot.intent is not Intent.RUN:
            return _superseded("start", by=self._overtaken_by, snapshot=snapshot)
        if snapshot.state in _START_FAILED:
            return _start_failed(snapshot, self._clock())
        return _stuck(snapshot, notice) if snapshot.state is S.STUCK else None


def _judged(table: dict[PoolState, Any], snapshot: Snapshot, notice: Notify) -> Answer | None:
    answer = table.get(snapshot.state)
    return answer(snapshot, notice) if callable(answer) else answer


_START_FAILED = (S.BACKING_OFF, S.FAILED, S.STOPPED)


def _ending(what: str) -> dict[PoolState, Any]:
    def superseded(snapshot: Snapshot, _notice: Notify) -> Answer:
        return _superseded(what, by="a start", snapshot=snapshot)

    again = dict.fromkeys((S.STAGING, S.FAILED, S.BACKING_OFF), superseded)
    return {S.STOPPED: DONE, S.STUCK: _stuck, **again}


_STOP = _ending("stop")
_SERVING = [state for state in PoolState if LIFECYCLE.states[state].serving]
_DRAIN = {**_ending("drain"), **dict.fromkeys(_SERVING, DONE)}
"""A drain that was called off is over too; its outcome says so."""


def _reload(wish: Reload, snapshot: Snapshot, notice: Notify) -> Answer | None:
    if notice.event is PoolEvent.RELOAD:
        return _asked_to_reload(wish, snapshot, notice)
    if snapshot.state in CHANGING:
        return None
    if notice.mark == M.COMMITTED:
        return DONE
    overtaken_by = _OVERTAKES.get(notice.event)
    if overtaken_by is not None:
        return _superseded("reload", by=overtaken_by, snapshot=snapshot)
    if (
        notice.source is S.SURGING_STAGING
        and notice.cause is not None
        and notice.cause.stage is Stage.PREFLIGHT
    ):
        return _no_room(snapshot, notice.cause)
    return Answer(ReloadFailed(_why_not(notice), pool_id=snapshot.pool_id, state=snapshot.state))


def _resume(snapshot: Snapshot, notice: Notify) -> Answer:
    """Over once its row was taken."""
    if notice.event is not PoolEvent.RESUME or notice.mark != M.REFUSED:
        return DONE
    what, remedy = f"resume refused: {notice.why}", "wait for the change of model to end"
    return Answer(ReloadRefused(what, pool_id=snapshot.pool_id, state=snapshot.state, remedy=remedy))


def _asked_to_reload(wish: Reload, snapshot: Snapshot, notice: Notify) -> Answer | None:
    """The row that our own wish took, or somebody else's later one."""
    plan = snapshot.plan
    match notice.mark:
        case M.UNCHANGED | M.CONFIGURED:
            return DONE
        case M.REFUSED:
            if wish.short is not None and reload_permit(snapshot):
                return _no_room(snapshot, wish.short)
            return _refused(snapshot, *_not_closed(snapshot))
        case M.BUSY if plan is None:
            return _refused(snapshot, notice.why, "wait until it is gone")
        case M.BUSY if plan is not None and plan.target != wish.target:
            why = f"{notice.why}, and one to {plan.target.model!r} is under way"
            return _refused(snapshot, why, "wait for it, or call it off with resume")
        case _:
            return None


def _not_closed(snapshot: Snapshot) -> tuple[str, str]:
    """Which circuit is in the way of a reload, which may not use up a free permit either; what would help."""
    for one in snapshot.circuits:
        if one.state is not BreakerState.CLOSED and one.holder != snapshot.pool_id:
            state = BreakerState.OPEN if one.state is BreakerState.OPEN else BreakerState.HALF_OPEN
            helps = "wait until it is closed; other pools share it" if one.shared else "reset it first"
            return f"circuit {one.name!r} is {state}", helps
    return "a circuit was not closed", "try again"


def _no_room(snapshot: Snapshot, short: Cause) -> Answer:
    return Answer(NoRoomForTwo(short, pool_id=snapshot.pool_id, state=snapshot.state))


_OVERTAKES: dict[PoolEvent, str] = {
    PoolEvent.DRAIN: "a drain",
    PoolEvent.STOP: "a stop",
    PoolEvent.HALT: "the end of the manager",
    PoolEvent.RESUME: "a resume",
}
"""The wishes that end a start or a change of model."""


def _refused(snapshot: Snapshot, why: str, remedy: str) -> Answer:
    what = f"reload refused: {why}"
    return Answer(ReloadRefused(what, pool_id=snapshot.pool_id, state=snapshot.state, remedy=remedy))


def _why_not(notice: Notify) -> Cause:
    if notice.cause is not None:
        return notice.cause
    if notice.mark == M.ABORTED:
        return _LEASES_LEFT
    return Cause(FailureClass.UNKNOWN, Stage.RUN, notice.why)


_LEASES_LEFT = Cause(
    FailureClass.UNKNOWN,
    Stage.DRAIN,
    "leases were left at the drain's deadline",
    remedy="give it a longer drain_deadline, or a time to live to the leases",
)


def judge_of(wish: Wish, clock: Clock) -> Judge | None:
    """Who says when the wish is over; None where it is once its row was taken. `clock` is the loop's."""
    match wish:
        case Start():
            return _Starting(clock)
        case Reset() | AllowOne():
            return partial(_wish_for_circuits, wish.kind, clock)
        case Stop() | Halt():
            return partial(_judged, _STOP)
        case Drain():
            return partial(_judged, _DRAIN)
        case Reload():
            return partial(_reload, wish)
        case Resume():
            return _resume
        case _:
            return None
