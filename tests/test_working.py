"""One activity at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool_lifecycle.activities import RUNNERS
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.lifecycle import Activity
from pool_lifecycle.records import DriverMisbehaved
from pool_lifecycle.testing.memory import MemoryStager
from pool_lifecycle.working import CANCEL_PATIENCE
from tests.twisted import Call, deaf, only, raising, twisted
from tests.worlds import STUBBORN, World, a_world, virtually


@virtually
async def test_nothing_is_kept_of_work_that_is_done() -> None:
    """S19: not its task, not its errors."""
    async with a_world() as world:
        await world.ready()
        assert world.pool._staff.work.tasks == ()
        await world.pool.stop()
        assert world.pool._staff.work.tasks == ()


@virtually
async def test_the_next_waits_for_the_one_that_was_cancelled() -> None:
    """DESIGN §2: cancel means ask, and wait before the next begins; bounded by a patience of 5 s."""
    for seconds, waited in ((2.0, 2.0), (50.0, CANCEL_PATIENCE)):
        async with a_world(twist=twisted(only("check", deaf(seconds), times=1))) as world:
            await world.began(world.pool.start())
            began = world.now
            await world.pool.stop()
            assert world.now - began == waited
            assert len(world.of(DriverMisbehaved)) == (seconds > CANCEL_PATIENCE)
            await asyncio.sleep(seconds)


@virtually
async def test_an_engine_hears_of_its_end_though_what_was_cancelled_takes_its_time() -> None:
    """S11: it is asked, and killed, when it was promised, not when a slow thread or driver has come back."""
    async with a_world(STUBBORN, twist=twisted(only("check", deaf(4.0), times=1))) as world:
        await world.began(world.pool.start())
        asked = await world.began(world.pool.stop(grace=1.0))
        await asyncio.sleep(1.0)
        assert not world.living
        await asked


@virtually
async def test_work_that_may_not_fail_is_left_to_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain whose activity breaks is reported and still ends at its time."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("endless")
        monkeypatch.setitem(RUNNERS, Activity.DRAIN, raiser)
        outcome = await world.pool.drain(5)
        assert outcome.duration == 5.0
        assert [one.what for one in world.of(DriverMisbehaved)] == ["a driver raised RuntimeError: no watch"]


async def raiser(_pool: object, _epoch: int) -> Any:
    raise RuntimeError("no watch")


@virtually
async def test_an_outcome_after_the_state_has_ended_has_no_effect() -> None:
    """S2, S15: it is dropped and recorded; the pool is where it was."""
    cause = Cause(FailureClass.EXIT, Stage.PREFLIGHT, "too late")

    async def late(call: Call) -> Any:
        await deaf(3.0, raising(DriverError("x", cause)))(call)

    async with a_world(twist=twisted(only("preflight", late, times=1))) as world:
        await world.began(world.pool.start())
        await world.pool.stop()
        before = world.pool.snapshot
        await asyncio.sleep(10)
        assert world.pool.snapshot is before
        assert late_outcomes(world) == 1


def late_outcomes(world: World) -> int:
    return sum(type(one).__name__ == "LateOutcome" for one in world.records)


@virtually
async def test_a_driver_that_cancels_itself_does_not_silence_its_activity() -> None:
    """V1: the failure is reported at once."""
    async with a_world(twist=twisted(only("stage", raising(asyncio.CancelledError()), times=1))) as world:
        asked = await world.began(world.pool.start())
        assert asked.done()
        assert world.pool.state == "backing_off"


@virtually
async def test_what_was_cancelled_before_it_began_still_lets_the_next_wait() -> None:
    """DESIGN §2: a stop, a start and a stop in one breath do not let two stagings run together."""
    running = most = 0

    class SlowToLeave(MemoryStager):
        async def stage(self, **asked: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(2)
                raise
            finally:
                running -= 1

    def slow(driver: Any) -> Any:
        return SlowToLeave() if isinstance(driver, MemoryStager) else driver

    async with a_world(twist=slow) as world:
        pool = world.pool
        await world.began(pool.start())
        await pool.stop()
        for wish in (pool.start(), pool.stop(), pool.start()):
            world.begin(wish)
        await asyncio.sleep(5)
        assert running == 1
        assert most == 1
