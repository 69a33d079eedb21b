"""What is left of launches whose processes are all gone: empty cgroups, which are removed."""

from __future__ import annotations

import _thread
import atexit
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakSet

from pool_lifecycle_drivers.cgroups import nested, pids_in
from pool_lifecycle_drivers.offload import hand_over

REMOVING, PAUSE = 1.0, 0.002
"""Seconds for which the removal is tried: the kernel refuses as long as somebody is on his way out."""

LATER = 0.02
"""Seconds after which removing begins: whatever comes of the end of an engine is more urgent."""

FORGOTTEN = 60.0
"""Seconds for which a cgroup that nobody is in is left alone by whoever does not know it."""


class Leftovers:
    """Cgroups that nobody is in any more: removed in a thread, or at the latest when the program ends.

    A process on its way out keeps a cgroup from being removed for a moment. What could not be removed is
    tried again with the next.
    """

    def __init__(self) -> None:
        self._folders: set[str] = set()
        self._todo: deque[Callable[[], None]] = deque()
        self._doing = _thread.allocate_lock()
        _everywhere.add(self)

    def add(self, folder: str) -> None:
        """Have a cgroup removed, with those below it. That is not waited for."""
        self._folders.add(folder)
        self._do(lambda: self._remove(folder))

    def sweep(self, parent: str, prefix: str) -> None:
        """Have everything removed that killed managers have left who did not come back: see `_forgotten`."""
        self._do(lambda: self._folders.update(_forgotten(parent, prefix)))

    def pending(self) -> set[str]:
        """The cgroups that are still to be removed, or looked for."""
        return self._folders | ({"some are being looked at"} if self._doing.locked() or self._todo else set())

    def remove_now(self) -> None:
        """Remove what can be removed."""
        for folder in list(self._folders):
            if _removed(folder):
                self._folders.discard(folder)

    def _do(self, work: Callable[[], None]) -> None:
        self._todo.append(work)
        if not self._doing.locked():
            with suppress(OSError):  # no thread is to be had: the next one does it
                hand_over(self._work)

    def _work(self) -> None:
        """Do what is to be done, unless another thread is at it; it looks once more after having let go."""
        while self._todo and self._doing.acquire(blocking=False):
            try:
                time.sleep(LATER)
                while self._todo:
                    self._todo.popleft()()
                self.remove_now()
            finally:
                self._doing.release()

    def _remove(self, folder: str) -> None:
        until = time.monotonic() + REMOVING
        while not _removed(folder) and time.monotonic() < until:
            time.sleep(PAUSE)


_everywhere: WeakSet[Leftovers] = WeakSet()


def pending() -> set[str]:
    """The cgroups that this program has still to remove."""
    return {folder for one in list(_everywhere) for folder in one.pending()}


@atexit.register
def _at_exit() -> None:
    for leftovers in list(_everywhere):
        leftovers.remove_now()


def _removed(folder: str) -> bool:
    try:
        for one in nested(folder):
            os.rmdir(one)
    except OSError:
        return not os.path.exists(folder)
    return True


def _forgotten(parent: str, prefix: str) -> list[str]:
    """The cgroups of such names that nobody is in, and that were not made just now for somebody."""
    found = []
    with suppress(OSError), os.scandir(parent) as entries:
        for one in entries:
            if one.name.startswith(prefix) and one.is_dir() and time.time() - one.stat().st_ctime > FORGOTTEN:
                found += [] if pids_in(one.path) else [one.path]
    return found
