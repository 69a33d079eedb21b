"""Models on their way: what is known and told of it."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import ModelStager
from pool_lifecycle.records import ModelFrom, ModelStaged, StagingProgressed
from pool_lifecycle.testing.memory import StageScript
from tests.worlds import NEW, OLD, SLOW_STAGING, a_world, virtually

CUT = Cause(FailureClass.STAGING, Stage.STAGING, "it was cut off", heals=False)


@virtually
async def test_how_far_it_is_can_be_asked_for_at_any_time() -> None:
    """Bytes, rate and time left while it lasts, and nothing before and after."""
    async with a_world(staging=(StageScript(takes=10.0, steps=10),)) as world:
        starting = await world.began(world.pool.start())
        assert world.pool.status().staging is None
        await asyncio.sleep(5.5)
        size = world.stager._size(OLD)
        status = world.pool.status().staging
        assert status is not None
        assert (status.reference, status.done, status.total) == (OLD, size // 2, size)
        assert (status.rate, status.left) == pytest.approx((size / 10, 5.0), rel=0.001)
        assert world.pool.status().observed == f"staging: {world.pool.status().staging}"
        await starting
        assert world.pool.status().staging is None


@virtually
async def test_observers_are_told_at_a_bounded_rate() -> None:
    """S19: a stager that reports every byte is no flood; people hear less of it than programs."""
    async with a_world(staging=(StageScript(takes=60.0, steps=6000),)) as world:
        await world.pool.start()
        told = world.of(StagingProgressed)
        assert len(told) == 59
        assert [one.transfer.done for one in told] == sorted(one.transfer.done for one in told)
        milestones = [one for one in told if one.milestone]
        assert 5 <= len(milestones) <= 10


@virtually
async def test_the_end_says_what_came_and_how_long_it_took() -> None:
    """The stager's own words on the model; that nothing is new the second time."""
    async with a_world(staging=(StageScript(takes=4.0, steps=4),)) as world:
        await world.pool.start()
        await world.pool.stop()
        await world.pool.start()
        first, second = world.of(ModelStaged)
        assert first.model == world.stager.staged[OLD]
        assert (first.duration, first.came_from, first.again) == (4.0, ModelFrom.HERE, False)
        assert (second.duration, second.again) == (0.0, True)


@virtually
async def test_what_came_from_the_cache_is_told_from_what_was_fetched() -> None:
    """Of what lies on this host neither is said."""
    async with a_world(model="https://host/a.gguf", staging=(StageScript(takes=4.0, steps=4),)) as world:
        await world.pool.start()
        await world.pool.stop()
        await world.pool.start()
        assert [one.came_from for one in world.of(ModelStaged)] == [ModelFrom.FETCHED, ModelFrom.CACHE]


@virtually
async def test_a_staging_that_fails_leaves_nothing_to_look_at() -> None:
    """Nor one that is called off."""
    async with a_world(staging=(StageScript(takes=4.0, steps=4, error=CUT), SLOW_STAGING)) as world:
        with pytest.raises(StartFailed, match="it was cut off"):
            await world.pool.start()
        assert world.pool.launching.staging.transfer is None
        starting = await world.began(world.pool.start())
        await asyncio.sleep(60)
        await world.pool.stop()
        assert world.pool.launching.staging.transfer is None
        assert world.of(ModelStaged) == []
        await asyncio.wait((starting,))


@virtually
async def test_a_stager_that_returns_nonsense_has_staged_nothing() -> None:
    """No news of a model that is none."""

    class Nonsense:
        def __init__(self, inner: ModelStager) -> None:
            self.resolve, self.evict = inner.resolve, inner.evict

        async def stage(self, **_asked: object) -> object:
            return "done"

    def twist(driver: object) -> object:
        return Nonsense(driver) if hasattr(driver, "evict") else driver  # type: ignore[arg-type]

    async with a_world(twist=twist) as world:
        with pytest.raises(StartFailed, match="stage"):
            await world.pool.start()
        assert world.of(ModelStaged) == []


@virtually
async def test_a_new_model_is_watched_beside_the_engine_that_serves() -> None:
    """Who asks how the pool is sees both."""
    scripts = (StageScript(), StageScript(takes=10.0, steps=10))
    async with a_world(staging=scripts) as world:
        await world.ready()
        changing = await world.began(world.pool.reload(NEW, strategy="stage_first"))
        await asyncio.sleep(5.5)
        status = world.pool.status()
        assert status.ready
        assert status.staging is not None
        assert (status.staging.reference, status.staging.share) == (NEW, 0.5)
        await changing
