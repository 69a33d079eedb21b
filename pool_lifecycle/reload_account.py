"""Keeps account of a change of model: since when, how it ended, how long no lease was granted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define

from pool_lifecycle.causes import FailureClass, Stage
from pool_lifecycle.guards import reload_permit
from pool_lifecycle.kept import Passage
from pool_lifecycle.lifecycle import LIFECYCLE, Mark, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.records import NoReload, Record, ReloadBegan, ReloadEnd, ReloadEnded, ReloadNotBegun
from pool_lifecycle.snapshot import Notify, Snapshot

E = PoolEvent

SERVING = frozenset(state for state, one in LIFECYCLE.states.items() if one.serving)
"""The states in which leases are granted."""

_BY_EVENT: dict[PoolEvent, ReloadEnd] = {
    E.DRAIN: ReloadEnd.SUPERSEDED,
    E.STOP: ReloadEnd.SUPERSEDED,
    E.HALT: ReloadEnd.SUPERSEDED,
    E.FINISHED: ReloadEnd.ENGINE_FINISHED,
    E.RESUME: ReloadEnd.CALLED_OFF,
}
"""What ends a change of model whatever its row is marked with."""

_BY_MARK: dict[str | None, ReloadEnd] = {
    Mark.COMMITTED: ReloadEnd.COMMITTED,
    Mark.RESTORED: ReloadEnd.RESTORED,
    Mark.REVERTED: ReloadEnd.REVERTED,
    Mark.UNTOUCHED: ReloadEnd.UNTOUCHED,
    Mark.ABORTED: ReloadEnd.ABORTED,
    Mark.REFUSED: ReloadEnd.REFUSED,
}

_BY_END: dict[ReloadEnd, NoReload] = {
    ReloadEnd.SUPERSEDED: NoReload.SUPERSEDED,
    ReloadEnd.ENGINE_FINISHED: NoReload.ENGINE_FINISHED,
    ReloadEnd.CALLED_OFF: NoReload.CALLED_OFF,
    ReloadEnd.ABORTED: NoReload.DRAIN_TIMEOUT,
    ReloadEnd.REFUSED: NoReload.CIRCUIT_OPEN,
}
"""The reason, where the end says it."""


@define(eq=False)
class ReloadAccount:
    """When the change of model under way began, and for how many seconds of it no lease could be granted."""

    pool_id: str
    began: float = 0.0
    gap: float = 0.0

    def go_on(self, snapshot: Snapshot, passages: Iterable[Passage]) -> None:
        """It began under an earlier manager: the history, oldest first, says when."""
        self.began, self.gap = snapshot.since, 0.0
        moves = [one for one in passages if one.source != one.target]
        if snapshot.state not in CHANGING or not moves or moves[-1].target != snapshot.state:
            return
        gap, until = 0.0, moves[-1].at
        for one in reversed(moves):
            gap += 0.0 if one.target in SERVING else max(0.0, until - one.at)
            until = one.at
            if one.source not in CHANGING:
                self.began -= max(0.0, moves[-1].at - one.at)
                self.gap = gap
                return

    def follow(self, notice: Notify, before: Snapshot, after: Snapshot, now: float) -> Iterator[Record]:
        """The records that a row taken makes due."""
        if notice.event is E.RELOAD and (reason := _refused(notice, after)) is not None:
            yield ReloadNotBegun(self.pool_id, now, reason)
        if after.state is before.state:
            return
        if before.state not in CHANGING and after.plan is not None:
            self.began, self.gap = now, 0.0
            yield ReloadBegan(self.pool_id, now, after.target, after.plan.target, after.plan.strategy)
        if before.plan is not None:
            self.gap += 0.0 if before.state in SERVING else now - before.since
            if after.plan is None:
                yield self._ended(notice, before, now)

    def _ended(self, notice: Notify, before: Snapshot, now: float) -> ReloadEnded:
        plan = before.plan
        assert plan is not None  # else nothing ended
        end = _BY_EVENT.get(notice.event) or _BY_MARK.get(notice.mark, ReloadEnd.FAILED)
        done = end is ReloadEnd.COMMITTED
        return ReloadEnded(
            self.pool_id,
            now,
            plan.target,
            plan.strategy,
            end,
            now - self.began,
            self.gap,
            None if done else _reason(end, notice),
            None if done else notice.cause,
        )


def _refused(notice: Notify, after: Snapshot) -> NoReload | None:
    match notice.mark:
        case Mark.BUSY:
            return NoReload.BUSY
        case Mark.REFUSED:
            return NoReload.NO_ROOM if reload_permit(after) else NoReload.CIRCUIT_OPEN
        case _:
            return None


def _reason(end: ReloadEnd, notice: Notify) -> FailureClass | NoReload:
    """Why the pool does not have the new model. The failure that began it says more than what came of it."""
    if end in _BY_END:
        return _BY_END[end]
    cause = notice.cause
    if cause is None:
        return NoReload.STUCK if notice.event is E.STUCK else NoReload.CIRCUIT_OPEN
    if notice.source is PoolState.SURGING_STAGING and cause.stage is Stage.PREFLIGHT:
        return NoReload.NO_ROOM
    return cause.kind
