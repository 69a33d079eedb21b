"""The watch's slow safety net: who answers, and whether anybody told that the engine has ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.health_watch import EVERY
from pool_lifecycle.interfaces import Health, Inspection
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DriverMisbehaved, EngineEnded, EngineUnhealthy, Trouble
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.ticks import TICK
from tests.twisted import Call, Twist, hanging, only, raising, twisted
from tests.worlds import World, a_spec, a_world, virtually

S = PoolState

WATCHED = HealthSpec(probe="memory", interval=10.0, timeout=2.0, failures=3)
FINE = Health(ok=True, detail="fine")

DEAD, DEAF = Inspection(alive=False), Inspection(alive=True, pids=(4711,))


def looks(answer: Callable[[], object], times: list[float]) -> Twist:
    """Looks at processes are counted; what they see is the answer, if that is anything."""

    async def inspect(call: Call) -> Any:
        times.append(asyncio.get_running_loop().time())
        return answer() or await call()

    return only("inspect", inspect)


def both(*twists: Twist) -> Callable[[Any], Any]:
    """For `a_world(twist=...)`: each has its verb."""

    async def twist(called: str, call: Call) -> Any:
        for one in twists:
            call = _bound(one, called, call)
        return await call()

    return twisted(twist)


def _bound(twist: Twist, called: str, call: Call) -> Call:
    return lambda: twist(called, call)


def kinds(world: World) -> list[FailureClass]:
    return [one.cause.kind for one in world.of(EngineEnded)]


# --- nobody told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [1, 3])
def test_an_ending_that_nobody_told_is_found_before_it_is_given_up(failures: int) -> None:
    """V3, S16: it is not taken for ill: its status is lost, the class unknown; told once, as an ending."""

    @virtually
    async def main() -> None:
        watched = evolve(WATCHED, failures=failures)
        async with a_world(twist=twisted(only("wait", hanging, times=1)), health=watched) as world:
            await world.ready()
            began = world.now
            world.launcher.engines[0].crash()
            await world.pool.reached(S.RECOVERING)
            assert world.now - began <= 10 * failures + 1 + TICK
            assert world.of(EngineUnhealthy) == []
            await world.pool.reached(S.READY)
            await asyncio.sleep(1000)
            assert kinds(world) == [FailureClass.UNKNOWN]
            assert world.pool.snapshot.generation == 2
            assert world.of(DriverMisbehaved) == []

    main()


@virtually
async def test_an_ending_behind_healthy_answers_is_found_too() -> None:
    """V3: somebody else answers for it; who is looked at knows that it is dead."""
    seen: list[Inspection | None] = [None]
    times: list[float] = []
    twist = both(only("wait", hanging, times=1), looks(lambda: seen[0], times))
    async with a_world(twist=twist, answers=(FINE,), health=WATCHED) as world:
        await world.ready()
        times.clear()
        seen[0] = DEAD
        world.launcher.engines[0].crash()
        began = world.now
        await world.pool.reached(S.RECOVERING)
        assert world.now - began <= EVERY + 10 + 1 + TICK
        seen[0] = None
        assert len(times) == 1
        await world.pool.reached(S.READY)
        assert kinds(world) == [FailureClass.UNKNOWN]


@virtually
async def test_news_that_is_only_late_is_not_told_twice() -> None:
    """The look was faster than the news of the ending: that has its time, and its real status."""

    async def late(call: Call) -> Any:
        status = await call()
        await asyncio.sleep(0.5)
        return status

    async with a_world(twist=twisted(only("wait", late)), health=evolve(WATCHED, interval=0.25)) as world:
        await world.ready()
        world.launcher.engines[0].crash()
        await world.pool.reached(S.RECOVERING)
        await world.pool.reached(S.READY)
        assert kinds(world) == [FailureClass.SIGNAL]
        assert world.of(EngineUnhealthy) == []


@virtually
async def test_a_stop_while_news_is_waited_for_is_an_ordinary_stop() -> None:
    """Called off in the middle of it, the watch has no say any more."""
    async with a_world(twist=twisted(only("wait", hanging, times=1)), health=WATCHED) as world:
        await world.ready()
        world.launcher.engines[0].crash()
        watch = world.pool._staff.health
        while watch._task is None:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(TICK)
        await virtual_time.settle()
        await world.pool.stop()
        await asyncio.sleep(100)
        assert world.pool.state is S.STOPPED


# --- somebody else answers -------------------------------------------------------------------------------


@virtually
async def test_a_stranger_who_answers_on_our_port_is_found() -> None:
    """B-PRELOAD-x3, S8: also after ready; the engine lives, but not on its port; the cause names the pid."""
    seen: list[Inspection | None] = [None]
    times: list[float] = []
    async with a_world(twist=twisted(looks(lambda: seen[0], times)), health=WATCHED) as world:
        await world.ready()
        seen[0], began = DEAF, world.now
        await world.pool.reached(S.RECOVERING)
        assert world.now - began <= EVERY + 10 + TICK
        seen[0] = None
        (told,) = world.of(EngineUnhealthy)
        assert (told.cause.kind, told.cause.stage) == (FailureClass.PORT_IN_USE, Stage.RUN)
        pid = world.launcher.engines[0].pid
        assert f"the healthy answer did not come from our engine: port 20000 is held by pid {pid}" in str(
            told.cause
        )
        assert len(told.failed_at) == 1
        await world.pool.reached(S.READY)


@virtually
async def test_a_port_that_nobody_is_seen_to_hold_convicts_nobody() -> None:
    """Whose socket it is cannot always be seen; the answer was healthy."""
    seen: list[Inspection | None] = [None]
    twist = both(looks(lambda: seen[0], []), only("preflight", _nothing))
    async with a_world(twist=twist, health=WATCHED) as world:
        await world.ready()
        seen[0] = DEAF
        await asyncio.sleep(3 * EVERY)
        assert (world.pool.state, world.pool.snapshot.generation) == (S.READY, 1)
        assert world.of(EngineUnhealthy) == []


async def _nothing(_call: Call) -> Any:
    return ()


@virtually
async def test_an_engine_that_does_not_answer_is_not_asked_for_its_port() -> None:
    """What a look at its processes could add is only whether it lives."""
    seen: list[Inspection | None] = [None]
    times: list[float] = []
    async with a_world(twist=twisted(looks(lambda: seen[0], times)), health=WATCHED) as world:
        await world.ready()
        times.clear()
        seen[0] = DEAF
        world.engine.hang()
        await world.pool.reached(S.RECOVERING)
        seen[0] = None
        (told,) = world.of(EngineUnhealthy)
        assert told.cause.kind is FailureClass.HANG
        assert len(times) <= 2


# --- what it costs ---------------------------------------------------------------------------------------


@virtually
async def test_a_steady_pool_is_looked_at_now_and_then() -> None:
    """V8: in the check after each multiple of `EVERY`, and for that no timer of its own."""
    times: list[float] = []
    async with a_world(twist=twisted(looks(lambda: None, times)), health=WATCHED) as world:
        await world.ready()
        times.clear()
        await asyncio.sleep(10 * EVERY)
        assert len(times) in (9, 10, 11)
        assert all(0 <= time % EVERY < 10 + TICK for time in times)


@virtually
async def test_pools_that_started_at_any_time_are_looked_at_together() -> None:
    """So that they share one list of the host's processes, and 500 cost little more than a few."""
    times: list[float] = []
    async with a_world(twist=twisted(looks(lambda: None, times)), health=WATCHED) as world:
        for n in range(200):
            pool = await world.manager.add(a_spec(f"p{n}", health=WATCHED))
            await pool.start()
            await asyncio.sleep(1.0)
        times.clear()
        await asyncio.sleep(2 * EVERY)
        assert len(times) >= 300
        assert len(Counter(times)) <= 3 * (10 / TICK + 1)


