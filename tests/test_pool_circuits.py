"""Crashes, back-off and circuits at run time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import ExitStatus, FailureClass
from pool_lifecycle.errors import IllegalEvent, StartFailed
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import CircuitMoved, EngineEnded
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import BROKEN, NEVER_READY, NEW, WORKS, World, a_world, timers, virtually

DELAYS = 1 + 2 + 4 + 8
"""Seconds of back-off before the 5th attempt."""


async def opened(world: World) -> None:
    """Fail five times."""
    with contextlib.suppress(StartFailed):
        await world.pool.start()
    await world.pool.reached("failed")


def moves(world: World) -> list[tuple[str, str]]:
    return [(str(one.change.old), str(one.change.new)) for one in world.of(CircuitMoved)]


@virtually
async def test_a_crash_is_noticed_at_once_and_recovered_from() -> None:
    """B-SUPER-001, 004, 005, V3: unready at once, the signal's name as the last error; then ready again."""
    async with a_world() as world:
        engine = await world.ready()
        await asyncio.sleep(5)
        began = world.now
        engine.crash(ExitStatus(signal=11))
        await world.pool.reached("recovering")
        assert world.now == began
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert (entry.live, entry.ready) == (False, False)
        assert entry.last_error == "run failed: the engine ended after 5.0 s (killed by SIGSEGV)"
        await world.pool.reached("ready")
        assert world.now - began == 1.0
        ended = world.of(EngineEnded)[0]
        assert (ended.generation, ended.uptime, ended.cause.kind) == (1, 5.0, FailureClass.SIGNAL)


@virtually
async def test_a_graceful_end_stops_the_pool() -> None:
    """B-SUPER-006: exit code 0 of a healthy engine: no restart, and the pool is wanted no more."""
    async with a_world() as world:
        engine = await world.ready()
        engine.crash(ExitStatus(code=0))
        await world.pool.reached("stopped")
        await asyncio.sleep(3600)
        assert world.pool.status().intent == "stopped"
        assert len(world.launcher.launched) == 1


@virtually
async def test_exit_code_0_is_a_crash_where_the_pool_says_so() -> None:
    """B-SUPER-006: the profile's opinion can be overruled."""
    async with a_world(engine={"exit_zero": "crash"}) as world:
        engine = await world.ready()
        engine.crash(ExitStatus(code=0))
        await world.pool.reached("recovering")
        await world.pool.reached("ready")


@virtually
async def test_the_fifth_failure_opens_the_circuit() -> None:
    """B-SUPER-020: no further attempt; the pool is failed, and starting it says why and when."""
    async with a_world(BROKEN) as world:
        began = world.now
        await opened(world)
        assert world.now - began == DELAYS
        assert len(world.launcher.launched) == 5
        assert moves(world) == [("closed", "open")]
        with pytest.raises(StartFailed, match="allows one trial in 5 min; reset it") as caught:
            await world.pool.start()
        assert str(caught.value.cause) == "launch failed: it does not start"
        await asyncio.sleep(299)
        assert len(world.launcher.launched) == 5


@virtually
async def test_after_the_time_out_there_is_exactly_one_trial() -> None:
    """B-SUPER-022, 023, 025: it fails, and the circuit opens again for twice as long."""
    async with a_world(BROKEN) as world:
        await opened(world)
        await asyncio.sleep(300)
        await world.pool.reached("failed")
        await asyncio.sleep(299)
        assert len(world.launcher.launched) == 6
        assert moves(world)[1:] == [("open", "half_open"), ("half_open", "trial"), ("trial", "open")]
        await asyncio.sleep(300)
        assert len(world.launcher.launched) == 6
        await asyncio.sleep(10)
        assert len(world.launcher.launched) == 7


@virtually
async def test_a_trial_that_lasts_closes_the_circuit() -> None:
    """B-SUPER-024: after 60 s stable; the ordinary policy resumes."""
    async with a_world(*(BROKEN,) * 5, WORKS) as world:
        await opened(world)
        await world.pool.reached("ready")
        await asyncio.sleep(59)
        assert world.pool.status().circuits == {"general": "half_open", "cuda": "closed"}
        await asyncio.sleep(1)
        assert world.pool.status().circuits == {"general": "closed", "cuda": "closed"}
        world.engine.crash()
        await world.pool.reached("backing_off")


