"""Drains: what is in flight may finish, nothing new begins, and there is always an end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import pytest

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle.errors import EngineStuck, PoolDraining, Superseded
from pool_lifecycle.lease import LeaseState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DrainBegan, DrainEnd, DrainEnded, LeasesEnded
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import STUBBORN, UNKILLABLE, World, a_world, virtually


def draining(world: World) -> bool:
    return world.manager.registry.is_draining("chat")


@virtually
async def test_a_drain_is_visible_at_once_and_refuses_new_leases() -> None:
    """B-DRAIN-001, 002, S10: draining in the registry, and an error that says so, in the same instant."""
    async with a_world() as world:
        await world.ready()
        lease = world.pool.acquire("in flight")
        asked = await world.began(world.pool.drain(60))
        assert draining(world)
        with pytest.raises(PoolDraining, match=r"pool 'chat' \(draining\): is draining"):
            world.pool.acquire("too late")
        lease.release()
        await asked
        assert not draining(world)


@virtually
async def test_leases_in_flight_go_on_and_the_last_one_ends_the_drain() -> None:
    """B-DRAIN-003, 004, 006, 007: each release lowers the count; at 0 the engine is stopped gracefully."""
    async with a_world(slots=3) as world:
        engine = await world.ready()
        leases = [world.pool.acquire(f"r{number}") for number in range(3)]
        asked = await world.began(world.pool.drain(60))
        for left in (2, 1):
            await asyncio.sleep(1)
            leases.pop().release()
            await virtual_time.settle()
            assert world.pool.state is PoolState.DRAINING
            assert world.manager.registry.active_leases("chat") == left
        await asyncio.sleep(1)
        leases.pop().release()
        outcome = await asked
        assert (outcome.end, outcome.duration) == (DrainEnd.DRAINED, 3.0)
        assert (outcome.leases_at_start, outcome.leases_left, outcome.forced) == (3, 0, False)
        assert engine.exit == ExitStatus(signal=15)
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert not entry.live
        assert not entry.ready
        assert world.way == ["staging", "starting", "ready", "draining", "stopping", "stopped"]


@virtually
async def test_at_the_deadline_what_is_left_is_cut_off() -> None:
    """B-DRAIN-005, S11: the engine is stopped, the pid file goes, the outcome counts the leases left."""
    async with a_world() as world:
        await world.ready()
        lease = world.pool.acquire("endless")
        outcome = await world.pool.drain(7)
        assert (outcome.end, outcome.duration, outcome.leases_left) == (DrainEnd.FORCE_STOPPED, 7.0, 1)
        assert outcome.forced
        assert lease.state is LeaseState.LOST
        assert not lease.release()
        assert world.files == {"lock"}
        assert world.of(LeasesEnded)[0].holders == ("endless",)


@virtually
async def test_who_ignores_sigterm_is_killed_after_the_grace() -> None:
    """S11: stop is signalled at the deadline, SIGKILL after the grace of 5 s."""
    async with a_world(STUBBORN) as world:
        engine = await world.ready()
        world.pool.acquire("endless")
        began = world.now
        await world.pool.drain(7)
        assert world.now - began == 12.0
        assert engine.exit == ExitStatus(signal=9)


@virtually
async def test_without_leases_a_drain_is_over_at_once() -> None:
    """B-DRAIN-008."""
    async with a_world() as world:
        await world.ready()
        outcome, seconds = await virtual_time.timed(world.pool.drain())
        assert (outcome.end, outcome.duration, seconds) == (DrainEnd.DRAINED, 0.0, 0.0)


@virtually
async def test_no_deadline_means_the_configured_one() -> None:
    """30 s by default."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("endless")
        outcome = await world.pool.drain()
        assert outcome.duration == 30.0


@virtually
async def test_a_drain_with_leases_in_flight_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """B-DRAIN-010: with their number; without any it is none."""
    async with a_world() as world:
        await world.ready()
        with caplog.at_level(logging.INFO, "pool_lifecycle"):
            await world.pool.drain()
            await world.pool.start()
            world.pool.acquire("a"), world.pool.acquire("b")
            await world.pool.drain(1)
        levels = {one.message: one.levelno for one in caplog.records if "drain began" in one.message}
        assert levels == {
            "chat: drain began with no leases in flight": logging.INFO,
            "chat: drain began with 2 leases in flight, 1.0 s to go": logging.WARNING,
        }
        assert [one.leases for one in world.of(DrainBegan)] == [0, 2]


@virtually
async def test_a_release_on_another_thread_ends_the_drain_at_once() -> None:
    """B-DRAIN-x1: no polling; the loop is woken by whoever releases the last lease."""
    async with a_world() as world:
        await world.ready()
        lease = world.pool.acquire("a thread")
        asked = await world.began(world.pool.drain(60))
        thread = threading.Thread(target=lease.release)
        with virtual_time.outside():
            thread.start()
            outcome = await asked
        thread.join()
        assert (outcome.end, outcome.duration) == (DrainEnd.DRAINED, 0.0)


# --- two at once ----------------------------------------------------------------------------------------


