"""Steps about managers that go, those that come after them, and the host that they run on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attrs import evolve

from features.steps.crash import die
from features.steps.engine import ended_by_force
from features.steps.program import begin_answering
from features.vocabulary import given, then, when
from features.world import CHAT, World
from pool_lifecycle.boot import Boot
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers.procfs import TICKS_PER_SECOND
from tests.reborn import BOOT

DAY = 86400.0

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import asyncio, pickle, sys
from pool_lifecycle import PoolManager

async def main():
    folder, spec = pickle.load(sys.stdin.buffer)
    async with PoolManager(folder) as manager:
        pool = await manager.add(spec)
        await pool.start()
        print(pool.status().pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

# --- what is declared ------------------------------------------------------------------------------------


@given("a pool that is to outlive its manager")
def outlives(world: World) -> None:
    world.declare(on_manager_exit="keep")


@given("a pool that is to end with its manager")
def ends_with_it(world: World) -> None:
    world.declare(on_manager_exit="stop")


# --- managers that go ------------------------------------------------------------------------------------


def leaders(world: World) -> list[int]:
    """The leading processes of the pool's engines."""
    return [one.pid for one in handles(world) if one.pid is not None]


def handles(world: World) -> list[EngineHandle]:
    """By which the pool's engines are known."""
    engines = world.manager[CHAT].snapshot.engines
    return [one.handle for one in engines if one.handle is not None]


def ticks_now() -> int:
    """The time as the kernel notes it of a process that begins."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)


async def kill(world: World) -> None:
    """And remember which engine there was."""
    if CHAT in world.manager:
        world.notes["engines"] = leaders(world)
    await world.lose_manager()


@given("its manager is killed, and another one takes over")
@when("its manager is killed, and another one takes over")
async def replaced(world: World) -> None:
    await kill(world)
    await world.take_over()


@given("its manager is killed, and another one takes over after {time:Duration}")
@when("its manager is killed, and another one takes over after {time:Duration}")
async def replaced_later(world: World, time: float) -> None:
    await kill(world)
    await asyncio.sleep(time)
    await world.take_over()


@when("its manager is closed, and another one takes over")
async def closed(world: World) -> None:
    world.notes["engines"] = leaders(world)
    await world.manager.close()
    await world.take_over()


@given("its manager is killed, the engine {death:Death}, and another manager takes over")
@when("its manager is killed, the engine {death:Death}, and another manager takes over")
async def replaced_too_late(world: World, death: str) -> None:
    await kill(world)
    if world.real:
        end(*world.notes["engines"])
    else:
        die(world, death)
    await world.take_over()


def end(pid: int) -> None:
    """As a manager that is no longer there would, its parent reaps it."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


# --- a manager in a program of its own ---------------------------------------------------------------------


def begin_program() -> subprocess.Popen[bytes]:
    argv, pipe = (sys.executable, "-c", PROGRAM), subprocess.PIPE
    return subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe)


@given("another program whose manager keeps the pool ready")
async def elsewhere(world: World) -> None:
    outlives(world)
    program = begin_program()
    world.strangers.append(program)
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(pickle.dumps((world.folder / "elsewhere", world.spec)))
    program.stdin.flush()
    world.notes["engines"] = [int(await asyncio.to_thread(program.stdout.readline))]


@given("that program is killed, and we take the pool over")
@when("that program is killed, and we take the pool over")
async def taken_over(world: World) -> None:
    world.strangers[-1].kill()
    world.strangers[-1].wait()
    await world.manager.close()
    world.manager = world.make_manager(world.folder / "elsewhere", None)
    world.registry = world.manager.registry
    await world.manager.__aenter__()
    await world.pool()


# --- the host ----------------------------------------------------------------------------------------------


async def reboot(world: World, time: float, *, ahead: float = 0.0) -> None:
    """Everything that ran is gone. What was imagined belongs to a boot, too, as far as the records say."""
    await kill(world)
    for engine in world.cast.engines:
        engine.crash()
    correct_records(world, lambda handle: evolve(handle, boot_id=BOOT.id))
    await asyncio.sleep(time)
    world.wall += ahead
    world.boot = Boot("the next boot", "the next boot")
    await world.take_over()


def correct_records(world: World, corrected: Callable[[EngineHandle], EngineHandle]) -> None:
    """While no manager runs, change what is kept of how engines are known."""
    for pool_id, kept in world.store.pools.items():
        engines = tuple(
            one if one.handle is None else evolve(one, handle=corrected(one.handle))
            for one in kept.snapshot.engines
        )
        world.store.pools[pool_id] = evolve(kept, snapshot=evolve(kept.snapshot, engines=engines))


@when("the host goes down, and is back after {time:Duration}")
async def rebooted(world: World, time: float) -> None:
    await reboot(world, time)


@when("the host goes down, and its clock is a day behind when it is back")
async def rebooted_before(world: World) -> None:
    await reboot(world, 60.0, ahead=-DAY)


@when("its manager is killed, its records are lost, and another one takes over")
async def forgotten(world: World) -> None:
    await kill(world)
    world.store.pools.clear()
    await world.take_over()


@when("its manager is killed, and another program gets the number of its engine before the next one comes")
async def reused(world: World) -> None:
    """Numbers cannot be given out at will: so it is the record that gets another one.

    No number is given out twice within a tick of the kernel's clock, so the other program may not begin in
    the tick in which the engine did.
    """
    (handle,) = handles(world)
    await kill(world)
    end(*world.notes["engines"])
    await world.until(lambda: ticks_now() > (handle.start_ticks or 0))
    begin_answering(world)
    stranger = world.strangers[-1].pid
    correct_records(world, lambda handle: evolve(handle, pid=stranger))
    await world.take_over()


# --- what the next one finds -------------------------------------------------------------------------------


@then("the same engine goes on serving")
async def goes_on(world: World) -> None:
    pool = await world.pool()
    assert pool.status().ready, pool.explain()
    assert leaders(world) == world.notes["engines"]


@then("the engine was ended by force, {time:Duration} after it had been asked to end")
async def ended_in_time(world: World, time: float) -> None:
    pool = await world.pool()
    await pool.reached("stopped")
    assert world.chronicle.endings(CHAT) == [time], world.chronicle.endings(CHAT)
    ended_by_force(world)
