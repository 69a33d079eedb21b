"""The launcher of local processes: how an engine comes to be, is found again, and what is refused."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import LOST, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle, LaunchRequest
from pool_lifecycle.testing.check_launcher import check_launcher
from pool_lifecycle_drivers import pidfile, pinned, process
from pool_lifecycle_drivers.process import LocalLauncher, stop_by_pid_file
from pool_lifecycle_drivers.procfs import boot_id, read_entry
from tests.drivers.real_processes import LASTING, STUBBORN, Bench, carriers, descriptors, is_living, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow


def conform(bench: Bench) -> Coroutine[Any, Any, None]:
    return check_launcher(
        LocalLauncher,
        lasting=lambda port: bench.sh(LASTING, port=port),
        stubborn=lambda port: bench.sh(STUBBORN, port=port),
        exiting=lambda port, code: bench.sh(f"exit {code}", port=port),
        impossible=lambda port: bench.request(str(bench.folder / "missing"), port=port),
    )


def test_it_keeps_every_promise_of_a_launcher(run_real: Run, bench: Bench) -> None:
    """The same check that the launcher in memory passes in virtual time."""
    run_real(conform(bench))
    assert bench.files() == set()


def test_without_pidfds_it_keeps_every_promise_too(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an old kernel, or in a sandbox that hides `pidfd_open`."""

    def hidden(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", hidden)
    monkeypatch.setattr(pinned, "POLL", 0.02)
    run_real(conform(bench))


def test_the_engine_is_exactly_the_command(run_real: Run, bench: Bench) -> None:
    """No shell touches the arguments; it starts in its directory, in a session of its own (B-PRELOAD-001)."""
    odd = ("$HOME", "a b", "*", "", "; exit 1", "naïve")
    show = (
        "import os, sys;"
        "print(sys.argv[1:], os.getcwd(), sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd')))"
    )

    async def main() -> None:
        request = bench.request(sys.executable, "-c", show, *odd, cwd=str(bench.folder))
        engine = await LocalLauncher().launch(request=request)
        entry = read_entry(engine.handle.pid or 0)
        assert entry is not None
        assert entry.session == engine.handle.pid
        assert (await engine.wait()).success
        await engine.stop(kill_after=0)

    leaked, other = os.pipe()
    os.set_inheritable(leaked, True)
    try:
        run_real(main())
    finally:
        os.close(leaked)
        os.close(other)
    assert bench.log() == f"{list(odd)} {bench.folder} True ['0', '1', '2', '3']\n"


def test_the_environment_is_built_from_nothing(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the manager's own spills over but what is allowed by name (B-DEVICE-011)."""
    for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "spilled")
    monkeypatch.setenv("LC_TIME", "C")
    request = bench.request("env", env={"MINE": "1"}, env_passthrough=("HF_TOKEN",))

    async def main() -> None:
        engine = await LocalLauncher().launch(request=request)
        await engine.wait()
        await engine.stop(kill_after=0)

    run_real(main())
    seen = dict(line.split("=", 1) for line in bench.log().splitlines())
    allowed = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "LC_TIME"}
    assert {"MINE": "1", "HF_TOKEN": "spilled", "SPT_NOENV": "1", "LC_TIME": "C"}.items() <= seen.items()
    assert seen["POOL_LIFECYCLE_TOKEN"] == request.token
    own = {"MINE", "HF_TOKEN", "SPT_NOENV", "POOL_LIFECYCLE_TOKEN"}
    assert {name for name in seen if not name.startswith("LC_")} <= allowed | own


def test_all_output_goes_to_one_file_that_is_only_appended_to(run_real: Run, bench: Bench) -> None:
    """stdout and stderr of every launch, with where this one begins in the handle (B-PRELOAD-002)."""

    async def main() -> list[dict[str, Any]]:
        details = []
        for script in ("echo one; echo two >&2", "echo three >&2"):
            engine = await LocalLauncher().launch(request=bench.sh(script))
            details.append(json.loads(engine.handle.details))
            await engine.wait()
            await engine.stop(kill_after=0)
        return details

    first, second = run_real(main())
    assert bench.log() == "one\ntwo\nthree\n"
    assert (first["log_offset"], second["log_offset"]) == (0, len("one\ntwo\n"))
    mode = os.stat(first["log_path"]).st_mode
    assert (stat.S_IMODE(mode), stat.S_IMODE(os.stat(bench.folder / "logs").st_mode)) == (0o600, 0o700)


