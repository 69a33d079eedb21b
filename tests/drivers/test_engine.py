"""A local engine from launch until nothing is left: its end, its port, its output."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle_drivers import engine as engines
from pool_lifecycle_drivers import pinned
from pool_lifecycle_drivers.engine import Details, LocalEngine
from pool_lifecycle_drivers.process import LocalLauncher
from tests.drivers.real_processes import LASTING, LISTEN, Bench, carriers, stopping, until

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
        assert both.containment == "session"
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
