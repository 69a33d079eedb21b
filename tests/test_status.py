"""A pool's status, as a value."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.causes import Confidence, ExitStatus, FailureClass
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.reaching import a_pool_in
from tests.worlds import BROKEN, OLD, a_world, virtually


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
        assert (status.generation, status.pid, status.containment) == (1, engine.pid, "memory")
        assert status.url == f"http://127.0.0.1:{engine.request.port}"
        assert (status.model, status.slots, status.waiting) == (OLD, 3, 0)
        (blocker,) = status.leases
        assert (blocker.holder, blocker.age, blocker.expires_in) == ("req-1", 2.0, 58.0)
        assert (status.circuits, status.trial_in) == ({"general": "closed", "cuda": "closed"}, {})
        assert (status.crash_count, status.restart_count, status.storm) == (0, 0, None)
        assert (status.failure, status.next) == (None, "")
        assert status.intent == "run"
        assert (status.last_error, status.next_attempt_in, status.deadline_in) == (None, None, None)
        assert status.explanation == world.pool.explain()


@virtually
async def test_what_does_not_serve_shows_no_engine() -> None:
    """A starting engine's pid is nobody's business yet; the times say how long it may take."""
    async with a_pool_in(PoolState.STARTING) as world:
        status = world.pool.status()
        assert (status.generation, status.pid, status.url, status.containment) == (None, None, None, None)
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
        assert (status.generation, status.pid, status.url, status.containment) == (None, None, None, None)


@virtually
async def test_a_crash_is_shown_with_all_that_is_known_of_it() -> None:
    """B-SUPER-x1, 008, 030: class, confidence, evidence; how often; what comes next; where to look."""
    async with a_world(EngineScript(exits_after=3.0, exit=ExitStatus(signal=11))) as world:
        await world.ready()
        await world.pool.reached("backing_off")
        status = world.pool.status()
        assert status.failure is not None
        assert (status.failure.kind, status.failure.confidence) == (FailureClass.SIGNAL, Confidence.CERTAIN)
        assert status.failure.evidence[0] == "killed by SIGSEGV"
        assert (status.crash_count, status.restart_count) == (1, 0)
        assert status.next == "restart 1 in 1.0 s (back-off after 1 failure in a row)"
        assert status.crash_logs == world.manager.paths.crash_logs("chat")


@virtually
async def test_an_open_circuit_is_shown_with_its_time() -> None:
    """B-SUPER-022: and the restart storm that opened it, if it was one."""
    async with a_world(BROKEN, breaker=Breaker(threshold=2)) as world:
        world.begin(world.pool.start())
        await world.pool.reached("failed")
        await asyncio.sleep(100)
        status = world.pool.status()
        assert (status.circuits["general"], status.trial_in) == ("open", {"general": 200.0})
        assert status.next == "circuit 'general' is open, one trial in 3 min 20 s"


@virtually
async def test_a_model_on_its_way_is_shown_with_its_rate_and_time_left() -> None:
    """As long as it is on its way, and no longer."""
    async with a_world(staging=(StageScript(takes=10.0, steps=10),)) as world:
        assert world.pool.status().staging is None
        starting = await world.began(world.pool.start())
        await asyncio.sleep(2.5)
        staging = world.pool.status().staging
        assert staging is not None
        assert staging.reference == OLD
        assert staging.share == pytest.approx(0.2, abs=0.001)
        assert (staging.rate, staging.left) != (None, None)
        await starting
        assert world.pool.status().staging is None
