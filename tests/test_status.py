"""A pool's status, as a value."""

from __future__ import annotations

import asyncio

from pool_lifecycle.lifecycle import PoolState
from tests.reaching import a_pool_in
from tests.worlds import OLD, a_world, virtually


@virtually
async def test_a_serving_pool_shows_its_engine_its_leases_and_its_times() -> None:
    """Everything people ask for, without asking the engine."""
    async with a_world(slots=3) as world:
        engine = await world.ready()
        world.pool.acquire("req-1", ttl=60)
        await asyncio.sleep(2)
        status = world.pool.status()
        assert (status.pool_id, status.state, status.since) == ("chat", PoolState.READY, 2.0)
        assert (status.live, status.ready, status.draining) == (True, True, False)
        assert (status.generation, status.pid) == (1, engine.pid)
        assert status.url == f"http://127.0.0.1:{engine.request.port}"
        assert (status.model, status.slots, status.waiting) == (OLD, 3, 0)
        (blocker,) = status.leases
        assert (blocker.holder, blocker.age, blocker.expires_in) == ("req-1", 2.0, 58.0)
        assert status.circuits == {"general": "closed"}
        assert status.intent == "run"
        assert (status.last_error, status.next_attempt_in, status.deadline_in) == (None, None, None)
        assert status.explanation == world.pool.explain()


@virtually
async def test_what_does_not_serve_shows_no_engine() -> None:
    """A starting engine's pid is nobody's business yet; the times say how long it may take."""
    async with a_pool_in(PoolState.STARTING) as world:
        status = world.pool.status()
        assert (status.generation, status.pid, status.url) == (None, None, None)
        assert status.deadline_in == 10.0
        assert status.observed == "/health: connection refused"
    async with a_pool_in(PoolState.BACKING_OFF) as world:
        await asyncio.sleep(0.4)
        status = world.pool.status()
        assert status.next_attempt_in is not None
        assert round(status.next_attempt_in, 6) == 0.6
        assert status.last_error == "launch failed: it does not start"


@virtually
async def test_looking_at_a_pool_costs_it_nothing() -> None:
    """A pool that was never started stays as small as it was."""
    async with a_world() as world:
        assert world.pool.status().state is PoolState.STOPPED
        assert world.pool._staff_ is None


@virtually
async def test_an_engine_on_its_way_out_is_shown_no_more() -> None:
    """Its pid and url are of no use to anybody."""
    async with a_pool_in(PoolState.STOPPING) as world:
        status = world.pool.status()
        assert (status.generation, status.pid, status.url) == (None, None, None)
