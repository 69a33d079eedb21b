"""A new model serves before the pool is committed to it: until then its failure brings back the old one."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass
from pool_lifecycle.errors import IllegalEvent, ReloadFailed, ReloadRefused, Superseded
from pool_lifecycle.events import Strategy
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import CrashLogKept, DrainEnd, EngineCrashed, EngineEnded, Record
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript
from tests.reaching import LIMITS, a_pool_in
from tests.swapping import handed_off, url_of
from tests.worlds import BROKEN, NEVER_READY, NEW, OLD, WORKS, World, a_world, virtually

PROVING = [PoolState.RELOADING_PROVING, PoolState.SURGING_PROVING]
while_proving = pytest.mark.parametrize("state", PROVING)
every_way = pytest.mark.parametrize("strategy", Strategy)

ENDS_EARLY = EngineScript(exits_after=3.0, exit=ExitStatus(code=3))
OTHER = "file:/other.gguf"


@every_way
@virtually
async def test_the_pool_is_committed_when_the_time_is_over(strategy: Strategy) -> None:
    """B-RELOAD-006: the new one serves at once; who asked is answered after limits.proving."""
    async with a_world(limits=Limits(proving=7.0)) as world:
        await world.ready()
        began = world.now
        asked = await world.began(world.pool.reload(NEW, strategy=strategy))
        assert world.pool.acquire("me").generation == 2
        assert world.pool.snapshot.target.model == OLD
        assert world.pool.status().model == NEW
        await asked
        assert world.now - began == 7.0
        assert world.pool.snapshot.target.model == NEW


@every_way
@virtually
async def test_without_a_time_to_prove_itself_it_is_committed_at_once(strategy: Strategy) -> None:
    """limits.proving = 0."""
    async with a_world(limits=Limits(proving=0.0)) as world:
        await world.ready()
        began = world.now
        await world.pool.reload(NEW, strategy=strategy)
        assert world.now == began
        assert not [state for state in world.way if state.endswith("proving")]


@virtually
async def test_a_surged_engine_that_crashes_gives_way_to_the_old_one_in_the_same_step() -> None:
    """B-RELOAD-007, 011, x5: leases on it are lost, no lease is refused; nothing counts against the pool."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        (old,) = world.pool.book.active()
        before = world.pool.snapshot
        new = world.pool.acquire("on the new one")
        assert new.generation == 2
        world.engine.crash()
        assert world.pool.acquire("at once").generation == 2  # nobody can know yet
        await world.pool.reached("retiring")
        assert world.pool.acquire("as soon as it is known").generation == 1
        with pytest.raises(ReloadFailed, match="killed by SIGSEGV") as caught:
            await world._tasks[0]
        assert caught.value.state == "retiring"
        await world.pool.reached("ready")
        assert new.state == "lost"
        after = world.pool.snapshot
        assert (after.circuits, after.crash_count, after.cause) == (before.circuits, 0, None)
        assert (after.target.model, world.pool.status().model) == (OLD, OLD)
        assert old.release()
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 1))
        assert [one.request.generation for one in world.living] == [1]


@pytest.mark.parametrize("strategy", [Strategy.DRAIN_FIRST, Strategy.STAGE_FIRST])
@virtually
async def test_a_new_engine_that_crashes_soon_brings_the_old_model_back(strategy: Strategy) -> None:
    """B-RELOAD-007, 011: it is launched again; the caller gets the cause, and nothing is counted."""
    async with a_world(WORKS, ENDS_EARLY, WORKS) as world:
        await world.ready()
        circuits = world.pool.snapshot.circuits
        asked = await world.began(world.pool.reload(NEW, strategy=strategy))
        lost = world.pool.acquire("me")
        with pytest.raises(ReloadFailed, match="exit code 3") as caught:
            await asked
        assert caught.value.state is PoolState.READY
        assert lost.state == "lost"
        after = world.pool.snapshot
        assert (after.circuits, after.crash_count, after.target.model) == (circuits, 0, OLD)
        assert world.pool.acquire("me").generation == 3
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 3))
        assert world.way[-4:] == ["reloading.proving", "reloading.undoing", "reloading.restoring", "ready"]


@virtually
async def test_a_new_engine_that_hangs_soon_brings_the_old_model_back() -> None:
    """B-RELOAD-007: also where only its health tells."""
    async with a_world(limits=Limits(proving=600.0)) as world:
        await world.ready()
        asked = await world.began(world.pool.reload(NEW, strategy="surge"))
        await asyncio.sleep(1)
        world.engine.hang()
        with pytest.raises(ReloadFailed):
            await asked
        assert world.pool.acquire("me").generation == 1


@virtually
async def test_a_crash_after_the_commit_is_one_of_the_new_model() -> None:
    """V1: ordinary recovery, which counts."""
    async with a_world(WORKS, EngineScript(exits_after=6.0, exit=ExitStatus(code=3)), WORKS) as world:
        await world.ready()
        await world.pool.reload(NEW)
        await world.pool.reached("backing_off")
        assert world.pool.snapshot.crash_count == 1
        await world.pool.reached("ready")
        assert world.pool.status().model == NEW


