"""The file of a state database: made whole, found sound, or set aside and what can be read of it saved.

A database is three files, of which the write-ahead log (`-wal`) may hold the newest of what was stored. None
of them is ever deleted or overwritten by us: what cannot be used gets another name.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from attrs import frozen

from pool_lifecycle.errors import StoreError
from pool_lifecycle.sqlite_errors import place_is_wrong, told
from pool_lifecycle.sqlite_reading import KEPT, Row, reading, rows
from pool_lifecycle.sqlite_schema import defect, make, seal, upgrade
from pool_lifecycle.wording import plural

PARTS = ("", "-wal", "-shm", "-journal")
"""The endings of the files that a database consists of."""

LIMIT = 8 << 20
"""Bytes of the write-ahead log that stay on disk when it is begun anew; it may have been longer."""


SETTINGS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "wal_autocheckpoint = 0",
    f"journal_size_limit = {LIMIT}",
)


@frozen
class Opened:
    """A database that can be written, what stands in it, and what had to be set aside."""

    connection: sqlite3.Connection
    rows: tuple[Row, ...]
    troubles: tuple[str, ...]


def opened(path: str, wall: Callable[[], float], *, damaged: bool = False) -> Opened:
    """Open the database, or make it. Raises StoreError where it cannot be kept there.

    `damaged`: it has turned out to be, whatever it looks like. `wall` is for the names of what is set aside.
    """
    with told("cannot open", path), contextlib.ExitStack() as looking:
        _refuse_odd(path)
        troubles = _made_usable(path, wall, looking, damaged=damaged)
        connection = connected(path)
        try:
            upgrade(connection)
            connection.execute("UPDATE beats SET count = count + 1")  # or say now that it cannot be written
            return Opened(connection, rows(connection), troubles)
        except BaseException:
            connection.close()
            raise


def connected(path: str) -> sqlite3.Connection:
    """A connection to a sound database: it never waits for other programs, nor copies the log by itself."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_odd(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a symbolic link, which is not followed" if stat.S_ISLNK(mode) else "not a file"
        remedy = "remove it once you know who put it there, or use another folder"
        raise StoreError(f"{path!r} is {what}", path=path, remedy=remedy)
    if stat.S_IMODE(mode) != 0o600:
        os.chmod(path, 0o600)


# --- sound, or set aside --------------------------------------------------------------------------------


def _made_usable(
    path: str, wall: Callable[[], float], looking: contextlib.ExitStack, *, damaged: bool
) -> tuple[str, ...]:
    """See to it that a sound database is there; return what had to be done for that, as sentences.

    A sound one is still being looked at when this returns: whoever opens it need not read its log again.
    """
    if not os.path.exists(path):
        lost = _set_aside(path, wall) if os.path.exists(path + "-wal") else ""
        _finished(path)
        return (f"a log without its database was set aside as {lost!r}",) if lost else ()
    why = "it is damaged" if damaged else _why_not(path, looking)
    if not why:
        return ()
    looking.close()
    saved = _salvaged(path)
    _made(path + ".new", saved)
    aside = _set_aside(path, wall)
    _finished(path)
    return (f"{path!r} was set aside as {aside!r}, as {why}; {_what_of(saved)}",)


def _what_of(saved: tuple[Row, ...]) -> str:
    pools = sum(row.table == "pools" for row in saved)
    if not pools:
        return "no pool could be read from it"
    return f"what could still be read goes on: {plural(pools, 'pool')}"


def _why_not(path: str, looking: contextlib.ExitStack) -> str:
    """Why it cannot be used, as `defect` says it; it is looked at until `looking` is closed."""
    try:
        if os.path.getsize(path) == 0:  # SQLite would take it for a new one, and drop its log
            return "it is empty"
        return defect(looking.enter_context(reading(path)))
    except (sqlite3.Error, ValueError) as error:
        if isinstance(error, sqlite3.Error) and place_is_wrong(error, path):
            raise
        return "it is damaged, or no database at all"


def _salvaged(path: str) -> tuple[Row, ...]:
    """The rows of a damaged one that are what was stored; each key once."""
    if os.path.getsize(path) == 0:
        return ()
    with contextlib.suppress(sqlite3.Error), reading(path) as connection:
        read = rows(connection, (*KEPT, "history"))
        return tuple({(row.table, row.key): row for row in read if row.value is not None}.values())
    return ()


def _set_aside(path: str, wall: Callable[[], float]) -> str:
    """Give what there is of it another name, the database first: what stays behind is found without it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall()))
    number = 1
    while any(os.path.lexists(f"{path}.set-aside-{stamp}-{number}{part}") for part in PARTS):
        number += 1
    aside = f"{path}.set-aside-{stamp}-{number}"
    for part in PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + part, aside + part)
    return aside


# --- making one -----------------------------------------------------------------------------------------


def _finished(path: str) -> None:
    """Put the new one in its place; make it first, if an earlier program has not made all of it."""
    new = path + ".new"
    with contextlib.ExitStack() as looking:
        made = os.path.exists(new) and not _why_not(new, looking)
    if not made:
        _made(new, ())
    os.rename(new, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _made(path: str, content: Iterable[Row]) -> None:
    """A database with these rows, durable when this returns; whatever has the name was never used."""
    for part in PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + part)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask
    finally:
        os.close(descriptor)
    with closing(connected(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        make(connection)
        for row in content:
            places = ", ".join("?" * (len(row.key) + 2))
            values = (*row.key, row.text.decode(), seal(row.text, *row.key))
            connection.execute(f"INSERT INTO {row.table} VALUES ({places})", values)  # noqa: S608
        connection.execute(
            "INSERT INTO forgotten (pool_id) SELECT DISTINCT pool_id FROM history"
            " WHERE pool_id NOT IN (SELECT pool_id FROM pools)"
        )
        connection.execute("COMMIT")
