"""Cgroups that a test makes for the processes it hurts; where none can be made the test is skipped."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pool_lifecycle_drivers.cgroups import nested, pids_in
from pool_lifecycle_drivers.containment import Containment
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.procfs import Identity, identify

MOUNTED = Path("/sys/fs/cgroup")
SERIAL = itertools.count(1)
PATIENCE = 30.0


class Cgroup:
    """One that was made by a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def procs(self) -> str:
        """The file that takes pids."""
        return str(self.folder / "cgroup.procs")

    def pids(self) -> list[int]:
        """Who is in it; an ended process is not."""
        return [int(pid) for pid in Path(self.procs).read_text().split()]

    def add(self, pid: int) -> None:
        """Move a process here."""
        Path(self.procs).write_text(str(pid))

    def write(self, name: str, value: object) -> None:
        """Set one of its files."""
        (self.folder / name).write_text(str(value))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the kernel is about to do."""
        _until(condition)

    def freeze(self) -> None:
        """Let nobody in it run; of version 1's freezer, not even to die of SIGKILL."""
        self.write("freezer.state", "FROZEN")
        _until(lambda: (self.folder / "freezer.state").read_text().strip() == "FROZEN")

    def thaw(self) -> None:
        """Let them run again."""
        self.write("freezer.state", "THAWED")


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Cgroup]:
    """A memory cgroup, of either version, whose processes may have `limit` bytes and are not swapped out."""
    with _made((MOUNTED / "memory", "memory.limit_in_bytes"), (MOUNTED, "memory.max")) as made:
        limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max")
        for name in limits:
            if (made.folder / name).exists():
                made.write(name, limit)
        if (made.folder / "memory.swap.max").exists():
            made.write("memory.swap.max", 0)
        yield made


@contextmanager
def freezer() -> Iterator[Cgroup]:
    """A cgroup of version 1's freezer; version 2's lets the frozen die."""
    with _made((MOUNTED / "freezer", "freezer.state")) as made:
        try:
            yield made
        finally:
            made.thaw()


TIERS = ("cgroup v2", "cgroup v1")
"""Those that hold engines together by a cgroup."""


def needs(tier: str) -> None:
    """Skip the test where a launch cannot get this tier."""
    told = Containment((tier,)).capability()
    if told.in_force != tier:
        pytest.skip(f"no {tier} here: {told.why}")


@contextmanager
def contained(tier: str) -> Iterator[Cgroup]:
    """The cgroup that a launch would get in this tier, made and removed by the test."""
    needs(tier)
    planned = Containment((tier,)).leaf(f"test-{os.getpid()}-{next(SERIAL)}")
    assert planned is not None
    made = Cgroup(Path(planned.folder))
    made.folder.mkdir()
    try:
        yield made
    finally:
        _remove(made)


@contextmanager
def _made(*places: tuple[Path, str]) -> Iterator[Cgroup]:
    """A cgroup in the first place where one can be made that has the named file."""
    made = next((found for place in places if (found := _make(*place)) is not None), None)
    if made is None:
        looked = " or ".join(f"{parent} with {name}" for parent, name in places)
        pytest.skip(f"no cgroup can be made here: {looked} is not writable")
    try:
        yield made
    finally:
        _remove(made)


def _make(parent: Path, needed: str) -> Cgroup | None:
    made = Cgroup(parent / f"pool-lifecycle-test-{os.getpid()}-{next(SERIAL)}")
    try:
        made.folder.mkdir()
    except OSError:
        return None
    if os.access(made.folder / needed, os.W_OK):
        return made
    made.folder.rmdir()  # an ordinary folder, or a hierarchy without that controller
    return None


def _remove(made: Cgroup) -> None:
    for pid in pids_in(str(made.folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _until(lambda: _removed(made.folder))


def _removed(folder: Path) -> bool:
    """The kernel refuses as long as somebody is in it, on his way out too."""
    try:
        for one in nested(str(folder)):
            Path(one).rmdir()
    except OSError:
        return False
    return True


def _until(condition: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patient_until, "waited too long for a cgroup"
        time.sleep(0.005)


@contextmanager
def tree(script: str) -> Iterator[Identity]:
    """A shell's, in a session of its own, once it has said something."""
    command = ["/bin/sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            who = identify(child.pid)
            assert who is not None
            yield who
        finally:
            os.killpg(child.pid, 9)


def enclose(folder: Path, who: Identity) -> None:
    """Make a cgroup and put a tree there."""
    asyncio.run(Enclosing().enclose(str(folder), who, "token"))