@virtually
async def test_a_restoration_that_fails_tells_both_causes() -> None:
    """B-RELOAD-x3: ordinary recovery follows, with the old model."""
    async with a_world(WORKS, ENDS_EARLY, BROKEN, WORKS) as world:
        await world.ready()
        with pytest.raises(ReloadFailed, match=r"it does not start \(while going back.*exit code 3"):
            await world.pool.reload(NEW)
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert world.pool.snapshot.crash_count == 1


# --- the old one ends first -----------------------------------------------------------------------------


@virtually
async def test_the_new_one_goes_on_when_the_old_one_dies_meanwhile() -> None:
    """S3: it serves, and it is committed to in the end; what worked on the old one is lost then."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        (old,) = world.pool.book.active()
        world.launcher.engines[0].crash()
        await virtual_time.settle()
        assert world.pool.state is PoolState.SURGING_PROVING
        assert world.pool.acquire("me").generation == 2
        await world._tasks[0]
        await world.pool.reached("ready")
        assert old.state == "lost"
        assert world.pool.snapshot.target.model == NEW
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_with_the_old_one_dead_a_crash_of_the_new_one_is_recovered_from_with_the_old_model() -> None:
    """B-RELOAD-007, x5, V1: nothing to go back to at once. What the pool's own model died of is counted."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        old, new = world.launcher.engines
        old.crash()
        await virtual_time.settle()
        new.crash(ExitStatus(code=3))
        with pytest.raises(ReloadFailed, match=r"killed by SIGSEGV.*failed as well: .*exit code 3") as caught:
            await world._tasks[0]
        assert caught.value.cause.kind is FailureClass.SIGNAL
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert world.pool.acquire("me").generation == 3
        (told,) = world.of(EngineCrashed)
        assert (told.generation, told.cause, told.crash_count) == (1, caught.value.cause, 1)


@virtually
async def test_with_the_old_one_done_a_crash_of_the_new_one_counts_nothing() -> None:
    """B-RELOAD-007, x5, B-SUPER-006: the old one had finished, so that nothing of the pool's has failed."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        old, new = world.launcher.engines
        old.crash(ExitStatus(code=0))
        await virtual_time.settle()
        new.crash(ExitStatus(code=3))
        with pytest.raises(ReloadFailed, match="exit code 3"):
            await world._tasks[0]
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert handed_off(world) == ("/memory/old.gguf", url_of(world, 3))
        assert (world.of(EngineCrashed), world.pool.snapshot.crash_count) == ([], 0)
        assert world.way[-3:] == ["reloading.undoing", "reloading.restoring", "ready"]


@virtually
async def test_with_the_old_one_dead_resume_is_too_late() -> None:
    """B-RELOAD-x5: and says so; the change goes on."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        world.launcher.engines[0].crash()
        await virtual_time.settle()
        with pytest.raises(ReloadRefused, match="the old engine has ended"):
            await world.pool.resume()
        await world._tasks[0]


# --- what else may be asked -----------------------------------------------------------------------------


@virtually
async def test_resume_is_too_late_once_the_old_engine_was_ended() -> None:
    """B-RELOAD-x5."""
    async with a_pool_in(PoolState.RELOADING_PROVING) as world:
        with pytest.raises(IllegalEvent):
            await world.pool.resume()
        await world._tasks[0]


@while_proving
@virtually
async def test_who_asks_for_the_same_joins_and_others_are_busy(state: PoolState) -> None:
    """B-RELOAD-x5."""
    async with a_pool_in(state) as world:
        second = await world.began(world.pool.reload(NEW, strategy="surge"))
        with pytest.raises(ReloadRefused, match=r"one to 'file:/new\.gguf' is under way"):
            await world.pool.reload(OTHER)
        with pytest.raises(ReloadRefused, match=r"one to 'file:/new\.gguf' is under way"):
            await world.pool.reload(OLD)
        await asyncio.gather(world._tasks[0], second)


@while_proving
@virtually
async def test_a_new_engine_that_finishes_brings_the_old_model_back(state: PoolState) -> None:
    """B-RELOAD-007, B-SUPER-006: whatever exit code 0 means otherwise, this model was to go on serving."""
    async with a_pool_in(state) as world:
        world.engine.say("nothing to do")
        world.engine.crash(ExitStatus(code=0))
        with pytest.raises(ReloadFailed, match="exit code 0"):
            await world._tasks[0]
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert (world.pool.snapshot.crash_count, world.pool.snapshot.cause) == (0, None)
        await until(world, CrashLogKept)
        assert last_ending(world, generation=2).kind is FailureClass.EXIT


