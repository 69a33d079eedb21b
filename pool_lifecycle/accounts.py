"""Keeps account of what lasts longer than one state: drains, and the way from staging to ready."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from pool_lifecycle.lifecycle import Mark, PoolEvent, PoolState
from pool_lifecycle.records import DrainBegan, DrainEnd, DrainEnded, DrainOutcome, PreloadEnded
from pool_lifecycle.snapshot import Notify, Snapshot

_ENDS: dict[PoolEvent, DrainEnd] = {
    PoolEvent.DRAINED: DrainEnd.DRAINED,
    PoolEvent.DEADLINE: DrainEnd.FORCE_STOPPED,
    PoolEvent.CRASHED: DrainEnd.ENGINE_DIED,
    PoolEvent.FINISHED: DrainEnd.ENGINE_FINISHED,
    PoolEvent.RESUME: DrainEnd.RESUMED,
    PoolEvent.START: DrainEnd.RESUMED,
    PoolEvent.STOP: DrainEnd.STOPPED,
    PoolEvent.HALT: DrainEnd.STOPPED,
}
"""What the event that ends `draining` says about the drain."""


@define(eq=False)
class DrainKeeper:
    """The drain under way of one pool, and the last one that ended."""

    pool_id: str
    began: float | None = None
    leases: int = 0
    ended: float = 0.0
    last: DrainOutcome | None = None

    def follow(
        self, notice: Notify, leases: int, before: Snapshot, after: Snapshot, now: float
    ) -> Iterator[DrainBegan | DrainEnded]:
        """The records that a row taken makes due."""
        if before.state is PoolState.DRAINING and after.state is not PoolState.DRAINING:
            end = DrainEnd.FORCE_STOPPED if notice.mark is Mark.FORCED else _ENDS[notice.event]
            yield self._end(end, leases, now)
        if after.state is PoolState.DRAINING and before.state is not PoolState.DRAINING:
            self.began, self.leases = now, leases
            yield DrainBegan(self.pool_id, now, leases, (after.deadline or now) - now)

    def _end(self, end: DrainEnd, leases: int, now: float) -> DrainEnded:
        began = now if self.began is None else self.began
        self.last = DrainOutcome(self.pool_id, end, now - began, self.leases, leases)
        self.began, self.ended = None, now
        return DrainEnded(self.pool_id, now, self.last)

    def outcome(self, *, since: float, now: float) -> DrainOutcome:
        """How the drain ended that somebody asked for at `since` and that is over now."""
        if self.last is not None and self.ended >= since:
            return self.last
        return DrainOutcome(self.pool_id, DrainEnd.NOTHING_SERVED, now - since)


_PRELOADING = (PoolState.STAGING, PoolState.STARTING)
_PRELOAD_FAILED = (PoolState.RECOVERING, PoolState.BACKING_OFF, PoolState.FAILED)


@define(eq=False)
class PreloadKeeper:
    """When the way to ready began, while it lasts."""

    pool_id: str
    began: float = 0.0

    def follow(self, before: Snapshot, after: Snapshot, now: float) -> Iterator[PreloadEnded]:
        """The record that a row taken makes due. A start that was called off has none."""
        if after.state is PoolState.STAGING and before.state is not PoolState.STAGING:
            self.began = now
        if before.state not in _PRELOADING or after.state is before.state:
            return
        if after.state is PoolState.READY:
            yield PreloadEnded(self.pool_id, now, now - self.began, None)
        elif after.state in _PRELOAD_FAILED:
            yield PreloadEnded(self.pool_id, now, now - self.began, after.cause)
