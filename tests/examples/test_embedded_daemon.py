"""`examples/embedded_daemon.py` is killed under load, its clients notice nothing, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine_kit.command import make_llama_server
from engine_kit.tiny_model import make_tiny_model

PROGRAM = Path(__file__).parents[2] / "examples" / "embedded_daemon.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 120.0
"""Seconds: many times what it takes, as the machine may be busy."""

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the program may have temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def begin(folder: Path) -> Iterator[Begin]:
    """Begins the program; what is not over at the end is interrupted, so that it ends its daemon, too."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path) -> subprocess.Popen[str]:
        environment, pipe = {**os.environ, "TMPDIR": str(folder)}, subprocess.PIPE
        argv = (sys.executable, PROGRAM, *arguments)
        begun.append(subprocess.Popen(argv, text=True, env=environment, stdout=pipe, stderr=pipe))
        return begun[-1]

    yield begin
    for program in begun:
        if program.poll() is None:
            program.send_signal(signal.SIGINT)
        program.communicate(timeout=PATIENCE)


def is_living(pid: int) -> bool:
    """An engine whose daemon is dead may not be reaped by anybody at once."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_served_by_one_engine(told: str) -> None:
    """Every part of the story: engine and leases are the same after each death, and no request failed."""
    (engine,) = set(re.findall(r"engine +pid (\d+)", told))
    assert re.findall(r"got (\w+);", told) == ["SIGKILL", "SIGKILL", "SIGTERM", "SIGKILL"], told
    more = re.findall(rf"pid {engine} served (\d+) requests in [\d.]+ s without a daemon", told)
    assert [int(count) > 0 for count in more] == [True] * 4, told
    leases = re.findall(r"has taken over, and knows the leases (\d+) \(ana\) and (\d+) \(ben\)", told)
    assert len(leases) == 4, told
    assert len(set(leases)) == 1, told
    assert re.search(r"clients +\d+ requests served on \d+ leases, 0 failed\n", told), told
    assert re.search(r"engine +stopped by daemon", told), told
    assert told.endswith("Left behind: no process, no file.\n")
    assert not is_living(int(engine))


def test_its_clients_do_not_notice_that_it_is_killed(begin: Begin, folder: Path) -> None:
    """S5, S17, B-SUPER-x4: four daemons, one engine, the same leases, and no request that failed."""
    program = begin()
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (0, ""), told + complaints
    assert_served_by_one_engine(told)
    assert [*folder.iterdir()] == []


@pytest.mark.engine
def test_so_it_is_with_llama_cpp(begin: Begin, tmp_path: Path) -> None:
    """The same story, told by a real engine."""
    server, model = make_llama_server(tmp_path / "llama-server"), make_tiny_model(tmp_path / "tiny.gguf")
    program = begin("--llama", server, model)
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (0, ""), told + complaints
    assert_served_by_one_engine(told)


@pytest.mark.parametrize("moment", ["is ready", "got SIGKILL", "has taken over"])
def test_it_can_be_interrupted_at_any_time(begin: Begin, folder: Path, moment: str) -> None:
    """Ctrl-C with a daemon and without one: no engine, no daemon, no file, no traceback."""
    program = begin()
    assert program.stdout is not None
    told = ""
    while moment not in told:
        line = program.stdout.readline()
        assert line, f"it ended before that: {told}"
        told += line
    program.send_signal(signal.SIGINT)
    rest, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (130, ""), rest + complaints
    assert rest.endswith("Left behind: no process, no file.\n")
    assert not any(is_living(int(pid)) for pid in re.findall(r"pid (\d+)", told + rest))
    assert [*folder.iterdir()] == []
