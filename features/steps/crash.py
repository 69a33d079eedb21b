"""Steps about engines that die or hang, and how that is noticed."""

from __future__ import annotations

import asyncio
import re
import signal

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle import ExitStatus
from pool_lifecycle.lifecycle import LIFECYCLE

# --- how it dies, or does not ----------------------------------------------------------------------------


@given("an engine that is done when it ends with exit code 0")
def may_be_done(world: World) -> None:
    world.declare_engine(exit_zero="graceful")


@given("an engine that is never done")
def never_done(world: World) -> None:
    world.declare_engine(exit_zero="crash")


@given("it ends with exit code {code:d} while it is loading")
def ends_early_with(world: World, code: int) -> None:
    world.imagine(ready_after=None, exits_after=1.0, exit=ExitStatus(code=code))


@when("the engine ends with exit code {code:d}")
def ends_with(world: World, code: int) -> None:
    world.cast.engines[-1].crash(ExitStatus(code=code))


@when("the engine hangs until it is given up")
async def hangs(world: World) -> None:
    world.cast.engines[-1].hang()
    await world.attempt((await world.pool()).reached("recovering", "backing_off"))


@when("the engine hangs for {time:Duration}")
async def hangs_for(world: World, time: float) -> None:
    engine = world.cast.engines[-1]
    engine.hang()
    await asyncio.sleep(time)
    engine.heal()


@given("a pool that looks after its engine four times a second")
def looks_often(world: World) -> None:
    world.declare_health(interval=0.25, timeout=0.25)


async def send(world: World, number: signal.Signals) -> None:
    (leader,) = world.family()
    leader.send_signal(number)


@when("somebody ends the engine by force")
async def killed(world: World) -> None:
    await send(world, signal.SIGKILL)


@when("somebody freezes the engine")
async def frozen(world: World) -> None:
    await send(world, signal.SIGSTOP)


# --- what is known of it ---------------------------------------------------------------------------------


@then("the pool gives the engine up within {time:Duration}")
async def gives_up(world: World, time: float) -> None:
    pool = await world.pool()
    async with asyncio.timeout(time):
        await pool.reached("recovering", "backing_off")
    await pool.reached("backing_off")
    assert not LIFECYCLE.states[pool.state].live


@then("that took between {least:g} and {most:g} seconds")
def took_between(world: World, least: float, most: float) -> None:
    assert least <= world.elapsed <= most, world.elapsed


@then("the log tells that the engine ended with exit code {code:d}")
def logged_exit(world: World, code: int) -> None:
    ((_, fields),) = world.log.about("EngineEnded")
    assert fields["exit_code"] == code, fields


@then("the log has the times of {count:d} failed health checks")
def logged_checks(world: World, count: int) -> None:
    ((_, fields),) = world.log.about("EngineUnhealthy")
    assert len(fields["failed_at"]) == count, fields


@then("the pool says how many of {needed:d} health checks failed")
async def says(world: World, needed: int) -> None:
    explanation = (await world.pool()).explain()
    assert re.search(rf"[1-9] of {needed} health checks failed: no answer within", explanation), explanation


@then("{whose} engine serves")
async def serves(world: World, whose: str) -> None:
    expected = {"another": 2, "the same": 1}[whose]
    status = (await world.pool()).status()
    assert (status.ready, status.generation, len(world.cast.engines)) == (True, expected, expected)


@then('the last error of "{pool}" names "{word}"')
def names(world: World, pool: str, word: str) -> None:
    entry = world.registry.get(pool)
    assert entry is not None
    assert word in (entry.last_error or ""), entry.last_error
