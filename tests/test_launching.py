"""Between a pool and its drivers: what is launched, and what is handed off."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle import crash_logs, launching
from pool_lifecycle.causes import Cause, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.handoff import Handoff
from pool_lifecycle.interfaces import Command, CommandContext, ExitZero, LaunchRequest, Pattern
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.postmortem import Launch
from pool_lifecycle.records import DriverMisbehaved, EngineEnded, EngineUnhealthy, Record, Trouble
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import MemoryProfile
from tests.twisted import Call, only, returning, twisted
from tests.worlds import NEW, World, a_world, virtually

# --- what is launched -----------------------------------------------------------------------------------


@virtually
async def test_the_engine_is_launched_as_declared() -> None:
    """B-PRELOAD-001, B-PROC-001: binary and arguments in order; log, pid file, token, environment."""
    engine = {
        "args": ["-c", "4096", "--flag"],
        "env": {"TOKEN": "s3cret"},
        "env_passthrough": ["HOME"],
        "cwd": "/somewhere",
        "port": 12345,
    }
    async with a_world(engine=engine, device_mask="1") as world:
        await world.ready()
        (request,) = world.launcher.launched
        assert request.command.argv == ("engine", "-c", "4096", "--flag")
        assert dict(request.command.env) == {
            "CUDA_VISIBLE_DEVICES": "1",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "TOKEN": "s3cret",
        }
        assert (request.env_passthrough, request.cwd, request.port) == (("HOME",), "/somewhere", 12345)
        assert request.log_path == str(world.folder / "logs/chat.log")
        assert request.pid_path == str(world.folder / "run/chat.pid")
        assert request.token.startswith("chat.1.")
        assert (request.pool_id, request.generation, request.host) == ("chat", 1, "127.0.0.1")


@virtually
async def test_no_engine_is_launched_on_a_port_that_is_none() -> None:
    """S17: what a driver hands over goes into the record, which could not be stored with it."""
    nonsense = twisted(only("reserve_port", returning("nonsense"), times=2))
    async with a_world(twist=nonsense) as world:
        with pytest.raises(StartFailed, match="'reserve_port' returned 'nonsense', not a int"):
            await world.pool.start()
        assert not world.launcher.launched
        await world.pool.stop()


class Curious(MemoryProfile):
    """Remembers what it was asked to write a command for."""

    def __init__(self) -> None:
        self.contexts: list[CommandContext] = []

    def command(self, *, context: CommandContext) -> Command:
        self.contexts.append(context)
        return super().command(context=context)


@virtually
async def test_the_profile_gets_the_staged_path_and_the_chosen_port() -> None:
    """The port that preflight looked at is the one that is launched on."""
    profile = Curious()
    async with a_world(profile=profile, slots=3) as world:
        await world.ready()
        before, at = profile.contexts
        assert before.model_path == "file:/old.gguf"  # not in place yet
        assert at.model_path == "/memory/old.gguf"
        assert before.port == at.port == world.launcher.launched[0].port
        assert at.slots == 3


@virtually
async def test_an_engine_without_a_model_needs_no_staging() -> None:
    """`model=None`."""
    async with a_world(model=None) as world:
        await world.ready()
        assert world.stager.requests == []


@virtually
async def test_every_launch_has_its_own_token() -> None:
    """S2: a restart is a new instance, in this manager or the next."""
    tokens = set()
    for _ in range(2):
        async with a_world() as world:
            await world.ready()
            await world.pool.reload(NEW)
            tokens |= {request.token for request in world.launcher.launched}
    assert len(tokens) == 4


@virtually
async def test_a_handoff_being_written_is_taken_back_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-PRELOAD-020: threads cannot be cancelled; the stop comes after the slow disk, not before it."""
    begun, go, real = threading.Event(), threading.Event(), Handoff.write

    def slowly(document: Handoff, path: Path) -> None:
        begun.set()
        go.wait()
        real(document, path)

    monkeypatch.setattr(Handoff, "write", slowly)
    async with a_world() as world:
        world.begin(world.pool.start())
        await asyncio.to_thread(begun.wait)
        stopping = world.begin(world.pool.stop())
        for _ in range(20):
            await asyncio.sleep(0)
        too_early = stopping.done()
        go.set()
        await stopping
        assert not too_early
        assert world.files == {"lock"}


