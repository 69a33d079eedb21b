"""What a pool lets the world know."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from pool_lifecycle.errors import ManagerClosed, StartFailed, StoreError
from pool_lifecycle.kept import ADOPTED, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import (
    EngineCrashed,
    Moved,
    PreloadEnded,
    ReloadBegan,
    ReloadEnded,
    RestartScheduled,
)
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing.memory import StageScript
from tests.reborn import a_mortal_world, reborn
from tests.worlds import HOPELESS, NEW, WORKS, World, a_world, virtually


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


def adoptions(world: World) -> list[Passage]:
    """The passages of the pool's history that tell of a new manager."""
    return [one for one in world.manager._store.history("chat") if one.event == ADOPTED]


@virtually
async def test_a_takeover_is_part_of_the_history() -> None:
    """B-LOG: what was found, so that whoever looks back knows why the engine outlived its manager.

    A pool that is as it was is not recorded anew.
    """
    async with a_mortal_world(WORKS, on_manager_exit="keep") as world:
        await world.ready()
        await world.pool.grant("long")
        await asyncio.sleep(3)
        await reborn(world, on_manager_exit="keep")
        (passage,) = adoptions(world)
        assert (passage.source, passage.target, passage.generation) == ("ready", "ready", 1)
        assert passage.why == (
            "a new manager took over, as recorded 3.0 s ago, engine generation 1 goes on, 1 lease held"
        )
        await reborn(world, on_manager_exit="keep")
        assert [one.why.split(", ")[1] for one in adoptions(world)] == [
            "as recorded 3.0 s ago",
            "as recorded 3.0 s ago",
        ]


@virtually
async def test_an_idle_pool_has_nothing_to_be_taken_over() -> None:
    """A manager that is started again and again fills no history."""
    async with a_mortal_world(WORKS) as world:
        await world.ready()
        await world.pool.stop()
        await reborn(world)
        assert adoptions(world) == []


@virtually
async def test_a_change_of_model_goes_on_under_a_new_manager() -> None:
    """V1, B-RELOAD-012: its duration is from its real begin, its gap from when leases were last granted."""
    staging = (StageScript(), StageScript(takes=10.0), StageScript(takes=10.0))
    wall = {"wall": lambda: 1.7e9 + asyncio.get_running_loop().time()}
    async with a_mortal_world(WORKS, staging=staging, on_manager_exit="keep", manager=wall) as world:
        await world.ready()
        lease = await world.pool.grant("long")
        changing = await world.began(world.pool.reload(NEW, strategy="drain_first"))
        await asyncio.sleep(2)
        world.pool.release(lease.token)
        await asyncio.sleep(4)
        assert world.pool.state is PoolState.RELOADING_STAGING
        await reborn(world, on_manager_exit="keep")
        await world.pool.reached("ready")
        (began,), (ended,) = world.of(ReloadBegan), world.of(ReloadEnded)
        assert ended.duration == pytest.approx(world.now - began.at)
        assert ended.duration == pytest.approx(ended.gap + 5.0)
        assert ended.gap >= 2 + 4 + 10
        with contextlib.suppress(ManagerClosed):
            await changing


@virtually
async def test_without_its_history_a_change_of_model_goes_on_all_the_same() -> None:
    """It counts from when its state began: nothing is made up, and nothing else suffers."""

    class Forgetful(MemoryStore):
        def history(self, pool_id: str, limit: int = 100) -> tuple[Passage, ...]:
            raise StoreError("cannot read", path="nowhere", pool_id=pool_id)

    staging = (StageScript(), StageScript(takes=10.0), StageScript(takes=10.0))
    more: dict[str, Any] = {"manager": {"store": Forgetful()}, "staging": staging}
    async with a_mortal_world(WORKS, on_manager_exit="keep", **more) as world:
        await world.ready()
        lease = await world.pool.grant("long")
        changing = await world.began(world.pool.reload(NEW, strategy="drain_first"))
        await asyncio.sleep(2)
        world.pool.release(lease.token)
        await asyncio.sleep(4)
        await reborn(world, on_manager_exit="keep")
        await world.pool.reached("ready")
        (began,), (ended,) = world.of(ReloadBegan), world.of(ReloadEnded)
        assert ended.duration == pytest.approx(world.now - began.at - 2)
        with contextlib.suppress(ManagerClosed):
            await changing
