"""What must hold of a pool in every one of its states."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pool_lifecycle.errors import IllegalEvent, LeaseRefused, ManagerClosed, PoolLifecycleError
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.testing import virtual_time
from tests.reaching import LIMITS, WAYS, a_pool_in
from tests.worlds import World, virtually

everywhere = pytest.mark.parametrize("state", PoolState)

BOUND = LIMITS.stop_grace + LIMITS.reclaim
"""V2: seconds in which every stop has reached `stopped` or `stuck`, computable from the configuration."""


def test_there_is_a_way_into_every_state() -> None:
    """So that nothing here passes over one."""
    assert set(WAYS) == set(PoolState)


@everywhere
@virtually
async def test_stop_ends_within_its_bound(state: PoolState) -> None:
    """V2 StopTerminates: stop reaches `stopped`, or `stuck` with an error that says so, in bounded time."""
    async with a_pool_in(state) as world:
        began = world.now
        with contextlib.suppress(PoolLifecycleError):
            await world.pool.stop()
        assert world.pool.state is (PoolState.STUCK if state is PoolState.STUCK else PoolState.STOPPED)
        assert world.now - began <= BOUND


@everywhere
@virtually
async def test_a_stop_without_grace_ends_at_once(state: PoolState) -> None:
    """A kill moves earlier, whatever was promised before; only the unkillable outlives it."""
    async with a_pool_in(state) as world:
        began = world.now
        with contextlib.suppress(PoolLifecycleError):
            await world.pool.stop(grace=0)
        assert world.now == began


@everywhere
@virtually
async def test_start_leads_to_ready_or_says_why_not(state: PoolState) -> None:
    """From everywhere: whoever starts is answered, and is told the truth."""
    async with a_pool_in(state) as world:
        asked = await world.began(world.pool.start())
        if state is PoolState.STUCK:
            await asyncio.sleep(1)
            world.engine.release()
        await asyncio.wait((asked,))
        assert (asked.exception() is None) == LIFECYCLE.states[world.pool.state].serving


@everywhere
@virtually
async def test_drain_ends_everywhere(state: PoolState) -> None:
    """B-DRAIN-x2: where nothing serves it is a stop; it always has an outcome, and nothing lives after it."""
    async with a_pool_in(state) as world:
        began = world.now
        asked = await world.began(world.pool.drain(10))
        if state is PoolState.STUCK:
            world.engine.release()
            await asyncio.gather(asked, return_exceptions=True)
            return
        outcome = await asked
        assert outcome.pool_id == "chat"
        assert world.pool.state is PoolState.STOPPED
        assert not world.living
        assert world.now - began <= 10 + BOUND


@everywhere
@virtually
async def test_leases_are_granted_exactly_where_the_table_says(state: PoolState) -> None:
    """The gate, the registry and the table agree in every state (B-REG, S10)."""
    async with a_pool_in(state) as world:
        declared = LIFECYCLE.states[state]
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert (entry.live, entry.ready) == (declared.live, declared.serving)
        assert entry.draining == (state in {PoolState.DRAINING, PoolState.RELOADING_DRAINING})
        assert _grants(world) == declared.serving


def _grants(world: World) -> bool:
    try:
        world.pool.acquire("probe").release()
    except LeaseRefused as refused:
        return refused.state != world.pool.state
    return True


@everywhere
@virtually
async def test_resume_and_allow_one_are_legal_where_the_table_says(state: PoolState) -> None:
    """Elsewhere they are IllegalEvent, naming what is possible, and nothing changes."""
    async with a_pool_in(state) as world:
        before = world.pool.snapshot
        for name, ask in (("resume", world.pool.resume), ("allow_one", world.pool.allow_one)):
            if (state, name) not in LIFECYCLE.rows:
                with pytest.raises(IllegalEvent, match="nothing changed; possible here: ") as caught:
                    await ask()
                assert caught.value.state == state
                assert world.pool.snapshot is before


@everywhere
@virtually
async def test_a_cancelled_caller_changes_nothing(state: PoolState) -> None:
    """Cancelling who asked for a stop cancels the wait, not the stop; nobody is left in the waiting list."""
    async with a_pool_in(state) as world:
        for asking in (world.pool.stop(), world.pool.drain(3), world.pool.reached()):
            caller = await world.began(asking)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError, PoolLifecycleError):
                await caller
        await asyncio.sleep(3 + BOUND)
        assert world.pool.state is (PoolState.STUCK if state is PoolState.STUCK else PoolState.STOPPED)


@everywhere
@virtually
async def test_the_manager_can_leave_everywhere(state: PoolState) -> None:
    """Leaving answers whoever waits (V4), ends everything in bounded time (V2), and leaves nothing behind."""
    ends_in = PoolState.STUCK if state is PoolState.STUCK else PoolState.STOPPED
    async with a_pool_in(state, ends_in=ends_in) as world:
        waiting = await world.began(world.pool.reached())
        began = world.now
        await world.manager.close()
        await virtual_time.settle()
        assert isinstance(waiting.exception(), ManagerClosed)
        assert world.now - began <= BOUND
        with pytest.raises(ManagerClosed):
            await world.pool.start()


@everywhere
@virtually
async def test_its_state_can_be_told(state: PoolState) -> None:
    """`status()` and `explain()` have something to say in every state, and no placeholder slips through."""
    async with a_pool_in(state) as world:
        await asyncio.sleep(0.5)
        status = world.pool.status()
        assert status.state is state
        assert f"'chat' has been {state}" in status.explanation
        assert "None" not in status.explanation
        assert "<" not in status.explanation
