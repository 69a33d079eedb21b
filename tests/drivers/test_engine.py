"""A local engine from launch until nothing is left: its end, its port, its output."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle.causes import ClueKind, ExitStatus
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle_drivers import engine as engines
from pool_lifecycle_drivers import kernel_log, oom, pinned
from pool_lifecycle_drivers.engine import Details, LocalEngine
from pool_lifecycle_drivers.process import LocalLauncher
from tests.drivers.real_processes import LASTING, LISTEN, STUBBORN, Bench, carriers, stopping, until
from tests.real_cgroups import Cgroup, memory_cgroup

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow

FOR_EVER = 3600.0


WORKERS = (
    LISTEN
    + """
worker = os.fork()
print("up", flush=True)
while True:
    time.sleep(1)
"""
)


def test_a_dead_leader_leaves_workers_that_are_found_and_ended(run_real: Run, bench: Bench) -> None:
    """They still hold the port; the status is the leader's own (B-PROC-x3, S6)."""

    async def main() -> None:
        launcher = LocalLauncher()
        port = await launcher.reserve_port(host="127.0.0.1")
        request = bench.python(WORKERS, port=port)
        engine = await launcher.launch(request=request)
        await until(lambda: bench.log().count("up") == 2)
        both = await engine.inspect()
        assert both.listening == (port,)
        assert both.containment in {"cgroup v2", "cgroup v1", "session"}
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        assert (await engine.wait()).signal == signal.SIGKILL
        left = await engine.inspect()
        assert not left.alive
        assert left.pids == tuple(pid for pid in both.pids if pid != engine.handle.pid)
        assert left.listening == (port,)
        assert await launcher.preflight(request=request) != ()
        report = await engine.stop(kill_after=FOR_EVER)
        assert report.ended == left.pids
        assert report.exit == ExitStatus(signal=signal.SIGKILL)
        assert not report.killed
        assert await launcher.preflight(request=request) == ()

    run_real(main())


GIVES_AWAY = (
    LISTEN
    + """
other = socket.socket(socket.AF_UNIX)
other.connect(sys.argv[2])
socket.send_fds(other, [b"x"], [listening.fileno()])
print("up", flush=True)
time.sleep(1000)
"""
)


def test_a_port_held_by_a_leaked_descriptor_is_waited_for(run_real: Run, bench: Bench) -> None:
    """The engine is gone, a stranger holds its socket: the port is not free, the stranger is not touched."""
    path = str(bench.folder / "unix")

    async def main(receiver: socket.socket) -> None:
        launcher = LocalLauncher()
        port = await launcher.reserve_port(host="127.0.0.1")
        request = bench.python(GIVES_AWAY, port=port)
        request = bench.request(*request.command.argv, path, port=port)
        engine = await launcher.launch(request=request)
        await engine.output(after=0)
        leaked = await asyncio.to_thread(leaked_socket, receiver)
        assert (await engine.inspect()).listening == (port,)
        stop = asyncio.ensure_future(engine.stop(kill_after=5))
        await engine.wait()
        await until(lambda: carriers(request.token) == set())
        for _ in range(5):
            await engine.inspect()
            assert not stop.done()
        os.close(leaked)
        assert (await stop).exit.signal == signal.SIGTERM

    with closing(socket.socket(socket.AF_UNIX)) as receiver:
        receiver.bind(path)
        receiver.listen()
        run_real(main(receiver))


def leaked_socket(receiver: socket.socket) -> int:
    connection, _ = receiver.accept()
    with connection:
        return socket.recv_fds(connection, 1, 1)[1][0]


def test_a_stranger_on_the_port_does_not_keep_a_stop(use: Any, bench: Bench) -> None:
    """The engine never had it; the stranger goes on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as stranger:
        port = stranger.getsockname()[1]
        report = use(bench.sh("echo cannot bind; exit 1", port=port), stopping(0))
        assert report.exit in (ExitStatus(code=1), ExitStatus(signal=signal.SIGTERM))  # whichever was first
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_connections_in_time_wait_do_not_keep_a_stop(run_real: Run, bench: Bench) -> None:
    """The side that closed first waits a minute in the kernel, and so would we."""
    script = (
        LISTEN
        + """
