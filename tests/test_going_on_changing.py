"""A manager that is killed in the middle of a change of model: the next one brings it to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from tests.reaching import LIMITS, a_pool_in
from tests.reborn import BOOT, after_death, die, reborn
from tests.swapping import handed_off, url_of
from tests.worlds import NEW, OLD, WORKS, World, virtually

KEEP: dict[str, Any] = {"on_manager_exit": "keep", "limits": LIMITS}
STOP: dict[str, Any] = {"on_manager_exit": "stop", "limits": LIMITS}
S = PoolState

TO_THE_NEW = [
    S.STAGING_AHEAD,
    S.RELOADING_DRAINING,
    S.RELOADING_STAGING,
    S.RELOADING_STOPPING,
    S.RELOADING_STARTING,
    S.RELOADING_PROVING,
    S.SURGING_STAGING,
    S.SURGING_STARTING,
    S.SURGING_PROVING,
    S.RETIRING,
]
"""The states from which a change that goes well comes to the new model."""

TO_THE_OLD = [S.RELOADING_UNDOING, S.RELOADING_RESTORING]

SERVING = [S.SURGING_STAGING, S.SURGING_STARTING, S.SURGING_PROVING, S.RETIRING, S.RELOADING_PROVING]


def mortal() -> dict[str, Any]:
    return {"store": MemoryStore(), "boot": BOOT}


async def behaves_well(world: World) -> None:
    """All work ends, and everything is as ready as it can be."""
    world.launcher._scripts = (WORKS,)
    for engine in world.living:
        engine.heal()
    for lease in world.pool.book.active():
        lease.release()
    await world.pool.reached("ready")


async def dies_unseen(world: World, *numbers: int, **spec: Any) -> None:
    """The manager is killed; these engines crash while nobody looks; another manager comes."""
    await die(world.manager)
    for number in numbers:
        world.launcher.engines[number].crash()
    await virtual_time.settle()
    await after_death(world, **spec)


@pytest.mark.parametrize("state", [*TO_THE_NEW, *TO_THE_OLD], ids=str)
@virtually
async def test_a_change_goes_on_to_its_end(state: PoolState) -> None:
    """S17, S3, B-RELOAD-x5: as if nothing had been, with two engines at the most and one in the end."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        await reborn(world, **KEEP)
        assert world.pool.state is state
        await reborn(world, **KEEP)
        assert len(world.living) <= 2
        await behaves_well(world)
        assert len(world.living) == 1
        wanted = NEW if state in TO_THE_NEW else OLD
        assert world.pool.snapshot.target.model == wanted
        assert world.pool.status().model == wanted
        assert handed_off(world)[0] == f"/memory/{wanted.rpartition('/')[2]}"
        assert world.pool.snapshot.crash_count == 0
        ours = {state: 2, S.RELOADING_UNDOING: 3, S.RELOADING_RESTORING: 3}[state]
        assert len(world.launcher.launched) == ours


NOT_LAUNCHED = [S.STAGING_AHEAD, S.RELOADING_DRAINING, S.RELOADING_STOPPING, S.SURGING_STAGING]


@pytest.mark.parametrize("state", NOT_LAUNCHED, ids=str)
@virtually
async def test_a_change_goes_on_to_the_engine_that_is_declared_now(state: PoolState) -> None:
    """B-RELOAD-x5: and what runs then has the name of that declaration, so that another one can be told."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        await reborn(world, engine={"args": ("--fast",)}, **KEEP)
        await behaves_well(world)
        server = world.pool.snapshot.server
        assert server is not None
        assert world.launcher.launched[-1].command.argv[-1] == "--fast"
        assert server.target.variant == world.pool.spec.variant


@pytest.mark.parametrize("state", SERVING, ids=str)
@virtually
async def test_leases_are_granted_at_once(state: PoolState) -> None:
    """B-RELOAD-x2: by the same engine as before, at the address that the handoff document has."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        before = world.pool.acquire("me").generation
        document = handed_off(world)
        await reborn(world, **KEEP)
        lease = world.pool.acquire("me")
        assert lease.generation == before
        await virtual_time.settle()
        assert handed_off(world) == document
        assert lease.url == document[1] or state is S.SURGING_STARTING


