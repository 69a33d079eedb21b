"""What every test gets: a look at what it leaves behind, and one way to draw examples."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings

from pool_lifecycle_drivers import leftovers

pytest_plugins = ["tests.engine_fixtures"]

T = TypeVar("T")

PATIENCE = 2.0
"""Real seconds in which a thread, a child or a descriptor that is about to go may go."""

# No deadline: on a shared machine the time of one example says nothing.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


def descriptors() -> set[str]:
    """The open file descriptors of this process, each with what it leads to."""
    return {f"{fd} -> {target}" for fd in os.listdir("/proc/self/fd") if (target := _target(fd))}


def children() -> set[str]:
    """The child processes of this process, ended but unreaped ones too."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in _read(task / "children").split()}


def threads() -> set[str]:
    """The threads of this process."""
    return {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # the descriptor of the listing itself
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
        return ""


LOOKS: dict[str, Callable[[], set[str]]] = {
    "threads": threads,
    "children": children,
    "descriptors": descriptors,
    "cgroups": leftovers.pending,
}


def _new_since(before: dict[str, set[str]]) -> dict[str, set[str]]:
    return {what: new for what, look in LOOKS.items() if (new := look() - before[what])}


class LostTasks(logging.Handler):
    """Collects what asyncio logs about tasks that were dropped, or failed without anybody asking."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the messages about tasks."""
        if record.getMessage().startswith("Task "):
            self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After every test: no new thread, child process, descriptor or cgroup, and no task lost."""
    before = {what: look() for what, look in LOOKS.items()}
    lost = LostTasks()
    logging.getLogger("asyncio").addHandler(lost)
    yield
    left = _new_since(before)
    if left:
        gc.collect()
    patient_until = time.monotonic() + PATIENCE
    while (left := _new_since(before)) and time.monotonic() < patient_until:
        time.sleep(0.005)
    logging.getLogger("asyncio").removeHandler(lost)
    assert not left, f"the test left behind: {left}"
    assert not lost.messages, f"the test lost tasks: {lost.messages}"


@pytest.fixture
def run_real() -> Callable[[Coroutine[Any, Any, T]], T]:
    """`asyncio.run`, for programs on the real clock, which fails when tasks are still pending at the end."""

    async def watched(main: Coroutine[Any, Any, T]) -> T:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks outlived the program: {left}"
        return result

    return lambda main: asyncio.run(watched(main))
