"""Reading a state database while others write to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.sqlite_reading import passages, pools_with_history, reading, rows
from tests.stored import a_passage, a_store, numbered, reloaded


def test_who_reads_sees_what_was_stored_last(tmp_path: Path) -> None:
    """Also of a store that another program has open; who it has a history of is listed by name."""
    with a_store(tmp_path) as store, reading(f"{tmp_path}/state.db") as connection:
        store.save(numbered(1, "b"), a_passage(1, "b"))
        store.save(numbered(1, "a"), a_passage(1, "a"))
        store.save(numbered(1, "c"))
        store.forget("a")
        assert pools_with_history(connection) == ("a", "b")
        assert [row.key for row in rows(connection)] == [("b",), ("c",)]
        assert passages(connection, "b", 10) == (a_passage(1, "b"),)


def test_who_reads_cannot_write(tmp_path: Path) -> None:
    """Nor make a database where there is none."""
    with (
        a_store(tmp_path),
        reading(f"{tmp_path}/state.db") as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM pools")
    with pytest.raises(sqlite3.OperationalError), reading(f"{tmp_path}/none.db"):
        pass
    assert os.listdir(tmp_path) == ["state.db"]


def test_a_path_of_any_name_is_read(tmp_path: Path) -> None:
    """Question marks, percents and spaces mean nothing."""
    folder = tmp_path / "a ?mode=rw #%20b"
    folder.mkdir()
    with a_store(folder) as store:
        store.save(numbered(1), a_passage(1))
    assert store.history("chat") == (a_passage(1),)
    assert reloaded(folder / "state.db").pools == (numbered(1),)


@pytest.mark.parametrize("change", ["text = x'ff'", "text = 'x'", "seal = 1", "number = 5"])
def test_a_damaged_passage_is_left_out(tmp_path: Path, change: str) -> None:
    """The others are told."""
    with a_store(tmp_path) as store:
        for number in (1, 2, 3):
            store.save(numbered(number), a_passage(number))
        assert store._disk.tables is not None
        store._disk.tables.connection.execute(f"UPDATE history SET {change} WHERE number = 2")
        assert store.history("chat") == (a_passage(1), a_passage(3))


class Torn:
    """A table of which the middle cannot be read."""

    text_factory: object = str

    def execute(self, statement: str) -> Iterator[tuple[object, ...]]:
        """Two rows from either end."""
        for number in (1, 2) if statement.endswith("ASC") else (9, 8):
            yield number, b"chat", b"text", number
        raise sqlite3.DatabaseError("database disk image is malformed")


def test_a_torn_table_is_read_from_both_ends() -> None:
    """So that one damaged page costs what stood in it, not all that comes after it."""
    torn: Any = Torn()
    assert [row.number for row in rows(torn, ["pools"])] == [1, 2, 9, 8]
