"""What becomes of engines when the program that launched them is gone: real managers, really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers import orphans, process
from pool_lifecycle_drivers.ledger import Ledger, Ward
from pool_lifecycle_drivers.orphans import end_all
from pool_lifecycle_drivers.pidfd_info import is_told
from pool_lifecycle_drivers.process import LocalLauncher
from pool_lifecycle_drivers.procfs import boot_id, identify
from tests.drivers.real_processes import LASTING, Bench, carriers, is_living, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow

MANAGER = """
import asyncio, json, os, signal, sys, threading
import attrs
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers import adoption, guardian, pidfile, process
from pool_lifecycle_drivers.process import LocalLauncher

token, folder, script, grace, point = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def spawn_guardian(ledger, spawn=guardian._spawn):
    pid, life = spawn(ledger)
    print(json.dumps({"guardian": pid}), flush=True)
    if point == "guardian":
        die()
    return pid, life

def first(call):
    def second(*arguments):
        second.calls += 1
        return call(*arguments) if second.calls == 1 else die()
    second.calls = 0
    return second

guardian._spawn = spawn_guardian
if point == "fork":
    process.spawn = die
if point == "identity":
    process.pin_child = die
if point == "identity told":
    guardian.Guardian.expect = first(guardian.Guardian.expect)
if point == "pid file":
    pidfile.write = die

async def main():
    request = LaunchRequest("p", 1, token, Command(("/bin/sh", "-c", script)), "127.0.0.1", 4321,
                            folder + "/log", folder + "/run/engine.pid", orphan_grace=json.loads(grace))
    engine = await LocalLauncher().launch(request=request)
    print(json.dumps(attrs.asdict(engine.handle)), flush=True)
    if point == "running":
        await engine.output(after=0)
        die()
    if point == "wiped":
        while token in open(f"/proc/{engine.handle.pid}/environ").read():
            await asyncio.sleep(0.005)
        die()
    if point == "leaving":
        return
    if point == "replaced":
        os.execv("/bin/sh", ["sh", "-c", "read line"])
    if point == "stopped":
        await engine.output(after=0)
        await engine.stop(kill_after=5)

asyncio.run(main())
"""

FAMILY = (
    "trap '' TERM; setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo up; sleep 1000; wait"
)
"""Deaf to SIGTERM, with a child and a grandchild that have left its session."""


class Manager:
    """A program that launches an engine and is killed at a point of its life."""

    def __init__(self, bench: Bench, script: str, grace: float | None, point: str) -> None:
        self.token = f"orphan-{os.getpid()}-{point.replace(' ', '-')}"
        folder = Path(process.__file__).parents[1]
        env = {**os.environ, "PYTHONPATH": f"{folder}:{folder.parent}"}
        arguments = [self.token, str(bench.folder), script, json.dumps(grace), point]
        command = [sys.executable, "-c", textwrap.dedent(MANAGER), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=60, env=env, text=True)
        self.status = done.returncode
        said = [json.loads(line) for line in done.stdout.splitlines()]
        self.guardian = next((one["guardian"] for one in said if "guardian" in one), None)
        self.handle = next((EngineHandle(**one) for one in said if "pid" in one), None)

    async def is_cleared_away(self) -> None:
        """Nothing is left of the engine, and then neither of the guardian."""
        await until(lambda: not carriers(self.token))
        await until(lambda: self.guardian is None or not is_living(self.guardian))


POINTS = ["guardian", "fork", "identity", "identity told", "pid file", "running"]


@pytest.mark.parametrize("point", POINTS)
def test_a_manager_killed_at_any_point_of_a_launch_leaves_no_engine(
    run_real: Run, bench: Bench, point: str
) -> None:
    """Nor a pid file, nor a guardian, where the pool's policy is to stop (S5, B-SUPER-x6)."""

    async def main() -> None:
        manager = Manager(bench, LASTING, 0.5, point)
        assert manager.status == -signal.SIGKILL
        assert manager.guardian is not None
        await manager.is_cleared_away()
        assert bench.files() == set()

    run_real(main())


def test_whatever_came_of_the_engine_is_ended_with_it(run_real: Run, bench: Bench) -> None:
    """By force, once its grace is over, wherever it has gone to."""

    async def main() -> None:
        manager = Manager(bench, FAMILY, 0.2, "running")
        assert manager.status == -signal.SIGKILL
        await manager.is_cleared_away()

    run_real(main())


def test_an_engine_that_cannot_be_told_by_its_token_is_ended_too(run_real: Run, bench: Bench) -> None:
    """The guardian has been told who it is as soon as that was known."""

    async def main() -> None:
        manager = Manager(bench, "exec env -i /bin/sleep 1000", 0.5, "wiped")
        assert manager.status == -signal.SIGKILL
        assert manager.handle is not None
        pid = manager.handle.pid or 0
        await until(lambda: not is_living(pid))
        await manager.is_cleared_away()

    run_real(main())


