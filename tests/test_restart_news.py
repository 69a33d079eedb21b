"""What a step means for people who follow crashes and restarts."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import AllowOne, Event, Failed, Gone, Postponed, Start
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.records import (
    CircuitMoved,
    EngineCrashed,
    PreloadEnded,
    Record,
    RestartBegan,
    RestartScheduled,
    StormBegan,
)
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.restart_news import Step, restart_news
from pool_lifecycle.snapshot import Notify, Snapshot
from pool_lifecycle.step import step
from pool_lifecycle.testing.memory import EngineScript
from pool_lifecycle.waits import Awaits
from tests.pools import BLAMELESS, CRASH, EPOCH, NOW, OPEN, TRIAL, engine, event, pool_in
from tests.worlds import BROKEN, WORKS, World, a_world, virtually

S, E = PoolState, PoolEvent
WALL = 1_700_000_000.0


def news(pool: Snapshot, one: Event, now: float = NOW) -> list[Record]:
    """The records of a step."""
    after, effects = step(pool, one, now)
    (notice,) = [effect for effect in effects if isinstance(effect, Notify)]
    return list(restart_news(Step(notice, pool, after, now, lambda: WALL), "b6"))


@pytest.mark.parametrize("state", [S.READY, S.DRAINING, S.STAGING_AHEAD, S.RELOADING_STAGING])
def test_the_engine_that_served_has_crashed(state: PoolState) -> None:
    """B-SUPER-001, 007: wherever it serves; its version, its uptime, its exit, how many it makes in a row."""
    pool = pool_in(state, crash_count=2)
    (server,) = pool.engines
    pool = evolve(pool, engines=(evolve(server, launched_at=NOW - 30),))
    (crashed,) = news(pool, event(E.CRASHED, pool))
    assert crashed == EngineCrashed("chat", NOW, 1, "b6", 30.0, CRASH, 3)


@pytest.mark.parametrize("state", [S.STARTING, S.RELOADING_RESTORING])
def test_an_engine_that_never_served_has_crashed(state: PoolState) -> None:
    """B-SUPER-007: if it was launched, and if it was to serve the pool's own model."""
    pool = pool_in(state)
    generation = pool.engines[-1].generation
    assert news(pool, event(E.FAILED, pool)) == []
    launched = evolve(pool, engines=(engine(generation, launched_at=NOW - 2),))
    (crashed,) = news(launched, event(E.FAILED, launched))
    assert isinstance(crashed, EngineCrashed)
    assert (crashed.generation, crashed.uptime, crashed.crash_count) == (generation, 2.0, 1)


@pytest.mark.parametrize("state", [S.RELOADING_STARTING, S.SURGING_STARTING, S.STAGING])
def test_a_new_model_that_fails_is_no_crash_of_the_pool(state: PoolState) -> None:
    """Nothing is counted against it, so nothing is told as if it were."""
    pool = pool_in(state)
    assert not [one for one in news(pool, event(E.FAILED, pool)) if isinstance(one, EngineCrashed)]


def test_what_does_not_count_does_not_raise_the_count() -> None:
    """B-SUPER-008, x4."""
    pool = pool_in(S.READY, crash_count=2)
    (crashed,) = news(pool, event(E.CRASHED, pool, cause=BLAMELESS))
    assert isinstance(crashed, EngineCrashed)
    assert (crashed.crash_count, crashed.counted) == (2, False)


def test_a_restart_is_scheduled_with_everything_that_decided_it() -> None:
    """B-SUPER-015: the delay, the counts, the class, and when it is on the wall clock."""
    pool = pool_in(S.RECOVERING, crash_count=2, restart_count=7, restarts=(NOW - 90, NOW - 50, NOW - 10))
    (scheduled,) = news(pool, Gone(EPOCH))
    expected = RestartScheduled(
        "chat", NOW, 4.0, 3, WALL + 4.0, FailureClass.SIGNAL, 7, 2, 60.0, Awaits.DELAY, ""
    )
    assert scheduled == expected


def test_what_the_window_holds_back_says_so() -> None:
    """B-SUPER-033."""
    pool = pool_in(S.RECOVERING, restarts=tuple(NOW - 50 + number * 4 for number in range(10)))
    (scheduled,) = news(pool, Gone(EPOCH))
    assert isinstance(scheduled, RestartScheduled)
    assert (scheduled.awaits, scheduled.backoff, scheduled.recent) == (Awaits.WINDOW, 10.0, 10)


def test_a_turn_on_the_host_postpones_it() -> None:
    """And an operator's wish hastens it; both are told, as both change when it is."""
    pool = pool_in(S.BACKING_OFF, not_before=NOW + 60, crash_count=3)
    (postponed,) = news(pool, Postponed(epoch=EPOCH, until=NOW + 2.5))
    assert isinstance(postponed, RestartScheduled)
    assert (postponed.awaits, postponed.backoff) == (Awaits.TURN, 2.5)
    (hastened,) = news(pool, Start())
    assert isinstance(hastened, RestartScheduled)
    assert (hastened.awaits, hastened.backoff) == (Awaits.NOTHING, 0.0)
    assert hastened.why == "an operator need not wait out the delay"


