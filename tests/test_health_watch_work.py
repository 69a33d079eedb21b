"""The watch where the profile knows a counter of work: busy is not hanging, and answering is not working."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget, WorkCounter
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DriverMisbehaved, EngineUnhealthy, Trouble
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryProfile, ProbeScript
from tests.worlds import NEW, World, a_world, virtually

S = PoolState

FINE, SICK, SILENT = (
    Health(ok=True, detail="fine"),
    Health(ok=False, detail="503"),
    ProbeScript(takes=math.inf),
)
WATCHED = HealthSpec(probe="memory", interval=10.0, timeout=2.0, failures=3, stall=100.0)


class Counting(MemoryProfile):
    """Its engines count what they have done, and say whether there is more."""

    work = WorkCounter("/metrics", ("done", "also_done"), pending=("pending",))


class CountingOnly(MemoryProfile):
    """They do not say whether there is more."""

    work = WorkCounter("/metrics", ("done",))


class Engine:
    """How the one engine answers, and what it does at each question."""

    def __init__(self) -> None:
        self.answer: Health | ProbeScript = FINE
        self.does: Callable[[], None] = lambda: None

    def __call__(self, target: ProbeTarget) -> Health | ProbeScript:
        """As a script for the memory probe."""
        del target
        self.does()
        return self.answer


@asynccontextmanager
async def working(*, leases: int = 1, **more: Any) -> AsyncIterator[tuple[World, Engine]]:
    """A ready pool with leases, whose engine counts 7 things done and has one to do."""
    engine = Engine()
    usual: dict[str, Any] = {"health": WATCHED, "profile": Counting(), "answers": engine}
    async with a_world(**(usual | more)) as world:
        world.probe.metrics = {"done": 5.0, "also_done": 2.0, "pending": 1.0}
        await world.ready()
        for number in range(leases):
            world.pool.acquire(f"user {number}")
        yield world, engine


def works(world: World) -> Callable[[], None]:
    """Get something done."""

    def work() -> None:
        world.probe.metrics["done"] += 1

    return work


def serves_on(world: World) -> bool:
    """It serves, and is the engine that served in the beginning."""
    return (world.pool.state, world.pool.snapshot.generation) == (S.READY, 1)


def verdict(world: World) -> Cause:
    (told,) = world.of(EngineUnhealthy)
    return told.cause


# --- slow because busy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("leases", [0, 1])
def test_a_busy_engine_is_not_hanging(leases: int) -> None:
    """FAULTS, slow because busy; B-SUPER-002: who says nothing for an hour, but gets on, goes on serving."""

    @virtually
    async def main() -> None:
        async with working(leases=leases) as (world, engine):
            engine.answer, engine.does = SILENT, works(world)
            await asyncio.sleep(3600)
            assert serves_on(world)
            assert "it is busy: it does not answer, but gets on with its work." in world.pool.explain()
            engine.answer = FINE
            await asyncio.sleep(30)
            assert "busy" not in world.pool.explain()

    main()


@pytest.mark.parametrize("leases", [0, 1])
def test_silence_without_progress_is_a_hang(leases: int) -> None:
    """B-SUPER-002: three checks are enough, as where nothing is counted; a counter only excuses."""

    @virtually
    async def main() -> None:
        async with working(leases=leases) as (world, engine):
            began = world.now
            engine.answer = SILENT
            await world.pool.reached(S.RECOVERING)
            assert world.now - began <= 10 + 2 * 10 + 2 + 1
            assert verdict(world).kind is FailureClass.HANG
            assert verdict(world).message.startswith("3 health checks in a row failed")
            engine.answer = FINE

    main()


@virtually
async def test_a_frozen_engine_answers_nothing_at_all() -> None:
    """Neither check nor counter: both questions are asked at once, so that one time-out is all it costs."""
    async with working(answers=()) as (world, _):
        await asyncio.sleep(15)
        began, asked = world.now, world.probe.counts
        world.engine.hang()
        await world.pool.reached(S.RECOVERING)
        assert world.now - began <= 10 + 2 * 10 + 2 + 1
        assert world.probe.counts - asked == 3
        assert verdict(world).kind is FailureClass.HANG


@virtually
async def test_a_bad_answer_is_not_excused_by_progress() -> None:
    """Only silence can be busy: an engine that says 503 three times has failed, and does not hang."""
    async with working() as (world, engine):
        engine.answer, engine.does = SICK, works(world)
        await world.pool.reached(S.RECOVERING)
        assert verdict(world).kind is FailureClass.HEALTH
        engine.answer = FINE


@virtually
async def test_one_answer_among_silence_is_no_hang() -> None:
    """The class is hang only where nothing was heard in any of the checks."""
    async with working() as (world, engine):
        engine.answer = SICK
        await _checked(world, 1)
        engine.answer = SILENT
        await world.pool.reached(S.RECOVERING)
        assert verdict(world).kind is FailureClass.HEALTH
        engine.answer = FINE


async def _checked(world: World, times: int) -> None:
    wanted = world.probe.checks + times
    while world.probe.checks < wanted:  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(0.25)


@virtually
async def test_progress_makes_an_end_of_failed_checks() -> None:
    """In a row means in a row: two silent ones, one busy one, two silent ones are no crash."""
    async with working() as (world, engine):
        engine.answer = SILENT
        for _ in range(5):
            await _checked(world, 2)
            await asyncio.sleep(3)
            assert "2 of 3 health checks failed" in world.pool.explain()
            works(world)()
            await _checked(world, 1)
            await asyncio.sleep(3)
            assert "health checks failed" not in world.pool.explain()
        assert serves_on(world)
        engine.answer = FINE


# --- 200 while wedged ------------------------------------------------------------------------------------


@virtually
async def test_who_answers_but_does_not_work_hangs() -> None:
    """FAULTS, 200 while wedged: leases are held, work is pending, and nothing has moved for `stall`."""
    async with working(leases=2) as (world, engine):
        began = world.now
        await asyncio.sleep(60)
        assert "no progress with its work for" in world.pool.explain()
        assert "100 s of that are a hang." in world.pool.explain()
        await world.pool.reached(S.RECOVERING)
        assert 100 <= world.now - began <= 100 + 2 * 10 + 1
        assert verdict(world).kind is FailureClass.HANG
        assert "it says 'fine', but for 100 s its work stands at 7, while 2 leases are held" in str(
            verdict(world)
        )
        engine.does = works(world)


@virtually
async def test_who_answers_but_cannot_tell_its_work_any_more_hangs() -> None:
    """llama.cpp's metrics come from the part that computes, its health from another."""
    async with working() as (world, _):
        await asyncio.sleep(30)
        told, world.probe.metrics = world.probe.metrics, {}
        await world.pool.reached(S.RECOVERING)
        assert verdict(world).kind is FailureClass.HANG
        assert "its counter of work cannot be read, while 1 lease is held" in str(verdict(world))
        world.probe.metrics = told


