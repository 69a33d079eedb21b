"""Local launches that cannot work: known beforehand, and leaving nothing where they are tried."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
import socket
import subprocess
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle_drivers import pinned
from pool_lifecycle_drivers.process import LocalLauncher
from tests.drivers.real_processes import LASTING, STUBBORN, Bench, carriers, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow


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
        engine = await LocalLauncher(containment=()).launch(request=request)  # nothing is opened in a thread
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
