"""The way of a pool from nothing to ready, and every way in which that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import ConfigError, ManagerClosed, StartFailed, Superseded
from pool_lifecycle.interfaces import Health
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import EngineEnded, Moved, PreloadEnded
from pool_lifecycle.spec import HealthSpec, Limits
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, ProbeScript, StageScript
from tests.twisted import Call, twisted
from tests.worlds import BROKEN, HOPELESS, NEVER_READY, WORKS, World, a_world, virtually

LOADS_3_S = EngineScript(ready_after=3.0)


class SlowDisk(MemoryStore):
    """Keeps nothing until it is `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def kept(self, pool_id: str) -> None:
        """Then."""
        await self.free.wait()


@virtually
async def test_a_start_goes_through_every_stage_in_order() -> None:
    """B-PRELOAD-x1: preflight, staging, launch, health, warm-up, handoff, ready."""
    seen: list[str] = []

    async def noted(verb: str, call: Call) -> Any:
        if verb not in seen or verb == "check":
            seen.append(verb)
        return await call()

    async with a_world(twist=twisted(noted), health=HealthSpec(probe="memory", warm_up="/warm")) as world:
        await world.pool.start()
        order = ["preflight", "resolve", "stage", "launch", "check", "inspect", "check"]
        assert [verb for verb in seen if verb in order] == order
        assert world.way == ["staging", "starting", "ready"]
        assert world.files == {"lock", "run/chat.pid", "engines/chat.json"}


@virtually
async def test_ready_comes_only_after_health_and_with_a_handoff() -> None:
    """B-PRELOAD-020..024: not ready until health succeeds; then handoff and registry, with the version."""
    async with a_world(LOADS_3_S, engine={"version": "b4719"}, device_mask="0,1") as world:
        await world.began(world.pool.start())
        await asyncio.sleep(2.9)
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert not entry.live
        assert not entry.ready
        assert not (world.folder / "engines/chat.json").exists()
        await world.pool.reached("ready")
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert entry.live
        assert entry.ready
        assert entry.engine_version == "b4719"
        assert entry.heartbeat_ms == 1_700_000_000_000
        document = json.loads((world.folder / "engines/chat.json").read_text())
        assert document["url"] == world.pool.status().url
        assert (document["engine_version"], document["device_mask"]) == ("b4719", "0,1")
        assert document["model"] == {"path": "/memory/old.gguf"}


@virtually
async def test_starting_what_serves_is_answered_at_once() -> None:
    """A start joins: no second launch."""
    async with a_world() as world:
        await world.ready()
        _, seconds = await virtual_time.timed(world.pool.start())
        assert seconds == 0
        assert len(world.launcher.launched) == 1


@virtually
async def test_starts_under_way_are_joined() -> None:
    """Ten callers, one engine, one answer."""
    async with a_world(LOADS_3_S) as world:
        await asyncio.gather(*(world.pool.start() for _ in range(10)))
        assert len(world.launcher.launched) == 1


# --- failing, stage by stage ----------------------------------------------------------------------------

NO_BINARY = Cause(FailureClass.BAD_CONFIG, Stage.PREFLIGHT, "no such program", heals=False, remedy="fix it")
BUSY_PORT = Cause(FailureClass.PORT_IN_USE, Stage.PREFLIGHT, "port 1 is held by pid 7")


async def failed_start(world: World) -> StartFailed:
    with pytest.raises(StartFailed) as caught:
        await world.pool.start()
    entry = world.manager.registry.get("chat")
    assert entry is not None
    assert entry.last_error == str(caught.value.cause)
    assert not entry.ready
    assert not world.living
    assert world.files == {"lock"}
    return caught.value


@virtually
async def test_what_preflight_finds_stops_the_start_before_any_staging() -> None:
    """B-PRELOAD-x1: fail fast, before any download; what cannot heal is not retried, and comes first."""
    async with a_world(EngineScript(preflight=(BUSY_PORT, NO_BINARY))) as world:
        error = await failed_start(world)
        assert error.cause == NO_BINARY
        assert str(error) == "pool 'chat' (failed): preflight failed: no such program; fix it"
        assert world.stager.requests == []
        assert world.way == ["staging", "failed"]
        await asyncio.sleep(86400)
        assert world.pool.state is PoolState.FAILED


@virtually
async def test_what_may_heal_is_retried_after_its_delay() -> None:
    """B-SUPER-010, 011: 1 s, 2 s, 4 s; the caller of the start is told the cause and when it goes on."""
    async with a_world(BROKEN, BROKEN, BROKEN, WORKS) as world:
        began = world.now
        error = await failed_start(world)
        assert str(error.cause) == "launch failed: it does not start"
        assert "the next attempt is in 1.0 s" in str(error)
        assert world.pool.state is PoolState.BACKING_OFF
        await world.pool.reached("ready")
        assert world.now - began == 7.0
        assert [one.cause is None for one in world.of(PreloadEnded)] == [False, False, False, True]
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert entry.last_error is None


@virtually
async def test_a_launch_that_cannot_work_is_not_retried() -> None:
    """B-PRELOAD-x1: `failed`, with the remedy, until somebody acts."""
    async with a_world(HOPELESS, WORKS) as world:
        error = await failed_start(world)
        assert error.remedy == "mend it"
        await asyncio.sleep(86400)
        assert world.pool.state is PoolState.FAILED
        await world.pool.start()


@virtually
async def test_a_staging_failure_names_its_stage() -> None:
    """B-PRELOAD-030..034: the last error names the stage that failed; nothing was launched."""
    lost = Cause(FailureClass.STAGING, Stage.STAGING, "the source is gone")
    async with a_world(staging=(StageScript(takes=2.0, error=lost), StageScript())) as world:
        error = await failed_start(world)
        assert str(error.cause) == "staging failed: the source is gone"
        assert world.launcher.launched == []


@virtually
async def test_an_engine_that_never_answers_is_given_up_at_the_deadline() -> None:
    """B-PRELOAD-010..014, B-ERROR-020: the error begins with `health check failed`, the tree is ended."""
    async with a_world(NEVER_READY, WORKS) as world:
        began = world.now
        error = await failed_start(world)
        assert world.now - began == 120.0
        assert error.cause.kind is FailureClass.START_TIMEOUT
        assert str(error.cause).startswith("health check failed: no healthy answer within 2 min; last seen: ")
        assert "/health: connection refused" in str(error.cause)
        assert "limits.start" in str(error)


@pytest.mark.parametrize("status", [ExitStatus(code=0), ExitStatus(code=1), ExitStatus(signal=11)])
@virtually
async def test_an_engine_that_ends_before_it_is_ready_failed_to_start(status: ExitStatus) -> None:
    """B-SUPER-006: also with exit code 0. Noticed at once (V3), and never asked about its health again."""
    ends = EngineScript(ready_after=None, exits_after=5.0, exit=status)
    async with a_world(ends, WORKS) as world:
        began = world.now
        error = await failed_start(world)
        assert world.now - began == 5.0
        assert error.cause.exit == status
        said = f"the engine ended 5.0 s after its launch, before it was ready ({status})"
        assert error.cause.message == said
        assert world.way[:4] == ["staging", "starting", "recovering", "backing_off"]


@virtually
async def test_the_last_words_of_an_engine_are_in_the_cause() -> None:
    """What it wrote in this launch, not what an earlier one did."""
    async with a_world(NEVER_READY, NEVER_READY) as world:
        for words in ("the first trouble", "the second trouble", ""):
            asked = await world.began(world.pool.start())
            if words:
                world.engine.say(words)
            world.engine.crash(ExitStatus(code=1))
            await asyncio.wait((asked,))
            said = str(asked.exception()).partition("; its last line: ")[2]
            assert said.startswith(repr(words) if words else "")
            assert bool(said) == bool(words)


@virtually
async def test_an_engine_that_ends_as_it_becomes_ready_never_serves() -> None:
    """S8 ReadyTruth: health is only worth something of an engine that lives."""
    dies = EngineScript(ready_after=2.0, exits_after=2.0, exit=ExitStatus(code=3))
    async with a_world(dies, WORKS) as world:
        with pytest.raises(StartFailed, match="exit code 3"):
            await world.pool.start()
        assert "ready" not in world.way


@virtually
async def test_a_healthy_answer_that_comes_after_the_end_is_worth_nothing() -> None:
    """S8: the answer was on its way when the engine ended."""
    late = ProbeScript(Health(ok=True, detail="200"), takes=3.0)
    dies = EngineScript(ready_after=None, exits_after=2.0, exit=ExitStatus(code=3))
    async with a_world(dies, dies, answers=(late,)) as world:
        with pytest.raises(StartFailed):
            await world.pool.start()
        await asyncio.sleep(30)
        assert "ready" not in world.way


# --- deadlines and progress -----------------------------------------------------------------------------


@virtually
async def test_output_keeps_a_start_alive() -> None:
    """B-PRELOAD-x4: output not older than the stall limit of 60 s extends the deadline of 120 s."""
    loads = EngineScript(ready_after=400.0, output=tuple((float(at), 10) for at in range(0, 400, 50)))
    async with a_world(loads) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert 400.0 <= seconds <= 400.5


@virtually
async def test_silence_ends_the_extension() -> None:
    """B-PRELOAD-x4: 60 s after the last output it is over."""
    stalls = EngineScript(ready_after=None, output=((100.0, 1), (150.0, 1)))
    async with a_world(stalls, WORKS) as world:
        began = world.now
        with pytest.raises(StartFailed, match="within 3 min 30 s"):
            await world.pool.start()
        assert world.now - began == 210.0


@virtually
async def test_progress_does_not_help_for_ever() -> None:
    """B-PRELOAD-x4: the hard limit holds for an engine that logs and logs."""
    logs = EngineScript(ready_after=None, output=tuple((float(at), 1) for at in range(1000)))
    async with a_world(logs, WORKS, limits=Limits(start_hard=500.0)) as world:
        began = world.now
        with pytest.raises(StartFailed):
            await world.pool.start()
        assert world.now - began == 500.0


@virtually
async def test_a_staging_that_gets_on_is_given_more_time() -> None:
    """B-PRELOAD-x4: staged bytes are progress too."""
    limits = Limits(staging=100.0)
    async with a_world(staging=(StageScript(takes=400.0, steps=10),), limits=limits) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert seconds == 400.0
    async with a_world(staging=(StageScript(takes=400.0, steps=2), StageScript()), limits=limits) as world:
        with pytest.raises(StartFailed, match="not in place within 1 min 40 s; last seen: staging"):
            await world.pool.start()


# --- calling it off -------------------------------------------------------------------------------------


@virtually
async def test_stopping_a_start_tells_its_caller() -> None:
    """V4: Superseded, by a stop. Nothing is left of the start."""
    async with a_world(NEVER_READY) as world:
        starting = await world.began(world.pool.start())
        await asyncio.sleep(1)
        await world.pool.stop()
        await virtual_time.settle()
        assert isinstance(starting.exception(), Superseded)
        assert "superseded by a stop" in str(starting.exception())
        assert world.files == {"lock"}


@virtually
async def test_an_engine_launched_during_a_stop_is_ended() -> None:
    """S5 NoForgotten: a launch is not cancelled half way; what comes of it is found and ended."""
    async with a_world(EngineScript(launch_takes=4.0)) as world:
        await world.began(world.pool.start())
        _, seconds = await virtual_time.timed(world.pool.stop())
        assert seconds == 4.0
        assert [one.generation for one in world.of(EngineEnded)] == [1]


@virtually
async def test_a_launch_called_off_before_it_began_never_begins() -> None:
    """S7: while the disk keeps it waiting, its devices may come to be others', or turn out to be ill."""
    disk = SlowDisk()
    async with a_world(manager={"store": disk}) as world:
        await world.began(world.pool.start())
        stopping = await world.began(world.pool.stop())
        disk.free.set()
        await stopping
        gc.collect()
        assert world.launcher.engines == []
        assert world.of(EngineEnded) == []


@virtually
async def test_a_launch_that_fails_during_a_stop_concerns_nobody() -> None:
    """S5: nothing came of it, and nobody complains about an error that nobody waited for."""
    async with a_world(evolve(BROKEN, launch_takes=4.0)) as world:
        await world.began(world.pool.start())
        await world.pool.stop()
        gc.collect()
        assert world.of(EngineEnded) == []


@virtually
async def test_a_grace_shortened_during_the_launch_holds() -> None:
    """S5, V2: the kill moves earlier also for an engine that is not there yet."""
    slow = EngineScript(launch_takes=4.0, ignores_term=True)
    async with a_world(slow) as world:
        await world.began(world.pool.start())
        began = world.now
        await world.began(world.pool.stop(grace=60))
        await asyncio.sleep(1)
        await world.pool.stop(grace=1)
        assert world.now - began == 4.0


@virtually
async def test_a_start_during_a_stop_follows_it() -> None:
    """The new engine comes when the old one is gone; who asked for the stop is told (S3)."""
    async with a_world(EngineScript(term_takes=2.0)) as world:
        await world.ready()
        stopping = await world.began(world.pool.stop())
        await world.pool.start()
        assert isinstance(stopping.exception(), Superseded)
        assert len(world.living) == 1
        assert world.launcher.engines[0].exit is not None


@virtually
async def test_an_operator_need_not_wait_for_the_next_attempt() -> None:
    """S14: a start in back-off goes at once."""
    async with a_world(BROKEN, WORKS) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        _, seconds = await virtual_time.timed(world.pool.start())
        assert seconds == 0


@virtually
async def test_waiting_for_a_state_of_a_pool_that_is_gone_is_an_error() -> None:
    """V4: nobody waits for what cannot come: not on a removed pool, and not for a state there is not."""
    async with a_world() as world:
        pool = world.pool
        with pytest.raises(ConfigError, match="must be one of 'stopped', 'staging'"):
            await pool.reached("redy")
        await world.manager.remove("chat")
        with pytest.raises(ManagerClosed, match="removed"):
            await pool.reached("ready")


@virtually
async def test_whoever_hears_of_a_new_state_hears_its_true_number_of_leases() -> None:
    """S9: a stopped pool has none, also at the moment at which observers are told."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("left")
        await world.pool.stop()
        last = world.of(Moved)[-1]
        assert (last.notice.target, last.leases) == ("stopped", 0)
