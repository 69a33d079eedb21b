"""The watch for engines that live but no longer answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.interfaces import Health, Pattern, ProbeTarget
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import DriverMisbehaved, EngineUnhealthy, Record, Trouble
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.spec import EngineSpec, HealthSpec, Limits, PoolSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryProfile, ProbeScript
from pool_lifecycle.ticks import TICK
from tests.engine_fixtures import FakeEngine
from tests.reaching import WAYS, a_pool_in
from tests.worlds import NEW, STUBBORN, WORKS, World, a_spec, a_world, timers, virtually

S = PoolState

FINE, SICK = Health(ok=True, detail="fine"), Health(ok=False, detail="503")
CANNOT_ASK = ProbeScript(error=Cause(FailureClass.BAD_CONFIG, Stage.HEALTH, "h11 is not installed"))

WATCHED = HealthSpec(probe="memory", interval=10.0, timeout=2.0, failures=3)


class Asked:
    """A probe between the watch and the real one: when it was asked."""

    def __init__(self, probe: Any) -> None:
        self.probe = probe
        self.times: list[float] = []

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """As the real one."""
        self.times.append(asyncio.get_running_loop().time())
        answer: Health = await self.probe.check(target=target, timeout=timeout)
        return answer


@asynccontextmanager
async def watched(*scripts: Any, **more: Any) -> AsyncIterator[tuple[World, Asked]]:
    """A world, and its ready pool's probe as it is asked from now on."""
    probes: list[Asked] = []

    def twist(driver: Any) -> Any:
        if not isinstance(driver, MemoryHealthProbe):
            return driver
        probes.append(Asked(driver))
        return probes[-1]

    async with a_world(*scripts, twist=twist, **({"health": WATCHED} | more)) as world:
        await world.ready()
        probes[0].times.clear()
        yield world, probes[0]


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


# --- when it is asked ------------------------------------------------------------------------------------


@virtually
async def test_a_serving_engine_is_asked_at_each_interval() -> None:
    """B-SUPER-002: the first time within one interval, then regularly; a healthy one goes on serving."""
    async with watched() as (world, asked):
        began = world.now
        await asyncio.sleep(100)
        assert 0 <= asked.times[0] - began < 10 + TICK
        assert gaps(asked.times) == [10.0] * (len(asked.times) - 1)
        assert len(asked.times) in (9, 10)
        assert world.pool.state is S.READY
        assert world.pool._staff.health._task is None


@virtually
async def test_a_slow_answer_delays_the_next_question() -> None:
    """One question at a time: the next comes after a late answer, and none is made up for afterwards."""
    hasty, late = evolve(WATCHED, interval=1.0, timeout=10.0), ProbeScript(FINE, takes=2.5)
    async with watched(health=hasty, answers=(FINE, late, late, late, FINE)) as (_, asked):
        await asyncio.sleep(20)
        assert gaps(asked.times)[:6] == [2.5, 2.5, 2.5, 1.0, 1.0, 1.0]


@virtually
async def test_a_thousand_pools_do_not_ask_at_once() -> None:
    """10 000 pools: the questions are spread over the interval, and gathered into its few ticks."""
    async with a_world(health=WATCHED) as world:
        pools = [await world.manager.add(a_spec(f"p{n}", health=WATCHED)) for n in range(1000)]
        for pool in pools:
            world.begin(pool.start())
        await pools[-1].reached(S.READY)
        before, times = world.probe.checks, Counter[float]()
        assert timers().count("Ticks._run") == 1
        for _ in range(41):
            await asyncio.sleep(TICK)
            await virtual_time.settle()
            times[world.now] = world.probe.checks - before - times.total()
        assert 1000 <= times.total() <= 1050
        assert max(times.values()) < 60


# --- what makes a crash ----------------------------------------------------------------------------------


