"""The tables of the store, and how older ones are brought up to date."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

from pool_lifecycle import sqlite_schema
from pool_lifecycle.errors import StoreError
from pool_lifecycle.kept import Kept, KeptHost, Passage
from pool_lifecycle.sqlite_schema import APPLICATION, MIGRATIONS, VERSION, make, seal
from tests.databases import version_1
from tests.stored import opened, reloaded

DATABASES = Path(version_1.__file__).parent


@frozen
class Release:
    """What a checked-in database has in it."""

    pools: tuple[Kept, ...]
    host: KeptHost
    passages: tuple[Passage, ...]


RELEASES = {1: Release((version_1.CHAT, version_1.EMBED), version_1.PLAIN_HOST, version_1.PASSAGES)}


@pytest.mark.parametrize("version", RELEASES)
def test_databases_of_every_version_say_exactly_what_was_stored(version: int, tmp_path: Path) -> None:
    """S17: an upgrade loses nothing; made by the program of that version, and never again."""
    path = shutil.copy(DATABASES / f"version_{version}.db", tmp_path / "state.db")
    expected = RELEASES[version]
    with opened(path) as (store, found):
        assert (found.pools, found.host, found.troubles) == (expected.pools, expected.host, ())
        assert store.history("chat") == expected.passages
        assert store.history("gone") == (version_1.FORGOTTEN,)


def test_every_version_is_checked_in_and_can_be_upgraded() -> None:
    """Whoever raises the version has to say how the one before becomes it, and what that one was like."""
    assert set(RELEASES) == set(range(1, VERSION + 1))
    assert {file.name for file in DATABASES.glob("*.db")} == {f"version_{number}.db" for number in RELEASES}
    assert set(MIGRATIONS) == set(range(1, VERSION))


def _to_next(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE damaged ADD COLUMN why TEXT")


def _to_next_but_fails(connection: sqlite3.Connection) -> None:
    _to_next(connection)
    connection.execute("DELETE FROM pools")
    connection.execute("no SQL")


def _columns(path: Path) -> tuple[int, set[str]]:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, {row[1] for row in connection.execute("PRAGMA table_info(damaged)")}


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of the version before the newest."""
    monkeypatch.setattr(sqlite_schema, "VERSION", VERSION + 1)
    return Path(shutil.copy(DATABASES / f"version_{VERSION}.db", tmp_path / "state.db"))


def test_an_older_one_is_upgraded_when_it_is_opened(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: the next time there is nothing to do."""
    monkeypatch.setitem(MIGRATIONS, VERSION, _to_next)
    assert reloaded(older).pools == RELEASES[VERSION].pools
    version, columns = _columns(older)
    assert (version, "why" in columns) == (VERSION + 1, True)


def test_an_upgrade_that_fails_has_changed_nothing(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is still there for the program that made it."""
    monkeypatch.setitem(MIGRATIONS, VERSION, _to_next_but_fails)
    with pytest.raises(StoreError):
        reloaded(older)
    version, columns = _columns(older)
    assert (version, "why" in columns) == (VERSION, False)
    monkeypatch.undo()
    assert reloaded(older).pools == RELEASES[VERSION].pools


def test_a_seal_is_broken_by_any_change_of_text_or_key() -> None:
    """So that a row in the place of another one is not taken for it."""
    whole = seal(b"text", "chat", 1)
    assert whole == seal(b"text", "chat", 1)
    assert whole not in {seal(b"texu", "chat", 1), seal(b"text", "chau", 1), seal(b"text", "chat", 2)}


def test_a_new_one_says_whose_and_of_which_version_it_is() -> None:
    """In its header, where also `file` looks."""
    with closing(sqlite3.connect(":memory:")) as connection:
        make(connection)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