@virtually
async def test_a_second_drain_joins_and_the_shorter_deadline_wins() -> None:
    """B-DRAIN-x2: both get the same outcome."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("endless")
        first = await world.began(world.pool.drain(60))
        await asyncio.sleep(1)
        second = world.begin(world.pool.drain(4))
        third = world.begin(world.pool.drain(100))
        assert await first == await second == await third
        assert first.result().duration == 5.0
        assert len(world.of(DrainEnded)) == 1


Ask = Callable[[World], Awaitable[object]]


@pytest.mark.parametrize(
    "ask", [lambda world: world.pool.resume(), lambda world: world.pool.start()], ids=["resume", "start"]
)
@virtually
async def test_a_drain_can_be_called_off_while_leases_remain(ask: Ask) -> None:
    """B-DRAIN-x2: by resume or a new start; the pool serves again, on the same engine, with its leases."""
    async with a_world() as world:
        engine = await world.ready()
        lease = world.pool.acquire("goes on")
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(2)
        await ask(world)
        outcome = await asked
        assert (outcome.end, outcome.duration, outcome.leases_left) == (DrainEnd.RESUMED, 2.0, 1)
        other = world.pool.acquire("new")
        assert other.generation == lease.generation == 1
        assert engine.alive
        assert not draining(world)


@virtually
async def test_a_stop_overtakes_a_drain() -> None:
    """The drain has an outcome all the same."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("endless")
        asked = await world.began(world.pool.drain(60))
        await world.pool.stop()
        outcome = await asked
        assert (outcome.end, outcome.leases_left) == (DrainEnd.STOPPED, 1)


@virtually
async def test_a_start_after_the_last_lease_supersedes_the_drain() -> None:
    """The engine is on its way out already; who drained is told that somebody started."""
    async with a_world(EngineScript(term_takes=3.0)) as world:
        await world.ready()
        asked = await world.began(world.pool.drain(60))
        await world.pool.start()
        with pytest.raises(Superseded, match="drain was superseded by a start"):
            await asked


@virtually
async def test_a_drain_where_nothing_serves_is_a_stop() -> None:
    """B-DRAIN-x2: also right after another drain ended, which is not mistaken for this one."""
    async with a_world() as world:
        outcome = await world.pool.drain()
        assert outcome.end is DrainEnd.NOTHING_SERVED
        await world.ready()
        assert (await world.pool.drain()).end is DrainEnd.DRAINED
        assert (await world.pool.drain()).end is DrainEnd.NOTHING_SERVED


@virtually
async def test_a_drain_during_a_start_is_a_stop() -> None:
    """B-DRAIN-x2: whoever started is told."""
    async with a_world(EngineScript(ready_after=None)) as world:
        starting = await world.began(world.pool.start())
        outcome = await world.pool.drain(60)
        assert outcome.end is DrainEnd.NOTHING_SERVED
        assert isinstance(starting.exception(), Superseded)


@virtually
async def test_an_engine_that_dies_ends_the_drain_with_that_fact() -> None:
    """B-DRAIN-x3: the outcome says so; the pool stays stopped, as was wished."""
    async with a_world() as world:
        engine = await world.ready()
        lease = world.pool.acquire("unlucky")
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(2)
        engine.crash()
        outcome = await asked
        assert (outcome.end, outcome.duration, outcome.leases_left) == (DrainEnd.ENGINE_DIED, 2.0, 1)
        assert lease.state is LeaseState.LOST
        assert world.way[-2:] == ["recovering", "stopped"]


@virtually
async def test_an_engine_that_finishes_ends_the_drain_too() -> None:
    """B-SUPER-006: exit code 0 of a healthy engine is graceful."""
    async with a_world() as world:
        engine = await world.ready()
        world.pool.acquire("last")
        asked = await world.began(world.pool.drain(60))
        engine.crash(ExitStatus(code=0))
        outcome = await asked
        assert outcome.end is DrainEnd.ENGINE_FINISHED


@virtually
async def test_a_drain_into_the_unkillable_is_stuck_and_goes_on_when_it_is_gone() -> None:
    """V1: EngineStuck for who waits; `stopped` by itself as soon as nothing is left."""
    async with a_world(UNKILLABLE) as world:
        engine = await world.ready()
        began = world.now
        with pytest.raises(EngineStuck, match=rf"generation 1 \(pid {engine.pid}\) could not be ended"):
            await world.pool.drain()
        assert world.now - began == 35.0
        with pytest.raises(EngineStuck):
            await world.pool.stop()
        await asyncio.sleep(3600)
        engine.release()
        await world.pool.reached("stopped")


@virtually
async def test_a_second_stop_with_less_grace_kills_earlier() -> None:
    """S11, V2: a promised kill only moves earlier."""
    async with a_world(STUBBORN) as world:
        await world.ready()
        began = world.now
        first = await world.began(world.pool.stop(grace=60))
        await asyncio.sleep(1)
        await world.began(world.pool.stop(grace=100))
        await world.pool.stop(grace=2)
        assert world.now - began == 3.0
        assert first.done()


@virtually
async def test_nothing_is_kept_of_drains_that_were_called_off() -> None:
    """S19: a hundred of them leave nobody who waits for the last lease."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("endless")
        for _ in range(100):
            asked = await world.began(world.pool.drain(60))
            await world.pool.resume()
            await asked
        await virtual_time.settle()
        assert world.pool.book._watches is None