@virtually
async def test_three_failed_checks_in_a_row_are_a_crash() -> None:
    """B-SUPER-002, 004: told with their times; live=false, ready=false; the engine is ended and replaced."""
    async with watched(manager={"wall": lambda: asyncio.get_running_loop().time()}) as (world, asked):
        first = world.engine
        first.hang()
        await world.pool.reached(S.RECOVERING)
        assert len(asked.times) == 3
        cause = world.pool.snapshot.cause
        assert cause is not None
        assert cause.kind is FailureClass.HANG
        assert cause.message.startswith("3 health checks in a row failed (at 00:")
        assert cause.message.endswith("UTC): no answer within 2 s")
        failed_at = tuple(at + 2 for at in asked.times)
        assert world.of(EngineUnhealthy) == [EngineUnhealthy("chat", failed_at[2], 1, cause, failed_at)]
        (entry,) = world.manager.registry.entries()
        assert (entry.live, entry.ready, entry.last_error) == (False, False, str(cause))
        assert "Ticks._run" not in timers()
        await world.pool.reached(S.READY)
        assert world.way[-5:] == ["recovering", "backing_off", "staging", "starting", "ready"]
        assert (first.alive, world.engine.alive) == (False, True)
        asked.times.clear()
        await asyncio.sleep(100)
        assert gaps(asked.times) == [10.0] * (len(asked.times) - 1)


@virtually
async def test_two_failed_checks_are_none() -> None:
    """The count begins anew with every healthy answer, however often that happens."""
    async with watched() as (world, asked):
        for _ in range(5):
            world.engine.hang()
            await _asked(asked, 2)
            await asyncio.sleep(3)
            assert "2 of 3 health checks failed: no answer within 2 s." in world.pool.explain()
            world.engine.heal()
            await _asked(asked, 1)
            await virtual_time.settle()
            assert "health checks" not in world.pool.explain()
        assert world.way[-1] == "ready"
        assert world.of(EngineUnhealthy) == []


async def _asked(asked: Asked, times: int) -> None:
    """So many more questions have been asked."""
    wanted = len(asked.times) + times
    while len(asked.times) < wanted:  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(TICK)


@virtually
async def test_a_busy_engine_is_healthy() -> None:
    """FAULTS, slow because busy: what answers in time is healthy, however slowly."""
    async with watched(answers=(FINE, ProbeScript(FINE, takes=1.9))) as (world, asked):
        await asyncio.sleep(600)
        assert len(asked.times) > 50
        assert world.way[-1] == "ready"


@pytest.mark.parametrize("failures", [1, 5])
def test_the_number_is_configurable(failures: int) -> None:
    """And exactly so many are needed."""

    @virtually
    async def main() -> None:
        async with watched(health=evolve(WATCHED, failures=failures)) as (world, asked):
            world.engine.hang()
            await world.pool.reached(S.RECOVERING)
            assert len(asked.times) == failures

    main()


@virtually
async def test_an_engine_that_hangs_and_ignores_being_asked_is_killed() -> None:
    """TERM, then KILL; the reason stays that it hung."""
    async with watched(STUBBORN, WORKS) as (world, _):
        first = world.engine
        first.hang()
        await world.pool.reached(S.RECOVERING)
        assert first in world.living
        await world.pool.reached(S.BACKING_OFF)
        assert first not in world.living
        assert world.pool.snapshot.cause is not None
        assert world.pool.snapshot.cause.kind is FailureClass.HANG


class Outspoken(MemoryProfile):
    """Its engines say what happened to them."""

    patterns = (Pattern("CUDA error", FailureClass.CUDA),)


@virtually
async def test_words_in_its_log_are_doubts_and_count_nothing() -> None:
    """B-SUPER-x1: one scary line alone is not a failure of a healthy engine; who asks is shown it."""
    async with watched(profile=Outspoken()) as (world, asked):
        await _asked(asked, 1)
        world.engine.say("CUDA error: an illegal memory access was encountered")
        await _asked(asked, 100)
        assert world.pool.state is S.READY
        assert world.pool.snapshot.generation == 1
        words = "its log says: 'CUDA error: an illegal memory access was encountered'."
        assert words in world.pool.explain()


# --- where, and whom -------------------------------------------------------------------------------------


def watches(world: World) -> str | None:
    """The token of the engine that is watched."""
    engine = world.pool._staff.health._engine
    return engine.token if engine else None


LASTING = [state for state in WAYS if LIFECYCLE.states[state].live]


