"""Keeps account of what lasts longer than one state: drains, changes of model, ways from staging to ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from pool_lifecycle.answers import NO_PERMIT
from pool_lifecycle.kept import Passage
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.records import DrainBegan, DrainEnd, DrainEnded, DrainOutcome, PreloadEnded, Record
from pool_lifecycle.reload_account import ReloadAccount
from pool_lifecycle.restart_news import crashed_engine
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

_PRELOADING = (PoolState.STAGING, PoolState.STARTING)
_PRELOAD_FAILED = (PoolState.RECOVERING, PoolState.BACKING_OFF, PoolState.FAILED)


@frozen
class Asked:
    """When somebody asked for a drain, and how many drains had ended before."""

    at: float
    ended_before: int


@define(eq=False)
class Accounts:
    """The drain, the reload and the preload of one pool that are under way, and the last drain that ended."""

    pool_id: str
    preload_began: float = 0.0
    drain_began: float = 0.0
    drain_leases: int = 0
    drains_ended: int = 0
    last_drain: DrainOutcome | None = None
    reload: ReloadAccount = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reload = ReloadAccount(self.pool_id)

    def go_on(self, snapshot: Snapshot, leases: int, passages: Iterable[Passage] = ()) -> None:
        """What is under way began under an earlier manager; `passages` is the pool's history, if needed."""
        self.reload.go_on(snapshot, passages)
        self.preload_began = self.drain_began = snapshot.since
        self.drain_leases = leases

    def follow(
        self, notice: Notify, leases: int, before: Snapshot, after: Snapshot, now: float
    ) -> Iterator[Record]:
        """The records that a row taken makes due. `leases` are active now."""
        yield from self.reload.follow(notice, before, after, now)
        if after.state is before.state:
            return
        yield from self._preload(notice, before, after, now)
        if before.state is PoolState.DRAINING:
            yield self._drained(_ENDS[notice.event], leases, now)
        if after.state is PoolState.DRAINING:
            self.drain_began, self.drain_leases = now, leases
            yield DrainBegan(self.pool_id, now, leases, (after.deadline or now) - now)

    def asked(self, now: float) -> Asked:
        """Somebody asks for a drain."""
        return Asked(now, self.drains_ended)

    def outcome(self, asked: Asked, now: float) -> DrainOutcome:
        """How the drain ended that was asked for, and that is over now."""
        if self.last_drain is not None and self.drains_ended > asked.ended_before:
            return self.last_drain
        return DrainOutcome(self.pool_id, DrainEnd.NOTHING_SERVED, now - asked.at)

    def _drained(self, end: DrainEnd, leases: int, now: float) -> DrainEnded:
        lasted = now - self.drain_began
        self.last_drain = DrainOutcome(self.pool_id, end, lasted, self.drain_leases, leases)
        self.drains_ended += 1
        return DrainEnded(self.pool_id, now, self.last_drain)

    def _preload(self, notice: Notify, before: Snapshot, after: Snapshot, now: float) -> Iterator[Record]:
        """A start that was called off has no record."""
        if after.state is PoolState.STAGING:
            self.preload_began = now
        if before.state not in _PRELOADING:
            return
        if after.state is PoolState.READY:
            yield PreloadEnded(self.pool_id, now, now - self.preload_began, None)
        elif after.state in _PRELOAD_FAILED:
            crashed = crashed_engine(notice, before) is not None
            yield PreloadEnded(
                self.pool_id, now, now - self.preload_began, after.cause or NO_PERMIT, crashed=crashed
            )
