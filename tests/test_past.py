"""What an earlier manager has left without a record of it."""

from __future__ import annotations

from typing import Any

import pytest

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.records import Trouble
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing.memory import MemoryEngine, MemoryLauncher
from tests.reborn import BOOT, die
from tests.reborn import after_death as another_manager
from tests.twisted import Passing
from tests.worlds import NEW, STUBBORN, WORKS, World, a_world, virtually

KEEP: dict[str, Any] = {"on_manager_exit": "keep"}


class Finder(Passing):
    """A launcher that finds living engines by their pid files, as long as it can."""

    def __init__(self, driver: MemoryLauncher) -> None:
        super().__init__(driver)
        self.fails = False

    async def find(self, *, pid_path: str) -> EngineHandle | None:
        if self.fails:
            raise DriverError("memory", Cause(FailureClass.UNKNOWN, Stage.LAUNCH, "cannot look"))
        engines = (one for one in self.driver.engines if one.alive and one.request.pid_path == pid_path)
        return next((one.handle for one in engines), None)


def finding(driver: Any) -> Any:
    return Finder(driver) if isinstance(driver, MemoryLauncher) else driver


async def without_a_record(world: World) -> None:
    """The manager is killed, and what it kept is lost; another one comes."""
    store = world.manager._store
    assert isinstance(store, MemoryStore)
    await die(world.manager)
    store.pools.clear()
    await another_manager(world, **KEEP)


async def after_a_surge(world: World, *, alone: bool) -> list[MemoryEngine]:
    await world.ready()
    await world.pool.grant("somebody")
    await world.pool.reload(NEW, strategy="surge")
    if alone:
        for lease in world.pool.book.active():
            lease.release()
        await world.pool.reached("ready")
    return list(world.living)


@virtually
async def test_both_engines_of_a_surge_are_found_and_ended() -> None:
    """S5, S3: nobody knows what they were to do; each is told of, by its pid."""
    mortal = {"store": MemoryStore(), "boot": BOOT}
    async with a_world(twist=finding, manager=mortal, **KEEP) as world:
        engines = await after_a_surge(world, alone=False)
        assert len(engines) == 2
        await without_a_record(world)
        await world.pool.reached("stopped")
        assert not world.living
        told = [one.what for one in world.of(Trouble)]
        assert all(any(f"pid {engine.pid}" in what for what in told) for engine in engines)
        await world.pool.start()
        assert len(world.living) == 1


@virtually
async def test_an_engine_alone_keeps_the_files_it_was_launched_with() -> None:
    """After a surge an engine has the files of the one beside: its log is looked for there."""
    mortal = {"store": MemoryStore(), "boot": BOOT}
    async with a_world(WORKS, STUBBORN, twist=finding, manager=mortal, **KEEP) as world:
        (engine,) = await after_a_surge(world, alone=True)
        assert engine.request.pid_path.endswith("chat+.pid")
        await without_a_record(world)
        (instance,) = world.pool.snapshot.engines
        assert instance.aside
        await world.pool.reached("stopped")
        assert not world.living


@pytest.mark.parametrize("fails", [True, False])
@virtually
async def test_a_launcher_that_cannot_look_is_told_of(fails: bool) -> None:
    """V7: the pool is there all the same."""
    mortal = {"store": MemoryStore(), "boot": BOOT}
    async with a_world(twist=finding, manager=mortal, **KEEP) as world:
        finder = world.pool.host.drivers.launcher("memory")
        assert isinstance(finder, Finder)
        finder.fails = fails
        await without_a_record(world)
        assert world.pool.state == "stopped"
        assert any("cannot look" in one.what for one in world.of(Trouble)) == fails
