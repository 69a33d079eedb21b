"""What is asked of a pool: what is refused, what is answered, and that a pool nobody asks is quiet."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve

from pool_lifecycle.errors import ConfigError, IllegalEvent
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import LateOutcome, Moved
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import WORKS, a_world, timers, virtually


@pytest.mark.parametrize("wrong", [float("nan"), -1.0, float("inf"), "5", True, 10**400])
@virtually
async def test_durations_that_are_none_are_refused(wrong: float) -> None:
    """Each by name, before anything happens."""
    async with a_world() as world:
        await world.ready()
        before = world.pool.snapshot
        with pytest.raises(ConfigError, match="deadline"):
            await world.pool.drain(wrong)
        with pytest.raises(ConfigError, match="grace"):
            await world.pool.stop(grace=wrong)
        with pytest.raises(ConfigError, match="drain_deadline"):
            await world.pool.reload("file:/b", drain_deadline=wrong)
        with pytest.raises(ConfigError, match="wait"):
            async with world.pool.lease("me", wait=wrong):
                pass
        assert world.pool.snapshot is before


@virtually
async def test_a_strategy_or_model_that_is_none_is_refused() -> None:
    """With what would be valid."""
    async with a_world() as world:
        with pytest.raises(ConfigError, match="must be one of 'drain_first', 'stage_first', 'surge'"):
            await world.pool.reload("file:/b", strategy="sideways")
        with pytest.raises(ConfigError, match="a model reference"):
            await world.pool.reload("")


@virtually
async def test_what_is_not_possible_says_what_is() -> None:
    """IllegalEvent names state, event and what is legal."""
    async with a_world() as world:
        with pytest.raises(IllegalEvent, match=r"pool 'chat' \(stopped\): event 'resume' is not possible"):
            await world.pool.resume()


@virtually
async def test_a_stopped_pool_is_stopped_by_joining() -> None:
    """B-PROC-010..015: `stop()` of a stopped pool simply joins."""
    async with a_world() as world:
        await world.pool.stop()
        assert world.way == []


@virtually
async def test_reached_also_sees_a_state_that_was_soon_left() -> None:
    """It returns when the state was reached, even if the pool has moved on since."""
    async with a_world(EngineScript(ready_after=None, exits_after=1.0), WORKS) as world:
        waiting = await world.began(world.pool.reached("recovering", "stuck"))
        await world.began(world.pool.start())
        await asyncio.sleep(1.0)
        await virtual_time.settle()
        assert waiting.done()
        assert world.pool.state is PoolState.BACKING_OFF


@virtually
async def test_wishes_of_an_eager_task_wait_for_the_step_under_way() -> None:
    """Who is told of a step and asks at once, within it, is served after it."""
    async with a_world() as world:
        eager: list[asyncio.Task[None]] = []

        def ask_at_once(record: object) -> None:
            if isinstance(record, Moved) and record.notice.target is PoolState.READY and not eager:
                stop = world.pool.stop()
                stop.send(None)  # what a loop with eager tasks does
                eager.append(world.begin(stop))

        world.pool.host.observers.append(ask_at_once)
        await world.pool.start()
        await eager[0]
        assert world.way == ["staging", "starting", "ready", "stopping", "stopped"]


@virtually
async def test_a_steady_pool_is_quiet() -> None:
    """V8: one that serves has no task but the wait for its engine's end, no timer but the host's tick."""
    async with a_world(evolve(WORKS, ready_after=1.0)) as world:
        await world.ready()
        await virtual_time.settle()
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        assert [task.get_coro().__qualname__ for task in tasks] == ["Launching._watch"]  # type: ignore[union-attr]
        assert timers() == ["Ticks._run"]
        assert world.of(LateOutcome) == []
