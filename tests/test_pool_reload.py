"""Changes of model: the new one serves, or the old one does and the caller knows why."""

from __future__ import annotations

import asyncio
import json

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import (
    EngineStuck,
    IllegalEvent,
    ReloadFailed,
    ReloadRefused,
    Superseded,
)
from pool_lifecycle.events import Strategy
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.reaching import a_pool_in
from tests.worlds import (
    BROKEN,
    INSTANT,
    NEVER_READY,
    NEW,
    OLD,
    SLOW_STAGING,
    UNKILLABLE,
    WORKS,
    World,
    a_spec,
    a_world,
    virtually,
)

OTHER = "file:/other.gguf"
DIGEST = f"sha256:{0:064x}"

BOTH = pytest.mark.parametrize("strategy", [Strategy.DRAIN_FIRST, Strategy.STAGE_FIRST])

CHANGING = [
    PoolState.STAGING_AHEAD,
    PoolState.RELOADING_DRAINING,
    PoolState.RELOADING_STAGING,
    PoolState.RELOADING_STOPPING,
    PoolState.RELOADING_STARTING,
    PoolState.RELOADING_UNDOING,
    PoolState.RELOADING_PROVING,
    PoolState.RELOADING_RESTORING,
]
while_changing = pytest.mark.parametrize("state", CHANGING)


def handed_off(world: World) -> str:
    """The model that the handoff document names."""
    document = json.loads((world.folder / "engines/chat.json").read_text())
    return str(document["model"]["path"])


@BOTH
@virtually
async def test_the_new_model_serves_on_a_new_engine(strategy: Strategy) -> None:
    """B-RELOAD-001..006, 008, x4: drained, staged, stopped, started, healthy, ready, handed off."""
    async with a_world(WORKS, EngineScript(ready_after=2.0)) as world:
        old = await world.ready()
        await world.pool.reload(NEW, strategy=strategy)
        assert world.pool.status().model == NEW
        assert world.stager.requests == [OLD, NEW]
        assert not old.alive
        assert world.engine.alive
        assert handed_off(world) == "/memory/new.gguf"
        assert world.pool.acquire("me").generation == 2
        ahead = strategy is Strategy.STAGE_FIRST
        first = (
            ["staging_ahead", "reloading.draining"] if ahead else ["reloading.draining", "reloading.staging"]
        )
        proven = ["reloading.starting", "reloading.proving", "ready"]
        assert world.way[3:] == [*first, "reloading.stopping", *proven]


@virtually
async def test_leases_in_flight_finish_first() -> None:
    """B-RELOAD-001: the old engine is not touched before."""
    async with a_world() as world:
        old = await world.ready()
        lease = world.pool.acquire("in flight")
        asked = await world.began(world.pool.reload(NEW))
        await asyncio.sleep(10)
        assert old.alive
        assert world.stager.requests == [OLD]
        lease.release()
        await asked


@virtually
async def test_stage_first_serves_while_the_model_comes() -> None:
    """B-RELOAD-x4: leases are granted all the while."""
    async with a_world(staging=(INSTANT, SLOW_STAGING)) as world:
        await world.ready()
        asked = await world.began(world.pool.reload(NEW, strategy="stage_first"))
        for _ in range(9):
            await asyncio.sleep(10)
            world.pool.acquire("served").release()
        await asked


@virtually
async def test_the_same_model_changes_nothing() -> None:
    """B-RELOAD-010: success at once, without staging or a new engine."""
    async with a_world() as world:
        engine = await world.ready()
        await world.pool.reload(OLD)
        assert world.engine is engine
        assert world.stager.requests == [OLD]


@virtually
async def test_without_an_engine_the_model_is_configured() -> None:
    """The next start uses it."""
    async with a_world() as world:
        await world.pool.reload(NEW)
        await world.pool.start()
        assert world.stager.requests == [NEW]


# --- two at once ----------------------------------------------------------------------------------------


