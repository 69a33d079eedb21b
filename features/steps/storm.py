"""Steps about many restarts: of one pool within a time, and of all the pools of a host."""

from __future__ import annotations

import asyncio
import itertools
import logging

from features.vocabulary import given, then, when
from features.world import CHAT, World

# --- one pool --------------------------------------------------------------------------------------------


@given("a pool that restarts at once and never gives up")
def restless(world: World) -> None:
    world.declare_policy(backoff={"initial": 0.0}, breaker={"threshold": 1000})


@given("a pool that is restarted at most {count:d} times in {time:Duration}")
def limited(world: World, count: int, time: float) -> None:
    restless(world)
    world.declare_policy(
        window={"limit": count, "warning": count, "storm": count, "period": time, "storm_period": 1.0}
    )


@given("the pool has been in a storm")
async def has_been(world: World) -> None:
    restless(world)
    pool = await world.pool()
    await pool.start()
    while str(pool.state) != "failed":
        await pool.reached("ready")
        world.cast.newest(CHAT).crash()
        await pool.reached("backing_off", "failed")


@then("the pool has counted {count:d} restarts, and that is kept")
async def counted(world: World, count: int) -> None:
    known, kept = (await world.pool()).snapshot, world.store.pools[CHAT].snapshot
    assert (known.restart_count, kept.restart_count) == (count, count)


@then("a warning says that there were {count:d} restarts within {time:Duration}")
def warned(world: World, count: int, time: float) -> None:
    told = [fields for level, fields in world.log.about("RestartBegan") if level == logging.WARNING]
    assert [(one["restart_count"], one["time_window"]) for one in told] == [(count, time)], told


@then("no warning speaks of restarts")
def not_warned(world: World) -> None:
    levels = [level for level, _ in world.log.about("RestartBegan")]
    assert levels
    assert logging.WARNING not in levels


@then("a warning says that the window of {time:Duration} allows no more than {count:d} restarts")
def warned_of_limit(world: World, time: float, count: int) -> None:
    level, fields = world.log.about("RestartScheduled")[-1]
    assert (level, fields["awaits"]) == (logging.WARNING, "window"), (level, fields)
    assert (fields["restart_count"], fields["time_window"]) == (count, time), fields


def most_within(times: list[float], period: float) -> int:
    return max(sum(begin <= at < begin + period for at in times) for begin in times)


@then("there were never more than {count:d} restarts within {time:Duration}")
def never_more(world: World, count: int, time: float) -> None:
    restarts = world.chronicle.launches(CHAT)[1:]
    assert most_within(restarts, time) == count, restarts


@then("there were at least {count:d}")
def at_least(world: World, count: int) -> None:
    assert len(world.chronicle.launches(CHAT)) > count


# --- storms ----------------------------------------------------------------------------------------------


@then('the log tells of a storm in "{pool}", as critical, after {count:d} restarts')
def logged(world: World, pool: str, count: int) -> None:
    ((level, fields),) = world.log.about("StormBegan")
    assert (level, fields["pool_id"], fields["restart_count"]) == (logging.CRITICAL, pool, count), fields


@then('the log tells of the storm "{storm}", and suggests "{remedy}"')
def logged_kind(world: World, storm: str, remedy: str) -> None:
    ((_, fields),) = world.log.about("StormBegan")
    assert fields["kind"] == storm, fields
    assert remedy in fields["remedy"], fields


# --- many pools ------------------------------------------------------------------------------------------


@given("{count:d} pools are ready")
async def many(world: World, count: int) -> None:
    pools = [await world.pool(f"pool-{n}") for n in range(count)]
    await asyncio.gather(*(pool.start() for pool in pools))


@given("all their engines crash at once")
@when("all their engines crash at once")
def all_crash(world: World) -> None:
    for engine in tuple(world.cast.engines):
        engine.crash()


@when("an operator starts every pool")
def start_all(world: World) -> None:
    for pool in world.manager:
        world.begin(pool.pool_id, pool.start())


@then("within {time:Duration} every pool is ready again")
async def all_ready(world: World, time: float) -> None:
    async with asyncio.timeout(time):
        await asyncio.gather(*(pool.reached("ready") for pool in world.manager))
    assert {pool.status().generation for pool in world.manager} == {2}


@then("there were never more than {burst:d} restarts at once, and {rate:d} in each second after that")
def within_budget(world: World, burst: int, rate: int) -> None:
    """Within any t seconds at most burst + rate * t; and no slower than that allows."""
    restarts = world.chronicle.restarts()
    surplus = [at - n / rate for n, at in enumerate(restarts)]
    latest = itertools.accumulate(surplus, max)
    least = (1 - burst) / rate - 1e-6
    assert all(now - before >= least for now, before in zip(surplus, latest, strict=True)), restarts
    assert restarts[-1] - restarts[0] <= (len(restarts) - burst) / rate + 1e-6, restarts


@given("{count:d} pools that restart at once and never become stable")
async def unstable(world: World, count: int) -> None:
    restless(world)
    world.declare_policy(window={"limit": 1000, "storm": 1000})
    world.imagine(exits_after=1.0)
    await many(world, count)
    world.imagine(exits_after=None)
