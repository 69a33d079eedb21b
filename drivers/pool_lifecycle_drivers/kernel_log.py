"""What the kernel's log says about processes that it killed for want of memory.

It is read only when the kernel has counted such a kill, and only where pids are the kernel's own: in another
pid namespace the numbers in its log mean other processes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from attrs import frozen

from pool_lifecycle_drivers.cgroups import field_of
from pool_lifecycle_drivers.offload import Shared, in_thread

PATIENCE = 0.25
"""Seconds after which an ending is told without the log."""

RECORDS = 100_000
"""More than a kernel's log has; a flood is not followed for ever."""

FIRST_NAMESPACE = 0xEFFFFFFC
"""The inode of the pid namespace that the kernel began with (PROC_PID_INIT_INO)."""

_RECORD = re.compile(rb"(\d+),\d+,(\d+),[^;]*;([^\n]*)")
_KILL = re.compile(rb"oom-kill:.*,pid=(\d+),uid=\d+$|Killed process (\d+) \(")


@frozen
class Kill:
    """One line about a kill: whose, when (seconds on the log's clock), and the line itself."""

    pid: int
    at: float
    line: str


class KernelLog:
    """Reads the log once for all engines of a launcher that end at about the same time."""

    def __init__(self, proc: str = "/proc", device: str = "/dev/kmsg") -> None:
        self._proc = proc
        self._device = device
        self._kills = Shared(lambda: in_thread(self._read))
        self._count: int | None = None

    @property
    def count(self) -> int | None:
        """How many OOM kills this host had when it was last looked at; None where nobody says."""
        if self._count is None:
            self.count_now()
        return self._count

    def count_now(self) -> int | None:
        """How many OOM kills this host had: no line is looked for unless this grew, and it grows first."""
        self._count = field_of(f"{self._proc}/vmstat", "oom_kill")
        return self._count

    async def line(self, pids: Iterable[int], *, since: float) -> str | None:
        """The last line about the kill of one of `pids` later than `since` (monotonic seconds), if any."""
        found: list[Kill] = []
        with suppress(TimeoutError, OSError):  # the host may be short of threads, too
            async with asyncio.timeout(PATIENCE):
                found = await self._kills.get()
        wanted, from_then_on = frozenset(pids), since - slack()
        lines = [kill.line for kill in found if kill.pid in wanted and kill.at >= from_then_on]
        return lines[-1] if lines else None

    def _read(self) -> list[Kill]:
        """Every kill in the log; none where it is not ours to read."""
        try:
            fd = self._open()
        except OSError:
            return []
        try:
            return [kill for record in _records(fd) if (kill := parse(record)) is not None]
        finally:
            os.close(fd)

    def refusal(self) -> str:
        """Why it is not ours to read; empty when it is."""
        try:
            os.close(self._open())
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        return ""

    def _open(self) -> int:
        namespace = f"{self._proc}/self/ns/pid"
        if os.stat(namespace).st_ino != FIRST_NAMESPACE:
            raise PermissionError(
                errno.EPERM, "its pids mean other processes in this pid namespace", namespace
            )
        return os.open(self._device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def slack() -> float:
    """Seconds by which the log's clock may differ from ours: it is not adjusted to the true time."""
    return 1.0 + time.monotonic() / 1000


def parse(record: bytes) -> Kill | None:
    """The kill that a record tells of. What others than the kernel have written to its log tells of none."""
    fields = _RECORD.match(record)
    told = _KILL.search(fields[3]) if fields else None
    if fields is None or told is None or int(fields[1]) >> 3:
        return None
    return Kill(int(told[1] or told[2]), int(fields[2]) / 1e6, fields[3].decode(errors="replace"))


def _records(fd: int) -> Iterator[bytes]:
    """Every record that there is now, one a read."""
    for _ in range(RECORDS):
        try:
            record = os.read(fd, 8192)
        except BrokenPipeError:  # overwritten meanwhile: the next read gives the oldest that is left
            continue
        except OSError:  # there is no more for now, or not for us
            return
        if not record:
            return
        yield record
