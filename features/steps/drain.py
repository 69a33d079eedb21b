"""Steps about drains: how one begins, and how it ends."""

from __future__ import annotations

import logging

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle import DrainEnd, DrainOutcome
from pool_lifecycle.wording import seconds

ENDS = {
    "as drained": DrainEnd.DRAINED,
    "as force-stopped": DrainEnd.FORCE_STOPPED,
    "as resumed": DrainEnd.RESUMED,
    "because nothing served": DrainEnd.NOTHING_SERVED,
    "because the engine died": DrainEnd.ENGINE_DIED,
}


async def outcome(world: World, drain: str = "drain") -> DrainOutcome:
    await world.finish(drain)
    assert world.error is None, repr(world.error)
    assert isinstance(world.answer, DrainOutcome)
    return world.answer


@given("the pool is draining")
@when("the pool is asked to drain")
async def drain(world: World) -> None:
    world.begin("drain", (await world.pool()).drain())


@given("the pool is draining within {time:Duration}")
@when("the pool is asked to drain within {time:Duration}")
async def drain_within(world: World, time: float) -> None:
    world.begin("drain", (await world.pool()).drain(time))


@when("it is asked again to drain within {time:Duration}")
async def drain_again(world: World, time: float) -> None:
    world.begin("second drain", (await world.pool()).drain(time))


@when("the pool has been drained")
async def drained(world: World) -> None:
    await (await world.pool()).drain()


@when("the pool has been drained within {time:Duration}")
async def drained_within(world: World, time: float) -> None:
    await (await world.pool()).drain(time)


@then("the drain ends {how:DrainEnd}")
async def ends(world: World, how: str) -> None:
    found = await outcome(world)
    assert found.end is ENDS[how], found


@then("the drain ends {how:DrainEnd}, after {time:Duration}")
async def ends_after(world: World, how: str, time: float) -> None:
    found = await outcome(world)
    assert (found.end, found.duration) == (ENDS[how], time), found


@then("the drain ends {how:DrainEnd}, with {left:Leases} left")
async def ends_with(world: World, how: str, left: int) -> None:
    found = await outcome(world)
    assert (found.end, found.leases_left) == (ENDS[how], left), found


@then("the drain ends {how:DrainEnd}, after {time:Duration}, with {left:Leases} left")
async def ends_after_with(world: World, how: str, time: float, left: int) -> None:
    found = await outcome(world)
    assert (found.end, round(found.duration, 6), found.leases_left) == (ENDS[how], time, left), found


@then("both drains end {how:DrainEnd}, after {time:Duration}")
async def both_end(world: World, how: str, time: float) -> None:
    for which in ("drain", "second drain"):
        found = await outcome(world, which)
        assert (found.end, found.duration) == (ENDS[how], time), (which, found)


@then("the pool says that {time:Duration} are left")
async def time_left(world: World, time: float) -> None:
    said = (await world.pool()).explain()
    assert f"If that is not over in {seconds(time)}" in said, said


@then('the pool says that it waits for "{who}", since {time:Duration}')
async def waits_for(world: World, who: str, time: float) -> None:
    pool = await world.pool()
    assert [(one.holder, one.age) for one in pool.status().leases] == [(who, time)]
    assert f"waits for 1 lease: {who} ({time:.1f} s)" in pool.explain(), pool.explain()


@then("a warning says that the drain began with {count:Leases}")
def warned(world: World, count: int) -> None:
    told = [(level, fields["leases"]) for level, fields in world.log.about("DrainBegan")]
    assert told == [(logging.WARNING, count)], told
