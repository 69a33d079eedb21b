"""Notices at once when a file grows: inotify where there is one, else a look every `POLL` seconds."""

from __future__ import annotations

import _thread
import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from pool_lifecycle import forks

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
    waits, or has taken hold of it because he is going to wait again and again. Its news come through an
    event loop, so each loop has one of its own.
    """

    def __init__(self) -> None:
        self._instances: dict[asyncio.AbstractEventLoop, _Instance] = {}

    def hold(self) -> Callable[[], None]:
        """Keep this loop's instance between two waits, until what is returned is called, on any thread."""
        instance = self._here()
        instance.holders += 1
        return partial(self._let_go, instance)

    def _let_go(self, instance: _Instance) -> None:
        instance.holders -= 1
        self._close_if_unused(instance)

    @contextmanager
    def watching(self, path: str) -> Iterator[Alarm]:
        """Within it, every write to the file at `path` rings the alarm: look at the file, then wait."""
        event = asyncio.Event()
        instance = self._here()
        number = instance.add(path, event)
        try:
            yield Alarm(event, None if number >= 0 else POLL)
        finally:
            instance.remove(number, event)
            self._close_if_unused(instance)

    def _here(self) -> _Instance:
        for former in [loop for loop in tuple(self._instances) if loop.is_closed()]:
            self._instances.pop(former).close()  # it was closed with waiters in it
        loop = asyncio.get_running_loop()
        return self._instances.setdefault(loop, _Instance(loop))

    def _close_if_unused(self, instance: _Instance) -> None:
        if not instance.used:
            instance.close()
            if self._instances.get(instance.loop) is instance:
                del self._instances[instance.loop]


class _Instance:
    """One inotify instance, read by one loop; there is a descriptor only while it is open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.holders = 0
        self._fd = -1
        self._waiting: dict[int, list[asyncio.Event]] = {}
        forks.register(self)

    @property
    def used(self) -> bool:
        """Whether anybody waits, or holds it."""
        return bool(self._waiting or self.holders)

    def add(self, path: str, event: asyncio.Event) -> int:
        """The number of the watch, negative when there can be none."""
        if not self._open():
            return -1
        number: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), IN_MODIFY)
        if number >= 0:
            self._waiting.setdefault(number, []).append(event)
        return number

    def remove(self, number: int, event: asyncio.Event) -> None:
        """The end of one `add`."""
        events = self._waiting.get(number, [])
        if event in events:
            events.remove(event)
            if not events:
                del self._waiting[number]
                _libc.inotify_rm_watch(self._fd, number)

    def close(self) -> None:
        """Give the descriptor back; whoever still waits, in a loop that was closed, waits in vain."""
        self._waiting.clear()
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)
        try:  # the kernel takes 8 ms over closing an inotify instance, too long for a loop to stand still
            _thread.start_new_thread(os.close, (fd,))
        except RuntimeError:  # the host is short of threads
            os.close(fd)

    def forked(self) -> None:
        """The instance and the loop's selector are shared with the parent: take nothing out of either."""
        self._waiting.clear()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> bool:
        if self._fd < 0:
            self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd >= 0:
                self.loop.add_reader(self._fd, self.read)
        return self._fd >= 0

    def read(self) -> None:
        """Take the kernel's news."""
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
