"""Engines that outlive their manager, strangers that must not be taken for them, and programs around both."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import LOST, ExitStatus, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineFinder, EngineHandle
from pool_lifecycle_drivers import pidfile, process
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.pidfd_info import is_told
from pool_lifecycle_drivers.process import LocalLauncher, stop_by_pid_file
from pool_lifecycle_drivers.procfs import boot_id, read_entry, read_token
from tests.drivers.real_processes import LASTING, Bench, carriers, descriptors, is_living, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow


HOST = """
import asyncio, json, os, signal, sys
import attrs
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.process import LocalLauncher

async def launched(token, folder, script):
    request = LaunchRequest("p", 1, token, Command(("/bin/sh", "-c", script)), "127.0.0.1", 1,
                            folder + "/log", folder + "/run/engine.pid")
    return await LocalLauncher().launch(request=request)
"""


def in_a_host(script: str, *arguments: str) -> str:
    """What a Python program that embeds the launcher prints."""
    command = [sys.executable, "-c", HOST + textwrap.dedent(script), *arguments]
    folder = Path(process.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{folder}:{folder.parent}"}
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=60, env=env).stdout


KILLED_MANAGER = """
async def main():
    engine = await launched(*sys.argv[1:])
    print(json.dumps(attrs.asdict(engine.handle)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def handle_of_a_killed_manager(bench: Bench, token: str, script: str = LASTING) -> EngineHandle:
    return EngineHandle(**json.loads(in_a_host(KILLED_MANAGER, token, str(bench.folder), script)))


@pytest.mark.parametrize("known", ["everything", "only the token"])
def test_an_engine_outlives_its_manager_and_is_found_again(run_real: Run, bench: Bench, known: str) -> None:
    """Killed between fork and record, a manager knows no more than the token (S5)."""
    token = f"outlives-{known}-{os.getpid()}"
    complete = handle_of_a_killed_manager(bench, token)
    handle = complete if known == "everything" else EngineHandle("", token, "somewhere", 0)

    async def main() -> None:
        engine = await LocalLauncher().recover(handle=handle)
        assert engine is not None
        assert engine.handle.pid == complete.pid
        assert engine.handle == complete
        seen = await engine.inspect()
        assert seen.alive
        assert seen.pids == (complete.pid,)
        waiting = asyncio.ensure_future(engine.wait())
        report = await engine.stop(kill_after=5)
        assert report.exit == (ExitStatus(signal=signal.SIGTERM) if is_told() else LOST) == await waiting
        assert not report.killed
        assert await LocalLauncher().recover(handle=handle) is None

    run_real(main())
    assert carriers(token) == set()
    assert bench.files() == set()


def test_what_an_engine_left_is_found_although_the_engine_is_gone(run_real: Run, bench: Bench) -> None:
    """The manager was down when the leader died: its workers still hold the GPU (S5, S7)."""
    token = f"left-{os.getpid()}"
    handle = handle_of_a_killed_manager(bench, token, "setsid sleep 1000 & exec sleep 1000")

    async def main() -> None:
        await until(lambda: len(carriers(token)) == 2)
        os.kill(handle.pid or 0, signal.SIGKILL)
        await until(lambda: not is_living(handle.pid or 0) and len(carriers(token)) == 1)
        engine = await LocalLauncher().recover(handle=handle)
        assert engine is not None
        assert await engine.wait() in {LOST, ExitStatus(signal=signal.SIGKILL)}  # as long as it is a zombie
        seen = await engine.inspect()
        assert not seen.alive
        assert len(seen.pids) == 1
        report = await engine.stop(kill_after=5)
        assert report.ended == seen.pids

    run_real(main())
    assert carriers(token) == set()


def test_a_manager_that_leaves_gives_its_descriptors_back(run_real: Run, bench: Bench) -> None:
    """The loop is closed with the engine running; a second one in the same program finds it again."""

    async def leave() -> EngineHandle:
        engine = await LocalLauncher().launch(request=bench.sh(LASTING))
        await engine.output(after=0)
        return engine.handle

    before = descriptors()
    handle = asyncio.run(leave())
    gc.collect()
    patient_until = time.monotonic() + 20
    while descriptors() != before:  # inotify is closed by a thread
        assert time.monotonic() < patient_until

    async def come_back() -> Any:
        engine = await LocalLauncher().recover(handle=handle)
        assert engine is not None
        return await engine.stop(kill_after=5)

    assert run_real(come_back()).exit.signal == signal.SIGTERM


@pytest.fixture
def stranger() -> Any:
    """A process that is not ours, in a session of its own."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        yield child
        assert child.poll() is None, "a stranger was signalled"
        child.kill()


def handle_of(pid: int, *, ticks_later: int = 0, boot: str | None = None) -> EngineHandle:
    entry = read_entry(pid)
    assert entry is not None
    ticks = entry.who.start_ticks + ticks_later
    return EngineHandle("local", "no-such-token", "127.0.0.1", 1, pid, boot or boot_id(), ticks)


@pytest.mark.parametrize("forged", [{"ticks_later": 1}, {"ticks_later": -1}, {"boot": "another boot"}])
def test_a_recycled_pid_is_never_taken_for_the_engine(
    run_real: Run, stranger: subprocess.Popen[bytes], forged: dict[str, Any]
) -> None:
    """The number is right, the start time or the boot is not (S4, B-PROC-x1)."""
    handle = handle_of(stranger.pid, **forged)
    assert run_real(LocalLauncher().recover(handle=handle)) is None


def test_another_drivers_handle_is_not_ours(run_real: Run, stranger: subprocess.Popen[bytes]) -> None:
    """However well it fits."""
    handle = evolve(handle_of(stranger.pid), driver="remote")
    assert run_real(LocalLauncher().recover(handle=handle)) is None


def test_a_pid_file_is_enough_to_stop_its_engine(run_real: Run, bench: Bench) -> None:
    """Because the proof of identity lies beside it (B-PROC-013)."""
    token = f"by-file-{os.getpid()}"
    handle_of_a_killed_manager(bench, token)
    run_real(stop_by_pid_file(str(bench.folder / "run" / "engine.pid"), kill_after=5))
    assert carriers(token) == set()
    assert bench.files() == set()


def test_without_a_pid_file_the_error_names_it(run_real: Run, tmp_path: Path) -> None:
    """B-PROC-014."""
    with pytest.raises(DriverError, match=r"no/engine\.pid") as caught:
        run_real(stop_by_pid_file(str(tmp_path / "no" / "engine.pid"), kill_after=5))
    assert caught.value.cause.stage == Stage.STOP


@pytest.mark.parametrize("text", ["", "no digits", "²", "-1"])
def test_a_pid_file_alone_proves_nothing(
    run_real: Run, tmp_path: Path, stranger: subprocess.Popen[bytes], text: str
) -> None:
    """A pid without an identity, and a file with anything else, signal nobody (B-PROC-x1)."""
    for content in (text, str(stranger.pid)):
        (tmp_path / "engine.pid").write_text(content)
        with pytest.raises(DriverError, match=r"engine\.pid.*nothing was signalled"):
            run_real(stop_by_pid_file(str(tmp_path / "engine.pid"), kill_after=0))


def test_a_pid_file_with_another_engines_proof_signals_nobody(
    run_real: Run, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """Number and proof have to be of one process."""
    path = tmp_path / "engine.pid"
    pidfile.write(str(path), handle_of(stranger.pid))
    path.write_text("1")
    with pytest.raises(DriverError, match="nothing was signalled"):
        run_real(stop_by_pid_file(str(path), kill_after=0))


def test_a_stale_pid_file_signals_nobody_and_is_removed(
    run_real: Run, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """Its pid belongs to somebody else by now."""
    path = str(tmp_path / "engine.pid")
    pidfile.write(path, handle_of(stranger.pid, ticks_later=-1))
    report = run_real(stop_by_pid_file(path, kill_after=0))
    assert report.exit == LOST
    assert os.listdir(tmp_path) == []


WITHOUT_A_STATUS_OF_ITS_OWN = """
from pool_lifecycle_drivers import pidfd_info

async def main():
    kernel, reaping, token, folder = sys.argv[1:]
    if kernel == "old":
        pidfd_info.is_told = lambda: False
    if reaping == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    engine = await launched(token, folder, "while ! [ -e " + folder + "/go ]; do sleep 0.01; done; exit 7")
    open(folder + "/go", "w").close()
    if reaping == "stolen":
        os.waitpid(-1, 0)
    print(await engine.wait(), (await engine.stop(kill_after=0)).exit, sep=", ")

asyncio.run(main())
"""


@pytest.mark.parametrize("reaping", ["ignored", "stolen"])
@pytest.mark.parametrize("kernel", ["this", "old"])
def test_in_a_program_that_leaves_no_status_it_is_the_kernels_or_unknown(
    bench: Bench, reaping: str, kernel: str
) -> None:
    """SIGCHLD is ignored, or `waitpid(-1)` is called somewhere: never 0, which `Popen` makes of it (S16)."""
    known = kernel == "this" and is_told()
    said = in_a_host(WITHOUT_A_STATUS_OF_ITS_OWN, kernel, reaping, f"reaped-{os.getpid()}", str(bench.folder))
    assert said == ("exit code 7, exit code 7\n" if known else "exit status unknown, exit status unknown\n")


IGNORES_CHILDREN = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

async def main():
    engine = await launched(*sys.argv[1:], "sleep 1000 & setsid sleep 1000 & exec sleep 1000")
    print((await engine.stop(kill_after=5)).killed)

asyncio.run(main())
"""


def test_in_a_program_that_ignores_sigchld_a_tree_is_still_ended(bench: Bench) -> None:
    """Although the kernel gives the number of the leader away at once."""
    token = f"ignores-{os.getpid()}"
    assert in_a_host(IGNORES_CHILDREN, token, str(bench.folder)) == "False\n"
    assert carriers(token) == set()


FORGED: tuple[dict[str, Any], ...] = (
    {"boot_id": "another"},
    {"token": "another"},
    {"driver": "another"},
    {"token": "another", "start_ticks": 1},
    {"token": "another", "pid": 1},
)


def test_an_engine_is_found_by_its_pid_file(run_real: Run, bench: Bench) -> None:
    """Who it is, if it provably lives; to look changes nothing, and holds nothing."""
    path = str(bench.folder / "run" / "engine.pid")
    files = [Path(path), Path(f"{path}.identity")]

    async def main() -> None:
        launcher = LocalLauncher()
        assert isinstance(launcher, EngineFinder)
        assert await launcher.find(pid_path=path) is None
        engine = await launcher.launch(request=bench.sh(LASTING))
        await engine.output(after=0)
        await engine.inspect()  # once it is in its cgroup nothing is under way any more
        before = descriptors()
        assert await LocalLauncher().find(pid_path=path) == engine.handle
        assert descriptors() == before
        for forged in FORGED:
            pidfile.write(path, evolve(engine.handle, **forged))
            assert await LocalLauncher().find(pid_path=path) is None, forged
        pidfile.write(path, engine.handle)
        kept = [file.read_bytes() for file in files]
        await engine.stop(kill_after=5)
        for file, content in zip(files, kept, strict=True):
            file.write_bytes(content)
        assert await LocalLauncher().find(pid_path=path) is None
        assert [file.read_bytes() for file in files] == kept

    run_real(main())


def test_an_engine_whose_environment_is_not_to_be_read_is_known_by_the_rest(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wiped it, or runs as somebody else; one that shows another token is another (S4, B-PROC-x1)."""
    handle = handle_of_a_killed_manager(bench, f"hidden-{os.getpid()}")

    async def main() -> None:
        for shown, is_found in (("another", False), (None, True)):
            monkeypatch.setattr(process, "read_token", partial(_shown, shown))
            engine = await LocalLauncher().recover(handle=handle)
            assert (engine is not None) == is_found
            if engine is not None:
                await engine.stop(kill_after=5)

    run_real(main())


def _shown(token: str | None, _: int) -> str | None:
    return token


def test_another_program_in_the_same_process_is_the_same_engine(run_real: Run, bench: Bench) -> None:
    """Pid and start time stay what they are: it is still the process that was launched."""
    gate = bench.folder / "gate"
    token = f"becomes-{os.getpid()}"
    script = f"while ! [ -e {gate} ]; do sleep 0.01; done; exec env -i /bin/sleep 1000"
    handle = handle_of_a_killed_manager(bench, token, script)

    async def main() -> None:
        gate.touch()
        await until(lambda: not carriers(token) and is_living(handle.pid or 0))
        engine = await LocalLauncher().recover(handle=handle)
        assert engine is not None
        assert (await engine.inspect()).alive
        await engine.stop(kill_after=5)
        assert not is_living(handle.pid or 0)

    run_real(main())


def test_many_engines_are_found_again_with_few_looks(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that live need no list of the host's processes, and one thread looks at all of them."""
    looks: list[Any] = []
    threads: set[int] = set()
    real = read_token

    def counted(pid: int) -> str | None:
        threads.add(threading.get_ident())
        return real(pid)

    async def main() -> None:
        former = LocalLauncher()
        engines = [await former.launch(request=bench.sh(LASTING)) for _ in range(20)]
        monkeypatch.setattr(process, "read_token", counted)
        monkeypatch.setattr(Census, "processes", lambda *_: looks.append(1))
        launcher = LocalLauncher()
        found = await asyncio.gather(*(launcher.recover(handle=engine.handle) for engine in engines))
        assert [one.handle for one in found if one is not None] == [engine.handle for engine in engines]
        monkeypatch.undo()
        for one in (*found, *engines):
            assert one is not None
            await one.stop(kill_after=5)

    run_real(main())
    assert looks == []
    assert len(threads) <= 3, "one, unless it hung for a while"
