"""Why a pool grants no leases, told to whoever asks for one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.errors import LeaseRefused, PoolDraining, PoolNotReady, StartFailed
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.refusals import refusal, residue
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Intent
from pool_lifecycle.testing import virtual_time
from tests.pools import CRASH, HOPELESS, NOW, OPEN, pool_in
from tests.reaching import a_pool_in
from tests.worlds import BROKEN, NEVER_READY, World, a_world, virtually

S = PoolState


def told(state: PoolState, now: float = NOW, **changes: Any) -> str:
    return str(refusal(pool_in(state, **changes)).error("chat", now))


STOPPED = "pool 'chat' (stopped): does not grant leases; start the pool and wait until it is ready"


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (S.STOPPED, {}, STOPPED.removeprefix("pool 'chat' (stopped): ")),
        (S.STAGING, {}, "is starting: its model is being put in place; wait until it is ready"),
        (S.STARTING, {}, "is starting: its engine is not healthy yet; wait until it is ready"),
        (S.STOPPING, {}, "its engine is being ended; start the pool and wait until it is ready"),
        (S.STOPPING, {"intent": Intent.RUN}, "its engine is being ended; wait until it is ready"),
        (S.STOPPING, {"intent": Intent.RUN_WHEN_LOADED}, "is being ended; its manager is closing"),
        (
            S.RECOVERING,
            {},
            "is being cleared up (run failed: killed by SIGSEGV); wait until it is ready",
        ),
        (S.BACKING_OFF, {"not_before": NOW + 3.2}, "SIGSEGV; it starts again by itself in 3.2 s"),
        (
            S.FAILED,
            {"cause": evolve(HOPELESS, remedy="take the flag out")},
            "launch failed: unknown flag --fast; take the flag out; then start the pool",
        ),
        (S.FAILED, {}, "so mend the cause; then start the pool"),
        (
            S.FAILED,
            {"cause": CRASH, "circuits": (OPEN,)},
            (
                "circuit 'general' is open after 5 failures in a row (run failed: killed by SIGSEGV); "
                "reset it, or allow one start, or wait: a trial is allowed in 5 min"
            ),
        ),
        (
            S.FAILED,
            {"cause": CRASH, "circuits": (OPEN, Circuit("device", BreakerState.OPEN, until=NOW + 60))},
            "a trial is allowed in 5 min",
        ),
        (
            S.FAILED,
            {"cause": None, "circuits": (Circuit("device 0", BreakerState.OPEN, shared=True),)},
            "circuit 'device 0' is in quarantine, as something on that device cannot be killed; it ends once",
        ),
        (
            S.FAILED,
            {"cause": CRASH, "circuits": (evolve(OPEN, state=BreakerState.CLOSED, until=None),)},
            "run failed: killed by SIGSEGV; start the pool",
        ),
        (
            S.STUCK,
            {},
            (
                "generation 1 (pid unknown) could not be ended; "
                "it is watched; the pool goes on by itself once it is gone"
            ),
        ),
        (S.DRAINING, {}, "is draining and takes no new leases; use another pool, or resume this one"),
        (
            S.RELOADING_DRAINING,
            {},
            (
                "is draining, to change its model to 'file:/new.gguf'; "
                "wait until it is ready, or call the change off with resume"
            ),
        ),
        (S.RELOADING_STARTING, {}, "is changing its model to 'file:/new.gguf'; wait until it is ready"),
        (S.RELOADING_UNDOING, {}, "going back to its old model, as 'file:/new.gguf' failed; wait until"),
    ],
)
def test_each_state_has_its_own_words(state: PoolState, changes: dict[str, Any], words: str) -> None:
    """B-DRAIN-002: what is so, and what would help, not "start the pool" in every case."""
    assert words in told(state, **changes)


@pytest.mark.parametrize("state", [name for name, one in LIFECYCLE.states.items() if not one.serving])
def test_a_drain_is_told_by_its_type(state: PoolState) -> None:
    """Whoever is to try another pool needs not read the words."""
    error = refusal(pool_in(state)).error("chat", NOW)
    assert error.state == state
    assert isinstance(error, PoolDraining if "draining" in state else PoolNotReady)
    assert error.remedy


def test_what_is_left_is_named_by_pid() -> None:
    """As far as it is known."""
    pool = pool_in(S.STUCK)
    (one,) = pool.engines
    assert one.handle is not None
    assert residue(evolve(pool, engines=(evolve(one, handle=evolve(one.handle, pid=17)),))) == (
        "generation 1 (pid 17)"
    )
    assert residue(evolve(pool, engines=(evolve(one, handle=None),))) == "generation 1 (pid unknown)"
    assert residue(evolve(pool, engines=())) == "the engine"


def refused(world: World) -> str:
    with pytest.raises(LeaseRefused) as caught:
        world.pool.acquire("me")
    return str(caught.value)


@virtually
async def test_the_gate_of_a_pool_says_it() -> None:
    """At every moment what is true then: the wait, then the circuit."""
    async with a_world(BROKEN) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        assert refused(world).endswith("it does not start; it starts again by itself in 1.0 s")
        await asyncio.sleep(0.5)
        assert refused(world).endswith("it starts again by itself in 500 ms")
        await world.pool.reached("failed")
        assert refused(world).endswith("or wait: a trial is allowed in 5 min")
    async with a_pool_in(S.STUCK) as world:
        assert f"generation 1 (pid {world.engine.handle.pid}) could not be ended" in refused(world)


@virtually
async def test_the_gate_follows_what_is_wanted_within_a_state() -> None:
    """A start asked for while the old engine is ended changes what whoever asks for a lease has to do."""
    async with a_pool_in(S.STOPPING) as world:
        assert refused(world).endswith("start the pool and wait until it is ready")
        world.begin(world.pool.start())
        await virtual_time.settle()
        assert world.pool.state is S.STOPPING
        assert refused(world).endswith("is being ended; wait until it is ready")


@virtually
async def test_a_pool_on_its_way_says_to_wait() -> None:
    """It was started already."""
    async with a_world(NEVER_READY) as world:
        assert refused(world) == STOPPED
        await world.began(world.pool.start())
        assert refused(world).endswith("is starting: its engine is not healthy yet; wait until it is ready")
