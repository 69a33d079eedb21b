"""What SQLite and the disk say, as sentences for people, and as StoreError."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator

from pool_lifecycle.errors import StoreError

_MENDING = "what waits is stored by itself as soon as that is mended"

_FULL = ("no space is left on the device", f"free some: {_MENDING}")

_WORDS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: ("the disk reports an error", f"look at the disk and its quotas: {_MENDING}"),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "give this user the right to write it"),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "give this user the right to write the folder, and the process enough descriptors",
    ),
    sqlite3.SQLITE_BUSY: ("another program is writing to it", f"end that one: {_MENDING}"),
    sqlite3.SQLITE_LOCKED: ("another program is writing to it", f"end that one: {_MENDING}"),
    sqlite3.SQLITE_PROTOCOL: ("the file system cannot lock it", "use a folder on a local disk"),
    sqlite3.SQLITE_NOLFS: ("the file system cannot hold it", "use a folder on a local disk"),
    sqlite3.SQLITE_NOMEM: ("no memory is left", f"free some: {_MENDING}"),
    sqlite3.SQLITE_PERM: ("it may not be opened", "give this user the right to write it"),
}
"""What is wrong with the place, not with the content, by SQLite's primary code: what, and what helps."""

_DAMAGED = ("it is damaged", "when a manager opens it, what can be read goes on and the file is set aside")


def place_is_wrong(error: sqlite3.Error, path: str) -> bool:
    """Whether the place is to blame rather than the content of the file.

    A file that says of itself that it cannot be written, though it can, is damaged.
    """
    code = _primary(error)
    if code == sqlite3.SQLITE_READONLY:
        return not all(os.access(one, os.W_OK) for one in (path, os.path.dirname(path)))
    return code in _WORDS


def says_damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite itself says so; what Python says of a call may be anything."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def cannot(doing: str, path: str, error: sqlite3.Error | OSError, pool_id: str | None = None) -> StoreError:
    """`doing` cannot be done: the error for whoever asked for it."""
    why, remedy = _told(error, path)
    return StoreError(f"{doing} {path!r}: {why}", path=path, pool_id=pool_id, remedy=remedy)


@contextlib.contextmanager
def told(doing: str, path: str) -> Iterator[None]:
    """Raise what SQLite and the disk say within as StoreError. `doing` is like "cannot open"."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise cannot(doing, path, error) from error


def _told(error: sqlite3.Error | OSError, path: str) -> tuple[str, str]:
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        return _FULL if error.errno == errno.ENOSPC else (why, "look at the disk and its folder")
    code = _primary(error)
    if code == sqlite3.SQLITE_IOERR and _full(path):
        return _FULL
    if code == sqlite3.SQLITE_CANTOPEN and not os.path.exists(path):
        return "it is not there", "name the state directory of a manager"
    why, remedy = _WORDS.get(code, _DAMAGED)
    return f"{why} ({getattr(error, 'sqlite_errorname', error)})", remedy


def _primary(error: sqlite3.Error) -> int:
    """Errors of Python's own, like that of a text that is none, have no code."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF


def _full(path: str) -> bool:
    try:
        return os.statvfs(os.path.dirname(path)).f_bavail == 0
    except OSError:
        return False
