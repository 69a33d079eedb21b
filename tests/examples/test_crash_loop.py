"""`examples/crash_loop.py` tells the life of a crashing engine, and leaves nothing, also when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "crash_loop.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATIENCE = 60.0
"""Seconds: several times what it takes, as the machine may be busy."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The program at work, with a folder for temporary files that is its own."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    argv = (sys.executable, PROGRAM)
    with subprocess.Popen(
        argv, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        yield running
        running.kill()


def engines(folder: Path) -> list[psutil.Process]:
    """What is left of the engines, which have the folder in their command line."""
    left = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()):
                left.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return left


def assert_told(told: str, *parts: str) -> None:
    """These parts stand in it, in this order; where its lines end makes no difference."""
    told, found = " ".join(told.split()), 0
    for part in parts:
        assert part in told[found:], f"{part!r} is missing, or comes too early, in:\n{told}"
        found = told.index(part, found) + len(part)


def test_it_tells_of_the_crashes_the_open_circuit_the_trials_and_the_end(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Every crash with its evidence, every wait; the circuit opens and half-opens twice, and closes."""
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (0, ""), told + complaints
    assert_told(
        told,
        *("crash The engine ended", "exit code 1", "verdict An exit of its own", "next attempt is in"),
        *("killed by SIGSEGV", "verdict A death by signal", "next attempt is in", "in a user's words"),
        *(
            "killed by SIGKILL",
            "OPEN after 3 failures",
            "nothing is started for 1.5 s",
            "allows one trial in",
        ),
        *("reset it", "HALF-OPEN", "before it was ready", "nothing is started for 3.0 s"),
        *("HALF-OPEN", "ready The engine serves", "this run is its one trial", "CLOSED", "Words, many"),
        *("has been stopped", "Left behind: no process, no file."),
    )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("moment", ["ready  ", "next  ", "OPEN after 3"])
def test_it_can_be_interrupted_at_any_time(
    program: subprocess.Popen[str], tmp_path: Path, moment: str
) -> None:
    """Ctrl-C while it serves, while it waits and while it has given up: no engine, no file, no traceback."""
    assert program.stdout is not None
    assert any(moment in line for line in program.stdout), "it ended before that"
    program.send_signal(signal.SIGINT)
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (130, ""), told + complaints
    assert told.endswith("Interrupted: the engine has been ended, and its folder removed.\n")
    assert engines(tmp_path) == []
    assert [*tmp_path.iterdir()] == []