def test_the_pid_file_holds_digits_until_the_engine_is_stopped(run_real: Run, bench: Bench) -> None:
    """Written before launch returns, removed when nothing is left (B-PROC-020..022, B-PRELOAD-004)."""

    async def main() -> None:
        request = bench.sh(LASTING)
        engine = await LocalLauncher().launch(request=request)
        assert (bench.folder / "run" / "engine.pid").read_text() == str(engine.handle.pid)
        assert int(engine.handle.pid or 0) > 0
        await engine.stop(kill_after=5)
        assert bench.files() == set()

    run_real(main())


def test_the_end_of_an_older_launch_leaves_the_newer_pid_file(run_real: Run, bench: Bench) -> None:
    """Two launches of a pool overlap while it is reloaded by surge."""

    async def main() -> None:
        launcher = LocalLauncher()
        old = await launcher.launch(request=bench.sh(LASTING))
        new = await launcher.launch(request=bench.sh(LASTING))
        await old.stop(kill_after=5)
        assert (bench.folder / "run" / "engine.pid").read_text() == str(new.handle.pid)
        await new.stop(kill_after=5)
        assert bench.files() == set()

    run_real(main())


def failed_launch(run_real: Run, request: LaunchRequest) -> DriverError:
    async def main() -> DriverError:
        with pytest.raises(DriverError) as caught:
            await LocalLauncher().launch(request=request)
        assert carriers(request.token) == set()
        return caught.value

    error: DriverError = run_real(main())
    assert not os.path.exists(request.pid_path)
    assert error.cause.stage == Stage.LAUNCH
    return error


def broken(bench: Bench, name: str) -> LaunchRequest:
    """A request for a launch that cannot work."""
    text, folder = bench.folder / "text", bench.folder / "folder"
    text.write_text("no program")
    folder.mkdir()
    os.mkfifo(bench.folder / "fifo")
    (bench.folder / "link").symlink_to(text)
    script = bench.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    for path in (script, bench.folder / "format"):
        path.touch()
        path.chmod(0o755)
    (bench.folder / "format").write_bytes(b"MZ\x90\0 not for this machine")
    requests: dict[str, Callable[[], LaunchRequest]] = {
        "missing": lambda: bench.request(str(bench.folder / "nothing")),
        "not on PATH": lambda: bench.request("no-such-program-anywhere"),
        "not executable": lambda: bench.request(str(text)),
        "directory": lambda: bench.request(str(folder)),
        "wrong format": lambda: bench.request(str(bench.folder / "format")),
        "interpreter": lambda: bench.request(str(script)),
        "cwd missing": lambda: bench.sh("exit 0", cwd=str(bench.folder / "nothing")),
        "cwd is a file": lambda: bench.sh("exit 0", cwd=str(text)),
        "log is a link": lambda: bench.sh("exit 0", log_path=str(bench.folder / "link")),
        "log is a FIFO": lambda: bench.sh("exit 0", log_path=str(bench.folder / "fifo")),
        "log is a directory": lambda: bench.sh("exit 0", log_path=str(folder)),
        "log below a file": lambda: bench.sh("exit 0", log_path=str(text / "log")),
        "pid file is a directory": lambda: bench.sh(LASTING, pid_path=str(folder)),
        "no command": bench.request,
    }
    return requests[name]()


