"""What was found out about files, for as long as they stay as they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of anything, in nanoseconds."""

MOST = 256
"""Models that are remembered. The one looked for longest ago is forgotten first."""

SETTLED_NS = 2 * 10**9
"""A file changed less long ago may be changed again without its times telling: they are those of the last
tick of a clock, which is up to two seconds on some file systems."""


def identities(paths: Sequence[str]) -> tuple[Identity, ...]:
    """Who the files are, as far as the file system tells. Raises OSError."""
    return tuple(
        (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in map(os.stat, paths)
    )


class KnownFiles(Generic[T]):
    """What is known of each path, with all files that it was learnt from. May be used by any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[str, tuple[tuple[str, ...], tuple[Identity, ...], T]] = {}
        self._lock = threading.Lock()

    def get(self, path: str) -> T | None:
        """What is known of it, if none of its files has changed since. Looks at the files."""
        known = self._known.get(path)
        if known is None:
            return None
        paths, who, value = known
        try:
            same = identities(paths) == who
        except OSError:
            same = False
        if same:
            self._keep(path, known)
        return value if same else None

    def learn(self, path: str, paths: Sequence[str], who: tuple[Identity, ...], value: T, since: int) -> None:
        """Remember what was found out while the files `paths` were `who`, from the time `since` on.

        `since` in nanoseconds, of `time.time_ns`. Nothing is remembered of files that changed just before.
        """
        if all(since - changed > SETTLED_NS for *_, changed in who):
            self._keep(path, (tuple(paths), who, value))

    def _keep(self, path: str, known: tuple[tuple[str, ...], tuple[Identity, ...], T]) -> None:
        with self._lock:
            self._known.pop(path, None)
            self._known[path] = known
            while len(self._known) > self._most:
                del self._known[next(iter(self._known))]
