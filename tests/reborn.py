"""Managers that die, and those that come after them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from pool_lifecycle.boot import Boot
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from tests.worlds import World, a_spec, a_world, drivers_of

BOOT = Boot("this boot", "this boot")


async def die(manager: PoolManager) -> None:
    """What SIGKILL does: nothing of it goes on, nothing is ended, nothing is said. The lock is free."""
    for pool in manager:
        await pool.close()
    if manager._host is not None:  # else it is dead already
        await manager._host.faults.close()
        await manager._host.gpus.close()
    manager.changes.close()
    assert manager._lock is not None  # it was open
    manager._lock.release()
    manager._host = None


@contextlib.asynccontextmanager
async def a_mortal_world(*scripts: Any, **more: Any) -> AsyncIterator[World]:
    """A world whose manager may die: what it has stored outlives it."""
    manager = {"store": MemoryStore(), "boot": BOOT} | more.pop("manager", {})
    async with a_world(*scripts, manager=manager, **more) as world:
        yield world


async def reborn(world: World, *, boot: Boot = BOOT, **spec: Any) -> None:
    """The world's manager dies, and another one takes up what it has left."""
    await die(world.manager)
    await after_death(world, boot=boot, **spec)


async def after_death(world: World, *, boot: Boot = BOOT, **spec: Any) -> None:
    """Another manager takes up what the world's dead one has left."""
    store, observers = world.manager._store, world.manager._observers[1:]
    drivers = world.manager._drivers
    wall = world.manager._wall
    world.manager = PoolManager(
        world.folder, drivers=drivers, observers=observers, store=store, boot=boot, seed=1, wall=wall
    )
    await world.manager.__aenter__()
    world.pool = await world.manager.add(a_spec(**spec))
    await virtual_time.settle()


__all__ = ["BOOT", "a_mortal_world", "after_death", "die", "drivers_of", "reborn"]
