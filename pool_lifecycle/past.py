"""What an earlier manager has left: records of pools, and what has become of their engines."""

from __future__ import annotations

import asyncio
import secrets

from attrs import define, evolve, field, frozen

from pool_lifecycle.errors import DriverError
from pool_lifecycle.events import Target
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import EngineFinder, EngineHandle
from pool_lifecycle.kept import Kept, Loaded
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.loading import rebased, rebased_host, tokens_from
from pool_lifecycle.recovery import PATIENCE, Found, find_all
from pool_lifecycle.snapshot import Instance, Snapshot
from pool_lifecycle.spec import EngineSpec, PoolSpec


def new_lineage() -> str:
    """What makes the launch tokens of a record differ from those of every other record."""
    return secrets.token_hex(8)


@frozen
class Left:
    """One pool as it was left, on this manager's clock, and what has become of its engines, by token."""

    kept: Kept
    found: dict[str, Found] = field(factory=dict)


@define(eq=False)
class Past:
    """Everything that was left and that nobody has claimed yet, by pool id."""

    left: dict[str, Left] = field(factory=dict)

    @classmethod
    async def of(cls, loaded: Loaded, host: Host) -> Past:
        """What was loaded, with every engine looked for; bounded in time whatever drivers do."""
        now = host.now()
        records = [rebased(one, now) for one in loaded.pools]
        if loaded.host is not None:
            known = {one.snapshot.pool_id for one in records}
            host.go_on(rebased_host(loaded.host, now), known)
        host.tokens_from = tokens_from(loaded, now.wall)
        host.keep_shared()
        found = await find_all(host.drivers, records)
        return cls({one.snapshot.pool_id: Left(one, found) for one in records})

    async def claim(self, spec: PoolSpec, host: Host) -> Left | None:
        """What was left of the pool that is declared now; None when there is nothing."""
        left = self.left.pop(spec.pool_id, None)
        if left is not None:
            return left
        handle = await _found_by_pid_file(spec, host)
        return None if handle is None else await _unrecorded(spec, handle, host)


async def _found_by_pid_file(spec: PoolSpec, host: Host) -> EngineHandle | None:
    launcher = host.drivers.launcher(spec.launcher)
    if not isinstance(launcher, EngineFinder):
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            return await launcher.find(pid_path=host.paths.pid(spec.pool_id))
    except (DriverError, TimeoutError) as error:
        host.trouble(spec.pool_id, f"whether an engine lives that no record tells of is not known: {error}")
        return None


async def _unrecorded(spec: PoolSpec, handle: EngineHandle, host: Host) -> Left:
    """An engine whose record was lost. Nobody knows what it was to do, so that it is ended."""
    what = f"an engine (pid {handle.pid}) lives that no record tells of; it is ended"
    host.trouble(spec.pool_id, what)
    limits, now = spec.limits, host.clock()
    kill_at = now + limits.stop_grace
    instance = Instance(1, handle.token, Target(spec.model), handle, launched_at=now, kill_at=kill_at)
    snapshot = evolve(
        Snapshot.new(spec, lineage=new_lineage(), now=now),
        state=PoolState.STOPPING,
        deadline=kill_at + limits.reclaim,
        generation=1,
        engines=(instance,),
    )
    kept = Kept(snapshot, host.now(), spec.launcher, spec.model)
    return Left(kept, await find_all(host.drivers, (kept,)))


def stand_in(left: Left) -> PoolSpec:
    """A declaration for a pool that is declared no more: enough to end its engine."""
    kept = left.kept
    return PoolSpec(
        kept.snapshot.pool_id,
        EngineSpec("nothing"),
        model=kept.declared,
        launcher=kept.launcher,
        stager="file",
    )
