"""When somebody who asked something of a pool is answered, and how.

For each wish a table says in which states it is over and what that means. In any other state whoever asked
goes on waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen

from pool_lifecycle.agenda import next_due
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import (
    EngineStuck,
    PoolLifecycleError,
    ReloadFailed,
    ReloadRefused,
    StartFailed,
    Superseded,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Mark, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.snapshot import Intent, Notify, Snapshot

S, M = PoolState, Mark


@frozen
class Answer:
    """The wish is over: with an error, or with success."""

    error: PoolLifecycleError | None = None


DONE = Answer()
Judge: TypeAlias = Callable[[Snapshot, Notify], Answer | None]
"""Given the pool after a row and the notice of that row: the answer, or None to go on waiting."""


def _start_failed(snapshot: Snapshot, _notice: Notify) -> Answer:
    if snapshot.intent is not Intent.RUN:
        return _superseded("start", snapshot)
    cause = snapshot.cause or _NO_PERMIT
    return Answer(
        StartFailed(cause, pool_id=snapshot.pool_id, state=snapshot.state, remedy=_next_try(snapshot, cause))
    )


_NO_PERMIT = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "a circuit is open, so no start is allowed")


def _next_try(snapshot: Snapshot, cause: Cause) -> str:
    if snapshot.not_before is not None:
        wait = snapshot.not_before - snapshot.since
        return f"{cause.remedy}; the next attempt is in {wait:.1f} s".removeprefix("; ")
    if snapshot.state is S.FAILED and cause.heals and (due := next_due(snapshot)) is not None:
        wait = due[0] - snapshot.since
        return f"the circuit allows a trial {wait:.0f} s after it failed; reset it to start at once"
    return cause.remedy


def _superseded(what: str, snapshot: Snapshot) -> Answer:
    by = "a start" if snapshot.intent is Intent.RUN else "a stop"
    return Answer(Superseded(what, by=by, pool_id=snapshot.pool_id, state=snapshot.state))


def _stuck(snapshot: Snapshot, _notice: Notify) -> Answer:
    left = ", ".join(
        f"generation {one.generation} (pid {one.handle.pid if one.handle else 'unknown'})"
        for one in snapshot.engines
    )
    return Answer(
        EngineStuck(
            f"{left or 'the engine'} could not be ended",
            pool_id=snapshot.pool_id,
            state=snapshot.state,
            remedy="it is watched; the pool goes on by itself once it is gone",
        )
    )


def _start(snapshot: Snapshot, notice: Notify) -> Answer | None:
    if LIFECYCLE.states[snapshot.state].serving:
        return DONE
    return _judged(_START, snapshot, notice)


def _judged(table: dict[PoolState, Any], snapshot: Snapshot, notice: Notify) -> Answer | None:
    answer = table.get(snapshot.state)
    return answer(snapshot, notice) if callable(answer) else answer


_START: dict[PoolState, Any] = {
    S.BACKING_OFF: _start_failed,
    S.FAILED: _start_failed,
    S.STOPPED: _start_failed,
    S.STUCK: _stuck,
}


def _stop_superseded(snapshot: Snapshot, _notice: Notify) -> Answer:
    return _superseded("stop", snapshot)


_STOP: dict[PoolState, Any] = {
    S.STOPPED: DONE,
    S.STUCK: _stuck,
    S.STAGING: _stop_superseded,
    S.FAILED: _stop_superseded,
    S.BACKING_OFF: _stop_superseded,
    S.READY: _stop_superseded,
}

_DRAIN: dict[PoolState, Any] = {**_STOP, S.READY: DONE, S.RETIRING: DONE}
"""A drain that was called off is over too; its outcome says so."""


def _reload(snapshot: Snapshot, notice: Notify) -> Answer | None:
    if notice.mark in (M.BUSY, M.REFUSED):
        return _refused(snapshot, notice)
    if notice.event is PoolEvent.RELOAD and notice.mark in (M.UNCHANGED, M.CONFIGURED):
        return DONE
    if snapshot.state in CHANGING or notice.event is PoolEvent.RELOAD:
        return None
    if notice.mark is M.COMMITTED:
        return DONE
    if snapshot.state in (S.DRAINING, S.STOPPING):
        return Answer(
            Superseded("reload", by=f"a {notice.event}", pool_id=snapshot.pool_id, state=snapshot.state)
        )
    cause = notice.cause or Cause(FailureClass.UNKNOWN, Stage.RUN, notice.why)
    if notice.mark is M.ABORTED:
        cause = Cause(FailureClass.UNKNOWN, Stage.DRAIN, "leases were left at the drain's deadline")
    return Answer(ReloadFailed(cause, pool_id=snapshot.pool_id, state=snapshot.state))


def _refused(snapshot: Snapshot, notice: Notify) -> Answer:
    under_way = f" (to {snapshot.plan.target.model!r})" if snapshot.plan else ""
    what = f"reload refused: {notice.why}{under_way}"
    remedy = "wait for it, or call it off with resume" if snapshot.plan else "reset the circuit first"
    return Answer(ReloadRefused(what, pool_id=snapshot.pool_id, state=snapshot.state, remedy=remedy))


JUDGES: dict[PoolEvent, Judge] = {
    PoolEvent.START: _start,
    PoolEvent.STOP: lambda snapshot, notice: _judged(_STOP, snapshot, notice),
    PoolEvent.HALT: lambda snapshot, notice: _judged(_STOP, snapshot, notice),
    PoolEvent.DRAIN: lambda snapshot, notice: _judged(_DRAIN, snapshot, notice),
    PoolEvent.RELOAD: _reload,
}
"""Who waits for more than the row itself. `resume`, `reset` and `allow_one` are answered by their row."""