@virtually
async def test_who_gets_on_does_not_hang_however_slowly() -> None:
    """Once in less than `stall` is enough, for as long as it takes."""
    async with working() as (world, _):
        for _ in range(50):
            await asyncio.sleep(85)
            works(world)()
        assert serves_on(world)
        assert world.of(EngineUnhealthy) == []


@virtually
async def test_a_counter_that_nobody_ever_read_convicts_nobody() -> None:
    """An API key, a switch, an older version: without metrics it is watched as before."""
    async with a_world(health=WATCHED, profile=Counting(), answers=Engine()) as world:
        await world.ready()
        world.pool.acquire("ana")
        await asyncio.sleep(3600)
        assert world.probe.counts > 100
        assert serves_on(world)


@virtually
async def test_a_holder_who_pauses_does_not_make_an_idle_engine_hang() -> None:
    """The engine itself says that there is nothing to do."""
    async with working() as (world, _):
        world.probe.metrics["pending"] = 0.0
        await asyncio.sleep(3600)
        assert serves_on(world)
        assert "progress" not in world.pool.explain()


@virtually
async def test_where_it_does_not_say_whoever_holds_a_lease_works() -> None:
    """A lease is a unit of admitted work."""
    async with working(profile=CountingOnly()) as (world, engine):
        world.probe.metrics["pending"] = 0.0
        await world.pool.reached(S.RECOVERING)
        assert verdict(world).kind is FailureClass.HANG
        engine.does = works(world)


@virtually
async def test_an_idle_pool_is_not_asked_for_its_work() -> None:
    """V8: once, to learn whether there is a counter; then only while leases are held."""
    async with working(leases=0) as (world, _):
        await asyncio.sleep(3600)
        assert world.probe.counts == 1
        lease = world.pool.acquire("ana")
        world.probe.metrics["pending"] = 0.0
        await asyncio.sleep(100)
        assert world.probe.counts >= 1 + 10
        lease.release()
        await asyncio.sleep(11)
        asked = world.probe.counts
        await asyncio.sleep(3600)
        assert world.probe.counts == asked
        assert serves_on(world)


