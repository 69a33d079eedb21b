"""What a step of a pool means for people who follow its crashes and restarts: records, from before and after.

Pure: nothing is remembered from step to step, as snapshots have all the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from pool_lifecycle.lifecycle import Mark, PoolEvent, PoolState
from pool_lifecycle.records import EngineCrashed, Record, RestartBegan, RestartScheduled, StormBegan
from pool_lifecycle.snapshot import Instance, Notify, Snapshot

S, E = PoolState, PoolEvent

_NEVER_SERVED = (S.STARTING, S.RELOADING_RESTORING)
"""Where the newest engine is to serve the model that the pool is committed to."""


@frozen
class Step:
    """One step taken at `now`; `wall` tells the time on the wall clock, both in seconds."""

    notice: Notify
    before: Snapshot
    after: Snapshot
    now: float
    wall: Callable[[], float]


def restart_news(step: Step, engine_version: str | None) -> Iterator[Record]:
    """The records that a step makes due."""
    yield from _crashed(step, engine_version)
    yield from _storm(step)
    yield from _scheduled(step)
    yield from _began(step)


def crashed_engine(notice: Notify, before: Snapshot) -> Instance | None:
    """The engine whose failure this step noted, if there was one."""
    if notice.event is E.CRASHED:
        return before.crashed_beside or before.server
    if notice.event is E.FAILED and notice.source in _NEVER_SERVED:
        newest = before.newest
        return newest if newest is not None and newest.launched_at is not None else None
    return None


def _crashed(step: Step, engine_version: str | None) -> Iterator[EngineCrashed]:
    engine, after = crashed_engine(step.notice, step.before), step.after
    if engine is None or after.cause is None:
        return
    launched_at = step.now if engine.launched_at is None else engine.launched_at
    counted = after.rules.treatment(after.cause.kind).counted
    yield EngineCrashed(
        after.pool_id,
        step.now,
        engine.generation,
        engine_version,
        step.now - launched_at,
        after.cause,
        after.crash_count + counted,
        counted,
    )


def _storm(step: Step) -> Iterator[StormBegan]:
    """One record for a storm, however many failures more it brings."""
    old, new = step.before.storm, step.after.storm
    if new is None or new == old or (old is not None and new.at - old.at <= new.period):
        return
    yield StormBegan(step.after.pool_id, step.now, new, step.after.restart_count)


def _scheduled(step: Step) -> Iterator[RestartScheduled]:
    after, cause = step.after, step.after.cause
    entered = after.state is S.BACKING_OFF and after.epoch != step.before.epoch
    postponed = step.notice.event is E.POSTPONED
    if not (entered or postponed) or cause is None:
        return
    decided = step.now if postponed else after.since
    not_before = decided if after.not_before is None else after.not_before
    yield RestartScheduled(
        after.pool_id,
        step.now,
        max(0.0, not_before - decided),
        after.crash_count,
        step.wall() + max(0.0, not_before - step.now),
        cause.kind,
        after.restart_count,
        len(after.rules.window.recent(after.restarts, step.now)),
        after.rules.window.period,
        after.awaits,
        step.notice.why if step.notice.mark == Mark.IN_TURN else "",
    )


def _began(step: Step) -> Iterator[RestartBegan]:
    if step.notice.mark != Mark.RESTART:
        return
    after, window = step.after, step.after.rules.window
    yield RestartBegan(
        after.pool_id,
        step.now,
        after.cause.kind if after.cause else None,
        after.restart_count,
        len(window.recent(after.restarts, step.now)),
        window.period,
        window.frequent(after.restarts, step.now),
    )