# --- no ending is lost ----------------------------------------------------------------------------------


def wrongs(world: World) -> list[str]:
    return [one.what for one in world.of(DriverMisbehaved)]


@virtually
async def test_an_ending_that_cannot_be_judged_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """V3: whatever the evidence of a driver makes of the verdict, the pool hears of it at once."""

    def fails(*_: Any, **__: Any) -> Cause:
        raise ZeroDivisionError("x" * 10**6)

    async with a_world() as world:
        engine = await world.ready()
        monkeypatch.setattr(launching, "judged", fails)
        engine.crash()
        await virtual_time.settle()
        assert world.pool.state is PoolState.BACKING_OFF
        (told,) = world.of(EngineEnded)
        assert (told.cause.kind, told.cause.confidence) == (FailureClass.UNKNOWN, Confidence.GUESS)
        assert told.cause.exit == ExitStatus(signal=11)
        assert "killed by SIGSEGV" in told.cause.message
        assert "ZeroDivisionError" in told.cause.message
        assert len(told.cause.message) < 500
        assert wrongs(world)[0].startswith("why generation 1 ended cannot be told: ZeroDivisionError")
        monkeypatch.undo()
        await world.pool.reached("ready")


@virtually
async def test_a_hang_that_cannot_be_judged_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """V3: nor does that end the watch."""

    def fails(*_: Any, **__: Any) -> Cause:
        raise ZeroDivisionError

    async with a_world() as world:
        engine = await world.ready()
        monkeypatch.setattr(launching, "judged", fails)
        engine.hang()
        await world.pool.reached("recovering")
        (told,) = world.of(EngineUnhealthy)
        assert told.cause.kind is FailureClass.UNKNOWN
        assert told.cause.message.startswith("the engine was taken for crashed; why cannot be told")
        monkeypatch.undo()
        await world.pool.reached("ready")
        assert world.pool.snapshot.generation == 2


@pytest.mark.parametrize("clues", [("oom",), None, 7])
@virtually
async def test_an_ending_with_nonsense_for_clues_is_a_lost_one(clues: Any) -> None:
    """V3, S16: it is told, as one of which nothing is known."""
    async with a_world() as world:
        engine = await world.ready()
        engine.crash(ExitStatus(signal=9, clues=clues))
        await virtual_time.settle()
        assert world.pool.state is PoolState.BACKING_OFF
        assert [one.cause.kind for one in world.of(EngineEnded)] == [FailureClass.UNKNOWN]
        assert wrongs(world)[0].startswith("waiting for generation 1 failed: TypeError")
        await world.pool.reached("ready")


@virtually
async def test_no_observer_can_hide_an_ending() -> None:
    """V3: not even one that lets a CancelledError out, which would end the task that tells the pool."""

    def cancelled(_record: Record) -> None:
        raise asyncio.CancelledError

    async with a_world() as world:
        engine = await world.ready()
        world.manager.observe(cancelled)
        engine.crash()
        await world.pool.reached("backing_off")
        await world.pool.reached("ready")
        assert world.pool.snapshot.generation == 2


class Vague(MemoryProfile):
    """Cannot say any more what exit code 0 means."""

    vague = False

    @property
    def exit_zero(self) -> ExitZero:  # type: ignore[override]
        if self.vague:
            raise KeyError("exit_zero")
        return ExitZero.GRACEFUL


