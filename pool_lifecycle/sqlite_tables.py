"""The writing connection of a state database: one method for each thing that is kept or let go of.

All are for within a transaction, but the transaction itself. Whoever calls has the only connection that
writes, and is the only one who uses it at the time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable

from pool_lifecycle.sqlite_reading import Row
from pool_lifecycle.sqlite_schema import seal
from pool_lifecycle.store import HISTORY

PRUNE = 64
"""After so many passages of a pool the oldest are dropped, so that at least HISTORY are left."""

PAST_POOLS = 100
"""So many pools that are forgotten keep their history."""

DAMAGED_ROWS = 1000
"""So many rows that could not be read are kept for people to look at."""


class Transaction:
    """Of these tables. A class, as every durable step takes one: a generator would take twice as long."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __enter__(self) -> None:
        self._tables.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        tables = self._tables
        if kind is not None:
            tables.undo()
            return
        try:
            tables.execute("COMMIT")
        except BaseException:
            tables.undo()
            raise


class Tables:
    """Knows the last number in the history of each pool that it has met, and which are not forgotten.

    `execute` is that of one cursor for all, as making one for each statement takes time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.cursor().execute
        self._numbers: dict[str, int] = {}
        self._present: set[str] = set()

    def transaction(self) -> Transaction:
        """All of what happens within, or nothing. Raises sqlite3.Error."""
        return Transaction(self)

    def undo(self) -> None:
        """Nothing happened within, and nobody was met. SQLite has done so itself after some errors."""
        self._numbers.clear()
        self._present.clear()
        if self.connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.execute("ROLLBACK")

    # --- pools and their history -----------------------------------------------------------------------

    def save(self, pool_id: str, text: str, passage: str | None) -> None:
        """A pool, and what led there."""
        self.put_pool(pool_id, text)
        if passage is not None:
            self.add_passage(pool_id, passage)

    def put_pool(self, pool_id: str, text: str) -> None:
        """In the place of what was of it, but for its leases."""
        if pool_id not in self._present:
            self.execute("DELETE FROM forgotten WHERE pool_id = ?", (pool_id,))
            self._present.add(pool_id)
        self.execute(
            "INSERT INTO pools VALUES (?, ?, ?)"
            " ON CONFLICT (pool_id) DO UPDATE SET text = excluded.text, seal = excluded.seal",
            (pool_id, text, seal(text.encode(), pool_id)),
        )

    def add_passage(self, pool_id: str, text: str) -> None:
        """The next of its pool; the oldest are dropped now and then."""
        number = self._numbers[pool_id] = self._last(pool_id) + 1
        row = (pool_id, number, text, seal(text.encode(), pool_id, number))
        self.execute("INSERT INTO history VALUES (?, ?, ?, ?)", row)
        if number % PRUNE == 0:
            past = (pool_id, number - HISTORY)
            self.execute("DELETE FROM history WHERE pool_id = ? AND number <= ?", past)

    def _last(self, pool_id: str) -> int:
        if pool_id in self._numbers:
            return self._numbers[pool_id]
        asked = "SELECT max(number) FROM history WHERE pool_id = ?"
        last: int | None = self.execute(asked, (pool_id,)).fetchone()[0]
        return last or 0

    def forget(self, pool_id: str) -> None:
        """Nothing of it any more but its history, and that until enough others are forgotten."""
        self._numbers.pop(pool_id, None)
        self._present.discard(pool_id)
        for table in ("pools", "leases", "forgotten"):
            self.execute(f"DELETE FROM {table} WHERE pool_id = ?", (pool_id,))  # noqa: S608 - names of ours
        self.execute("INSERT INTO forgotten (pool_id) VALUES (?)", (pool_id,))
        newest_first = "SELECT pool_id FROM forgotten ORDER BY number DESC LIMIT -1 OFFSET ?"
        for past in self.execute(newest_first, (PAST_POOLS,)).fetchall():
            self.execute("DELETE FROM history WHERE pool_id = ?", past)
            self.execute("DELETE FROM forgotten WHERE pool_id = ?", past)

    # --- all else --------------------------------------------------------------------------------------

    def put_lease(self, pool_id: str, token: int, text: str) -> None:
        """In the place of what was of it."""
        row = (pool_id, token, text, seal(text.encode(), pool_id, token))
        self.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", row)

    def end_lease(self, pool_id: str, token: int) -> None:
        """No longer."""
        self.execute("DELETE FROM leases WHERE pool_id = ? AND token = ?", (pool_id, token))

    def put_host(self, text: str) -> None:
        """In the place of what was of it."""
        self.execute("INSERT OR REPLACE INTO host VALUES (1, ?, ?)", (text, seal(text.encode(), 1)))

    def beat(self) -> None:
        """Write something, so that the log is begun anew now if it can be."""
        self.execute("UPDATE beats SET count = count + 1")

    def put_aside(self, damaged: Iterable[Row], at: str) -> None:
        """Move rows that could not be read to where people can look at them."""
        for row in damaged:
            self.execute(f"DELETE FROM {row.table} WHERE rowid = ?", (row.number,))  # noqa: S608 - names of ours
            what = (at, row.table, repr(row.key), row.text)
            self.execute("INSERT INTO damaged (at, origin, key, text) VALUES (?, ?, ?, ?)", what)
        newest = "SELECT number FROM damaged ORDER BY number DESC LIMIT ?"
        self.execute(f"DELETE FROM damaged WHERE number NOT IN ({newest})", (DAMAGED_ROWS,))  # noqa: S608
