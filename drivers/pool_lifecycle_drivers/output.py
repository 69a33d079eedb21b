"""The output of an engine: one append-only file for all launches of a pool, and how far this one has got."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from pool_lifecycle import forks
from pool_lifecycle_drivers.growth import GrowthWatch
from pool_lifecycle_drivers.pidfile import make_parents

MODE = 0o600
SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
"""Follows no link and waits for nobody: opening a FIFO without O_NONBLOCK waits for the other side."""


def open_for_append(path: str) -> int:
    """A descriptor that appends to the regular file at `path`, which is made if it is not there.

    Raises OSError, also when there is something else at `path`: a link, a FIFO, a folder, a device.
    """
    make_parents(path)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | SAFE, MODE)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        os.set_blocking(fd, True)  # the engine inherits this
    except OSError:
        os.close(fd)
        raise
    return fd


class Output:
    """What one launch has written: the bytes in the file at `path` from `offset` on.

    The file is held open once it has been looked at, so that renaming or deleting it, as a log rotation
    does, does not lose the engine, which goes on writing to it. After a truncation, counting goes on.
    """

    def __init__(self, path: str, offset: int, growth: GrowthWatch) -> None:
        self.path = path
        self.offset = offset
        self._growth = growth
        self._fd = -1
        self._closed = False
        self._let_go: Callable[[], None] | None = None
        self._end = offset
        self._written = 0
        forks.register(self)

    async def more_than(self, after: int) -> int:
        """Wait until more than `after` bytes have been written; return how many have.

        After `close` nothing more is written: what has not come by then is waited for until cancelled.
        """
        self._open()
        if self._let_go is None and not self._closed:
            self._let_go = self._growth.hold()
        with self._growth.watching(f"/proc/self/fd/{self._fd}") as alarm:
            while (written := self._count()) <= after:
                await alarm.wait()
                self._open()
        return written

    def close(self) -> None:
        """The engine is gone: keep the count, hold the file no more."""
        if not self._closed:
            self._closed = True
            self._count()
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def forked(self) -> None:
        """Hold no file of an engine that is the parent's, which may be deleted one day."""
        self._closed, self._let_go = True, None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Give the descriptor back when a manager leaves its engines running."""
        with suppress(OSError):
            self.close()

    def _open(self) -> None:
        if self._fd < 0 and not self._closed:
            with suppress(OSError):
                self._fd = os.open(self.path, os.O_RDONLY | SAFE)

    def _count(self) -> int:
        end = os.fstat(self._fd).st_size if self._fd >= 0 else self._end
        self._written += end - self._end if end >= self._end else end
        self._end = end
        return self._written
