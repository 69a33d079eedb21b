"""Surge: the new engine starts beside the old one, takes over, and no lease is refused meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import ReloadFailed, Superseded
from pool_lifecycle.events import Strategy
from pool_lifecycle.handing_off import HandingOff
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DrainEnd
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.reaching import a_pool_in, reload
from tests.swapping import handed_off, url_of, watched
from tests.worlds import BROKEN, INSTANT, NEW, OLD, UNKILLABLE, WORKS, World, a_world, virtually

SURGING = [PoolState.SURGING_STAGING, PoolState.SURGING_STARTING, PoolState.SURGING_PROVING]
while_surging = pytest.mark.parametrize("state", SURGING)

SLOW = EngineScript(ready_after=3.0)


# --- the change -----------------------------------------------------------------------------------------


@virtually
async def test_a_surge_refuses_no_lease_and_shows_the_old_or_the_new() -> None:
    """B-RELOAD-x2: at every instant leases are granted, first by the old one, from the switch on by the new.

    Registry, status and handoff document name one of the two, and it lives.
    """
    async with a_world(SLOW, staging=(INSTANT, StageScript(takes=2.0, steps=4))) as world:
        await world.ready()
        client, reader, error = await watched(world, world.begin(world.pool.reload(NEW, strategy="surge")))
        assert error is None
        assert client.refused == []
        assert client.on == sorted(client.on)
        assert set(client.on) == {1, 2}
        assert reader.wrong == []
        assert set(reader.seen) == {(OLD, url_of(world, 1)), (NEW, url_of(world, 2))}
        assert handed_off(world) == ("/memory/new.gguf", url_of(world, 2))
        await world.pool.reached("ready")
        assert [one.request.generation for one in world.living] == [2]
        assert world.way[3:] == [
            "surging.staging",
            "surging.starting",
            "surging.proving",
            "retiring",
            "ready",
        ]


@virtually
async def test_a_failing_surge_refuses_no_lease_either() -> None:
    """B-RELOAD-007, x2: also while it goes back to the old one, whose leases had all been let go."""
    async with a_world(WORKS, EngineScript(exits_after=2.0, exit=ExitStatus(code=3)), WORKS) as world:
        await world.ready()
        client, reader, error = await watched(world, world.begin(world.pool.reload(NEW, strategy="surge")))
        assert isinstance(error, ReloadFailed)
        assert client.refused == []
        switches = [one for one, next_ in zip(client.on, client.on[1:], strict=False) if one != next_]
        assert switches == [1, 2]
        assert reader.wrong == []
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 1))


@virtually
async def test_who_waits_gets_a_slot_of_the_new_engine() -> None:
    """S9, V4: its slots are its own; that all of the old are taken is no reason to wait any longer."""
    async with a_world() as world:
        await world.ready()
        old = [world.pool.acquire(f"old {number}") for number in range(2)]
        waiting = [world.begin(world.pool.book.acquire_within(f"new {number}")) for number in range(3)]
        await world.began(world.pool.reload(NEW, strategy="surge"))
        assert world.pool.state is PoolState.SURGING_PROVING
        assert [one.done() for one in waiting] == [True, True, False]
        assert {one.result().generation for one in waiting[:2]} == {2}
        old[0].release()
        await virtual_time.settle()
        assert not waiting[2].done()
        waiting[0].result().release()
        await virtual_time.settle()
        assert waiting[2].result().generation == 2
        assert world.manager.registry.active_leases("chat") == 3


@virtually
async def test_the_old_engine_ends_with_its_last_lease() -> None:
    """B-RELOAD-x2: not before, and no later."""
    async with a_pool_in(PoolState.RETIRING) as world:
        (old_lease,) = world.pool.book.active()
        assert (old_lease.generation, world.pool.acquire("new").generation) == (1, 2)
        assert len(world.living) == 2
        await asyncio.sleep(5)
        assert len(world.living) == 2
        old_lease.release()
        await world.pool.reached("ready")
        assert [engine.request.generation for engine in world.living] == [2]


@pytest.mark.parametrize(("asked", "lasts"), [(None, 8.0), (3.0, 3.0)])
@virtually
async def test_the_old_engine_is_cut_off_at_its_deadline(asked: float | None, lasts: float) -> None:
    """S11: it has the time that was given to it, else that of a drain; its leases are lost then."""
    async with a_world(limits=Limits(drain=8.0)) as world:
        await world.ready()
        lease = world.pool.acquire("endless")
        await world.pool.reload(NEW, strategy="surge", drain_deadline=asked)
        began = world.now
        await world.pool.reached("ready")
        assert world.now - began == lasts
        assert [engine.request.generation for engine in world.living] == [2]
        assert not lease.release()


@virtually
async def test_an_old_engine_that_crashes_has_no_leases_to_wait_for() -> None:
    """S10: what worked on it is lost at once, not at the deadline."""
    async with a_pool_in(PoolState.RETIRING) as world:
        (lease,) = world.pool.book.active()
        world.launcher.engines[0].crash()
        began = world.now
        await world.pool.reached("ready")
        assert world.now == began
        assert lease.state == "lost"
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_one_surge_follows_another() -> None:
    """Files of the two never meet: each has a log and a pid file of its own, by turns."""
    async with a_world() as world:
        await world.ready()
        for model in (NEW, OLD, NEW):
            await world.pool.reload(model, strategy="surge")
            await world.pool.reached("ready")
        logs = [request.log_path for request in world.launcher.launched]
        pids = [request.pid_path for request in world.launcher.launched]
        assert logs[0] == logs[2] != logs[1] == logs[3]
        assert pids[0] == pids[2] != pids[1] == pids[3]


@virtually
async def test_the_same_model_is_not_surged() -> None:
    """B-RELOAD-010: nothing is asked of any driver."""
    async with a_world() as world:
        engine = await world.ready()
        await world.pool.reload(OLD, strategy="surge")
        assert world.engine is engine
        assert world.way[-1] == "ready"


# --- it fails before it serves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (BROKEN, "launch failed: it does not start"),
        (EngineScript(ready_after=None, exits_after=2.0, exit=ExitStatus(code=7)), "exit code 7"),
        (EngineScript(ready_after=2.0, exits_after=2.0, exit=ExitStatus(code=7)), "exit code 7"),
        (EngineScript(ready_after=None), r"no healthy answer within 9\.0 s"),
    ],
)
@virtually
async def test_a_new_engine_that_fails_leaves_the_old_one_serving(script: EngineScript, why: str) -> None:
    """B-RELOAD-007, 011, x5: in whatever way, also just as it is ready; nothing is counted."""
    async with a_world(WORKS, script, limits=Limits(start=9.0, start_hard=9.0)) as world:
        await world.ready()
        lease = world.pool.acquire("in flight")
        before = world.pool.snapshot.circuits
        with pytest.raises(ReloadFailed, match=why):
            await world.pool.reload(NEW, strategy="surge")
        await world.pool.reached("ready")
        assert world.pool.acquire("me").generation == 1
        assert lease.release()
        assert (world.pool.snapshot.crash_count, world.pool.snapshot.circuits) == (0, before)
        assert world.pool.snapshot.cause is None
        assert world.pool.status().model == OLD
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 1))
        assert [one.request.generation for one in world.living] == [1]


@virtually
async def test_a_failed_staging_never_touches_the_old_engine() -> None:
    """B-RELOAD-x1."""
    gone = StageScript(error=Cause(FailureClass.STAGING, Stage.STAGING, "cut off"))
    async with a_world(staging=(INSTANT, gone)) as world:
        engine = await world.ready()
        with pytest.raises(ReloadFailed, match="staging failed: cut off"):
            await world.pool.reload(NEW, strategy="surge")
        assert world.living == [engine]
        assert world.way[-1] == "ready"


@pytest.mark.parametrize("state", SURGING[:2])
@virtually
async def test_a_crash_of_the_old_engine_before_the_switch_ends_the_surge(state: PoolState) -> None:
    """The caller gets that crash; the pool recovers with the old model, and only one engine is left."""
    async with a_pool_in(state) as world:
        world.launcher.engines[0].crash()
        with pytest.raises(ReloadFailed, match="killed by SIGSEGV"):
            await world._tasks[0]
        world.launcher._scripts = (WORKS,)
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert len(world.living) == 1
        assert world.pool.snapshot.crash_count == 1


# --- called off, and ended ------------------------------------------------------------------------------


@while_surging
@virtually
async def test_resume_calls_a_surge_off(state: PoolState) -> None:
    """B-RELOAD-x5: the old one serves; whoever asked for the change is told by what it was superseded."""
    async with a_pool_in(state) as world:
        await world.pool.resume()
        with pytest.raises(Superseded, match="by a resume"):
            await world._tasks[0]
        assert world.pool.acquire("me").generation == 1
        await world.pool.reached("ready")
        assert [one.request.generation for one in world.living] == [1]
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 1))
        assert world.pool.status().model == OLD


@while_surging
@virtually
async def test_a_stop_or_a_drain_ends_a_surge(state: PoolState) -> None:
    """B-DRAIN-x2: and both engines; the model stays the old one."""
    async with a_pool_in(state) as world:
        await world.pool.drain(3)
        with pytest.raises(Superseded, match="reload was superseded by a drain"):
            await world._tasks[0]
        assert world.pool.snapshot.target.model == OLD
        assert not world.living
    async with a_pool_in(state) as world:
        await world.pool.stop()
        with pytest.raises(Superseded, match="reload was superseded by a stop"):
            await world._tasks[0]
        assert world.pool.snapshot.target.model == OLD
        assert not world.living


@while_surging
@virtually
async def test_the_end_of_the_manager_ends_a_surge(state: PoolState) -> None:
    """V4."""
    async with a_pool_in(state) as world:
        await world.manager.close()
        with pytest.raises(Superseded, match="by the end of the manager"):
            await world._tasks[0]


@pytest.mark.parametrize("state", [PoolState.SURGING_PROVING, PoolState.RETIRING])
@virtually
async def test_a_drain_waits_for_the_leases_on_both_engines(state: PoolState) -> None:
    """B-DRAIN-001: each engine ends when it is done, the old as well as the new; then the drain is over."""
    async with a_pool_in(state) as world:
        (old,) = world.pool.book.active()
        new = world.pool.acquire("new")
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(10)
        assert len(world.living) == 2
        old.release()
        await virtual_time.settle()
        assert [engine.request.generation for engine in world.living] == [2]
        assert not asked.done()
        new.release()
        assert (await asked).end is DrainEnd.DRAINED
        assert not world.living


@virtually
async def test_a_drain_also_waits_for_the_old_engine_alone() -> None:
    """B-DRAIN-001: when the new one has nothing to do."""
    async with a_pool_in(PoolState.RETIRING) as world:
        (old,) = world.pool.book.active()
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(10)
        assert not asked.done()
        assert old.release()
        assert (await asked).end is DrainEnd.DRAINED


@contextlib.asynccontextmanager
async def an_obstinate_old_engine() -> AsyncIterator[World]:
    """Which has 2 s to finish its one lease, in a drain of 60 s; it is killed 3 s after it was asked to."""
    async with a_world(EngineScript(ignores_term=True), limits=Limits(stop_grace=3.0)) as world:
        await world.ready()
        world.pool.acquire("old")
        await world.pool.reload(NEW, strategy="surge", drain_deadline=2.0)
        world.pool.acquire("new")
        await world.began(world.pool.drain(60))
        yield world


@virtually
async def test_a_drain_gives_the_old_engine_no_more_time_than_it_had() -> None:
    """S11: it is asked to end, and killed, when the change had said, whoever still works on it."""
    async with an_obstinate_old_engine() as world:
        await asyncio.sleep(4.9)
        assert [one.request.generation for one in world.living] == [1, 2]
        await asyncio.sleep(0.2)
        assert [one.request.generation for one in world.living] == [2]
        assert world.pool.state is PoolState.DRAINING


@virtually
async def test_a_drain_is_not_over_while_somebody_works_on_the_old_engine() -> None:
    """B-DRAIN-001: also when that was asked to end, and has not yet."""
    async with an_obstinate_old_engine() as world:
        _, new = world.pool.book.active()
        new.release()
        await asyncio.sleep(4.9)
        assert world.pool.state is PoolState.DRAINING
        await world.pool.reached("stopped")
        assert not world.living


@virtually
async def test_an_old_engine_that_is_done_in_a_drain_has_the_usual_grace() -> None:
    """S11: and not all the time that it would have had for its leases."""
    async with an_obstinate_old_engine() as world:
        old, _ = world.pool.book.active()
        old.release()
        await asyncio.sleep(3.1)
        assert [one.request.generation for one in world.living] == [2]


@virtually
async def test_a_spare_that_cannot_be_killed_is_remembered_until_it_is_gone() -> None:
    """S5: on the quarantine ledger, which is empty again once nothing is left of it."""
    limits = Limits(drain=1.0, reclaim=5.0)
    async with a_world(UNKILLABLE, WORKS, limits=limits) as world:
        await reload(Strategy.SURGE, PoolState.RETIRING)(world)
        await world.pool.reached("ready")
        assert [one.generation for one in world.pool.snapshot.quarantine] == [1]
        world.launcher.engines[0].release()
        await asyncio.sleep(1)
        assert world.pool.snapshot.quarantine == ()
        assert world.pool.state is PoolState.READY


# --- many at once ---------------------------------------------------------------------------------------


@virtually
async def test_a_hundred_surges_in_one_turn_are_one() -> None:
    """S3, B-RELOAD-x5: those to the same model join it, the others are told which one is under way."""
    async with a_world() as world:
        await world.ready()
        same = [world.begin(world.pool.reload(NEW, strategy="surge")) for _ in range(50)]
        other = [world.begin(world.pool.reload(f"file:/{n}", strategy="surge")) for n in range(50)]
        assert await asyncio.gather(*same) == [None] * 50
        answers = await asyncio.gather(*other, return_exceptions=True)
        assert all("one to 'file:/new.gguf' is under way" in str(one) for one in answers)
        assert len(world.launcher.launched) == 2


@virtually
async def test_no_document_is_left_of_an_engine_that_ended_while_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """B-RELOAD-008: looking for it takes a disk, and a stop does not wait for that."""
    looked = asyncio.Event()

    async def slowly(_self: HandingOff) -> None:
        await looked.wait()

    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        monkeypatch.setattr(HandingOff, "url", slowly)
        await world._tasks[0]
        assert world.pool.state is PoolState.RETIRING
        await world.pool.stop()
        looked.set()
        await virtual_time.settle()
        assert "engines/chat.json" not in world.files
