"""What an earlier manager has left: records of pools, and what has become of their engines."""

from __future__ import annotations

import asyncio
import secrets

from attrs import define, evolve, field, frozen

from pool_lifecycle.errors import DriverError
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
            rebooted = loaded.host.moment.clock != now.clock
            left = [one.snapshot for one in records]
            host.go_on(rebased_host(loaded.host, now), left, rebooted=rebooted)
        host.tokens_from = tokens_from(loaded, now.wall)
        host.keep_shared()
        found = await find_all(host.drivers, records)
        return cls({one.snapshot.pool_id: Left(one, found) for one in records})

    async def claim(self, spec: PoolSpec, host: Host) -> Left | None:
        """What was left of the pool that is declared now; None when there is nothing."""
        left = self.left.pop(spec.pool_id, None)
        if left is not None:
            return left
        found = await _found_by_pid_files(spec, host)
        return await _unrecorded(spec, found, host) if found else None


async def _found_by_pid_files(spec: PoolSpec, host: Host) -> list[tuple[EngineHandle, bool]]:
    """Each with whether its files are those of an engine beside another one."""
    launcher = host.drivers.launcher(spec.launcher)
    if not isinstance(launcher, EngineFinder):
        return []
    try:
        async with asyncio.timeout(PATIENCE):
            found = [
                (await launcher.find(pid_path=host.paths.pid(spec.pool_id, aside=aside)), aside)
                for aside in (False, True)
            ]
            return [(one, aside) for one, aside in found if one is not None]
    except (DriverError, TimeoutError) as error:
        host.trouble(spec.pool_id, f"whether an engine lives that no record tells of is not known: {error}")
        return []


async def _unrecorded(spec: PoolSpec, found: list[tuple[EngineHandle, bool]], host: Host) -> Left:
    """Engines whose record was lost. Nobody knows what they were to do, so that they are ended."""
    for handle, _ in found:
        what = f"an engine (pid {handle.pid}) lives that no record tells of; it is ended"
        host.trouble(spec.pool_id, what)
    limits, now = spec.limits, host.clock()
    kill_at = now + limits.stop_grace
    engines = tuple(
        Instance(number, one.token, spec.target, one, launched_at=now, aside=aside, kill_at=kill_at)
        for number, (one, aside) in enumerate(found, start=1)
    )
    snapshot = evolve(
        Snapshot.new(spec, lineage=new_lineage(), now=now),
        state=PoolState.STOPPING,
        deadline=kill_at + limits.reclaim,
        generation=len(engines),
        engines=engines,
    )
    kept = Kept(snapshot, host.now(), spec.launcher, spec.target)
    return Left(kept, await find_all(host.drivers, (kept,)))


def stand_in(left: Left) -> PoolSpec:
    """A declaration for a pool that is declared no more: enough to end its engine."""
    kept = left.kept
    return PoolSpec(
        kept.snapshot.pool_id,
        EngineSpec("nothing"),
        model=kept.declared.model,
        launcher=kept.launcher,
    )
