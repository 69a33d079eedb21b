"""Files of our own in folders of our own: private, atomic, never through a link that somebody left there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

_NUMBERS = count(1)

AGAIN = 0.05
"""Seconds between two looks at a lock that others hold."""


def private_folder(path: str) -> str:
    """Make the folder, or see that the one that is there is ours alone. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"it belongs to user {found.st_uid}", path)
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return path


def unique(folder: str, prefix: str) -> str:
    """A path that nobody else makes up: for what is about to be moved to its place, or out of the way."""
    return os.path.join(folder, f"{prefix}{os.getpid()}-{time.time_ns()}-{next(_NUMBERS)}")


def write_whole(path: str, content: bytes, *, last: bool = True) -> None:
    """Put the content at `path`, all of it or nothing, whatever was there. `last`: survive a power cut."""
    made = unique(os.path.dirname(path), ".new-")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, content)
            if last:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(made, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise


def write_all(descriptor: int, content: bytes) -> None:
    """Write until everything is written. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def read_whole(path: str, most: int = 16 << 20) -> bytes | None:
    """What a regular file of ours holds; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(path: str, *, shared: bool = False, make: bool = False) -> int | None:
    """A descriptor that holds the lock of a file that is at `path`; None when somebody else does, or is gone.

    The lock ends with the descriptor, which no program that we execute inherits.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError:
        if make:
            raise
        return None
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    os.close(descriptor)
    return None


def lock(path: str, check: Callable[[], None]) -> int:
    """As `locked`, made if it is not there, and waiting until others let go. `check` may raise meanwhile."""
    while True:
        check()
        if (descriptor := locked(path, make=True)) is not None:
            return descriptor
        time.sleep(AGAIN)