print("up", flush=True)
connection, _ = listening.accept()
connection.close()
print("closed", flush=True)
time.sleep(1000)
"""
    )

    async def main() -> None:
        launcher = LocalLauncher()
        port = await launcher.reserve_port(host="127.0.0.1")
        engine = await launcher.launch(request=bench.python(script, port=port))
        await engine.output(after=0)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as client:
            await until(lambda: "closed" in bench.log())
            assert client.recv(1) == b""
        await asyncio.wait_for(engine.stop(kill_after=5), 10)
        assert await launcher.preflight(request=bench.sh("exit 0", port=port)) == ()

    run_real(main())


def test_output_of_earlier_launches_does_not_count(use: Any, bench: Bench) -> None:
    """The file is one, each launch counts its own bytes."""

    async def count(engine: LocalEngine) -> int:
        return await engine.output(after=0)

    for _ in range(2):
        assert use(bench.sh("printf 12345; exec sleep 1000"), count) == 5


def test_a_flood_of_output_stops_nothing(use: Any, bench: Bench) -> None:
    """20 MB go to the file, not through us, and the loop goes on (S19)."""

    async def follow(engine: LocalEngine) -> None:
        written = 0
        while written < 20_000_000:
            written = await engine.output(after=written)
        assert (await engine.wait()).success

    use(bench.sh("yes | head -c 20000000"), follow)


def test_output_renamed_by_a_log_rotation_is_followed(use: Any, bench: Bench) -> None:
    """The engine goes on writing to the file that it has."""
    log = bench.folder / "logs" / "engine.log"
    os.mkfifo(bench.folder / "fifo")

    async def rotate(engine: LocalEngine) -> None:
        log.rename(log.with_suffix(".1"))
        log.touch()
        more = asyncio.ensure_future(engine.output(after=3))
        (bench.folder / "fifo").write_text("go\n")
        assert await asyncio.wait_for(more, 10) == 6

    script = "echo up; read line < fifo; echo go; exec sleep 1000"
    use(bench.sh(script, cwd=str(bench.folder)), rotate)


def test_an_end_that_a_debugger_sees_first_is_reported_when_it_can_be(
    use: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traced child has ended, but its status is kept from us for a while."""
    answers = [None, None]
    real = pinned.Pinned.exit_status
    monkeypatch.setattr(pinned.Pinned, "exit_status", lambda self: answers.pop() if answers else real(self))

    async def wait(engine: LocalEngine) -> ExitStatus:
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        return await engine.wait()

    assert use(bench.sh(LASTING), wait) == ExitStatus(signal=signal.SIGKILL)
    assert not answers


def test_details_that_are_not_ours_are_unknown() -> None:
    """A handle may come from a damaged store."""
    for text in ("", "null", "[]", '{"log_path": 1}', '{"log_path": "", "log_offset": "x", "pid_path": ""}'):
        assert Details.load(text) == Details()