@pytest.mark.parametrize("state", LASTING)
def test_it_is_watched_wherever_it_lives(state: PoolState) -> None:
    """V3: in drains and changes of model too, as long as they last; nowhere else is anybody asked."""

    @virtually
    async def main() -> None:
        async with a_pool_in(state) as world:
            server = world.pool.snapshot.server
            assert server is not None
            assert watches(world) == server.token
            await world.pool.stop(grace=0.0)
            assert watches(world) is None
            assert "Ticks._run" not in timers()

    main()


@virtually
async def test_no_failed_check_is_forgotten_on_the_way_into_a_drain() -> None:
    """The watch belongs to the engine, not to a state."""
    async with watched(health=evolve(WATCHED, interval=5.0)) as (world, asked):
        world.pool.acquire("ana")
        world.engine.hang()
        await _asked(asked, 2)
        await asyncio.sleep(2.5)
        await world.began(world.pool.drain(600))
        assert "2 of 3 health checks failed" in world.pool.explain()
        await _asked(asked, 1)
        await world.pool.reached(S.RECOVERING)
        assert len(world.of(EngineUnhealthy)) == 1


@virtually
async def test_a_question_to_an_older_engine_counts_nothing() -> None:
    """S2, late answer for an older instance: it is not even waited for."""
    async with watched(health=evolve(WATCHED, failures=1, timeout=60.0)) as (world, asked):
        world.engine.hang()
        await _asked(asked, 1)
        await world.pool.reload(NEW)
        assert world.pool.snapshot.generation == 2
        await asyncio.sleep(200)
        assert world.pool.snapshot.generation == 2
        assert world.of(EngineUnhealthy) == []


@virtually
async def test_a_stopped_pool_asks_nobody() -> None:
    """V8: nor has it a timer or a task, also when it was stopped in the middle of a question."""
    async with watched() as (world, asked):
        world.engine.hang()
        await _asked(asked, 1)
        await world.pool.stop()
        count = len(asked.times)
        world.pool._staff.health._begin()
        await virtual_time.settle()
        assert "Ticks._run" not in timers()
        await asyncio.sleep(100)
        assert len(asked.times) == count
        assert world.of(DriverMisbehaved) == []


@virtually
async def test_a_closed_pool_asks_nobody() -> None:
    """Whatever state it is closed in: nothing that is its own is left on the loop."""
    async with watched() as (world, asked):
        await world.pool.close()
        assert "Ticks._run" not in timers()
        await asyncio.sleep(100)
        assert asked.times == []
        world.pool._closed = False  # so that it can be stopped


class Defiant(Asked):
    """A probe that takes its time to end when it is cancelled for the first time, and then fails."""

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """As the real one, otherwise."""
        first = len(self.times) == 0
        try:
            return await super().check(target=target, timeout=timeout)
        except asyncio.CancelledError:
            if not first:
                raise
            await asyncio.sleep(20)
            raise ZeroDivisionError from None


@virtually
async def test_a_question_that_was_called_off_has_no_say_any_more() -> None:
    """Order and scale, a driver that ignores being cancelled: the next engine's watch does not notice."""
    probe = Defiant(None)

    def twist(driver: Any) -> Any:
        if isinstance(driver, MemoryHealthProbe):
            probe.probe = driver
        return probe if isinstance(driver, MemoryHealthProbe) else driver

    async with a_world(twist=twist, health=evolve(WATCHED, timeout=60.0)) as world:
        await world.ready()
        probe.times.clear()
        world.engine.hang()
        await _asked(probe, 1)
        await world.pool.reload(NEW)
        world.engine.hang()
        await asyncio.sleep(25)
        assert len(probe.times) > 1
        await world.pool.stop()
        await virtual_time.settle()
        tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
        assert "HealthWatch._check" not in tasks


# --- probes that fail ------------------------------------------------------------------------------------


@virtually
async def test_who_cannot_ask_knows_nothing() -> None:
    """A DriverError is no news of the engine: it neither counts nor excuses, and is reported once."""
    answers = (FINE, SICK, CANNOT_ASK, CANNOT_ASK, CANNOT_ASK, CANNOT_ASK, SICK, CANNOT_ASK, SICK)
    async with watched(answers=answers) as (world, asked):
        await _asked(asked, 5)
        assert world.way[-1] == "ready"
        assert "1 of 3 health checks failed" in world.pool.explain()
        assert [one.what for one in world.of(Trouble)] == [
            "its health could not be asked for: h11 is not installed"
        ]
        await _asked(asked, 3)
        await world.pool.reached(S.RECOVERING)
        assert len(world.of(Trouble)) == 2