@while_changing
@virtually
async def test_a_reload_to_the_same_model_joins(state: PoolState) -> None:
    """B-RELOAD-x5: both callers get the same answer."""
    async with a_pool_in(state) as world:
        first = world._tasks[0]
        second = await world.began(world.pool.reload(NEW))
        for lease in world.pool.book.active():
            lease.release()
        await asyncio.wait((first, second))
        assert type(first.exception()) is type(second.exception())


@while_changing
@virtually
async def test_a_reload_to_another_model_is_refused_and_the_first_goes_on(state: PoolState) -> None:
    """B-RELOAD-x5: busy, naming what is under way; whoever asked first hears nothing of it."""
    async with a_pool_in(state) as world:
        first = world._tasks[0]
        with pytest.raises(
            ReloadRefused, match=r"one change at a time, and one to 'file:/new\.gguf' is under way"
        ):
            await world.pool.reload(OTHER)
        await virtual_time.settle()
        assert not first.done()
        assert world.pool.state is state


# --- failing --------------------------------------------------------------------------------------------


@BOTH
@virtually
async def test_a_staging_failure_never_touches_the_old_engine(strategy: Strategy) -> None:
    """B-RELOAD-x1, 011."""
    gone = StageScript(error=Cause(FailureClass.STAGING, Stage.STAGING, "no such model"))
    async with a_world(staging=(INSTANT, gone)) as world:
        engine = await world.ready()
        with pytest.raises(ReloadFailed, match="staging failed: no such model") as caught:
            await world.pool.reload(NEW, strategy=strategy)
        assert caught.value.state is PoolState.READY
        assert engine.alive
        assert world.pool.acquire("me").generation == 1
        assert world.pool.snapshot.crash_count == 0
        assert world.pool.status().last_error is None


@virtually
async def test_leases_left_at_the_deadline_abort_the_change() -> None:
    """B-RELOAD-014: the original engine goes on serving, its leases too; the caller gets a drain error."""
    async with a_world() as world:
        await world.ready()
        lease = world.pool.acquire("endless")
        began = world.now
        with pytest.raises(ReloadFailed, match="drain failed: leases were left at the drain's deadline"):
            await world.pool.reload(NEW, drain_deadline=4)
        assert world.now - began == 4.0
        assert lease.release()
        assert world.pool.acquire("new").generation == 1
        assert world.pool.status().model == OLD


@virtually
async def test_a_new_engine_that_fails_brings_the_old_model_back() -> None:
    """B-RELOAD-007, 011, x5, S12: the caller gets the cause; nothing is counted against the pool."""
    async with a_world(WORKS, BROKEN, WORKS) as world:
        await world.ready()
        with pytest.raises(ReloadFailed, match="launch failed: it does not start") as caught:
            await world.pool.reload(NEW)
        assert caught.value.state is PoolState.READY
        assert world.pool.status().model == OLD
        assert handed_off(world) == "/memory/old.gguf"
        assert world.pool.acquire("me").generation == 3
        assert world.pool.snapshot.crash_count == 0
        assert [circuit.failures for circuit in world.pool.snapshot.circuits] == [0, 0]
        assert world.way[-4:] == ["reloading.starting", "reloading.undoing", "reloading.restoring", "ready"]


@virtually
async def test_a_restoration_that_fails_tells_both_causes() -> None:
    """B-RELOAD-x3: ordinary recovery follows, with the old model."""
    broken = Cause(FailureClass.EXIT, Stage.LAUNCH, "the old one does not start either")
    async with a_world(WORKS, BROKEN, EngineScript(launch_error=broken), WORKS) as world:
        await world.ready()
        with pytest.raises(ReloadFailed) as caught:
            await world.pool.reload(NEW)
        assert "the old one does not start either" in str(caught.value)
        assert "it does not start)" in str(caught.value)
        assert caught.value.state is PoolState.RECOVERING
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD
        assert world.pool.snapshot.crash_count == 1


