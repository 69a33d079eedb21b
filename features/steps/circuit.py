"""Steps about the circuits of pools: whether they allow a start, and their trials."""

from __future__ import annotations

import asyncio

from features.vocabulary import given, then, when
from features.world import CHAT, World
from pool_lifecycle import PoolState


@given("the circuit has opened")
async def has_opened(world: World) -> None:
    """As many crashes in a row as it takes, none of them after a run that counts."""
    pool = await world.pool()
    world.begin("start", pool.start())
    while pool.state is not PoolState.FAILED:
        await pool.reached("ready")
        world.cast.newest(CHAT).crash()
        await pool.reached("backing_off", "failed")


@given("the trial has run for {time:Duration}")
@when("the trial has run for {time:Duration}")
async def trial_runs(world: World, time: float) -> None:
    await (await world.pool()).reached("ready")
    await asyncio.sleep(time)


@given("the trial fails")
@when("the trial fails")
async def trial_fails(world: World) -> None:
    pool = await world.pool()
    await pool.reached("ready")
    world.cast.newest(CHAT).crash()
    await pool.reached("failed")


@when("the trial fails {times:Times} in a row")
async def trials_fail(world: World, times: int) -> None:
    for _ in range(times):
        await trial_fails(world)


@when("the trial fails with a CUDA error")
async def trial_fails_otherwise(world: World) -> None:
    await (await world.pool()).reached("ready")
    world.cast.newest(CHAT).say("CUDA error: an illegal memory access was encountered")
    await trial_fails(world)


@then("{circuit:Circuit} is {state:CircuitState}")
async def is_in(world: World, circuit: str, state: str) -> None:
    found = (await world.pool()).status().circuits[circuit]
    assert found.replace("_", "-") == state, found


@then("the trials came after {times:List}")
async def came_after(world: World, times: list[float]) -> None:
    pool = await world.pool()
    if pool.state is PoolState.FAILED:
        await pool.reached("starting")
    assert world.chronicle.trials(CHAT) == times, world.chronicle.trials(CHAT)


@then('the log tells of these changes of the circuit of "{pool}":')
def logged(world: World, pool: str) -> None:
    told = [fields for _, fields in world.log.about("CircuitMoved") if fields["pool_id"] == pool]
    told = [fields for fields in told if fields["old_state"] != fields["new_state"]]
    found = [[str(fields[name]) for name in world.table.headings] for fields in told]
    assert found == [list(row.cells) for row in world.table.rows], told