class Broken(Asked):
    """A probe that keeps no promise, once the engine is ready."""

    def __init__(self, how: str) -> None:
        super().__init__(None)
        self.how = how

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """Healthy at first."""
        self.times.append(asyncio.get_running_loop().time())
        if len(self.times) == 1:
            return FINE
        if self.how == "hangs":
            await asyncio.sleep(10_000)
        if self.how == "raises":
            raise ZeroDivisionError
        if self.how == "is cancelled":
            raise asyncio.CancelledError
        return None  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["hangs", "raises", "is cancelled", "talks nonsense"])
def test_a_broken_probe_does_not_end_the_watch(how: str) -> None:
    """Order and scale: it says nothing of the engine, is reported once, and is asked again."""
    probe = Broken(how)

    @virtually
    async def main() -> None:
        def twist(driver: Any) -> Any:
            return probe if isinstance(driver, MemoryHealthProbe) else driver

        async with a_world(twist=twist, health=WATCHED) as world:
            await world.ready()
            await asyncio.sleep(100)
            assert len(probe.times) > 8
            assert world.way[-1] == "ready"
            assert len(world.of(DriverMisbehaved)) == 1

    main()


# --- real engines ----------------------------------------------------------------------------------------


PATIENCE = 20.0


@asynccontextmanager
async def served(
    folder: Path, fake: FakeEngine, *flags: str, records: list[Record], **health: Any
) -> AsyncIterator[Pool]:
    """A ready pool of a real fake engine, that is asked every quarter of a second."""
    spec = PoolSpec(
        "chat",
        EngineSpec(fake.binary, args=fake.args(*flags)),
        health=HealthSpec(**({"interval": 0.25, "timeout": 0.3, "failures": 2} | health)),
        limits=Limits(start=PATIENCE, stop_grace=0.2),
        backoff=Backoff(initial=0.01, jitter=0.0),
    )
    async with PoolManager(folder, observers=[records.append]) as manager:
        pool = await manager.add(spec)
        await pool.start()
        yield pool


def found(records: list[Record]) -> list[EngineUnhealthy]:
    return [one for one in records if isinstance(one, EngineUnhealthy)]


@pytest.mark.slow
def test_a_frozen_process_is_noticed_and_replaced(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """B-SUPER-002, V3: SIGSTOP leaves its port open and its process alive; it is killed, another serves."""
    records: list[Record] = []

    async def main() -> None:
        async with served(tmp_path, fake_engine, records=records) as pool, asyncio.timeout(PATIENCE):
            pid = pool.status().pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await pool.reached("recovering")
            await pool.reached("ready")
            assert pool.status().pid != pid
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        (told,) = found(records)
        assert "no answer within 0.3 s" in told.cause.message

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["hang", "drip-headers", "close", "garbage", "redirect", "503"])
def test_whatever_is_no_healthy_answer_counts(tmp_path: Path, fake_engine: FakeEngine, answer: str) -> None:
    """FAULTS, health that hangs, drips and lies, once it had been good: each in bounded time."""
    records: list[Record] = []

    async def main() -> None:
        flags = ("--health", f"200,{answer}")
        async with served(tmp_path, fake_engine, *flags, records=records) as pool, asyncio.timeout(PATIENCE):
            await pool.reached("recovering")

    asyncio.run(main())
    assert found(records)[0].cause.message.startswith("2 health checks in a row failed")


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["drip-body", "endless"])
def test_a_body_that_never_ends_is_healthy(tmp_path: Path, fake_engine: FakeEngine, answer: str) -> None:
    """What is decided by its headers needs no body; nobody waits for it."""
    records: list[Record] = []

    async def main() -> None:
        flags = ("--health", f"200,{answer}")
        async with served(tmp_path, fake_engine, *flags, records=records, failures=1) as pool:
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await pool.reached("recovering")
            assert pool.state is S.READY

    asyncio.run(main())
    assert found(records) == []
