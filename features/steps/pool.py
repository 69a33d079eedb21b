"""Steps about the pool as a whole: what it declares, starting, stopping, its state."""

from __future__ import annotations

import asyncio

from features.rehearsed import WARM_UP
from features.vocabulary import given, then, when
from features.world import PATIENCE, World
from pool_lifecycle import PoolState
from pool_lifecycle.errors import EngineStuck, StartFailed, Superseded


@given("a pool with {slots:Slots}")
def with_slots(world: World, slots: int) -> None:
    world.declare(slots=slots)


@given('a pool that may use the devices "{mask}"')
def with_mask(world: World, mask: str) -> None:
    world.declare(device_mask=mask)


@given("a pool that may take {time:Duration} to become ready")
def with_patience(world: World, time: float) -> None:
    world.declare_limits(start=time)


@given("a pool that gives it {time:Duration}")
def with_staging_time(world: World, time: float) -> None:
    world.declare_limits(staging=time)


@given("a pool whose engine wants a first request")
def with_warm_up(world: World) -> None:
    world.declare_health(warm_up=WARM_UP)


@when("the pool is added")
async def add(world: World) -> None:
    await world.pool()


@given("the pool is ready")
async def make_ready(world: World) -> None:
    pool = await world.pool()
    await pool.start()
    world.notes["url"] = pool.status().url


@given("the pool was started anew")
@when("the pool is started anew")
async def start_anew(world: World) -> None:
    pool = await world.pool()
    await pool.stop()
    await pool.start()


@given("the pool is being started")
@given("the pool is being started anew")
async def begin_start(world: World) -> None:
    pool = await world.pool()
    await pool.stop()
    world.begin("start", pool.start())


@when("the pool is started")
async def start(world: World) -> None:
    await world.attempt((await world.pool()).start())


@when("the pool is started, with {time:Duration} to become ready")
async def start_within(world: World, time: float) -> None:
    world.declare_limits(start=time, stall=time)
    await start(world)


@when('another pool, "{pool}", is started')
async def start_another(world: World, pool: str) -> None:
    await (await world.pool(pool)).start()


@given("the pool is stuck with it")
async def stick(world: World) -> None:
    pool = await world.pool()
    await pool.start()
    await world.attempt(pool.stop())
    assert pool.state is PoolState.STUCK


@when("the pool is resumed")
async def resume(world: World) -> None:
    await (await world.pool()).resume()


@given("the pool is stopped")
@when("the pool is stopped")
async def stop(world: World) -> None:
    await world.attempt((await world.pool()).stop())


@given("{time:Duration} have passed")
@when("{time:Duration} have passed")
async def pass_time(world: World, time: float) -> None:
    await asyncio.sleep(time)


@then("the pool is {state:State}")
async def is_in(world: World, state: str) -> None:
    pool = await world.pool()
    assert str(pool.state) == state.replace(" ", "_"), pool.explain()


@then("the pool comes to a stop")
async def stops(world: World) -> None:
    async with asyncio.timeout(PATIENCE):
        await (await world.pool()).reached("stopped")


@then('the pool serves "{model}"')
async def has_model(world: World, model: str) -> None:
    status = (await world.pool()).status()
    assert (status.ready, status.model) == (True, model), status


@then('the pool says "{words}"')
async def says(world: World, words: str) -> None:
    explanation = (await world.pool()).explain()
    assert words.lower() in explanation.lower(), explanation


@then("the pool is stuck, and names the engine")
async def is_stuck(world: World) -> None:
    assert (await world.pool()).state is PoolState.STUCK
    assert isinstance(world.error, EngineStuck), repr(world.error)
    assert str(world.cast.engines[-1].pid) in str(world.error)


@then("that succeeds at once")
def succeeds(world: World) -> None:
    assert world.error is None, repr(world.error)
    assert world.elapsed == 0, world.elapsed


@then("that took {time:Duration}")
def took(world: World, time: float) -> None:
    assert world.elapsed == time, world.elapsed


# --- how a start fails ---------------------------------------------------------------------------------


@given("the start of the pool has failed")
async def has_failed(world: World) -> None:
    await start(world)
    failed_start(world)


def failed_start(world: World) -> StartFailed:
    assert isinstance(world.error, StartFailed), repr(world.error)
    return world.error


@then("the start fails after {time:Duration}")
def fails_after(world: World, time: float) -> None:
    failed_start(world)
    assert world.elapsed == time, world.elapsed


@then("the start fails in the {part:Part}")
def fails_in(world: World, part: str) -> None:
    assert failed_start(world).cause.stage == part, repr(world.error)


@then('the start fails in the {part:Part}, and says "{words}"')
def fails_saying(world: World, part: str, words: str) -> None:
    fails_in(world, part)
    assert words in str(world.error), str(world.error)


@then("the start fails in the {part:Part}, and names that program")
def fails_naming(world: World, part: str) -> None:
    fails_in(world, part)
    assert f"{world.strangers[-1].pid}" in str(world.error), str(world.error)


@then("the start was superseded by a {other}")
async def start_superseded(world: World, other: str) -> None:
    await world.finish("start")
    assert isinstance(world.error, Superseded), repr(world.error)
    assert other in world.error.by