@virtually
async def test_a_trial_that_is_called_off_gives_its_permit_back() -> None:
    """V5: half-open never lasts without a verdict; a stop in the trial frees the permit."""
    async with a_world(*(BROKEN,) * 5, NEVER_READY, WORKS) as world:
        await opened(world)
        await world.pool.reached("starting")
        await asyncio.sleep(1)
        await world.pool.stop()
        assert world.pool.status().circuits == {"general": "half_open", "cuda": "closed"}
        await world.pool.start()
        assert world.pool.status().circuits == {"general": "half_open", "cuda": "closed"}


@virtually
async def test_a_reset_starts_a_failed_pool_at_once() -> None:
    """B-SUPER-028: closed, count 0."""
    async with a_world(*(BROKEN,) * 5, WORKS) as world:
        await opened(world)
        began = world.now
        await world.pool.reset()
        await world.pool.reached("ready")
        assert world.now == began
        circuit = world.pool.snapshot.circuits[0]
        assert (circuit.state, circuit.failures) == (BreakerState.CLOSED, 0)


@virtually
async def test_a_reset_elsewhere_changes_only_the_counts() -> None:
    """The pool stays where it is."""
    async with a_world(BROKEN, WORKS) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        await world.pool.reset()
        assert world.pool.state is PoolState.BACKING_OFF
        assert world.pool.snapshot.circuits[0].failures == 0


@virtually
async def test_an_operator_may_allow_one_start() -> None:
    """B-SUPER-039: exactly one, as a trial; elsewhere it is not possible."""
    async with a_world(BROKEN) as world:
        await opened(world)
        await world.pool.allow_one()
        await world.pool.reached("staging")
        await world.pool.reached("failed")
        assert len(world.launcher.launched) == 6
        await asyncio.sleep(500)
        assert len(world.launcher.launched) == 6
        await world.pool.stop()
        with pytest.raises(IllegalEvent):
            await world.pool.allow_one()


@virtually
async def test_a_failed_pool_can_be_given_another_model() -> None:
    """It is configured, and used by the trial that comes."""
    async with a_world(*(BROKEN,) * 5, WORKS) as world:
        await opened(world)
        await world.pool.reload(NEW)  # configured: nothing runs
        await world.pool.reached("ready")
        assert world.pool.status().model == NEW


@virtually
async def test_a_stable_run_clears_the_counts() -> None:
    """B-SUPER-014, 031: after 300 s the next delay is the first one again, and then the pool is quiet."""
    async with a_world(BROKEN, BROKEN, WORKS) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        await world.pool.reached("ready")
        assert world.pool.snapshot.crash_count == 2
        await asyncio.sleep(301)
        assert world.pool.snapshot.crash_count == 0
        await asyncio.sleep(300)
        assert timers() == ["Ticks._run"]
        began = world.now
        world.engine.crash()
        await world.pool.reached("backing_off")
        await world.pool.reached("ready")
        assert world.now - began == 1.0


@virtually
async def test_the_delay_never_passes_its_maximum_and_keeps_to_its_jitter() -> None:
    """B-SUPER-012, 013, S14: with the chance that the manager draws from its seed."""
    rules = Backoff(initial=1.0, maximum=3.0, jitter=0.1)
    async with a_world(BROKEN, backoff=rules) as world:
        delays = []
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        for _ in range(4):
            wait = world.pool.status().next_attempt_in
            assert wait is not None
            delays.append(wait)
            await world.pool.reached("staging")
            await world.pool.reached("backing_off", "failed")
        for delay, base in zip(delays, (1.0, 2.0, 3.0, 3.0), strict=True):
            assert 0.9 * base <= delay <= min(1.1 * base, 3.0)
        assert delays[0] not in {1.0, delays[1] / 2}


@virtually
async def test_an_engine_that_crashes_again_and_again_opens_the_circuit() -> None:
    """B-SUPER-020: crashes after ready count as well, as long as no run was stable."""
    dies = EngineScript(exits_after=10.0, exit=ExitStatus(code=1))
    async with a_world(dies) as world:
        await world.pool.start()
        await world.pool.reached("failed")
        assert len(world.launcher.launched) == 5
        assert world.pool.status().circuits == {"general": "open", "cuda": "closed"}
