"""A program that embeds a manager blocks its loop: then nothing is wrong, and nobody is blamed for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.actor import Actor
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import Health
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DriverMisbehaved, EngineEnded, EngineUnhealthy, Trouble
from pool_lifecycle.spec import HealthSpec, Limits
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, ProbeScript
from pool_lifecycle.testing.memory_engine import SEGFAULT
from tests.twisted import deaf as deaf_for
from tests.twisted import only, twisted
from tests.worlds import World, a_host, a_spec, a_world, virtually

S = PoolState

FINE = Health(ok=True, detail="fine")
WATCHED = HealthSpec(probe="memory", interval=10.0, timeout=2.0, failures=3)
SLOW = ProbeScript(FINE, takes=1.0)


def block_in_each_check(world: World, seconds: float) -> None:
    """From now on the program blocks its loop in the middle of each check, before the answer can be heard."""
    probe, check = world.probe, world.probe.check

    async def blocked(**more: Any) -> Health:
        asyncio.get_running_loop().call_later(0.5, virtual_time.block, seconds)
        return await deaf(check, **more)

    probe.check = blocked  # type: ignore[method-assign]


async def deaf(check: Any, *, target: Any, timeout: float) -> Health:  # noqa: ASYNC109
    """As a probe over a socket: the end of its time-out, due in the same turn as the answer, decides."""
    try:
        async with asyncio.timeout(timeout):
            answer: Health = await check(target=target, timeout=1000.0)
            return answer
    except TimeoutError:
        return Health(ok=False, detail="no answer", silent=True)


@pytest.mark.parametrize("seconds", [3.0, 6.0, 60.0, 1000.0])
@virtually
async def test_checks_that_our_own_block_spoilt_count_nothing(seconds: float) -> None:
    """FAULTS: again and again, shorter and longer than any patience; neither engine nor driver is blamed."""
    async with a_world(health=WATCHED, answers=(FINE, SLOW)) as world:
        await world.ready()
        block_in_each_check(world, seconds)
        checks = world.probe.checks
        await asyncio.sleep(20 * (10 + seconds))
        assert world.probe.checks >= checks + 10
        assert world.pool.state is S.READY
        assert len(world.launcher.engines) == 1
        assert not world.of(EngineUnhealthy) + world.of(DriverMisbehaved) + world.of(Trouble)
        assert "failed" not in world.pool.explain()


@virtually
async def test_an_engine_that_hangs_is_found_although_the_program_blocks() -> None:
    """V1: the seconds in which it was silent while somebody listened add up, from check to check."""
    hangs = ProbeScript(FINE, takes=1000.0)
    async with a_world(health=evolve(WATCHED, stall=2.0), answers=(FINE, hangs)) as world:
        await world.ready()
        block_in_each_check(world, 5.0)
        checks = world.probe.checks
        await world.pool.reached(S.RECOVERING)
        (found,) = world.of(EngineUnhealthy)
        assert len(found.failed_at) == 3
        assert world.probe.checks - checks > 6


@virtually
async def test_a_refusal_counts_although_the_program_blocks() -> None:
    """It was an answer."""
    sick = ProbeScript(Health(ok=False, detail="503"), takes=0.1)
    async with a_world(health=WATCHED, answers=(FINE, sick)) as world:
        await world.ready()
        block_in_each_check(world, 60.0)
        checks = world.probe.checks
        await world.pool.reached(S.RECOVERING)
        assert world.probe.checks == checks + 3
        assert len(world.of(EngineUnhealthy)) == 1


@virtually
async def test_a_block_while_it_drains_is_not_made_up_for() -> None:
    """S11: the deadline passed meanwhile is honoured as soon as it can be, and once."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("somebody")
        draining = world.begin(world.pool.drain(10.0))
        await asyncio.sleep(1)
        began = world.now
        virtual_time.block(60)
        outcome = await draining
        assert outcome.forced
        assert world.now - began < 60 + world.pool.spec.limits.stop_grace
        assert world.way.count("stopping") == 1