@virtually
async def test_an_old_engine_that_cannot_be_ended_makes_it_stuck() -> None:
    """V1: the caller is told; two engines never live (S3)."""
    async with a_world(UNKILLABLE, WORKS) as world:
        engine = await world.ready()
        with pytest.raises(ReloadFailed, match="the old one cannot be killed"):
            await world.pool.reload(NEW)
        assert world.pool.state is PoolState.STUCK
        assert len(world.launcher.launched) == 1
        with pytest.raises(EngineStuck):
            await world.pool.start()
        engine.release()
        await world.pool.reached("ready")


@pytest.mark.parametrize("state", CHANGING[:3])
@virtually
async def test_a_crash_of_the_old_engine_ends_the_change(state: PoolState) -> None:
    """The caller gets the crash; the pool recovers with the old model."""
    async with a_pool_in(state) as world:
        world.engine.crash()
        with pytest.raises(ReloadFailed, match="killed by SIGSEGV"):
            await world._tasks[0]
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (PoolState.RELOADING_STARTING, PoolState.RELOADING_UNDOING),
        (PoolState.RELOADING_RESTORING, PoolState.RECOVERING),
    ],
)
@virtually
async def test_a_crash_of_a_starting_engine_fails_its_part(state: PoolState, then: PoolState) -> None:
    """The end of an engine that was not healthy yet is a failed start."""
    async with a_pool_in(state) as world:
        world.engine.crash(ExitStatus(code=2))
        await world.pool.reached(then)
        with pytest.raises(ReloadFailed, match="exit code 2"):
            await world._tasks[0]


@pytest.mark.parametrize("state", CHANGING[:3])
@virtually
async def test_an_engine_that_finishes_ends_the_change_and_the_pool(state: PoolState) -> None:
    """B-SUPER-006: exit code 0 while the change is on is still graceful."""
    async with a_pool_in(state) as world:
        world.engine.crash(ExitStatus(code=0))
        with pytest.raises(ReloadFailed, match="the engine ended on purpose"):
            await world._tasks[0]
        await world.pool.reached("stopped")


# --- overtaken ------------------------------------------------------------------------------------------


@while_changing
@virtually
async def test_a_drain_or_stop_ends_the_change(state: PoolState) -> None:
    """B-DRAIN-x2: its caller is told that it was superseded, by what, and the model stays the old one."""
    async with a_pool_in(state) as world:
        await world.pool.drain(3)
        with pytest.raises(Superseded, match="reload was superseded by a drain"):
            await world._tasks[0]
        assert world.pool.snapshot.target.model == OLD
    async with a_pool_in(state) as world:
        await world.pool.stop()
        with pytest.raises(Superseded, match="reload was superseded by a stop"):
            await world._tasks[0]


@while_changing
@virtually
async def test_the_end_of_the_manager_ends_the_change(state: PoolState) -> None:
    """V4."""
    async with a_pool_in(state) as world:
        await world.manager.close()
        with pytest.raises(Superseded, match="by the end of the manager"):
            await world._tasks[0]


@while_changing
@virtually
async def test_resume_calls_it_off_until_the_old_engine_is_touched(state: PoolState) -> None:
    """B-RELOAD-x5: after that it is too late, and says so."""
    async with a_pool_in(state) as world:
        if state in CHANGING[:3]:
            await world.pool.resume()
            with pytest.raises(Superseded, match="by a resume"):
                await world._tasks[0]
            assert world.pool.acquire("me").generation == 1
        else:
            with pytest.raises(IllegalEvent):
                await world.pool.resume()
            assert world.pool.state is state


@while_changing
@virtually
async def test_a_cancelled_caller_does_not_end_the_change(state: PoolState) -> None:
    """Cancelling who asked cancels the wait, never the work."""
    async with a_pool_in(state) as world:
        caller = world._tasks[0]
        caller.cancel()
        await virtual_time.settle()
        assert caller.cancelled()
        assert world.pool.state is state


