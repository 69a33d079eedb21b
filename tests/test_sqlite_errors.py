"""What SQLite says, in words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from pool_lifecycle.sqlite_errors import cannot, place_is_wrong, says_damaged
from tests.stored import says

PLACE = {
    sqlite3.SQLITE_FULL: "no space is left on the device",
    sqlite3.SQLITE_IOERR_WRITE: "the disk reports an error",
    sqlite3.SQLITE_CANTOPEN_ISDIR: "it cannot be opened",
    sqlite3.SQLITE_BUSY_SNAPSHOT: "another program is writing to it",
    sqlite3.SQLITE_PROTOCOL: "the file system cannot lock it",
    sqlite3.SQLITE_NOMEM: "no memory is left",
    sqlite3.SQLITE_PERM: "it may not be opened",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that is there."""
    (tmp_path / "state.db").touch()
    return str(tmp_path / "state.db")


@pytest.mark.parametrize("code", PLACE)
def test_errors_of_the_place_say_what_helps(path: str, code: int) -> None:
    """With the path, and the name that one can search for."""
    assert place_is_wrong(says(code), path)
    error = cannot("cannot open", path, says(code), "chat")
    assert PLACE[code] in str(error)
    assert (error.path, error.pool_id, bool(error.remedy)) == (path, "chat", True)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, None])
def test_all_others_mean_that_it_is_damaged(path: str, code: int | None) -> None:
    """Those that Python raises, without a code, too."""
    error = sqlite3.OperationalError("could not decode") if code is None else says(code)
    assert not place_is_wrong(error, path)
    assert "it is damaged" in str(cannot("cannot open", path, error))


def test_in_use_only_sqlite_itself_can_say_that_it_is_damaged() -> None:
    """Or a mistake of ours would have a good database set aside."""
    assert says_damaged(says(sqlite3.SQLITE_CORRUPT_INDEX))
    assert says_damaged(says(sqlite3.SQLITE_NOTADB))
    for error in (says(sqlite3.SQLITE_TOOBIG), says(sqlite3.SQLITE_FULL), sqlite3.ProgrammingError("closed")):
        assert not says_damaged(error)


def test_a_full_disk_is_told_as_such(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where SQLite only knows of an error, and where the kernel says so itself."""
    assert "no space is left" in str(cannot("x", path, OSError(errno.ENOSPC, "No space")))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0))
    assert "no space is left" in str(cannot("x", path, says(sqlite3.SQLITE_IOERR_WRITE)))


def test_read_only_is_the_place_s_or_the_file_s(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that says so of itself, where it can be written, is damaged."""
    assert not place_is_wrong(says(sqlite3.SQLITE_READONLY), path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert place_is_wrong(says(sqlite3.SQLITE_READONLY), path)
