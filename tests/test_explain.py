"""A pool's state in a few sentences."""

from __future__ import annotations

import asyncio
import contextlib

from pool_lifecycle.errors import StartFailed
from pool_lifecycle.lifecycle import PoolState
from tests.reaching import a_pool_in
from tests.worlds import BROKEN, a_world, virtually


@virtually
async def test_a_drain_names_its_blockers() -> None:
    """B-REG-x2: holders and their ages, the first three by name."""
    async with a_world(slots=5) as world:
        await world.ready()
        for number in range(5):
            world.pool.acquire(f"req-{number}")
            await asyncio.sleep(1)
        await world.began(world.pool.drain(20))
        await asyncio.sleep(1)
        assert world.pool.explain() == (
            "Pool 'chat' has been draining for 1.0 s: no new leases; those in flight may finish. "
            "It waits for 5 leases: req-0 (6.0 s), req-1 (5.0 s), req-2 (4.0 s) and 2 more. "
            "If that is not over in 19.0 s, the leases left are cut off."
        )


@virtually
async def test_a_failed_pool_says_what_would_help() -> None:
    """The remedy of what cannot heal; else the circuit, and when it allows a trial."""
    async with a_pool_in(PoolState.FAILED) as world:
        assert world.pool.explain().endswith(
            "Last failure: launch failed: no such flag. "
            "Trying again cannot help by itself. Mend it. Then start it."
        )
    async with a_world(BROKEN) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        assert "The next attempt is in 1.0 s." in world.pool.explain()
        await world.pool.reached("failed")
        assert "Circuit 'general' is open; it allows one trial in 5 min." in world.pool.explain()
        assert world.pool.explain().endswith("Reset its circuit to start at once.")


@virtually
async def test_what_happens_otherwise_is_said() -> None:
    """The deadline of the state and what comes after it; whether it is to stop."""
    async with a_pool_in(PoolState.STARTING) as world:
        assert "If that is not over in 10.0 s, it counts as failed." in world.pool.explain()
    async with a_pool_in(PoolState.STUCK) as world:
        assert "It is to stop." in world.pool.explain()
        assert world.pool.explain().endswith(
            f"Generation 1 (pid {world.engine.handle.pid}) could not be ended: "
            "it is watched; the pool goes on by itself once it is gone."
        )
    async with a_pool_in(PoolState.READY) as world:
        assert world.pool.explain().endswith("the engine serves. 0 of 2 slots taken.")


@virtually
async def test_a_change_of_model_names_the_new_one() -> None:
    """In every state of it; while it drains, what its deadline means is another thing than in a drain."""
    async with a_pool_in(PoolState.RELOADING_DRAINING) as world:
        assert "The new model is 'file:/new.gguf'." in world.pool.explain()
        assert world.pool.explain().endswith("the change is called off and the old model goes on.")
    async with a_pool_in(PoolState.RELOADING_RESTORING) as world:
        assert "Last failure: health check failed: no healthy answer" not in world.pool.explain()
        assert "Last failure: launch failed: it does not start." in world.pool.explain()
