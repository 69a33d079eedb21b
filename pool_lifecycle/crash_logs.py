"""Keeps what crashed engines wrote: the logs of a pool's last runs that failed, each in a file of its own.

The files are called `000007-20261103T101502Z-g3.log`: a number that only grows, also over restarts of the
manager and whatever the clock does; when it was written; which generation. They stay when the pool is
removed, as its log does: a pool of the same name goes on counting, and `KEPT` files are all there ever are.
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime

from pool_lifecycle.log_follower import LogFollower
from pool_lifecycle.statedir import PRIVATE

KEPT = 5
"""How many runs of a pool are kept (B-SUPER-x3)."""

WAITING = 64
"""How many runs of one host may wait to be kept: what crashes together, as when a device fails, may well be
that many; what a disk that hangs leaves waiting is bounded by it, each with a task and a descriptor."""

MOST = 2**20
"""How much is kept of one run: the end of what it wrote, in bytes."""

PIECE = 2**16

_NAME = re.compile(r"(\d{6,18})-\d{8}T\d{6}Z-g\d+\.log", re.ASCII)


def keep(log: LogFollower, begin: int, end: int, *, folder: str, generation: int, at: float) -> str | None:
    """Copy the bytes from `begin` to `end` of a log, or the last `MOST` of them; return the copy's path.

    None when there is nothing to copy. `at` is the time on the wall clock, in seconds. It takes as long as
    the disk does. Raises OSError; then nothing is left of the copy. One call at a time for a folder.
    """
    begin = max(begin, end - MOST)
    if not log.read(begin, 1) or begin >= end:
        return None
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, PRIVATE)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        numbers = _make_room(directory)
        stamp = f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"
        name = f"{max(numbers, default=0) + 1:06d}-{stamp}-g{generation}.log"
        _copy(log, begin, end, name, directory)
    finally:
        os.close(directory)
    return os.path.join(folder, name)


def kept(folder: str) -> tuple[str, ...]:
    """The paths of the logs kept in a folder, the oldest first."""
    try:
        numbered = _numbered(os.listdir(folder))
    except OSError:
        return ()
    return tuple(os.path.join(folder, numbered[number]) for number in sorted(numbered))


def _make_room(directory: int) -> list[int]:
    """Remove the oldest, so that with one more there are not too many; return the numbers there were."""
    numbered = _numbered(os.listdir(directory))
    for number in sorted(numbered)[: 1 - KEPT]:
        os.unlink(numbered[number], dir_fd=directory)
    return list(numbered)


def _numbered(names: list[str]) -> dict[int, str]:
    """Ours by their numbers; what else may lie there is no business of ours."""
    return {int(found[1]): name for name in names if (found := _NAME.fullmatch(name))}


def _copy(log: LogFollower, begin: int, end: int, name: str, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    copy = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        while begin < end and (piece := log.read(begin, min(PIECE, end - begin))):
            begin += os.write(copy, piece)
    except OSError:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(copy)