@virtually
async def test_without_a_meaning_exit_code_0_is_a_crash() -> None:
    """V3, S16: graceful is only what is known to be."""
    profile = Vague()
    async with a_world(profile=profile) as world:
        engine = await world.ready()
        profile.vague = True
        engine.crash(ExitStatus(code=0))
        await world.pool.reached("backing_off")
        assert wrongs(world) == ["what exit code 0 means could not be asked for: KeyError('exit_zero')"]
        await world.pool.reached("ready")


class Nonsensical(MemoryProfile):
    """Looks for what is no text."""

    patterns = (Pattern(5, FailureClass.CUDA),)  # type: ignore[arg-type]


@virtually
async def test_a_log_that_a_profile_makes_unreadable_is_told_of_once() -> None:
    """V3: the watch goes on, for hours; a hang is noticed, and the ending is told."""
    async with a_world(profile=Nonsensical()) as world:
        engine = await world.ready()
        engine.say("hello")
        await asyncio.sleep(3600)
        (told,) = wrongs(world)
        assert told.startswith("the log of generation 1 cannot be read: ")
        engine.hang()
        await world.pool.reached("recovering")
        await world.pool.reached("ready")
        assert world.pool.snapshot.generation == 2


# --- what waits for a disk ------------------------------------------------------------------------------


@virtually
async def test_what_waits_for_a_disk_that_hangs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: each has a task and a descriptor. Beyond that a log is not kept, which is told."""
    go, copied = threading.Event(), []

    def slowly(*_: object, generation: int, **__: object) -> None:
        go.wait(60)
        copied.append(generation)

    monkeypatch.setattr(crash_logs, "keep", slowly)
    monkeypatch.setattr(crash_logs, "WAITING", 3)
    async with a_world() as world:
        engine = await world.ready()
        server = world.pool.snapshot.server
        assert server is not None
        with contextlib.ExitStack() as finally_:
            finally_.callback(go.set)
            for _ in range(10):
                world.pool.launching._keep_log(server, _said_something(engine.request), BROKE)
                await asyncio.sleep(0)
            tasks = [task for task in world.pool.launching.tasks if "_kept" in repr(task)]
            assert len(tasks) == 3
            assert [one.what for one in world.of(Trouble)] == [
                "the log of generation 1, which crashed, is not kept: 3 others wait for the disk"
            ] * 7
        await asyncio.gather(*tasks)
        assert copied == [1, 1, 1]
        world.pool.launching._keep_log(server, _said_something(engine.request), BROKE)
        await asyncio.gather(*(task for task in world.pool.launching.tasks if "_kept" in repr(task)))
        assert len(copied) == 4
        assert len(world.of(Trouble)) == 7


BROKE = Cause(FailureClass.EXIT, Stage.RUN, "it broke")


def _said_something(request: LaunchRequest) -> Launch:
    launch = Launch.of(request, 0.0, MemoryProfile())
    launch.log.end += 1
    return launch


@virtually
async def test_of_an_engine_that_said_nothing_no_log_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a disk on its account: many such crash at once."""
    monkeypatch.setattr(crash_logs, "keep", None)
    monkeypatch.setattr(crash_logs, "WAITING", 0)
    async with a_world() as world:
        engine = await world.ready()
        server = world.pool.snapshot.server
        assert server is not None
        before = world.pool.launching.tasks
        world.pool.launching._keep_log(server, Launch.of(engine.request, 0.0, MemoryProfile()), BROKE)
        assert world.pool.launching.tasks == before
        assert not world.of(Trouble)


@virtually
async def test_what_may_have_escaped_is_told_once_for_people_to_look_at() -> None:
    """B-PROC-x2: nobody proves that it is ours, so that nobody ends it."""

    async def escaping(call: Call) -> Any:
        return evolve(await call(), suspects=(4711, 4712))

    async with a_world(twist=twisted(only("stop", escaping))) as world:
        await world.ready()
        await world.pool.stop()
        told = [one.what for one in world.of(Trouble)]
        assert told == ["of generation 1 these processes may have come, and live on: 4711, 4712"]
