"""What must come about once nothing goes wrong any more and nobody asks for anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.errors import PoolLifecycleError
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.pool import Pool
from pool_lifecycle.snapshot import Intent
from pool_lifecycle.table import Kind
from tests.whole import devices, watching
from tests.whole.invariants import held

if TYPE_CHECKING:
    from tests.whole.life import Life
    from tests.whole.world import World

SETTLES = 400.0
"""Seconds in which everything comes to rest: the longest opening of a circuit, some back-offs, a start."""

HEARD = 2.0
"""Seconds in which what a device reports is heard of, and an operator can see to it."""

QUIET = 45.0
"""Seconds for which a steady pool is watched."""

ENDS = 25.0
"""Seconds in which whoever asked is answered, once the manager has closed."""


async def rest(world: World, life: Life, settles: float = SETTLES, quiet: float = QUIET) -> None:
    """Let all faults end, wait, look; then stop everything and look again."""
    calm(world)
    await asyncio.sleep(HEARD)
    devices.see_to_all(world)
    await asyncio.sleep(settles - HEARD)
    if life.over:
        return
    for pool in life.manager or ():
        world.check(v1_settles, pool)
        world.check(v5_permit_returns, pool)
    world.check(v4_everybody_answered, life)
    world.check(watching.sweep, world)
    await _v8_quiet(world, life, quiet)
    for pool in life.manager or ():
        await _stopped(world, pool)


def calm(world: World) -> None:
    """From now on nothing goes wrong."""
    world.kill_at = None
    world.on_entry.clear()
    world.life.calm.set()
    world.life.loop.threads_take = 0.0
    world.faults.calm()
    world.disk.heal()
    world.devices.heal(world.host.now)
    world.natures.clear()
    world.host.strangers.clear()
    for process in world.host.living:
        process.hanging = process.ill = False
        process.release()
    world.note("calm")


def v1_settles(pool: Pool) -> None:
    """V1: it is where it was to be, or failed for a reason that somebody has to see to."""
    snapshot, state = pool.snapshot, LIFECYCLE.states[pool.state]
    held(state.kind is Kind.STABLE, f"{pool.pool_id} is still {pool.state}")
    if snapshot.intent is Intent.STOPPED:
        held(pool.state is PoolState.STOPPED, f"{pool.pool_id} was to stop, and is {pool.state}")
    elif pool.state is PoolState.FAILED:
        hopeless = snapshot.cause is not None and not snapshot.cause.heals
        held(hopeless, f"{pool.pool_id} failed, though trying again would help: {pool.explain()}")
    else:
        held(pool.state is PoolState.READY, f"{pool.pool_id} was to run, and is {pool.state}")


def v4_everybody_answered(life: Life) -> None:
    """V4: who asked has been answered."""
    held(not [one for one in life.asking if not one.done()], "somebody still waits for an answer")


def v5_permit_returns(pool: Pool) -> None:
    """V5: no trial lasts: it has come to a verdict."""
    trials = [one for one in pool.snapshot.circuits if one.state is BreakerState.TRIAL]
    held(not trials, f"the trial of {trials} has never ended")


async def _v8_quiet(world: World, life: Life, quiet: float) -> None:
    """V8: a pool that is steady causes no writes."""
    saves, syncs = world.disk.saves, world.disk.syncs
    await asyncio.sleep(quiet)
    world.check(v8_quiet, world.disk.saves - saves, world.disk.syncs - syncs, life)


def v8_quiet(saves: int, syncs: int, life: Life) -> None:
    """V8: no writes, and no timers but one for all looks at engines, and one for the simulated host."""
    held(not saves, f"{saves} writes at rest")
    held(not syncs, f"{syncs} syncs at rest")
    timers = [one for one in life.loop._scheduled if not one.cancelled()]
    held(len(timers) <= 3 + 3 * len(life.manager or ()), f"{len(timers)} timers at rest: {timers}")


async def _stopped(world: World, pool: Pool) -> None:
    """V2: a stop ends within the time that the configuration gives."""
    limits, began = pool.spec.limits, world.host.now
    world.wished[pool.pool_id, "stop"] += 1
    try:
        await pool.stop()
    except PoolLifecycleError as error:
        world.fail("v2_stop_terminates", f"{pool.pool_id} could not be stopped: {error}")
        return
    took = world.host.now - began
    world.check(v2_stop_terminates, pool, took, limits.stop_grace + limits.reclaim + 1.0)


def v2_stop_terminates(pool: Pool, took: float, bound: float) -> None:
    """V2: stopped within the bound, S6: and nothing is left."""
    held(took <= bound, f"stopping {pool.pool_id} took {took:.3f} s")
    held(pool.state is PoolState.STOPPED, f"{pool.pool_id} is {pool.state} after a stop")


async def ended(world: World, life: Life) -> None:
    """V4, S5, S19: after an orderly end everybody has been told, and nothing is left at work or running."""
    for task in life.holding:
        task.cancel()
    if life.asking:
        await asyncio.wait(life.asking, timeout=ENDS)
    if life.over:
        return
    world.check(v4_everybody_answered, life)
    for task in life.asking:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            world.fail("v4_everybody_answered", f"whoever asked got {error!r}")
    await asyncio.sleep(0)
    world.check(s5_ended, world)
    if not world.faults.touched:
        others = asyncio.all_tasks(life.loop) - {asyncio.current_task()} - set(life.holding)
        names = sorted(one.get_name() for one in others if not one.done())
        if names:
            world.fail("s19_bounded", f"tasks outlive the manager: {names}")
    if life.errors:
        world.fail("s19_bounded", f"errors that nobody handles: {life.errors}")


def s5_ended(world: World) -> None:
    """S5: an orderly end leaves nothing of pools that are to end with their manager but what is on record."""
    for process in world.host.living:
        if world.specs[process.pool_id].on_manager_exit == "keep":
            continue
        kept = world.disk.kept.pools.get(process.pool_id)
        known = () if kept is None else (*kept.snapshot.engines, *kept.snapshot.quarantine)
        held(process.token in {one.token for one in known}, f"{process} was left behind by its manager")
