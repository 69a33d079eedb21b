"""Steps about whoever operates a pool, and asks for what the pool would not do by itself."""

from __future__ import annotations

from features.vocabulary import given, when
from features.world import World
from pool_lifecycle import ExitStatus


@given("an operator starts the pool")
@when("an operator starts the pool")
async def start(world: World) -> None:
    world.begin("start", (await world.pool()).start())


@when("an operator stops and starts the pool {times:Times}")
async def stop_and_start(world: World, times: int) -> None:
    """It does not like being stopped, and ends with an error."""
    world.imagine(term_exit=ExitStatus(code=1))
    pool = await world.pool()
    for _ in range(times):
        await pool.stop()
        await pool.start()


@given("an operator stops the pool")
async def stop(world: World) -> None:
    await (await world.pool()).stop()


@given("an operator has begun to stop the pool")
async def begin_stop(world: World) -> None:
    world.begin("stop", (await world.pool()).stop())


@when("an operator stops the pool that serves")
async def stop_server(world: World) -> None:
    (server,) = [pool for pool in world.manager if pool.status().ready]
    await server.stop()


@when("an operator stops the pool and starts it again")
async def stop_then_start(world: World) -> None:
    pool = await world.pool()
    await pool.stop()
    world.begin("start", pool.start())


@given("an operator resets the circuit")
@when("an operator resets the circuit")
async def reset(world: World) -> None:
    await (await world.pool()).reset()


@given("an operator allows one start")
@when("an operator allows one start")
async def allow_one(world: World) -> None:
    await (await world.pool()).allow_one()
