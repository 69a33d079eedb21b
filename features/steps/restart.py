"""Steps about restarts: what is declared of them, and when they come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from features.vocabulary import given, then
from features.world import CHAT, World
from pool_lifecycle.restart.classes import ClassPolicy

ABOUT = 0.1
"""The part of itself by which a delay is moved at most, so that restarts do not come all at once."""


# --- what is declared ------------------------------------------------------------------------------------


@given("a pool that restarts at once")
def at_once(world: World) -> None:
    world.declare_policy(backoff={"initial": 0.0})


@given("a pool that waits at least {least:Duration} before a restart")
def at_least(world: World, least: float) -> None:
    world.declare_policy(backoff={"initial": least, "minimum": least})


@given("a pool that never gives up")
def never_gives_up(world: World) -> None:
    world.declare_policy(breaker={"threshold": 1000})


@given("a pool that gives up after {failures:Failures}")
def gives_up_after(world: World, failures: int) -> None:
    world.declare_policy(breaker={"threshold": failures})


@given("a pool that forgets its crashes after {time:Duration}")
def forgets_after(world: World, time: float) -> None:
    world.declare_policy(backoff={"stable": time})


@given("a pool that waits {times:d} times as long after a CUDA error")
def waits_longer(world: World, times: int) -> None:
    world.declare_policy(classes={"cuda": ClassPolicy(multiplier=times)})


# --- when they come --------------------------------------------------------------------------------------


async def last_wait(world: World) -> float:
    """Between the last end of an engine and the launch of the next, which is waited for."""
    if not world.chronicle.launched_since_end(CHAT):
        await (await world.pool()).reached("starting")
    return world.chronicle.waits(CHAT)[-1]


def is_about(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= ABOUT * wanted + 1e-6


@then("the engine is launched again after about {time:Duration}")
async def launched_after_about(world: World, time: float) -> None:
    found = await last_wait(world)
    assert is_about(found, time), found


@then("the engine is launched again after {time:Duration}")
async def launched_after(world: World, time: float) -> None:
    assert await last_wait(world) == time, world.chronicle.waits(CHAT)


@then("the engine is launched again at once")
async def launched_at_once(world: World) -> None:
    await launched_after(world, 0.0)


@then("the engine is launched again after {least:Duration} to {most:Duration}")
async def launched_within(world: World, least: float, most: float) -> None:
    found = await last_wait(world)
    assert least <= found <= most, found


@then("the restarts came after about {times:List}")
async def came_after(world: World, times: list[float]) -> None:
    await last_wait(world)
    found = world.chronicle.waits(CHAT)
    assert len(found) == len(times), found
    assert all(map(is_about, found, times)), found


@then("the last restarts came after about {times:List}")
async def last_came_after(world: World, times: list[float]) -> None:
    await last_wait(world)
    found = world.chronicle.waits(CHAT)[-len(times) :]
    assert all(map(is_about, found, times)), found


@then("every restart came after {least:Duration} to {most:Duration}")
async def came_within(world: World, least: float, most: float) -> None:
    await last_wait(world)
    found = world.chronicle.waits(CHAT)
    assert all(least <= wait <= most for wait in found), found


@then("no restart came later than after {most:Duration}, and the last ones after about as much")
async def came_before(world: World, most: float) -> None:
    await last_wait(world)
    found = world.chronicle.waits(CHAT)
    assert max(found) <= most, found
    assert all(is_about(wait, most) for wait in found[-3:]), found


@then("hardly two of them came after the same time")
def spread(world: World) -> None:
    found = world.chronicle.waits(CHAT)
    assert len(set(found)) > 0.9 * len(found), found


@then("the engine is not launched again within {time:Duration}")
async def not_launched_within(world: World, time: float) -> None:
    before = world.chronicle.launches(CHAT)
    await asyncio.sleep(time)
    assert world.chronicle.launches(CHAT) == before


@then("the engine has been launched {times:Times}")
def launched_times(world: World, times: int) -> None:
    assert len(world.chronicle.launches(CHAT)) == times, world.chronicle.launches(CHAT)


# --- what is told of them --------------------------------------------------------------------------------


@then('no restart of "{pool}" was planned')
def not_planned(world: World, pool: str) -> None:
    assert all(fields["pool_id"] != pool for _, fields in world.log.about("RestartScheduled"))


@then("the log tells of a restart in about {time:Duration}, after {failures:Failures}")
def logged(world: World, time: float, failures: int) -> None:
    _, fields = world.log.about("RestartScheduled")[-1]
    assert is_about(fields["backoff_ms"], time * 1000), fields
    assert fields["crash_count"] == failures, fields


@then("it says at what time that will be")
def logged_time(world: World) -> None:
    """On the wall clock; no time has passed since."""
    _, fields = world.log.about("RestartScheduled")[-1]
    told = datetime.fromisoformat(fields["next_restart_at"]).timestamp()
    assert abs(told - world.wall - fields["backoff_ms"] / 1000) < 0.01, fields
    assert datetime.fromisoformat(fields["next_restart_at"]).tzinfo is UTC