def test_a_restart_begins_with_its_number() -> None:
    """B-SUPER-030, 032: more than five within a minute are told as what they are."""
    pool = pool_in(S.BACKING_OFF, restart_count=4, restarts=(NOW - 90, NOW - 20, NOW - 10))
    assert news(pool, event(E.DUE, pool)) == [
        RestartBegan("chat", NOW, FailureClass.SIGNAL, 5, 3, 60.0, frequent=False)
    ]
    often = evolve(pool, restarts=tuple(NOW - 50 + number * 10 for number in range(5)))
    (began,) = news(often, event(E.DUE, often))
    assert isinstance(began, RestartBegan)
    assert (began.recent, began.frequent) == (6, True)


def test_a_first_start_is_no_restart() -> None:
    """Nothing has failed."""
    assert news(pool_in(S.STOPPED), Start()) == []


STORMY = tuple(NOW - 20 + number for number in range(10))


def test_a_storm_is_told_once() -> None:
    """B-SUPER-036, 038: with its class and its remedy; a failure more is the same storm."""
    kills = tuple(Crash(at, FailureClass.OUT_OF_MEMORY) for at in STORMY)
    killed = Cause(FailureClass.OUT_OF_MEMORY, Stage.RUN, "killed", exit=ExitStatus(signal=9))
    pool = pool_in(S.RECOVERING, cause=killed, crashes=kills, restarts=STORMY, restart_count=12)
    (storm,) = news(pool, Gone(EPOCH))
    assert isinstance(storm, StormBegan)
    assert (storm.storm.kind, storm.storm.restarts, storm.restart_count) == ("oom_storm", 10, 12)
    assert "more memory" in storm.storm.remedy
    again = evolve(pool, storm=Storm(NOW - 5, "oom_storm", 10, 60.0, ""))
    assert not [one for one in news(again, Gone(EPOCH)) if isinstance(one, StormBegan)]
    later = evolve(pool, storm=Storm(NOW - 500, "oom_storm", 10, 60.0, ""))
    assert [one for one in news(later, Gone(EPOCH)) if isinstance(one, StormBegan)]


def test_while_the_circuit_is_open_nothing_is_scheduled() -> None:
    """B-SUPER-021: the crash is told, and that is all."""
    pool = pool_in(S.READY, circuits=(OPEN,))
    assert [type(one) for one in news(pool, event(E.CRASHED, pool))] == [EngineCrashed]
    assert news(pool_in(S.RECOVERING, circuits=(OPEN,)), Gone(EPOCH)) == []


def test_an_allowed_start_is_a_restart_in_turn() -> None:
    """B-SUPER-039: told with who wanted it; a trial that fails is told like any start."""
    (allowed,) = news(pool_in(S.FAILED, circuits=(OPEN,), cause=CRASH), AllowOne())
    assert isinstance(allowed, RestartScheduled)
    assert allowed.why == "an operator allows one start past the open circuit"
    tried = pool_in(S.STAGING, circuits=(TRIAL,))
    assert news(tried, Failed(epoch=EPOCH, cause=CRASH)) == []


def told(world: World, *kinds: type) -> list[Record]:
    return [one for one in world.records if isinstance(one, kinds)]


@virtually
async def test_the_counts_told_are_those_that_are_kept() -> None:
    """B-SUPER-008, 030: failure by failure, restart by restart, as the snapshot has them."""
    dies = EngineScript(exits_after=3.0, exit=ExitStatus(signal=11))
    async with a_world(dies, dies, BROKEN, WORKS) as world:
        await world.ready()
        for count in (1, 2):
            await world.pool.reached("backing_off")
            assert world.pool.snapshot.crash_count == count
            await world.pool.reached("staging")
            assert world.pool.snapshot.restart_count == count
        await world.pool.reached("ready")
        assert [one.crash_count for one in world.of(EngineCrashed)] == [1, 2]
        assert [one.crash_count for one in world.of(RestartScheduled)] == [1, 2, 3]
        assert [one.restart_count for one in world.of(RestartBegan)] == [1, 2, 3]
        ended = [(one.cause is None, one.crashed) for one in world.of(PreloadEnded)]
        assert ended == [(True, False), (True, False), (False, False), (True, False)]


@virtually
async def test_a_shared_circuit_is_told_of_once() -> None:
    """B-SUPER-026, x7: by the host, with the pool that tipped it and all that it concerns."""
    cuda = Cause(FailureClass.CUDA, Stage.LAUNCH, "CUDA error")
    async with a_world(
        EngineScript(launch_error=cuda), device_mask="0", breaker=Breaker(threshold=9)
    ) as world:
        other = await world.manager.add(evolve(world.pool.spec, pool_id="other"))
        for pool in (world.pool, other):
            world.begin(pool.start())
        await asyncio.sleep(1)
        moved = [one for one in world.of(CircuitMoved) if one.change.circuit == "device 0"]
        assert [(one.pool_id, one.pools, str(one.change.new)) for one in moved] == [
            ("other", ("chat", "other"), "open")
        ]
        await asyncio.sleep(400)
        moved = [one for one in world.of(CircuitMoved) if one.change.circuit == "device 0"]
        pairs = [(str(one.change.old), str(one.change.new)) for one in moved]
        assert pairs == [("closed", "open"), ("open", "half_open"), ("half_open", "trial"), ("trial", "open")]
