"""Notices at once when a file grows: inotify where there is one, else a look every `POLL` seconds."""

from __future__ import annotations

import _thread
import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

POLL = 0.1
"""Seconds between two looks where inotify is not available, or out of instances or watches."""

IN_MODIFY = 0x2
IN_Q_OVERFLOW = 0x4000
HEADER = struct.Struct("iIII")
READ = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class GrowthWatch:
    """Wakes whoever waits for a file to be written to.

    One inotify instance serves every file (a user may have 128 by default); it exists only while somebody
    waits, or has taken hold of it because he is going to wait again and again.
    """

    def __init__(self) -> None:
        self._holders = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._waiting: dict[int, list[asyncio.Event]] = {}

    def hold(self) -> None:
        """Keep the instance between two waits; ended by `let_go`."""
        self._holders += 1

    def let_go(self) -> None:
        """The end of one `hold`."""
        self._holders -= 1
        self._close_if_unused()

    @contextmanager
    def watching(self, path: str) -> Iterator[Alarm]:
        """Within it, every write to the file at `path` rings the alarm: look at the file, then wait."""
        event = asyncio.Event()
        number = self._add(path, event)
        try:
            yield Alarm(event, None if number >= 0 else POLL)
        finally:
            if number >= 0:
                self._remove(number, event)

    def _add(self, path: str, event: asyncio.Event) -> int:
        """The number of the watch, negative when there can be none."""
        if not self._open():
            return -1
        number: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), IN_MODIFY)
        if number >= 0:
            self._waiting.setdefault(number, []).append(event)
        self._close_if_unused()
        return number

    def _remove(self, number: int, event: asyncio.Event) -> None:
        events = self._waiting.get(number, [])
        if event in events:
            events.remove(event)
            if not events:
                del self._waiting[number]
                _libc.inotify_rm_watch(self._fd, number)
        self._close_if_unused()

    def _open(self) -> bool:
        loop = asyncio.get_running_loop()
        if self._fd >= 0 and self._loop is not loop:  # the former loop was closed with waiters in it
            self._waiting.clear()
            self._close()
        if self._fd < 0:
            self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop = loop
            if self._fd >= 0:
                loop.add_reader(self._fd, self._read)
        return self._fd >= 0

    def _close_if_unused(self) -> None:
        if self._fd >= 0 and not self._waiting and not self._holders:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
        try:  # the kernel takes 8 ms over closing an inotify instance, too long for a loop to stand still
            _thread.start_new_thread(os.close, (fd,))
        except RuntimeError:  # the host is short of threads
            os.close(fd)

    def _read(self) -> None:
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._fd, READ)
        while data:
            number, mask, _, length = HEADER.unpack_from(data)
            data = data[HEADER.size + length :]
            self._ring(None if mask & IN_Q_OVERFLOW else number)

    def _ring(self, number: int | None) -> None:
        """Wake the waiters of one watch; of all of them when the kernel lost count."""
        lists = self._waiting.values() if number is None else [self._waiting.get(number, [])]
        for events in list(lists):
            for event in events:
                event.set()


class Alarm:
    """Rings when a file was written to."""

    def __init__(self, event: asyncio.Event, poll: float | None) -> None:
        self._event = event
        self._poll = poll

    async def wait(self) -> None:
        """Return after the next write, or after `POLL` where nobody tells us."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll):
                await self._event.wait()
        self._event.clear()
