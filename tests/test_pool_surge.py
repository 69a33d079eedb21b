"""Surge and its spare, as far as the table has it: nobody can ask for one yet."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.errors import ReloadRefused
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DrainEnd
from pool_lifecycle.spec import Limits
from tests.reaching import a_pool_in, surge
from tests.worlds import NEW, UNKILLABLE, WORKS, a_world, virtually


@virtually
async def test_a_surge_is_refused_for_now_with_what_to_do() -> None:
    """B-RELOAD-x2: nobody says that two engines fit."""
    async with a_world() as world:
        await world.ready()
        with pytest.raises(ReloadRefused, match="use strategy stage_first"):
            await world.pool.reload(NEW, strategy="surge")


@virtually
async def test_a_retired_engine_goes_when_its_leases_do() -> None:
    """B-RELOAD-x2: the new one serves, the old one finishes; then nothing is left of it."""
    async with a_pool_in(PoolState.RETIRING) as world:
        (old_lease,) = world.pool.book.active()
        assert (old_lease.generation, world.pool.acquire("new").generation) == (1, 2)
        assert len(world.living) == 2
        await asyncio.sleep(5)
        old_lease.release()
        await world.pool.reached("ready")
        assert [engine.request.generation for engine in world.living] == [2]


@virtually
async def test_a_retired_engine_is_cut_off_at_its_deadline() -> None:
    """S11: it has the time of a drain."""
    async with a_pool_in(PoolState.RETIRING, limits=Limits(drain=8.0)) as world:
        began = world.now
        await world.pool.reached("ready")
        assert world.now - began == 8.0
        assert len(world.living) == 1


@virtually
async def test_a_drain_with_a_spare_ends_both() -> None:
    """DESIGN: a drain counts leases on the serving generation and ends the spare meanwhile."""
    async with a_pool_in(PoolState.RETIRING) as world:
        world.pool.book.active()[0].release()
        lease = world.pool.acquire("new")
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(1)
        assert [engine.request.generation for engine in world.living] == [2]
        lease.release()
        assert (await asked).end is DrainEnd.DRAINED


@virtually
async def test_a_spare_that_cannot_be_killed_is_remembered_until_it_is_gone() -> None:
    """S5: on the quarantine ledger, which is empty again once nothing is left of it."""
    limits = Limits(drain=1.0, reclaim=5.0)
    async with a_world(UNKILLABLE, WORKS, limits=limits) as world:
        await surge(PoolState.RETIRING)(world)
        await world.pool.reached("ready")
        assert [one.generation for one in world.pool.snapshot.quarantine] == [1]
        world.launcher.engines[0].release()
        await asyncio.sleep(1)
        assert world.pool.snapshot.quarantine == ()
        assert world.pool.state is PoolState.READY