def test_a_stop_that_broke_is_begun_anew(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S5: whatever went wrong the first time, asked again it ends the engine, and says so."""

    async def broken(*_: object) -> None:
        raise OSError("no descriptor left")

    async def main() -> None:
        launched = await LocalLauncher().launch(request=bench.sh("exec sleep 1000"))
        with monkeypatch.context() as patch:
            patch.setattr(engines, "until_released", broken)
            with pytest.raises(OSError, match="no descriptor left"):
                await launched.stop(kill_after=5)
        assert (await launched.stop(kill_after=5)).exit == ExitStatus(signal=signal.SIGTERM)

    run_real(main())


EATS = """
print("up", flush=True)
open("go").read()
eaten = [b"x" * (2**20 + size) for size in range(300)]
"""


def let_go(bench: Bench) -> asyncio.Future[Any]:
    """Tell an engine to go on that reads the FIFO `go`."""
    return asyncio.ensure_future(asyncio.to_thread((bench.folder / "go").write_text, "now\n"))


async def after_an_oom_kill(
    bench: Bench, request: LaunchRequest, cgroup: Cgroup, *, seen: bool
) -> ExitStatus:
    """How an engine ended that was moved to `cgroup`, was `seen` there or not, and was told to go on."""
    os.mkfifo(bench.folder / "go")
    engine = await LocalLauncher().launch(request=request)
    await engine.output(after=0)
    cgroup.add(engine.handle.pid or 0)
    if seen:
        await engine.inspect()
    await let_go(bench)
    status = await engine.wait()
    assert (await engine.stop(kill_after=0)).exit == status
    return status


def test_an_oom_kill_is_proven_by_the_counter_of_its_cgroup(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-SUPER-009, FAULTS real OOM kill: where the kernel's log is of no use."""
    monkeypatch.setattr(kernel_log, "FIRST_NAMESPACE", 0)
    request = bench.python(EATS, cwd=str(bench.folder))
    with memory_cgroup(64 * 2**20) as cgroup:
        status = run_real(after_an_oom_kill(bench, request, cgroup, seen=True))
    assert status.signal == signal.SIGKILL
    (clue,) = status.clues
    assert clue.kind is ClueKind.OOM_KILL
    assert clue.proof
    assert cgroup.folder.name in clue.detail


def test_an_oom_kill_is_proven_by_the_kernels_log(run_real: Run, bench: Bench) -> None:
    """B-SUPER-009: it came to a cgroup where nobody had seen it yet."""
    if os.stat("/proc/self/ns/pid").st_ino != kernel_log.FIRST_NAMESPACE or not can_open("/dev/kmsg"):
        pytest.skip("the kernel's log cannot be read here, or knows our processes by other numbers")
    request = bench.python(EATS, cwd=str(bench.folder))
    with memory_cgroup(64 * 2**20) as cgroup:
        status = run_real(after_an_oom_kill(bench, request, cgroup, seen=False))
    assert status.signal == signal.SIGKILL
    assert status.clues[0].proof
    assert status.clues[0].detail.startswith("the kernel's log: ")


def can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_an_oom_kill_of_a_worker_is_told_with_the_leaders_end(run_real: Run, bench: Bench) -> None:
    """B-SUPER-x1: the leader ends with a code of its own because the kernel killed its worker."""
    worker = EATS.split("\n", 3)[3]
    script = f"echo up; read line < go; {shlex.quote(sys.executable)} -c '{worker}'; exit 3"
    request = bench.sh(script, cwd=str(bench.folder))
    with memory_cgroup(64 * 2**20) as cgroup:
        status = run_real(after_an_oom_kill(bench, request, cgroup, seen=True))
    assert status.code == 3
    (clue,) = status.clues
    assert clue.proof


def test_a_strangers_sigkill_is_no_oom_kill(use: Any, bench: Bench) -> None:
    """S16, FAULTS an administrator's SIGKILL: not even when the kernel kills somebody else meanwhile."""
    os.mkfifo(bench.folder / "go")

    async def main(engine: LocalEngine) -> ExitStatus:
        with memory_cgroup(64 * 2**20) as cgroup:
            command = [sys.executable, "-c", EATS]
            other = await asyncio.create_subprocess_exec(
                *command, cwd=bench.folder, stdout=subprocess.DEVNULL
            )
            cgroup.add(other.pid)
            await let_go(bench)
            assert await other.wait() == -signal.SIGKILL
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        return await engine.wait()

    status = use(bench.sh(LASTING), main)
    assert status.signal == signal.SIGKILL
    assert not any(clue.proof for clue in status.clues)


def test_whoever_waits_is_told_what_the_log_says(
    use: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody, and nobody before it has been asked; it is asked once."""
    answer: asyncio.Event
    asked = 0

    async def line(*_: object, **__: object) -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return "Killed process"

    monkeypatch.setattr(oom.OomWatch, "may_be_logged", lambda self: True)
    monkeypatch.setattr(kernel_log.KernelLog, "line", line)

    async def main(engine: LocalEngine) -> None:
        nonlocal answer
        answer = asyncio.Event()
        waiting = [asyncio.ensure_future(engine.wait()) for _ in range(2)]
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        await until(lambda: asked)
        assert not any(one.done() for one in waiting)
        answer.set()
        for status in (*await asyncio.gather(*waiting), await engine.wait()):
            assert [clue.detail for clue in status.clues] == ["the kernel's log: Killed process"]

    use(bench.sh(LASTING), main)
    assert asked == 1


def test_our_own_kill_needs_no_explanation(use: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """S16: nobody is asked who it was, and what others did meanwhile is no clue."""
    monkeypatch.setattr(oom.OomWatch, "counted", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(oom.OomWatch, "may_be_logged", lambda _: pytest.fail("asked"))
    report = use(bench.sh(STUBBORN), stopping(0.1))
    assert report.exit == ExitStatus(signal=signal.SIGKILL)


def test_a_program_that_ends_while_the_log_is_asked_ends_in_good_order(
    run_real: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is told without it."""
    asked = asyncio.Event()

    async def line(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(oom.OomWatch, "may_be_logged", lambda self: True)
    monkeypatch.setattr(kernel_log.KernelLog, "line", line)

    async def main() -> None:
        engine = await LocalLauncher().launch(request=bench.sh(LASTING))
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        await asyncio.wait_for(asked.wait(), 30)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        assert (await engine.wait()).signal == signal.SIGKILL
        await engine.stop(kill_after=0)

    run_real(main())