BROKEN = {
    "missing": "does not exist",
    "not on PATH": "not on the engine's PATH",
    "not executable": "not executable",
    "directory": "not a regular file",
    "wrong format": "wrong format",
    "interpreter": "'/no/such/interpreter'",
    "cwd missing": "working directory .* does not exist",
    "cwd is a file": "working directory .* is not a directory",
    "log is a link": "log file .* symbolic link",
    "log is a FIFO": "log file .* FIFO",
    "log is a directory": "log file .* directory",
    "log below a file": "log file .*[Nn]ot a directory",
    "pid file is a directory": "pid file .* directory",
    "no command": "binary '' ",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_work_is_known_beforehand(run_real: Run, bench: Bench, name: str) -> None:
    """With a remedy, and without hope of healing by itself (B-PRELOAD-x1, exec fails)."""

    async def main() -> Any:
        launcher = LocalLauncher()
        port = await launcher.reserve_port(host="127.0.0.1")
        return await launcher.preflight(request=evolve(broken(bench, name), port=port))

    (cause,) = run_real(main())
    assert cause.kind == FailureClass.PREFLIGHT
    assert cause.stage == Stage.PREFLIGHT
    assert not cause.heals
    assert cause.remedy
    assert re.search(BROKEN[name], cause.message), cause.message


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "pid file is a directory"])
def test_a_launch_that_cannot_work_leaves_nothing(run_real: Run, bench: Bench, name: str) -> None:
    """No process, no file, no descriptor, and the cause says that a retry is in vain (B-ERROR-010)."""
    assert not failed_launch(run_real, broken(bench, name)).cause.heals


def test_an_engine_whose_pid_file_cannot_be_written_is_ended(run_real: Run, bench: Bench) -> None:
    """An engine that nobody could find again must not be left."""
    folder = bench.folder / "folder"
    (folder / "full").mkdir(parents=True)

    async def main() -> None:
        request = bench.sh(STUBBORN, pid_path=str(folder))
        with pytest.raises(DriverError, match="directory"):
            await LocalLauncher().launch(request=request)
        assert carriers(request.token) == set()

    run_real(main())
    assert os.listdir(folder) == ["full"]


def test_a_healthy_request_has_nothing_against_it_and_is_left_as_it_was(run_real: Run, bench: Bench) -> None:
    """Preflight changes nothing, not even the folders that the launch will make."""

    async def main() -> Any:
        launcher = LocalLauncher()
        port = await launcher.reserve_port(host="127.0.0.1")
        return await launcher.preflight(request=bench.sh("exit 0", port=port))

    assert run_real(main()) == ()
    assert os.listdir(bench.folder) == []


def test_a_port_held_by_a_stranger_is_named_with_its_pid(run_real: Run, bench: Bench) -> None:
    """The pool learns who is in the way; this heals when that program ends (B-PRELOAD-x3)."""

    async def main(port: int) -> Any:
        return await LocalLauncher().preflight(request=bench.sh("exit 0", port=port))

    with closing(socket.create_server(("127.0.0.1", 0))) as stranger:
        (cause,) = run_real(main(stranger.getsockname()[1]))
    assert cause.kind == FailureClass.PORT_IN_USE
    assert cause.heals
    assert f"(pid {os.getpid()})" in cause.message


def test_a_host_that_is_not_ours_is_refused(run_real: Run, bench: Bench) -> None:
    """An address of another machine, and a name that means nothing."""

    async def main(host: str) -> Any:
        request = evolve(bench.sh("exit 0", port=40000), host=host)
        with pytest.raises(DriverError, match="no port can be taken on host"):
            await LocalLauncher().reserve_port(host=host)
        return await LocalLauncher().preflight(request=request)

    for host in ("192.0.2.1", "no such host", "a" * 70, "..", "host.invalid"):
        (cause,) = run_real(main(host))
        assert repr(host) in cause.message or host in cause.message


def test_fifty_launches_at_once_have_fifty_ports(run_real: Run, bench: Bench) -> None:
    """Also while the engines do not listen yet; a port is free again after the stop."""

    async def main() -> None:
        launcher = LocalLauncher()

        async def one() -> Any:
            port = await launcher.reserve_port(host="127.0.0.1")
            return await launcher.launch(request=bench.sh(LASTING, port=port))

        engines = await asyncio.gather(*(one() for _ in range(50)))
        assert len({engine.handle.port for engine in engines}) == 50
        await asyncio.gather(*(engine.stop(kill_after=5) for engine in engines))
        assert launcher._ports._pending == {}

    run_real(main())


