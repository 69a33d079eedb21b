"""What stands in a state database: every row that is what was stored, and those that are not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

from attrs import evolve, frozen

from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Loaded, Passage
from pool_lifecycle.serialized import load, load_host, load_lease, load_passage
from pool_lifecycle.sqlite_schema import seal

Value: TypeAlias = Kept | KeptHost | KeptLease | Passage


@frozen
class Row:
    """A row of a table: `value` is what its text says, or None, if it says nothing that was stored.

    `number` is SQLite's own number of the row, where it has one.
    """

    table: str
    number: int
    key: tuple[Any, ...]
    text: Any
    value: Value | None


@frozen
class _Source:
    """How a table is read: the names of its key, and what its texts say."""

    key: tuple[str, ...]
    load: Callable[[str], Value]
    number: str = "rowid"


_SOURCES = {
    "pools": _Source(("pool_id",), load),
    "leases": _Source(("pool_id", "token"), load_lease),
    "host": _Source(("only",), load_host),
    "history": _Source(("pool_id", "number"), load_passage, "number"),
}

KEPT = ("pools", "leases", "host")
"""The tables that say how things are; that of the history says how they were."""


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing of the database, also while another program writes to it."""
    connection = sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, isolation_level=None, timeout=1.0
    )
    with contextlib.closing(connection):
        yield connection


def rows(connection: sqlite3.Connection, tables: Iterable[str] = KEPT) -> tuple[Row, ...]:
    """Every row of the tables that can be read. Raises nothing: what cannot be read is left out."""
    connection.text_factory = bytes  # or what is no text any more could not be read at all
    try:
        found = tuple(row for table in tables for row in _every(connection, table, _SOURCES[table]))
    finally:
        connection.text_factory = str
    pools = {row.key for row in found if isinstance(row.value, Kept)}
    return tuple(_orphan(row) if row.table == "leases" and row.key[:1] not in pools else row for row in found)


def loaded(found: tuple[Row, ...], troubles: tuple[str, ...]) -> Loaded:
    """What these rows say, put together."""
    leases: dict[str, list[KeptLease]] = {}
    for row in found:
        if isinstance(row.value, KeptLease):
            leases.setdefault(row.key[0], []).append(row.value)
    pools = tuple(
        evolve(row.value, leases=tuple(sorted(leases.get(row.key[0], ()), key=lambda one: one.token)))
        for row in found
        if isinstance(row.value, Kept)
    )
    host = next((row.value for row in found if isinstance(row.value, KeptHost)), None)
    return Loaded(pools, host, troubles)


def passages(connection: sqlite3.Connection, pool_id: str, limit: int) -> tuple[Passage, ...]:
    """The last of a pool, oldest first; those that are damaged are left out. Raises sqlite3.Error."""
    latest = connection.execute(
        "SELECT number, CAST(text AS BLOB), seal FROM history WHERE pool_id = ? ORDER BY number DESC LIMIT ?",
        (pool_id, max(limit, 0)),
    ).fetchall()
    read = (_row("history", number, (pool_id, number), *rest).value for number, *rest in reversed(latest))
    return tuple(one for one in read if isinstance(one, Passage))


def pools_with_history(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Their names, in order. Raises sqlite3.Error."""
    found = connection.execute("SELECT DISTINCT pool_id FROM history ORDER BY pool_id").fetchall()
    return tuple(name for (name,) in found)


def _every(connection: sqlite3.Connection, table: str, source: _Source) -> Iterable[Row]:
    """All rows from the first on; where the way is damaged, those from the last back to it as well."""
    found: dict[tuple[Any, ...], Row] = {}
    columns = ", ".join((source.number, *source.key, "text", "seal"))
    order = source.key if source.number in source.key else (source.number,)
    for direction in ("ASC", "DESC"):
        ordered = ", ".join(f"{column} {direction}" for column in order)
        try:
            asked = f"SELECT {columns} FROM {table} ORDER BY {ordered}"  # noqa: S608 - names of ours
            for number, *key, text, stored in connection.execute(asked):
                found.setdefault((number, *key), _row(table, number, tuple(map(_key, key)), text, stored))
        except sqlite3.Error:
            continue
        break
    return found.values()


def _key(key: Any) -> Any:
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def _row(table: str, number: int, key: tuple[Any, ...], text: Any, stored: Any) -> Row:
    value = None
    if isinstance(text, bytes) and seal(text, *key) == stored:
        with contextlib.suppress(ValueError):
            value = _SOURCES[table].load(text.decode())
    return Row(table, number, key, text, value)


def _orphan(lease: Row) -> Row:
    """A lease of a pool that is not there says nothing: its token may be given anew."""
    return evolve(lease, value=None)
