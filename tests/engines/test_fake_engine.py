"""The fake engine keeps its own promises, for a double that does something else proves nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.engine_fixtures import FakeEngine
from tests.real_cgroups import memory_cgroup

pytestmark = pytest.mark.slow

PATIENCE = 10.0


class Run:
    """A fake engine under way."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def get(self, path: str, timeout: float = PATIENCE) -> int:
        """The status a request is answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def wait_for_line(self, text: str) -> str:
        """The first line of its log that holds `text`, once it is there."""
        patient_until = time.monotonic() + PATIENCE
        while time.monotonic() < patient_until:
            for line in self.log.read_text().splitlines():
                if text in line:
                    return line
            time.sleep(0.005)
        raise AssertionError(f"{text!r} is not in {self.log.read_text()!r}")

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE)


Start = Callable[..., Run]


@pytest.fixture
def start(fake_engine: FakeEngine, free_port: Callable[[], int], tmp_path: Path) -> Iterator[Start]:
    """Starts a fake engine; in the end everything that came of it is killed."""
    runs: list[Run] = []
    mark = f"FAKE_ENGINE_TEST={tmp_path}"

    def start(*flags: str, until: str = "listening on") -> Run:
        port = free_port()
        log = tmp_path / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                fake_engine.argv(port, *flags),
                stdout=output,
                stderr=output,
                env={"FAKE_ENGINE_TEST": str(tmp_path)},
                start_new_session=True,
            )
        runs.append(Run(process, port, log))
        if until:
            runs[-1].wait_for_line(until)
        return runs[-1]

    yield start
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in (f"{name}={value}" for name, value in process.environ().items()):
                process.kill()
    for run in runs:
        run.process.wait(PATIENCE)


def test_answers_until_it_is_told_to_stop(start: Start) -> None:
    """With nothing asked for it is a healthy engine: 200, then exit code 0 at SIGTERM."""
    run = start()
    assert run.get("/health") == 200
    assert run.get("/completion?delay=0.01") == 200
    run.process.terminate()
    assert run.wait() == 0


def test_is_not_ready_before_its_time(start: Start) -> None:
    """503 until it is ready; the log says when."""
    run = start("--ready-after", "0.5", "--log-when-ready", "--log-every", "0.1")
    assert run.get("/health") == 503
    run.wait_for_line("loading, step 2")
    run.wait_for_line("ready")
    assert run.get("/health") == 200


def test_health_follows_its_script(start: Start) -> None:
    """One kind of answer after the other, the last for ever."""
    run = start("--health", "200,503,garbage,500")
    assert [run.get("/health"), run.get("/health")] == [200, 503]
    with pytest.raises(http.client.BadStatusLine):
        run.get("/health")
    assert [run.get("/health"), run.get("/health")] == [500, 500]


@pytest.mark.parametrize("flags", [("--health", "hang"), ("--no-accept",)])
def test_can_keep_a_client_waiting(start: Start, flags: tuple[str, ...]) -> None:
    """A connection, and then nothing."""
    with pytest.raises(TimeoutError):
        start(*flags).get("/health", timeout=0.3)


def test_can_leave_the_port_closed(start: Start) -> None:
    """Running, and not there."""
    run = start("--no-listen", "--say", "here", until="here")
    with pytest.raises(ConnectionRefusedError):
        run.get("/health")


def test_takes_no_notice_of_sigterm(start: Start) -> None:
    """Only SIGKILL ends it, and its child too."""
    run = start("--ignore-term", "--spawn-child")
    child = int(run.wait_for_line("child ").split()[1])
    os.killpg(run.process.pid, signal.SIGTERM)
    assert run.get("/health") == 200
    assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    run.process.kill()
    assert run.wait() == -signal.SIGKILL


def test_ends_by_itself(start: Start) -> None:
    """With the exit code and the words it was given."""
    run = start("--exit-on", "/end", "--exit-code", "7", "--last-words", "CUDA error: gone")
    with pytest.raises(http.client.RemoteDisconnected):
        run.get("/end")
    assert run.wait() == 7
    assert run.log.read_text().endswith("CUDA error: gone\n")


def test_crashes_by_signal(start: Start) -> None:
    """As a broken program dies."""
    run = start("--crash-on", "/crash")
    with pytest.raises(http.client.RemoteDisconnected):
        run.get("/crash")
    assert run.wait() == -signal.SIGSEGV


def test_eats_until_the_kernel_kills_it(start: Start) -> None:
    """Real memory, in a cgroup that has little of it."""
    run = start("--eat-on", "/eat")
    with memory_cgroup(64 * 2**20) as cgroup:
        cgroup.add(run.process.pid)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            run.get("/eat")
        assert run.wait() == -signal.SIGKILL


def test_fails_the_first_launches(start: Start, tmp_path: Path) -> None:
    """Launches are counted in a file: two fail, the third one lives."""
    flags = ("--fail-first", "2", "--count-in", str(tmp_path / "count"))
    assert [start(*flags, until="").wait() for _ in range(2)] == [1, 1]
    assert start(*flags).get("/health") == 200


def test_children_can_leave_the_session_and_keep_the_port(start: Start) -> None:
    """When the leader is killed, a child in another session still holds the port."""
    run = start("--spawn-setsid-child", "--leak-port")
    child = int(run.wait_for_line("child ").split()[1])
    assert os.getsid(child) != os.getsid(run.process.pid)
    run.process.kill()
    run.wait()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", run.port))


@pytest.mark.parametrize(("flag", "same_session"), [("--leader-exits", True), ("--daemonize", False)])
def test_leader_can_end_before_the_server(start: Start, flag: str, same_session: bool) -> None:
    """The process that was launched is gone; another one answers."""
    run = start(flag)
    server = int(run.wait_for_line("serving as").split()[2])
    assert run.wait() == 0
    assert run.get("/health") == 200
    assert (os.getsid(server) == run.process.pid) is same_session


def test_floods_its_log(start: Start) -> None:
    """As much output as was asked for."""
    run = start("--flood", "2")
    patient_until = time.monotonic() + PATIENCE
    while run.log.stat().st_size < 2_000_000 and time.monotonic() < patient_until:
        time.sleep(0.005)
    assert run.log.stat().st_size >= 2_000_000


def test_says_when_its_port_is_taken(start: Start) -> None:
    """And ends with exit code 1."""
    first = start()
    second = start("--port", str(first.port), until="cannot bind")
    assert second.wait() == 1
