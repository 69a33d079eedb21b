"""Values to store, stores to store them in, and disks that fail."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve

from pool_lifecycle import sqlite_store
from pool_lifecycle.events import Target
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Loaded, Moment, Passage
from pool_lifecycle.snapshot import Rules, Snapshot
from pool_lifecycle.sqlite_store import SqliteStore

WALL = 1.8e9
"""What the wall clock says, in 2027."""

FIRST = Kept(Snapshot("chat", Target(), Rules(), "x"), Moment("a boot", 10.0, WALL), "memory")

HOST = KeptHost(Moment("a boot", 10.0, WALL), full_at=30.0, failed_at=(("gpu 0", "chat", 5.0),))


def numbered(number: int, pool_id: str = "chat") -> Kept:
    """A pool, in a version of its own."""
    return evolve(FIRST, snapshot=evolve(FIRST.snapshot, pool_id=pool_id), next_token=number)


def a_passage(number: int, pool_id: str = "chat") -> Passage:
    """A row that a pool took."""
    return Passage(pool_id, WALL + number, "start", "stopped", "staging", f"reason {number}")


def a_lease(token: int) -> KeptLease:
    """A lease with this token."""
    return KeptLease(token, 1, "http://127.0.0.1:1", "somebody", "request", 1.0)


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[tuple[SqliteStore, Loaded]]:
    """A store, and what it had kept."""
    store = SqliteStore(path, wall=lambda: WALL)
    try:
        yield store, store.load()
    finally:
        with patch.object(sqlite_store, "CLOSE", 100.0):  # a disk that is slow hangs no test
            store.close()


@contextlib.contextmanager
def a_store(folder: Path) -> Iterator[SqliteStore]:
    """A store that is open, in a folder."""
    with opened(folder / "state.db") as (store, _):
        yield store


def reloaded(path: Path | str) -> Loaded:
    """What is kept there."""
    with opened(path) as (_, found):
        return found


def versions(found: Loaded) -> dict[str, int]:
    """By pool, its number."""
    return {one.snapshot.pool_id: one.next_token for one in found.pools}


def says(code: int) -> sqlite3.OperationalError:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError("as told")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_TOLD"
    return error


def failing(execute: Callable[..., Any], fault: Callable[[str], Exception | None]) -> Callable[..., Any]:
    """What raises whatever `fault` returns for a statement, and else does as `execute`."""

    def execute_or_not(statement: str, *values: Any) -> Any:
        if error := fault(statement):
            raise error
        return execute(statement, *values)

    return execute_or_not


def make_fail(store: SqliteStore, fault: Callable[[str], Exception | None]) -> Callable[[], None]:
    """Let what is written fail; call what is returned to mend it."""
    tables: Any = store._disk.tables
    real = tables.execute
    tables.execute = failing(real, fault)

    def mend() -> None:
        tables.execute = real

    return mend