@pytest.mark.parametrize("point", ["leaving", "replaced"])
def test_a_program_that_ends_without_having_ended_its_engines(
    run_real: Run, bench: Bench, point: str
) -> None:
    """Of its own will, or by becoming another program: the engines are ended all the same."""

    async def main() -> None:
        manager = Manager(bench, LASTING, 0.5, point)
        assert manager.status == (1 if point == "replaced" else 0)
        await manager.is_cleared_away()

    run_real(main())


def test_a_program_that_has_ended_its_engines_leaves_no_guardian(run_real: Run, bench: Bench) -> None:
    """It is gone before the stop is over."""
    manager = Manager(bench, LASTING, 0.5, "stopped")
    assert manager.status == 0
    assert manager.guardian is not None
    assert not is_living(manager.guardian)


def test_an_engine_that_is_to_be_kept_lives_on(run_real: Run, bench: Bench) -> None:
    """There is no guardian; it is found by the token alone, with its port, and its real end is told."""
    gate = bench.folder / "gate"
    manager = Manager(bench, f"echo up; while ! [ -e {gate} ]; do sleep 0.01; done; exit 7", None, "running")

    async def main() -> None:
        assert manager.guardian is None
        engine = await LocalLauncher().recover(handle=EngineHandle("", manager.token, "somewhere", 0))
        assert engine is not None
        assert engine.handle == manager.handle
        assert engine.handle.port == 4321
        assert await engine.output(after=0) == len("up\n")
        gate.touch()
        status = await engine.wait()
        assert status.code == (7 if is_told() else None)
        assert (await engine.stop(kill_after=0)).exit == status

    run_real(main())


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not ours to end."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        yield child
        assert child.poll() is None, "a stranger was signalled"
        child.kill()


def end(*wards: Ward) -> None:
    ledger = Ledger()
    for ward in wards:
        ledger.write(ward)
    end_all(ledger.fd)
    ledger.close()


@pytest.mark.parametrize("ticks_later", [-1, 1])
def test_a_stranger_who_got_the_number_is_left_alone(
    stranger: subprocess.Popen[bytes], ticks_later: int
) -> None:
    """The start time is another (S4)."""
    who = identify(stranger.pid)
    assert who is not None
    ticks = who.start_ticks + ticks_later
    end(Ward(EngineHandle("local", "no such token", "127.0.0.1", 1, stranger.pid, boot_id(), ticks), 0.0))


class Together:
    """A launcher that finds nobody before it has been asked for three."""

    asked = 0

    async def recover(self, *, handle: EngineHandle) -> None:
        self.asked += 1
        await until(lambda: self.asked == 3)


def test_all_are_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes its time keeps no other waiting."""
    monkeypatch.setattr(orphans, "LocalLauncher", Together)
    end(*(Ward(EngineHandle("local", f"t{number}", "127.0.0.1", 1), 5.0) for number in range(3)))


class Failing:
    """A launcher that cannot look at first, then finds an engine that does not end, then one that does."""

    def __init__(self, *, failures: int) -> None:
        self.failures = failures
        self.looks = 0
        self.stops: list[float] = []

    async def recover(self, *, handle: EngineHandle) -> Failing:
        self.looks += 1
        if self.looks <= self.failures:
            raise DriverError("local", Cause(FailureClass.UNKNOWN, Stage.LAUNCH, "out of descriptors"))
        return self

    async def stop(self, *, kill_after: float) -> None:
        self.stops.append(kill_after)
        if len(self.stops) == 1:
            raise TimeoutError


@pytest.mark.parametrize(("failures", "stops"), [(2, [0.5, 0.5]), (100, [])])
def test_what_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, stops: list[float]
) -> None:
    """But not for ever: the guardian never outlives its work."""
    launcher = Failing(failures=failures)
    monkeypatch.setattr(orphans, "LocalLauncher", lambda: launcher)
    monkeypatch.setattr(orphans, "PAUSES", (0.0, 0.0, 0.0))
    end(Ward(EngineHandle("local", "t", "127.0.0.1", 1), 0.5))
    assert (launcher.looks, launcher.stops) == (4, stops)


def test_a_launch_that_failed_leaves_no_guardian(run_real: Run, bench: Bench) -> None:
    """There is nobody to be ended; neither where it failed before the fork nor after it."""

    async def main() -> None:
        launcher = LocalLauncher()
        nobody = bench.request("/no/such/program", orphan_grace=1.0)
        in_the_way = bench.sh(LASTING, orphan_grace=1.0, pid_path=str(bench.folder))
        for request in (nobody, in_the_way):
            with pytest.raises(DriverError):
                await launcher.launch(request=request)
            assert launcher._guardian._ledger is None
            assert launcher._guardian._process is None

    run_real(main())
