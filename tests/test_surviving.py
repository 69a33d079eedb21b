"""What outlives a manager and what does not, where docs/surviving.md has no other test to name."""

from __future__ import annotations

from typing import Any

import pytest

from pool_lifecycle.errors import StartFailed, StoreError
from pool_lifecycle.kept import Kept, KeptLease, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import EngineCrashed, Trouble
from pool_lifecycle.store import MemoryStore
from tests.reborn import a_mortal_world, die, reborn
from tests.worlds import NEW, OLD, WORKS, virtually

KEEP: dict[str, Any] = {"on_manager_exit": "keep"}


class FullDisk(MemoryStore):
    """Keeps nothing as long as it is `full`, and says so to whoever waits for it."""

    full = False

    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        """Not now."""
        return not self.full and super().save(kept, passage)

    def note(self, passage: Passage) -> bool:
        """Not now."""
        return not self.full and super().note(passage)

    def save_lease(self, pool_id: str, lease: KeptLease) -> None:
        """Not now."""
        self._refuse()
        super().save_lease(pool_id, lease)

    async def kept(self, pool_id: str) -> None:
        """Not now."""
        self._refuse()

    async def durable(self) -> None:
        """Not now."""
        self._refuse()

    def _refuse(self) -> None:
        if self.full:
            raise StoreError("No space left on device", path="state.db", remedy="make room")


@virtually
async def test_a_manager_that_is_closed_leaves_running_what_is_to_be_kept() -> None:
    """B-SUPER-x4: engine and lasting leases are the next one's; other leases were this program's own."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        engine = await world.ready()
        lease = await world.pool.grant("a client")
        world.pool.acquire("somebody in this program")
        await world.manager.close()
        assert engine.alive
        await reborn(world, **KEEP)
        assert world.pool.state is PoolState.READY
        assert [one.token for one in world.pool.book.active()] == [lease.token]
        assert world.launcher.engines == [engine]


@pytest.mark.parametrize("stopped", [False, True])
@virtually
async def test_what_ended_with_a_closed_manager_runs_again_unless_somebody_had_stopped_it(
    *, stopped: bool
) -> None:
    """B-SUPER-x4: the manager's leaving is nobody's wish that it should not run, and no failure."""
    async with a_mortal_world(WORKS) as world:
        engine = await world.ready()
        if stopped:
            await world.pool.stop()
        await world.manager.close()
        assert not engine.alive
        await reborn(world)
        assert world.pool.state is (PoolState.STOPPED if stopped else PoolState.READY)
        assert len(world.launcher.engines) == (1 if stopped else 2)
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_an_engine_that_its_guardian_has_ended_has_not_failed() -> None:
    """B-SUPER-x4: it was to end with its manager, and did before the next one came."""
    async with a_mortal_world(WORKS) as world:
        engine = await world.ready()
        await die(world.manager)
        engine.crash()
        await reborn(world)
        assert world.pool.state is PoolState.READY
        assert world.pool.snapshot.crash_count == 0
        assert world.of(EngineCrashed) == []


@virtually
async def test_on_a_full_disk_engines_go_on_and_can_be_ended_but_none_is_launched() -> None:
    """FAULTS, ENOSPC: what cannot be stored is not begun; who asks for an end has it, and is told."""
    disk = FullDisk()
    async with a_mortal_world(WORKS, manager={"store": disk}, **KEEP) as world:
        engine = await world.ready()
        disk.full = True
        with pytest.raises(StoreError, match="No space"):
            await world.pool.grant("a client")
        assert world.pool.book.active() == ()
        assert world.living == [engine]
        with pytest.raises(StoreError, match="No space"):
            await world.pool.stop()
        assert world.living == []
        with pytest.raises(StartFailed, match="No space"):
            await world.pool.start()
        assert world.launcher.engines == [engine]
        disk.full = False
        await world.pool.reached("ready")


@virtually
async def test_an_engine_that_serves_goes_on_with_its_model_whatever_is_declared_now() -> None:
    """S12: to change it is a wish of its own, which drains; the difference is told."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        engine = await world.ready()
        await reborn(world, model=NEW, **KEEP)
        assert world.living == [engine]
        assert world.pool.status().model == OLD
        (told,) = [one.what for one in world.of(Trouble)]
        assert told == f"it goes on with {OLD!r}, but {NEW!r} is declared: reload it to change that"


@virtually
async def test_a_pool_that_does_not_run_has_the_model_that_is_declared_now() -> None:
    """There is nothing to go on with."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        await world.ready()
        await world.pool.stop()
        await reborn(world, model=NEW, **KEEP)
        await world.pool.start()
        assert world.pool.status().model == NEW