def test_out_of_descriptors_a_launch_fails_for_now(run_real: Run, bench: Bench) -> None:
    """EMFILE heals: nothing is left, and the same launch works later."""

    async def main() -> None:
        launcher = LocalLauncher()
        request = bench.sh(LASTING)
        await asyncio.to_thread(os.getpid)  # asyncio's own descriptors exist by now
        with no_descriptors(), pytest.raises(DriverError) as caught:
            await launcher.launch(request=request)
        assert caught.value.cause.heals
        assert "ulimit" in caught.value.cause.remedy
        assert carriers(request.token) == set()
        engine = await launcher.launch(request=request)
        await engine.stop(kill_after=5)

    run_real(main())


class no_descriptors:  # noqa: N801 - reads as what it is
    """Within it, this process cannot open anything."""

    def __enter__(self) -> None:
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, self.limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)


def test_out_of_descriptors_a_stop_ends_the_engine_and_claims_nothing(run_real: Run, bench: Bench) -> None:
    """A host that cannot be looked at is not an empty one (S6)."""

    async def main() -> None:
        request = bench.sh("trap 'exit 5' TERM; setsid sleep 1000 & echo up; wait")
        engine = await LocalLauncher().launch(request=request)
        await engine.output(after=0)
        await until(lambda: len(carriers(request.token)) == 2)
        with no_descriptors():
            stopping = asyncio.ensure_future(engine.stop(kill_after=60))
            assert (await engine.wait()).code == 5
            with pytest.raises(DriverError, match="cannot be looked at"):
                await engine.inspect()
            await asyncio.sleep(2.5 * pinned.POLL)
            assert not stopping.done()
        assert len((await stopping).ended) == 2
        assert carriers(request.token) == set()

    run_real(main())


def test_a_host_short_of_processes_is_a_cause_that_heals(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EAGAIN on fork."""

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    error = failed_launch(run_real, bench.sh("exit 0"))
    assert error.cause.heals
    assert "ulimit -u" in error.cause.remedy


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
    handle = complete if known == "everything" else EngineHandle("local", token, "127.0.0.1", 1)

    async def main() -> None:
        engine = await LocalLauncher().recover(handle=handle)
        assert engine is not None
        assert engine.handle.pid == complete.pid
        assert engine.handle.start_ticks == complete.start_ticks
        seen = await engine.inspect()
        assert seen.alive
        assert seen.pids == (complete.pid,)
        waiting = asyncio.ensure_future(engine.wait())
        report = await engine.stop(kill_after=5)
        assert report.exit == LOST == await waiting
        assert not report.killed
        assert await LocalLauncher().recover(handle=handle) is None

    run_real(main())
    assert carriers(token) == set()
    assert known == "only the token" or bench.files() == set()


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
        assert await engine.wait() == LOST
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


IGNORES_CHILDREN = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

async def main():
    token, folder = sys.argv[1:]
    engine = await launched(token, folder, "exit 0")
    print(await engine.wait(), (await engine.stop(kill_after=0)).exit, sep=", ")
    engine = await launched(token, folder, "sleep 1000 & setsid sleep 1000 & exec sleep 1000")
    report = await engine.stop(kill_after=5)
    print(report.exit, report.killed)

asyncio.run(main())
"""

STEALS_CHILDREN = """
async def main():
    engine = await launched(*sys.argv[1:], "exit 0")
    os.waitpid(-1, 0)
    print(await engine.wait(), (await engine.stop(kill_after=0)).exit, sep=", ")

asyncio.run(main())
"""


def test_in_a_program_that_ignores_sigchld_a_status_is_unknown(bench: Bench) -> None:
    """Never 0, which is what `Popen` makes of it; and a tree is still ended (S16)."""
    token = f"ignores-{os.getpid()}"
    said = in_a_host(IGNORES_CHILDREN, token, str(bench.folder))
    assert said == "exit status unknown, exit status unknown\nexit status unknown False\n"
    assert carriers(token) == set()


def test_in_a_program_that_reaps_every_child_a_status_is_unknown(bench: Bench) -> None:
    """`waitpid(-1)` somewhere else in the program (S16)."""
    said = in_a_host(STEALS_CHILDREN, f"steals-{os.getpid()}", str(bench.folder))
    assert said == "exit status unknown, exit status unknown\n"
