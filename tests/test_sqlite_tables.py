"""The writing connection of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from pool_lifecycle import sqlite_tables
from pool_lifecycle.sqlite_reading import Row
from pool_lifecycle.sqlite_schema import make
from pool_lifecycle.sqlite_tables import Tables


@pytest.fixture
def tables() -> Iterator[Tables]:
    """Empty ones."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with Tables(connection).transaction():
            make(connection)
        yield Tables(connection)


def _history(tables: Tables) -> list[tuple[int, str]]:
    return tables.connection.execute("SELECT number, text FROM history ORDER BY number").fetchall()


class Wrong(Exception):
    """Something goes wrong within."""


def test_what_goes_wrong_within_a_transaction_undoes_all_of_it(tables: Tables) -> None:
    """Also what it believed to know of numbers in the history: they are used again."""
    with suppress(Wrong), tables.transaction():
        tables.save("chat", "text", "lost")
        raise Wrong
    assert not tables.connection.in_transaction
    with tables.transaction():
        tables.save("chat", "text", "first")
        tables.add_passage("chat", "second")
    assert _history(tables) == [(1, "first"), (2, "second")]


def test_a_transaction_that_sqlite_has_ended_itself_is_over(tables: Tables) -> None:
    """As after some errors of the disk: the next one begins."""
    with suppress(Wrong), tables.transaction():
        tables.save("chat", "text", None)
        tables.connection.execute("ROLLBACK")
        raise Wrong
    with tables.transaction():
        tables.save("chat", "text", None)


def test_numbers_go_on_where_another_connection_ended(tables: Tables) -> None:
    """Nothing of the history is overwritten."""
    tables.add_passage("chat", "first")
    other = Tables(tables.connection)
    other.add_passage("chat", "second")
    other.add_passage("else", "third")
    assert _history(tables) == [(1, "first"), (1, "third"), (2, "second")]


def test_rows_that_could_not_be_read_do_not_pile_up(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: the latest are kept."""
    monkeypatch.setattr(sqlite_tables, "DAMAGED_ROWS", 3)
    for number in range(5):
        tables.put_aside([Row("pools", number, ("chat",), b"x%d" % number, None)], "now")
    moved = tables.connection.execute("SELECT origin, key, text FROM damaged").fetchall()
    assert moved == [("pools", "('chat',)", b"x%d" % number) for number in (2, 3, 4)]