@pytest.mark.parametrize("interval", [0.25, 3600.0])
def test_every_interval_has_its_looks(interval: float) -> None:
    """Where checks are rarer than looks, each check looks; where they are dense, one does."""

    @virtually
    async def main() -> None:
        watched = evolve(WATCHED, interval=interval)
        times: list[float] = []
        async with a_world(twist=twisted(looks(lambda: None, times)), health=watched) as world:
            await world.ready()
            times.clear()
            await asyncio.sleep(3 * max(interval, EVERY))
            assert len(times) in (2, 3, 4)

    main()


# --- looks that fail -------------------------------------------------------------------------------------


CANNOT = DriverError("memory", Cause(FailureClass.UNKNOWN, Stage.RUN, "the host cannot be looked at"))


@pytest.mark.parametrize(
    "how", [raising(CANNOT), raising(ZeroDivisionError()), raising(asyncio.CancelledError()), hanging]
)
def test_a_look_that_fails_convicts_nobody(how: Callable[[Call], Any]) -> None:
    """Order and scale: it is told, and the engine goes on serving and being asked."""
    broken = [False]

    async def inspect(call: Call) -> Any:
        return await (how(call) if broken[0] else call())

    @virtually
    async def main() -> None:
        async with a_world(twist=twisted(only("inspect", inspect)), health=WATCHED) as world:
            await world.ready()
            broken[0] = True
            before = world.probe.checks
            await asyncio.sleep(2 * EVERY)
            assert world.probe.checks - before >= 2 * EVERY / 10 - 3
            assert (world.pool.state, world.pool.snapshot.generation) == (S.READY, 1)
            assert 1 <= len(world.of(Trouble)) + len(world.of(DriverMisbehaved)) <= 3
            broken[0] = False

    main()
