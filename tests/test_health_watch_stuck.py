"""The watch with a probe that does not end, not even when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from attrs import evolve

from pool_lifecycle.health_watch import LEFT, PATIENCE
from pool_lifecycle.interfaces import Health, ProbeTarget, WorkCounter
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DriverMisbehaved, EngineUnhealthy
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryProfile
from pool_lifecycle.ticks import TICK
from tests.worlds import World, a_world, timers, virtually

WATCHED = HealthSpec(probe="memory", interval=10.0, timeout=2.0, failures=3)

TAKES = WATCHED.timeout + 3 * PATIENCE
"""Until a check is given up."""


class Stuck:
    """A probe that, for the next so many questions, goes on until it is freed, whoever cancels it."""

    def __init__(self, probe: MemoryHealthProbe) -> None:
        self.probe = probe
        self.times: list[float] = []
        self.stuck = 0
        self.counting = self.fails = False
        self.freed = asyncio.Event()

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        self.times.append(asyncio.get_running_loop().time())
        if not self.counting:
            await self._hang()
        return await self.probe.check(target=target, timeout=timeout)

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        if self.counting:
            await self._hang()
        return await self.probe.count(target=target, names=names, timeout=timeout)

    async def _hang(self) -> None:
        self.stuck -= 1
        while self.stuck >= 0 and not self.freed.is_set():
            with suppress(asyncio.CancelledError):
                await self.freed.wait()
        if self.fails:
            raise ZeroDivisionError


@asynccontextmanager
async def watched(**more: Any) -> AsyncIterator[tuple[World, Stuck]]:
    """A ready pool whose probe gets stuck when told so; in the end it is freed."""
    probes: list[Stuck] = []

    def twist(driver: Any) -> Any:
        if not isinstance(driver, MemoryHealthProbe):
            return driver
        probes.append(Stuck(driver))
        return probes[-1]

    async with a_world(twist=twist, **({"health": WATCHED} | more)) as world:
        await world.ready()
        probes[0].times.clear()
        try:
            yield world, probes[0]
        finally:
            probes[0].freed.set()
            await virtual_time.settle()


def checks_under_way() -> int:
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    return names.count("HealthWatch._check")


def told(world: World) -> list[str]:
    return [one.what for one in world.of(DriverMisbehaved)]


HANGS = "1 question did not end when cancelled"


@virtually
async def test_a_check_that_does_not_end_is_given_up_and_another_begins() -> None:
    """V3: told once, and shown; the engine is none the worse for it, and the next hang of it is noticed."""
    async with watched() as (world, probe):
        probe.stuck = 1
        await asyncio.sleep(10 + TICK + TAKES - 1)
        assert "its health probe hangs" not in world.pool.explain()
        await _asked(probe, 2)
        assert TAKES <= probe.times[1] - probe.times[0] <= TAKES + 2 * TICK
        assert told(world) == [f"a health check hangs: {HANGS}"]
        assert checks_under_way() == 1
        await asyncio.sleep(100)
        assert "health probe" not in world.pool.explain()
        assert world.way[-1] == "ready"
        world.engine.hang()
        await world.pool.reached("recovering")
        assert len(world.of(EngineUnhealthy)) == 1
        await world.pool.reached("ready")
        assert len(told(world)) == 1


async def _asked(probe: Stuck, times: int) -> None:
    while len(probe.times) < times:  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(TICK)


@virtually
async def test_what_hangs_is_bounded_and_counts_nothing_against_the_engine() -> None:
    """S19, V8: with so many checks deaf, no other begins; one that ends makes room, and all is well."""
    async with watched() as (world, probe):
        probe.stuck = 10**6
        await asyncio.sleep(3600)
        assert (len(probe.times), checks_under_way()) == (LEFT, LEFT)
        assert (world.pool.state, world.pool.snapshot.generation) == (PoolState.READY, 1)
        assert told(world) == [f"a health check hangs: {HANGS}"]
        doubt = f"{LEFT} questions did not end when cancelled; no other begins before one of them has ended."
        assert f"its health probe hangs: {doubt}" in world.pool.explain()
        probe.freed.set()
        await asyncio.sleep(100)
        assert len(probe.times) > LEFT + 5
        assert checks_under_way() == 0
        assert "health probe" not in world.pool.explain()
        assert (world.pool.state, len(told(world))) == (PoolState.READY, 1)


@virtually
async def test_what_hangs_is_bounded_over_all_engines_of_a_pool() -> None:
    """S19: a check called off because its engine ended is one of them; who looks is shown it again."""
    async with watched(health=evolve(WATCHED, interval=1.0)) as (world, probe):
        for _ in range(LEFT + 5):
            probe.stuck = 10**6
            await asyncio.sleep(5)
            probe.stuck = 0
            await world.pool.stop()
            await world.pool.start()
        assert checks_under_way() == LEFT
        await asyncio.sleep(5)
        assert f"its health probe hangs: {LEFT} questions" in world.pool.explain()
        assert told(world)[-1].startswith(f"a health check hangs: {LEFT} questions")


@virtually
async def test_what_comes_in_the_end_of_a_check_given_up_is_of_no_interest() -> None:
    """S2: it is not told, and keeps nothing that is wrong with a later check from being told."""
    async with watched() as (world, probe):
        probe.stuck, probe.fails = 1, True
        await _asked(probe, 1)
        probe.fails = False
        await _asked(probe, 2)
        probe.fails = True
        probe.freed.set()
        await virtual_time.settle()
        assert told(world) == [f"a health check hangs: {HANGS}"]
        await asyncio.sleep(20)
        assert told(world)[1:] == ["a health check failed: ZeroDivisionError()"]
        probe.fails = False


class Counting(MemoryProfile):
    """Its engines count what they have done."""

    work = WorkCounter("/metrics", ("done",))


@virtually
async def test_a_reading_that_does_not_end_is_given_up_as_well() -> None:
    """V3: the counter of work is asked for by the same probe."""
    async with watched(profile=Counting()) as (world, probe):
        world.probe.metrics = {"done": 5.0}
        world.pool.acquire("ana")
        probe.counting, probe.stuck = True, 1
        await _asked(probe, 5)
        assert told(world) == [f"a health check hangs: {HANGS}"]
        assert world.pool.state is PoolState.READY


@virtually
async def test_a_stopped_pool_waits_for_no_check() -> None:
    """V8: neither for one that hangs nor for the time at which it would be given up; nothing is told."""
    async with watched() as (world, probe):
        probe.stuck = 1
        await _asked(probe, 1)
        await world.pool.stop()
        assert "Ticks._run" not in timers()
        probe.freed.set()
        await asyncio.sleep(100)
        assert checks_under_way() == 0
        assert told(world) == []
