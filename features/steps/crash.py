"""Steps about engines that die or hang, and how that is noticed."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from pathlib import Path

from features.vocabulary import given, then, when
from features.world import CHAT, PATIENCE, World
from pool_lifecycle import ExitStatus
from pool_lifecycle.causes import LOST, Clue, ClueKind
from pool_lifecycle.lifecycle import LIFECYCLE

# --- how it dies, or does not ----------------------------------------------------------------------------

SEGFAULT, ABORTED = ExitStatus(signal=int(signal.SIGSEGV)), ExitStatus(signal=int(signal.SIGABRT))
KILLED = ExitStatus(signal=int(signal.SIGKILL))
OOM = Clue(ClueKind.OOM_KILL, "the kernel killed 1 process of its group for want of memory", proof=True)
OOM_KILLED = ExitStatus(signal=int(signal.SIGKILL), clues=(OOM,))

DEATHS = {
    "crashes": ("", SEGFAULT),
    "crashes with a CUDA error": ("CUDA error: an illegal memory access was encountered", ABORTED),
    "crashes on words that a user sent": ('prompt: "what is a CUDA error?"', SEGFAULT),
    "loses its device": ("the GPU has fallen off the bus", ABORTED),
    "runs out of device memory": ("cudaMalloc failed: out of memory", ABORTED),
    "is killed": ("", KILLED),
    "ends and nobody knows how": ("", LOST),
    "is killed for want of memory": ("", OOM_KILLED),
}
"""The last line that it writes, and how it ends."""


def die(world: World, death: str, pool: str = CHAT) -> None:
    words, status = DEATHS[death]
    engine = world.cast.newest(pool)
    if words:
        engine.say(words)
    engine.crash(status)


@given("the engine {death:Death}")
@when("the engine {death:Death}")
async def dies(world: World, death: str) -> None:
    """At once, or as soon as it lives again."""
    pool = await world.pool()
    if not LIFECYCLE.states[pool.state].live:
        await pool.reached("ready")
    die(world, death)


@given("the engine {death:Death} {times:Times} in a row")
@when("the engine {death:Death} {times:Times} in a row")
async def dies_in_a_row(world: World, death: str, times: int) -> None:
    """Each time as soon as it serves again."""
    await dies_each_time_after(world, death, times, 0.0)


@given("the engine {death:Death} {times:Times}, each time after {time:Duration}")
@when("the engine {death:Death} {times:Times}, each time after {time:Duration}")
async def dies_each_time_after(world: World, death: str, times: int, time: float) -> None:
    pool = await world.pool()
    for _ in range(times):
        await pool.reached("ready")
        await asyncio.sleep(time)
        die(world, death)
        await pool.reached("backing_off", "failed")


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


@when("the engine crashes while an operator stops the pool")
async def dies_while_stopped(world: World) -> None:
    pool = await world.pool()
    world.begin("stop", pool.stop())
    await pool.reached("stopping")
    die(world, "crashes")
    await world.finish("stop")


@when("the engine says a number and crashes, {times:Times} in a row")
async def says_and_dies(world: World, times: int) -> None:
    pool = await world.pool()
    for run in range(times):
        await pool.reached("ready")
        world.cast.newest().say(f"this is run {run + 1}")
        die(world, "crashes")
        await pool.reached("backing_off")


@given("the engine tells of a CUDA error and goes on")
@when("the engine tells of a CUDA error and goes on")
def goes_on(world: World) -> None:
    words, _ = DEATHS["crashes with a CUDA error"]
    world.cast.newest().say(words)


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


@then("the pool gives the engine up")
async def gives_up(world: World) -> None:
    pool = await world.pool()
    async with asyncio.timeout(PATIENCE):
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


@then('the failure is of the class "{kind}"')
async def has_class(world: World, kind: str) -> None:
    cause = (await world.pool()).snapshot.cause
    assert cause is not None, "nothing failed"
    assert cause.kind == kind, cause


@then('the log tells of the crash of "{pool}"')
def logged_crash_of(world: World, pool: str) -> None:
    assert pool in [fields["pool_id"] for _, fields in world.log.about("EngineCrashed")]


@then("the log tells of the crash, with:")
def logged_crash(world: World) -> None:
    (_, fields), *_ = world.log.about("EngineCrashed")
    world.assert_has_table(fields)


@then("the log tells of the crash as critical")
def logged_as_critical(world: World) -> None:
    assert [level for level, _ in world.log.about("EngineCrashed")] == [logging.CRITICAL]


@then("the log tells of no crash")
def logged_no_crash(world: World) -> None:
    assert not world.log.about("EngineCrashed")


@then("what it said in its runs {runs:Numbers} is kept")
def kept(world: World, runs: list[int]) -> None:
    files = sorted(Path(fields["path"]) for _, fields in world.log.about("CrashLogKept"))
    said = [file.read_text().splitlines() for file in files if file.exists()]
    assert said == [[f"this is run {run}"] for run in runs], said


@then('the log names a file with "{words}"')
def names_file(world: World, words: str) -> None:
    ((_, fields),) = world.log.about("CrashLogKept")
    assert words in Path(fields["path"]).read_text()


@then("the pool has counted {failures:Failures}, and that is kept")
async def counted(world: World, failures: int) -> None:
    known, kept = (await world.pool()).snapshot, world.store.pools[CHAT].snapshot
    assert (known.crash_count, kept.crash_count) == (failures, failures)


@then("the pool has counted {failures:Failures}")
async def counted_so_far(world: World, failures: int) -> None:
    snapshot = (await world.pool()).snapshot
    assert snapshot.crash_count == failures, snapshot


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