@virtually
async def test_a_hundred_reloads_at_once_leave_one_engine() -> None:
    """S3, V4, B-RELOAD-x5: those to one target are one change, the others are told which is under way."""
    async with a_world() as world:
        await world.ready()
        same = [world.begin(world.pool.reload(NEW)) for _ in range(50)]
        other = [world.begin(world.pool.reload(f"file:/{number}")) for number in range(50)]
        assert await asyncio.gather(*same) == [None] * 50
        answers = await asyncio.gather(*other, return_exceptions=True)
        assert all(isinstance(one, ReloadRefused) for one in answers)
        assert all("one to 'file:/new.gguf' is under way" in str(one) for one in answers)
        assert [one.request.generation for one in world.living] == [2]


@virtually
async def test_another_digest_is_another_target() -> None:
    """B-RELOAD-010: the same reference may stand for other bytes by now."""
    async with a_world() as world:
        await world.ready()
        await world.pool.reload(OLD, digest=DIGEST)
        assert world.pool.acquire("me").generation == 2
        await world.pool.reload(OLD, digest=DIGEST)
        assert world.pool.acquire("me").generation == 2


@pytest.mark.parametrize("state", [PoolState.FAILED, PoolState.BACKING_OFF])
@virtually
async def test_without_an_engine_a_change_is_for_the_next_start(state: PoolState) -> None:
    """It comes in its turn; whoever asked is answered at once."""
    async with a_pool_in(state) as world:
        world.launcher._scripts = (WORKS,)
        before = len(world.launcher.launched)
        await world.pool.reload(NEW)
        assert world.pool.state is state
        assert len(world.launcher.launched) == before
        await world.pool.start()
        assert world.pool.status().model == NEW
        assert handed_off(world) == "/memory/new.gguf"


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(
    "state", [PoolState.STAGING, PoolState.STARTING, PoolState.DRAINING, PoolState.STOPPING, PoolState.STUCK]
)
@virtually
async def test_a_pool_on_its_way_elsewhere_takes_no_change(state: PoolState, strategy: Strategy) -> None:
    """B-RELOAD-x5: the error says what is possible, and nothing is changed."""
    async with a_pool_in(state) as world:
        before = world.pool.snapshot
        with pytest.raises(IllegalEvent, match="nothing changed; possible here: "):
            await world.pool.reload(NEW, strategy=strategy)
        assert world.pool.snapshot is before


@virtually
async def test_two_pools_share_a_model() -> None:
    """The change of one is none of the other, whichever way it ends."""
    async with a_world() as world:
        other = await world.manager.add(a_spec("other"))
        await world.pool.start()
        await other.start()
        before = other.snapshot
        await world.pool.reload(NEW)
        world.launcher._scripts = lambda request: BROKEN if "other" in request.pool_id else WORKS
        with pytest.raises(ReloadFailed):
            await other.reload(NEW, strategy="surge")
        await other.reached("ready")
        assert (other.snapshot.target, other.snapshot.engines) == (before.target, before.engines)
        assert world.pool.status().model == NEW


@virtually
async def test_a_new_engine_that_never_answers_is_a_failed_change() -> None:
    """B-RELOAD-007: an engine that never answers is a failed change after limits.start."""
    limits = Limits(start=9.0, start_hard=9.0)
    async with a_world(WORKS, NEVER_READY, evolve(WORKS, ready_after=1.0), limits=limits) as world:
        await world.ready()
        began = world.now
        with pytest.raises(ReloadFailed, match=r"no healthy answer within 9\.0 s"):
            await world.pool.reload(NEW)
        assert world.now - began == pytest.approx(10.0, abs=0.1)


@BOTH
@virtually
async def test_the_port_of_the_old_engine_is_rightly_in_use(strategy: Strategy) -> None:
    """A pool with a fixed port changes its model as well; its own engine is no reason not to."""
    async with a_world(engine={"port": 12345}) as world:
        await world.ready()
        await world.pool.reload(NEW, strategy=strategy)
        assert [request.port for request in world.launcher.launched] == [12345, 12345]