@virtually
async def test_time_without_leases_is_no_standstill() -> None:
    """An hour of peace, and then a lease: the clock begins with that."""
    async with working(leases=0) as (world, engine):
        await asyncio.sleep(3600)
        began = world.now
        world.pool.acquire("ana")
        await world.pool.reached(S.RECOVERING)
        assert 100 <= world.now - began <= 100 + 2 * 10 + 1
        engine.does = works(world)


@virtually
async def test_one_look_is_not_enough_however_long_the_interval() -> None:
    """As many looks as failed checks make a crash: a lease taken just before one has had no time to show."""
    rare = evolve(WATCHED, interval=200.0)
    async with working(health=rare) as (world, engine):
        await _checked(world, 3)
        await asyncio.sleep(5)
        assert serves_on(world)
        assert world.of(EngineUnhealthy) == []
        await world.pool.reached(S.RECOVERING)
        engine.does = works(world)


# --- who can ask, and whom -------------------------------------------------------------------------------


class Unable:
    """A probe without the second verb."""

    def __init__(self, probe: MemoryHealthProbe) -> None:
        self.check = probe.check


@virtually
async def test_a_probe_that_cannot_count_watches_as_before() -> None:
    """A counter is of no use to the TCP probe: silence counts, an answer is an answer."""

    def twist(driver: Any) -> Any:
        return Unable(driver) if isinstance(driver, MemoryHealthProbe) else driver

    async with working(twist=twist) as (world, engine):
        await asyncio.sleep(3600)
        assert serves_on(world)
        engine.answer, engine.does = SILENT, works(world)
        await world.pool.reached(S.RECOVERING)
        assert world.probe.counts == 0
        engine.answer = FINE


class Odd(MemoryHealthProbe):
    """A probe whose second verb does what a test wants, once the counter was read."""

    def __init__(self, probe: MemoryHealthProbe, how: str) -> None:
        self.check = probe.check  # type: ignore[method-assign]
        self.how = how
        self.counts = 0

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        """7, and then what was asked for."""
        del target, names
        self.counts += 1
        if self.counts == 1:
            return 7.0
        if self.how == "cannot ask":
            cause = Cause(FailureClass.UNKNOWN, Stage.HEALTH, "no descriptors")
            raise DriverError("odd", cause)
        if self.how == "hangs":
            await asyncio.sleep(100 * timeout)
        if self.how == "raises":
            raise ZeroDivisionError
        if self.how == "is cancelled":
            raise asyncio.CancelledError
        if self.how in {"nan", "inf"}:
            return float(self.how) if self.counts % 2 else -float(self.how)
        return "many"  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["cannot ask", "hangs", "raises", "is cancelled", "talks nonsense"])
def test_what_could_not_be_asked_convicts_nobody(how: str) -> None:
    """Order and scale: a driver's trouble is no news of the engine, is told, and does not end the watch."""
    odd: list[Odd] = []

    def twist(driver: Any) -> Any:
        if not isinstance(driver, MemoryHealthProbe):
            return driver
        odd.append(Odd(driver, how))
        return odd[0]

    @virtually
    async def main() -> None:
        async with working(twist=twist) as (world, _):
            await asyncio.sleep(1000)
            assert serves_on(world)
            assert odd[0].counts > 50
            assert len(world.of(Trouble if how == "cannot ask" else DriverMisbehaved)) == 1

    main()


@pytest.mark.parametrize("how", ["nan", "inf"])
def test_no_number_is_no_progress(how: str) -> None:
    """NaN is never what it was before, nor is an endless number that changes its sign: nothing was read."""

    def twist(driver: Any) -> Any:
        return Odd(driver, how) if isinstance(driver, MemoryHealthProbe) else driver

    @virtually
    async def main() -> None:
        async with working(twist=twist) as (world, _):
            await world.pool.reached(S.RECOVERING)
            assert "its counter of work cannot be read" in verdict(world).message

    main()


@virtually
async def test_a_reading_for_an_older_engine_counts_nothing() -> None:
    """S2, late answer for an older instance: what the last one did is not taken for what this one does."""
    patient = evolve(WATCHED, timeout=60.0)
    async with working(answers=(), health=patient) as (world, _):
        await asyncio.sleep(15)
        world.engine.hang()
        await asyncio.sleep(15)  # the next check, and the reading beside it, wait for their time-out
        for lease in world.pool.book.active():
            lease.release()
        await world.pool.reload(NEW)
        watch = world.pool._staff.health
        assert watch._progress is None
        await virtual_time.settle()
        tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
        assert not [name for name in tasks if name.startswith("HealthWatch.")]
        await asyncio.sleep(3600)
        assert (world.pool.state, world.pool.snapshot.generation) == (S.READY, 2)
        assert world.of(EngineUnhealthy) == []
