"""Leases on a real pool: the gate follows its states, and no lease outlives its time or its engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from pool_lifecycle.errors import ManagerClosed, NoFreeSlot, PoolDraining, PoolNotReady
from pool_lifecycle.lease import Lease, LeaseState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import LeasesEnded
from pool_lifecycle.testing import virtual_time
from tests.reborn import after_death
from tests.worlds import NEVER_READY, NEW, World, a_world, virtually


@virtually
async def test_a_lease_says_where_to_go() -> None:
    """The url and the generation of the engine that serves; released at the end of the block."""
    async with a_world() as world:
        engine = await world.ready()
        async with world.pool.lease("req-17", kind="batch") as lease:
            assert lease.url == f"http://127.0.0.1:{engine.request.port}"
            assert (lease.generation, lease.kind, lease.holder) == (1, "batch", "req-17")
            assert world.manager.registry.active_leases("chat") == 1
        assert lease.state is LeaseState.RELEASED
        assert world.manager.registry.active_leases("chat") == 0


@virtually
async def test_a_pool_that_does_not_serve_refuses_and_names_its_state() -> None:
    """The error says in which state it is, not in which it was first refused."""
    async with a_world(NEVER_READY) as world:
        with pytest.raises(PoolNotReady, match=r"\(stopped\)"):
            world.pool.acquire("me")
        await world.began(world.pool.start())
        with pytest.raises(PoolNotReady, match=r"\(starting\): is starting: .*; wait until it is ready"):
            world.pool.acquire("me")


@virtually
async def test_who_waits_gets_the_next_free_slot() -> None:
    """In time, or NoFreeSlot says how long was waited."""
    async with a_world(slots=1) as world:
        await world.ready()
        first = world.pool.acquire("first")
        with pytest.raises(NoFreeSlot):
            world.pool.acquire("at once")

        async def wait(seconds: float | None) -> Lease:
            async with world.pool.lease("second", wait=seconds) as lease:
                return lease

        with pytest.raises(NoFreeSlot, match=r"after 2 s"):
            await wait(2)
        waiting = await world.began(wait(None))
        await asyncio.sleep(5)
        first.release()
        assert (await waiting).holder == "second"


@virtually
async def test_a_cancelled_waiter_leaves_the_queue_and_no_lease_behind() -> None:
    """V4, also when the slot was granted in the same instant."""
    async with a_world(slots=1) as world:
        await world.ready()
        first = world.pool.acquire("first")

        async def wait() -> None:
            async with world.pool.lease("second", wait=None):
                pass

        waiting = await world.began(wait())
        first.release()
        waiting.cancel()
        await virtual_time.settle()
        assert (world.pool.book.count, world.pool.book.waiting) == (0, 0)


Leave = Callable[[World], object]


@pytest.mark.parametrize(
    ("leave", "error"),
    [
        (lambda world: world.begin(world.pool.drain(5)), PoolDraining),
        (lambda world: world.begin(world.pool.stop()), PoolNotReady),
        (lambda world: world.engine.crash(), PoolNotReady),
        (lambda world: world.begin(world.pool.reload(NEW)), PoolDraining),
        (lambda world: world.begin(world.manager.close()), PoolNotReady),
    ],
    ids=["drain", "stop", "crash", "reload", "close"],
)
@virtually
async def test_waiters_are_told_when_the_pool_stops_serving(leave: Leave, error: type[Exception]) -> None:
    """V4 NoLostWakeup: whatever ends the serving ends the waiting, at once."""
    async with a_world(slots=1) as world:
        await world.ready()
        world.pool.acquire("first")

        async def wait() -> None:
            async with world.pool.lease("second", wait=None):
                pass

        waiting = await world.began(wait())
        leave(world)
        began = world.now
        with pytest.raises(error):
            await waiting
        assert world.now == began


# --- time to live ---------------------------------------------------------------------------------------


@virtually
async def test_a_lease_ends_with_its_time_and_the_slot_goes_on() -> None:
    """B-REG-x2: reclaimed by the pool's own timer, and reported with its holder."""
    async with a_world(slots=1) as world:
        await world.ready()
        lease = world.pool.acquire("forgetful", ttl=10)
        await asyncio.sleep(9.9)
        assert world.pool.book.count == 1
        await asyncio.sleep(0.1)
        await virtual_time.settle()
        assert lease.state is LeaseState.EXPIRED
        assert not lease.release()
        assert [(one.how, one.holders) for one in world.of(LeasesEnded)] == [("expired", ("forgetful",))]
        world.pool.acquire("next")


