"""`pool-lifecycle run` as a program of its own, with engines that are real processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.cli.foreground import ECHO

pytestmark = pytest.mark.slow

ENGINE = Path(__file__).parents[1] / "engines" / "fake_engine.py"
PATIENCE = 30.0
"""Real seconds after which what is waited for is not expected any more."""


class Program:
    """The command on a file whose engines carry a mark of their own in their command lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"mark-{os.getpid()}-{time.monotonic_ns()}"
        self.file = folder / "pools.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.terminal: int | None = None
        self.inner: int | None = None
        self.said = b""

    def declare(self, pool: str, *flags: str, grace: float = 5.0) -> None:
        """One more pool; `flags` are the fake engine's."""
        args = ["-I", "-S", str(ENGINE), "--say", self.mark, "--host", "{host}", "--port", "{port}", *flags]
        with self.file.open("a") as file:
            file.write(f"[pools.{pool}]\nlimits = {{ stop_grace = {grace} }}\n")
            file.write(f"engine = {{ binary = {json.dumps(sys.executable)}, args = {json.dumps(args)} }}\n")

    def run(self, *options: str) -> None:
        """Begin, its output piped."""
        self.process = subprocess.Popen(
            self._command(*options), stdout=subprocess.PIPE, env=self._environment(), start_new_session=True
        )

    def run_on_terminal(self, *options: str, **environment: str) -> None:
        """Begin, on a terminal of its own: Ctrl-C there is SIGINT, its end SIGHUP."""
        self.terminal, inner = pty.openpty()
        words = [
            "/bin/sh",
            "-c",
            'exec <"$0" >"$0" 2>&1; exec "$@"',
            os.ttyname(inner),
            *self._command(*options),
        ]
        self.process = subprocess.Popen(words, env=self._environment(**environment), start_new_session=True)
        self.inner = inner  # kept open, so that there is a terminal to read before the program has opened it

    def _command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "pool_lifecycle.cli", "run", str(self.file), *options]

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
        return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "100", **more}

    def until(self, words: str, times: int = 1) -> str:
        """Read until it has said that, as often as that; return all it said so far."""
        until = time.monotonic() + PATIENCE
        while self.said.count(words.encode()) < times:
            assert time.monotonic() < until, f"no {words!r} in {self.said.decode()}"
            if not self._read(0.1):
                break
        assert self.said.count(words.encode()) >= times, self.said.decode()
        return self.said.decode()

    def _read(self, wait: float) -> bool:
        source = self._source()
        if not select.select([source], [], [], wait)[0]:
            return True
        piece = os.read(source, 65536)
        self.said += piece
        return bool(piece)

    def _source(self) -> int:
        assert self.process is not None
        if self.terminal is not None:
            return self.terminal
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def signal(self, number: int) -> None:
        """Send it to the manager alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """The exit code, once it has ended."""
        assert self.process is not None
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            self._read(0.1)
        while select.select([self._source()], [], [], 0)[0] and self._read(0):
            pass
        return self.process.wait(0)

    def records(self) -> list[dict[str, Any]]:
        """What it said, every line of it JSON."""
        return [json.loads(line) for line in self.said.decode().splitlines()]

    def engines(self) -> list[psutil.Process]:
        """Its engines that live."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self.mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """Whatever went wrong, leave nothing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        for descriptor in (self.terminal, self.inner):
            if descriptor is not None:
                os.close(descriptor)
        for engine in self.engines():
            engine.kill()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A program that has not begun."""
    made = Program(tmp_path)
    yield made
    made.close()


def nothing_left(program: Program) -> None:
    """No engine, no pid file, no lock; what an engine wrote is kept."""
    assert program.engines() == []
    state = program.folder / "pools.state"
    assert [*(state / "run").iterdir(), *(state / "engines").iterdir()] == []
    assert not (state / "lock").exists()
    assert {path.name for path in (state / "logs").iterdir()} >= {"a.log"}


def test_piped_it_tells_everything_in_json(program: Program) -> None:
    """B-LOG: from the start to the stop, one object a line; SIGTERM drains and ends with 0."""
    program.declare("a", "--ready-after", "0.2")
    program.declare("b", "--ready-after", "0.1")
    program.run()
    program.until('"to": "ready"', times=2)
    assert len(program.engines()) == 2
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK
    ways: dict[str, list[str]] = {"a": [], "b": []}
    for record in program.records():
        if record["event"] == "Moved":
            ways[record["pool_id"]].append(record["to"])
    way = ["staging", "starting", "ready", "draining", "stopping", "stopped"]
    assert ways == {"a": way, "b": way}
    assert "StopRequested" in [record["event"] for record in program.records()]
    nothing_left(program)


def test_ctrl_c_in_the_middle_of_a_start_leaves_nothing(program: Program) -> None:
    """The engine is ended before it was ever ready, with what it had started."""
    program.declare("a", "--never-ready", "--spawn-child")
    program.run()
    program.until('"to": "starting"')
    until = time.monotonic() + PATIENCE
    while not program.engines() and time.monotonic() < until:
        time.sleep(0.01)
    program.signal(signal.SIGINT)
    assert program.ended() == Exit.OK
    nothing_left(program)


def test_a_second_ctrl_c_kills(program: Program) -> None:
    """An engine that does not listen to SIGTERM, with ten minutes to go."""
    program.declare("a", "--ignore-term", grace=600.0)
    program.run()
    program.until('"to": "ready"')
    program.signal(signal.SIGINT)
    program.until('"to": "stopping"')
    until = time.monotonic() + 2 * ECHO
    while time.monotonic() < until:  # else it would be taken for the first one
        os.sched_yield()
    program.signal(signal.SIGINT)
    assert program.ended() == 128 + signal.SIGINT
    nothing_left(program)


def test_when_nothing_can_run_it_ends(program: Program) -> None:
    """At once, saying why."""
    program.file.write_text('[pools.a]\nengine = { binary = "no-such-llama-server" }\n')
    program.run("--format", "lines")
    assert program.ended() == Exit.NOTHING_CAN_RUN
    assert "no-such-llama-server" in program.said.decode()
    assert "failed" in program.said.decode()


def test_nobody_reading_any_more_is_a_wish_to_stop(program: Program) -> None:
    """`run | head -1` must not leave a manager behind that nobody sees."""
    program.declare("a", "--ready-after", "0.3")
    program.run()
    program.until('"to": "starting"')
    assert program.process is not None
    assert program.process.stdout is not None
    program.process.stdout.close()
    assert program.process.wait(PATIENCE) == Exit.OK
    nothing_left(program)


def test_on_a_terminal_it_shows_a_table(program: Program) -> None:
    """With the story above it; Ctrl-C typed there ends it."""
    program.declare("a", "--ready-after", "0.2")
    program.run_on_terminal()
    program.until("http://127.0.0.1:")
    assert program.terminal is not None
    os.write(program.terminal, b"\x03")
    assert program.ended() == Exit.OK
    said = program.said.decode()
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", said), "no colour"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    unbroken = " ".join(plain.split())  # lines are broken where the terminal ends
    for part in ("Ctrl-C stops", "SIGINT: stopping", "┃ pool", "our own process answered"):
        assert part in unbroken
    assert plain.rstrip().splitlines()[-2].split()[1:4] == ["a", "│", "stopped"]
    nothing_left(program)


@pytest.mark.parametrize(
    ("environment", "absent"),
    [
        ({"NO_COLOR": "1"}, r"\x1b\[[0-9;]*3[0-9]m"),
        ({"TERM": "dumb"}, r"\x1b"),
        ({"PYTHONIOENCODING": "ascii"}, "┃"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_it_respects_what_the_terminal_can_do(
    program: Program, environment: dict[str, str], absent: str
) -> None:
    """No colour, no moving about, no characters that it has not."""
    program.declare("a")
    program.run_on_terminal(**environment)
    program.until("our own process answered")
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK
    assert not re.search(absent, program.said.decode())
    nothing_left(program)


def test_a_terminal_that_is_closed_stops_it(program: Program) -> None:
    """Somebody closed the window."""
    program.declare("a")
    program.run_on_terminal()
    program.until("http://127.0.0.1:")
    assert program.terminal is not None
    assert program.process is not None
    os.close(program.terminal)
    program.terminal = None
    assert program.process.wait(PATIENCE) == Exit.OK
    nothing_left(program)
