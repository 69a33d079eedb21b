"""Real engines for tests of the local launcher, and looks at the host that do not use its own code."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pool_lifecycle.interfaces import Command, LaunchRequest, StopReport
from pool_lifecycle_drivers.engine import LocalEngine

SERIAL = itertools.count(1)

LASTING = "echo up; exec sleep 1000"
STUBBORN = "trap '' TERM; echo up; sleep 1000 & sleep 1000; wait"

LISTEN = """
import os, signal, socket, sys, time
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", int(sys.argv[1])))
listening.listen()
"""
"""The beginning of a Python engine that listens on the port that is its first argument."""


class Bench:
    """Makes launch requests whose files are under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def request(self, *argv: str, port: int = 1, **more: Any) -> LaunchRequest:
        """A request with a token never used before; `env` is a mapping."""
        token = f"test-{os.getpid()}-{next(SERIAL)}"
        fields: dict[str, Any] = {
            "log_path": str(self.folder / "logs" / "engine.log"),
            "pid_path": str(self.folder / "run" / "engine.pid"),
            **more,
        }
        command = Command(argv, tuple(fields.pop("env", {}).items()))
        return LaunchRequest("p", 1, token, command, "127.0.0.1", port, **fields)

    def sh(self, script: str, **more: Any) -> LaunchRequest:
        """A request for a shell script."""
        return self.request("/bin/sh", "-c", script, **more)

    def python(self, script: str, *, port: int = 1, **more: Any) -> LaunchRequest:
        """A request for a Python script, which is given the port as its first argument."""
        return self.request(sys.executable, "-c", script, str(port), port=port, **more)

    def log(self) -> str:
        """What is in the log file."""
        return (self.folder / "logs" / "engine.log").read_text()

    def files(self) -> set[str]:
        """The names of the files of the run."""
        folder = self.folder / "run"
        return set(os.listdir(folder)) if folder.exists() else set()


def living() -> Iterator[psutil.Process]:
    """Every process that is not a zombie."""
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.NoSuchProcess:
            continue


def carriers(token: str) -> set[int]:
    """The pids of whatever carries a launch token."""
    found = set()
    for process in living():
        try:
            if process.environ().get("POOL_LIFECYCLE_TOKEN") == token:
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def is_living(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descriptors(pid: int | str = "self") -> dict[str, str]:
    """What a process has open, by number; this one, unless another is meant."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # of the listing itself, or closed by a thread meanwhile
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


async def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    """Wait until the condition holds and return what it returned."""
    deadline = asyncio.get_running_loop().time() + within
    while not (result := condition()):
        assert asyncio.get_running_loop().time() < deadline, "waited too long"
        await asyncio.sleep(0.005)
    return result


def stopping(kill_after: float) -> Callable[[LocalEngine], Coroutine[Any, Any, StopReport]]:
    """A use of an engine: end it."""

    async def stop(engine: LocalEngine) -> StopReport:
        return await engine.stop(kill_after=kill_after)

    return stop