@virtually
async def test_the_earliest_of_several_ends_first() -> None:
    """Whatever the order in which they were taken."""
    async with a_world(slots=3) as world:
        await world.ready()
        for ttl in (30.0, 10.0, 20.0):
            world.pool.acquire(f"{ttl:g}", ttl=ttl)
        await asyncio.sleep(100)
        assert [one.holders for one in world.of(LeasesEnded)] == [("10",), ("20",), ("30",)]
        assert [one.at - world.now for one in world.of(LeasesEnded)] == [-90.0, -80.0, -70.0]


@virtually
async def test_an_expiring_lease_ends_a_drain() -> None:
    """B-REG-x2: nobody need wait for the deadline because of a holder that died."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("dead", ttl=3)
        outcome = await world.pool.drain(60)
        assert (outcome.duration, outcome.leases_left) == (3.0, 0)


@virtually
async def test_a_timed_lease_taken_on_a_thread_ends_in_time() -> None:
    """The loop's timer is set for it."""
    async with a_world() as world:
        await world.ready()
        thread = threading.Thread(target=lambda: world.pool.acquire("a thread", ttl=3))
        thread.start()
        thread.join()
        await asyncio.sleep(3)
        await virtual_time.settle()
        assert world.pool.book.count == 0


@virtually
async def test_a_closed_manager_keeps_no_timer_for_leases() -> None:
    """The loop of an embedding program is left clean."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("forgetful", ttl=86400)
        await world.manager.close()
        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert [one for one in scheduled if not one.cancelled()] == []


# --- the end of the engine --------------------------------------------------------------------------------


@virtually
async def test_leases_of_a_crashed_engine_are_lost() -> None:
    """They name one generation for ever; the next engine begins with every slot free (S9)."""
    async with a_world() as world:
        engine = await world.ready()
        leases = [world.pool.acquire("a"), world.pool.acquire("b")]
        engine.crash()
        await world.pool.reached("recovering")
        await world.pool.reached("ready")
        assert {lease.state for lease in leases} == {LeaseState.LOST}
        assert {lease.generation for lease in leases} == {1}
        assert world.of(LeasesEnded)[0].holders == ("a", "b")
        assert world.pool.book.count == 0
        new = world.pool.acquire("c")
        assert (new.generation, new.token) == (2, 3)
        assert not leases[0].release()
        assert world.pool.book.count == 1


@virtually
async def test_no_lease_is_granted_between_crash_and_ready() -> None:
    """S8, S10: from the instant of the crash."""
    async with a_world() as world:
        engine = await world.ready()
        engine.crash()
        await virtual_time.settle()
        while world.pool.state is not PoolState.READY:
            with pytest.raises(PoolNotReady):
                world.pool.acquire("me")
            await asyncio.sleep(0.1)


@virtually
async def test_who_asks_a_kept_pool_of_a_manager_that_has_left_is_told_so() -> None:
    """Its engine serves on, but nobody would keep the lease: the next manager is to be asked."""
    async with a_world(on_manager_exit="keep") as world:
        await world.ready()
        await world.manager.close()
        with pytest.raises(ManagerClosed):
            await world.pool.grant("late")
        await after_death(world, on_manager_exit="keep")
        (await world.pool.grant("in time")).release()