@pytest.mark.parametrize("state", [PoolState.READY, PoolState.RETIRING])
@virtually
async def test_once_committed_to_it_may_finish(state: PoolState) -> None:
    """B-SUPER-006: and ends the pool, as before."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        await world._tasks[0]
        if state is PoolState.READY:
            await world.pool.reached("ready")
        assert world.pool.state is state
        world.engine.crash(ExitStatus(code=0))
        await world.pool.reached("stopped")
        assert not world.living
        assert last_ending(world, generation=2).kind is FailureClass.GRACEFUL


# --- what is known of a new engine that failed ----------------------------------------------------------


@virtually
async def test_a_surged_engine_that_hangs_ended_of_that() -> None:
    """S16, B-SUPER-x3: not of our signal; and what it wrote is kept, once."""
    async with a_world(limits=Limits(proving=600.0)) as world:
        await world.ready()
        asked = await world.began(world.pool.reload(NEW, strategy="surge"))
        world.engine.say("thinking")
        world.engine.hang()
        with pytest.raises(ReloadFailed) as caught:
            await asked
        await world.pool.reached("ready")
        await until(world, CrashLogKept)
        ending = last_ending(world, generation=2)
        assert (ending.kind, ending.message) == (caught.value.cause.kind, caught.value.cause.message)
        assert ending.exit is not None
        assert len(world.of(CrashLogKept)) == 1


@virtually
async def test_a_surged_engine_that_is_not_ready_in_time_ended_of_that() -> None:
    """S16, B-SUPER-x3: the same of one that never served."""
    async with a_world(WORKS, NEVER_READY, limits=LIMITS) as world:
        await world.ready()
        asked = await world.began(world.pool.reload(NEW, strategy="surge"))
        world.engine.say("loading, loading")
        with pytest.raises(ReloadFailed, match="no healthy answer"):
            await asked
        await world.pool.reached("ready")
        await until(world, CrashLogKept)
        assert last_ending(world, generation=2).kind is FailureClass.START_TIMEOUT
        assert len(world.of(CrashLogKept)) == 1


@virtually
async def test_a_surged_engine_that_was_called_off_was_ended_for_us() -> None:
    """B-SUPER-x4: it had not failed, so that nothing of it is kept."""
    async with a_pool_in(PoolState.SURGING_PROVING) as world:
        world.engine.say("all is well")
        await world.pool.resume()
        with pytest.raises(Superseded):
            await world._tasks[0]
        for one in world.pool.book.active():
            one.release()
        await world.pool.reached("ready")
        assert last_ending(world, generation=2).kind is FailureClass.KILLED_BY_OPERATOR
        assert world.of(CrashLogKept) == []


def last_ending(world: World, *, generation: int) -> Cause:
    """Why the engine of a generation ended, as observers were told."""
    return next(one.cause for one in world.of(EngineEnded) if one.generation == generation)


async def until(world: World, kind: type[Record]) -> None:
    """Wait for the first record of a kind: a thread may be at work, on the real clock."""
    news = asyncio.Event()
    world.pool.host.observers.append(lambda _record: news.set())
    while not world.of(kind):
        await news.wait()
        news.clear()


@while_proving
@virtually
async def test_a_stop_ends_it_and_the_next_start_is_of_the_old_model(state: PoolState) -> None:
    """B-DRAIN-x2: it was not committed to."""
    async with a_pool_in(state) as world:
        await world.pool.stop()
        with pytest.raises(Superseded, match="by a stop"):
            await world._tasks[0]
        assert not world.living
        await world.pool.start()
        assert world.pool.status().model == OLD


@while_proving
@virtually
async def test_a_drain_ends_it_and_the_next_start_is_of_the_old_model(state: PoolState) -> None:
    """B-DRAIN-001, x2: each engine ends when its leases have."""
    async with a_pool_in(state) as world:
        lease = world.pool.acquire("on the new one")
        asked = await world.began(world.pool.drain(60))
        await asyncio.sleep(10)
        assert lease.release()
        for one in world.pool.book.active():
            one.release()
        assert (await asked).end is DrainEnd.DRAINED
        with pytest.raises(Superseded, match="by a drain"):
            await world._tasks[0]
        await world.pool.start()
        assert world.pool.status().model == OLD


@while_proving
@virtually
async def test_what_serves_after_a_drain_that_was_called_off_is_what_is_told(state: PoolState) -> None:
    """DESIGN: the new model goes on to prove itself; in the end the pool is committed to what serves."""
    async with a_pool_in(state) as world:
        lease = world.pool.acquire("on the new one")
        await world.began(world.pool.drain(60))
        await world.pool.resume()
        assert world.pool.acquire("again").generation == lease.generation
        assert world.pool.status().model == NEW
        for one in world.pool.book.active():
            one.release()
        await world.pool.reached("ready")
        assert world.pool.snapshot.target.model == NEW
        assert len(world.living) == 1


@while_proving
@virtually
async def test_time_stands_still_for_nobody(state: PoolState) -> None:
    """The deadline of proving is the one of the limits, whoever joins."""
    async with a_pool_in(state) as world:
        deadline = world.pool.status().deadline_in
        assert deadline == LIMITS.proving
        await asyncio.sleep(2)
        await world.began(world.pool.reload(NEW))
        await world.began(world.pool.start())
        assert world.pool.status().deadline_in == LIMITS.proving - 2