@virtually
async def test_leases_that_expired_meanwhile_end_once() -> None:
    """S9: late, each once, and their slots are free."""
    async with a_world() as world:
        await world.ready()
        lease = world.pool.acquire("somebody", ttl=5.0)
        ended: list[Any] = []
        world.pool.book.on_change = lambda: ended.append(world.pool.book.count)
        virtual_time.block(60)
        await asyncio.sleep(1)
        assert (lease.state, ended, world.pool.book.count) == ("expired", [0], 0)
        assert lease.release() is False


@virtually
async def test_an_engine_that_ended_meanwhile_is_not_stuck() -> None:
    """Nobody is told that it cannot be killed, which nobody could see."""
    async with a_world(EngineScript(ignores_term=True)) as world:
        await world.ready()
        stopping = world.begin(world.pool.stop())
        await asyncio.sleep(1)
        virtual_time.block(60)
        await stopping
        assert "stuck" not in world.way


@virtually
async def test_an_exit_meanwhile_is_told_as_it_was() -> None:
    """S16, V3: with its real status, once, however much became due in the same turn of the loop."""
    async with a_world(health=WATCHED) as world:
        engine = await world.ready()
        for _ in range(3):
            await asyncio.sleep(9.7)  # so that a check may be under way
        engine.crash()
        virtual_time.block(60)
        await world.pool.reached(S.RECOVERING)
        (ended,) = world.of(EngineEnded)
        assert ended.cause.exit == SEGFAULT


@virtually
async def test_a_start_that_succeeded_meanwhile_is_none_that_took_too_long() -> None:
    """No engine is ended for a deadline that passed while nobody could look: it is asked once more."""
    ready = EngineScript(ready_after=50.0)
    async with a_world(ready, health=WATCHED, limits=Limits(start=60.0, stall=1.0)) as world:
        starting = world.begin(world.pool.start())
        await asyncio.sleep(1)
        virtual_time.block(100)
        await starting
        assert world.pool.state is S.READY
        assert len(world.launcher.engines) == 1


@virtually
async def test_a_start_that_takes_too_long_ends_although_the_program_blocks() -> None:
    """V2: what a block gives is given once, for as long as one question may take."""
    never = EngineScript(ready_after=None)
    async with a_world(
        never, health=WATCHED, limits=Limits(start=60.0, stall=1.0), ends_in=S.STOPPED
    ) as world:
        starting = world.begin(world.pool.start())
        await asyncio.sleep(1)
        virtual_time.block(100)
        began = world.now
        asyncio.get_running_loop().call_later(1, virtual_time.block, 10)
        with pytest.raises(StartFailed):
            await starting
        assert world.now - began < 20


@virtually
async def test_a_block_does_not_let_two_activities_overlap() -> None:
    """One that was cancelled just before has its turns to end in, and no driver is blamed."""
    async with a_world(twist=twisted(only("check", deaf_for(2.0), times=1))) as world:
        await world.began(world.pool.start())
        asyncio.get_running_loop().call_later(0.5, virtual_time.block, 60)
        await world.pool.stop()
        assert not world.of(DriverMisbehaved)


@virtually
async def test_a_manager_that_comes_back_extends_no_deadline_for_that() -> None:
    """S11, DESIGN §4: what passed while there was no manager has passed."""
    store = MemoryStore()
    never = EngineScript(ready_after=None)
    limits = Limits(start=60.0, stall=1.0)
    async with a_world(never, limits=limits, manager={"store": store}) as world:
        world.begin(world.pool.start())
        await asyncio.sleep(1)
        kept = store.pools["chat"]
    pool = Actor(a_spec(limits=limits), a_host([]), lineage="x", kept=kept)
    assert pool._lenience(0.0, 1000.0) < 1000.0