@virtually
async def test_a_new_engine_that_died_unseen_gives_way_to_the_old_one() -> None:
    """B-RELOAD-007: which serves again, is handed off again, and nothing counts against the pool."""
    async with a_pool_in(S.SURGING_PROVING, manager=mortal(), **KEEP) as world:
        await dies_unseen(world, 1, **KEEP)
        await world.pool.reached("retiring", "ready")
        assert world.pool.acquire("me").generation == 1
        await behaves_well(world)
        assert world.pool.snapshot.target.model == world.pool.status().model == OLD
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 1))
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_a_new_engine_that_died_unseen_after_the_old_one_was_ended_is_undone() -> None:
    """B-RELOAD-007."""
    async with a_pool_in(S.RELOADING_PROVING, manager=mortal(), **KEEP) as world:
        await dies_unseen(world, 1, **KEEP)
        await world.pool.reached("ready")
        assert world.pool.snapshot.target.model == OLD
        assert world.pool.acquire("me").generation == 3
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_an_old_engine_that_died_unseen_is_not_missed() -> None:
    """S3: the new one serves."""
    async with a_pool_in(S.SURGING_PROVING, manager=mortal(), **KEEP) as world:
        await dies_unseen(world, 0, **KEEP)
        assert world.pool.state is S.SURGING_PROVING
        assert world.pool.acquire("me").generation == 2
        await world.pool.reached("ready")
        assert world.pool.snapshot.target.model == NEW


@virtually
async def test_when_both_died_unseen_the_old_model_is_recovered() -> None:
    """V1: whichever news comes first."""
    async with a_pool_in(S.SURGING_PROVING, manager=mortal(), **KEEP) as world:
        await dies_unseen(world, 0, 1, **KEEP)
        await world.pool.reached("ready")
        assert world.pool.snapshot.target.model == OLD
        assert world.pool.acquire("me").generation == 3


@pytest.mark.parametrize("state", [S.RELOADING_PROVING, S.SURGING_PROVING], ids=str)
@virtually
async def test_a_time_that_ran_out_unseen_is_over(state: PoolState) -> None:
    """The new one has served all the while: the pool is committed to it."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        await die(world.manager)
        await asyncio.sleep(100.0)
        await after_death(world, **KEEP)
        await world.pool.reached("retiring", "ready")
        assert world.pool.snapshot.target.model == NEW
        await behaves_well(world)


@pytest.mark.parametrize("state", [S.RELOADING_PROVING, S.SURGING_PROVING], ids=str)
@virtually
async def test_a_time_that_ran_out_is_no_proof_of_an_engine_that_is_gone(state: PoolState) -> None:
    """B-RELOAD-007: what died unseen has not proven itself, however long ago its time was over."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        await die(world.manager)
        world.launcher.engines[1].crash()
        await asyncio.sleep(100.0)
        await after_death(world, **KEEP)
        await world.pool.reached("ready")
        assert world.pool.snapshot.target.model == OLD


@virtually
async def test_an_old_engine_keeps_the_leases_of_those_outside_until_they_end() -> None:
    """S9: they were granted by another manager, and are no reason to refuse the new engine's slots."""
    async with a_pool_in(S.RETIRING, manager=mortal(), **KEEP) as world:
        await reborn(world, **KEEP)
        (old,) = world.pool.book.active()
        new = [world.pool.acquire(f"new {number}") for number in range(2)]
        assert [old.generation, *(one.generation for one in new)] == [1, 2, 2]
        await asyncio.sleep(10)
        assert len(world.living) == 2
        world.pool.release(old.token)
        await world.pool.reached("ready")
        assert [one.request.generation for one in world.living] == [2]


@pytest.mark.parametrize("state", SERVING[2:], ids=str)
@virtually
async def test_a_pool_that_is_to_end_with_its_manager_leaves_neither(state: PoolState) -> None:
    """B-SUPER-x4, S3: both engines are ended before the one that the pool is committed to is started."""
    async with a_pool_in(state, manager=mortal(), **STOP) as world:
        committed = world.pool.snapshot.target.model
        await reborn(world, **STOP)
        await world.pool.reached("ready")
        assert [one.request.generation for one in world.living] == [3]
        assert world.pool.status().model == committed


@virtually
async def test_a_new_declaration_is_for_what_comes_next() -> None:
    """The change under way goes on; readers are told that another engine is declared by now."""
    async with a_pool_in(S.SURGING_PROVING, manager=mortal(), **KEEP) as world:
        await reborn(world, limits=evolve(LIMITS, proving=50.0), on_manager_exit="keep", slots=4)
        assert world.pool.state is S.SURGING_PROVING
        await behaves_well(world)
        assert world.pool.snapshot.target.model == NEW
