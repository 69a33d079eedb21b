"""The way into every state of a pool, for tests that have to hold in all of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from attrs import evolve, frozen

from pool_lifecycle.events import Strategy
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.worlds import (
    BROKEN,
    HOPELESS,
    INSTANT,
    NEVER_READY,
    NEW,
    SLOW_STAGING,
    STUBBORN,
    UNKILLABLE,
    WORKS,
    World,
    a_world,
)

LIMITS = Limits(start=10.0, start_hard=10.0, proving=5.0)
"""An engine that is not ready is given up after 10 s, so that tests of this are about what comes after.

A new model has 5 s in which it may still fail.
"""

DEAF_AND_NEVER_READY = evolve(NEVER_READY, ignores_term=True)


@frozen
class Way:
    """How a state is reached: how the engines behave, how stagings go, and what is asked."""

    scripts: tuple[EngineScript, ...]
    ask: Callable[[World], Awaitable[object]]
    staging: tuple[StageScript, ...] = (INSTANT,)


async def nothing(_world: World) -> None:
    """It is there already."""


async def start(world: World) -> None:
    await world.began(world.pool.start())


async def start_and_wait(world: World) -> None:
    """Until the start has been given up."""
    await start(world)
    await world.pool.reached(PoolState.RECOVERING)


async def drain(world: World) -> None:
    await world.ready()
    await world.pool.grant("somebody")
    await world.began(world.pool.drain(60))


async def stop(world: World) -> None:
    await world.ready()
    await world.began(world.pool.stop())


async def stop_in_vain(world: World) -> None:
    await stop(world)
    await world.pool.reached(PoolState.STUCK)


def reload(
    strategy: Strategy, *until: PoolState, lease: bool = False
) -> Callable[[World], Awaitable[object]]:
    """A change of model, and how far it is waited for."""

    async def ask(world: World) -> None:
        await world.ready()
        if lease:
            await world.pool.grant("somebody")
        await world.began(world.pool.reload(NEW, strategy=strategy))
        if until:
            await world.pool.reached(*until)

    return ask


S, FIRST, AHEAD, SURGE = PoolState, Strategy.DRAIN_FIRST, Strategy.STAGE_FIRST, Strategy.SURGE
SECOND_SLOW = (INSTANT, SLOW_STAGING)

WAYS: dict[PoolState, Way] = {
    S.STOPPED: Way((WORKS,), nothing),
    S.STAGING: Way((WORKS,), start, (SLOW_STAGING,)),
    S.STARTING: Way((NEVER_READY,), start),
    S.READY: Way((WORKS,), World.ready),
    S.DRAINING: Way((WORKS,), drain),
    S.STOPPING: Way((STUBBORN,), stop),
    S.RECOVERING: Way((DEAF_AND_NEVER_READY, WORKS), start_and_wait),
    S.BACKING_OFF: Way((BROKEN, WORKS), start),
    S.FAILED: Way((HOPELESS,), start),
    S.STUCK: Way((UNKILLABLE, WORKS), stop_in_vain),
    S.STAGING_AHEAD: Way((WORKS,), reload(AHEAD), SECOND_SLOW),
    S.RELOADING_DRAINING: Way((WORKS,), reload(FIRST, lease=True)),
    S.RELOADING_STAGING: Way((WORKS,), reload(FIRST), SECOND_SLOW),
    S.RELOADING_STOPPING: Way((STUBBORN, WORKS), reload(FIRST)),
    S.RELOADING_STARTING: Way((WORKS, NEVER_READY, WORKS), reload(FIRST)),
    S.RELOADING_UNDOING: Way((WORKS, DEAF_AND_NEVER_READY, WORKS), reload(FIRST, S.RELOADING_UNDOING)),
    S.RELOADING_PROVING: Way((WORKS,), reload(FIRST, S.RELOADING_PROVING)),
    S.RELOADING_RESTORING: Way((WORKS, BROKEN, NEVER_READY), reload(FIRST, S.RELOADING_RESTORING)),
    S.SURGING_STAGING: Way((WORKS,), reload(SURGE), SECOND_SLOW),
    S.SURGING_STARTING: Way((WORKS, NEVER_READY), reload(SURGE)),
    S.SURGING_PROVING: Way((WORKS,), reload(SURGE, S.SURGING_PROVING, lease=True)),
    S.RETIRING: Way((WORKS,), reload(SURGE, S.RETIRING, lease=True)),
}
"""For every state of the table."""


@contextlib.asynccontextmanager
async def a_pool_in(state: PoolState, **options: Any) -> AsyncIterator[World]:
    """A world whose pool is in `state`; what is unkillable there is let go at the end."""
    way = WAYS[state]
    options.setdefault("limits", LIMITS)
    async with a_world(*way.scripts, staging=way.staging, **options) as world:
        await way.ask(world)
        await virtual_time.settle()
        assert world.pool.state is state
        yield world
        for engine in world.launcher.engines:
            engine.release()
