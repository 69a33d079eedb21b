"""What a pool lets the world know."""

from __future__ import annotations

import asyncio
import contextlib

from pool_lifecycle.errors import StartFailed
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import EngineCrashed, Moved, PreloadEnded, RestartScheduled
from tests.worlds import HOPELESS, a_world, virtually


@virtually
async def test_readers_know_it_before_observers_do() -> None:
    """Who is told of a move and looks it up in the registry finds it there."""
    async with a_world() as world:
        seen = []

        def look(record: object) -> None:
            if isinstance(record, Moved):
                entry = world.manager.registry.get("chat")
                assert entry is not None
                seen.append((record.notice.target, entry.ready))

        world.manager.observe(look)
        await world.pool.start()
        await world.pool.stop()
        assert seen == [
            (PoolState.STAGING, False),
            (PoolState.STARTING, False),
            (PoolState.READY, True),
            (PoolState.STOPPING, False),
            (PoolState.STOPPED, False),
        ]


@virtually
async def test_heartbeats_come_with_each_engine_that_serves() -> None:
    """B-REG-020: and with nothing else."""
    async with a_world(manager={"wall": lambda: asyncio.get_running_loop().time()}) as world:
        beats = []
        for _ in range(3):
            await world.pool.start()
            entry = world.manager.registry.get("chat")
            assert entry is not None
            beats.append(entry.heartbeat_ms)
            await asyncio.sleep(1.0)
            await world.pool.start()  # it serves already
            await world.pool.drain()
        assert beats == [1_000_000, 1_001_000, 1_002_000]


@virtually
async def test_a_move_says_how_long_the_state_lasted() -> None:
    """And with how many leases, on which generation."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("me")
        await asyncio.sleep(7)
        await world.pool.stop()
        (leaving,) = [one for one in world.of(Moved) if one.notice.source is PoolState.READY]
        assert (leaving.lasted, leaving.leases, leaving.generation) == (7.0, 1, 1)


@virtually
async def test_a_failure_is_told_before_what_follows_from_it() -> None:
    """So that whoever reads line by line knows why before he is told what now."""
    async with a_world(HOPELESS) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        kinds = [type(one) for one in world.records]
        failed = next(at for at, one in enumerate(world.records) if isinstance(one, PreloadEnded))
        assert kinds[failed + 1] is Moved
    async with a_world() as world:
        engine = await world.ready()
        engine.crash()
        await world.pool.reached("staging")
        kinds = [type(one) for one in world.records]
        crashed = kinds.index(EngineCrashed)
        assert kinds[crashed : crashed + 4] == [EngineCrashed, Moved, Moved, RestartScheduled]
        moved = [one for one in world.of(Moved) if one.told]
        assert [one.notice.target for one in moved] == ["recovering", "backing_off", "staging"]
