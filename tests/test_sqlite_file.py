"""The file of the store: whatever is found in its place, nothing is lost and nothing is made up."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from attrs import evolve

from pool_lifecycle import sqlite_file
from pool_lifecycle.errors import StoreError
from pool_lifecycle.kept import Loaded
from pool_lifecycle.sqlite_schema import APPLICATION, VERSION
from pool_lifecycle.sqlite_store import SqliteStore
from tests.stored import HOST, a_lease, a_passage, a_store, numbered, opened, reloaded, says, versions

POOLS = 12


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here: hundreds of databases need not wait for the disk."""
    monkeypatch.setattr(sqlite_file, "SETTINGS", (*sqlite_file.SETTINGS, "synchronous = OFF"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database and its log, as SIGKILL leaves them: the log has the newest."""
    folder = tmp_path_factory.mktemp("whole")
    with a_store(folder) as store:
        for number in range(3):
            _fill(store, number)
        store._disk.turn()
        _fill(store, 3)
        copied = folder / "copied"
        copied.mkdir()
        for one in ("state.db", "state.db-wal"):
            shutil.copy(folder / one, copied / one)
    return copied


def _fill(store: SqliteStore, number: int) -> None:
    store.save_host(evolve(HOST, full_at=float(number)))
    for pool in range(POOLS):
        store.save(numbered(number, f"pool-{pool}"), a_passage(number, f"pool-{pool}"))
        store.save_lease(f"pool-{pool}", a_lease(number + 1))


@pytest.fixture
def path(tmp_path: Path, whole: Path) -> Path:
    """A copy of that database."""
    for one in whole.iterdir():
        shutil.copy(one, tmp_path / one.name)
    return tmp_path / "state.db"


def _was_stored(found: Loaded) -> bool:
    """Whether each part of it is what was stored at some time."""
    for one in found.pools:
        kept = numbered(one.next_token, one.snapshot.pool_id)
        if one.next_token > 3 or evolve(one, leases=()) != kept:
            return False
        if any(lease != a_lease(lease.token) or lease.token > 4 for lease in one.leases):
            return False
    return found.host in (None, *(evolve(HOST, full_at=float(number)) for number in range(4)))


def _is_a_beginning(found: Loaded, damaged: str) -> bool:
    """The same, and of a damaged log what was there after some step: all pools, the first ones newer."""
    if damaged == "state.db":
        return _was_stored(found)
    numbers = [versions(found)[f"pool-{number}"] for number in range(POOLS)]
    return _was_stored(found) and set(numbers) <= {2, 3} and numbers == sorted(numbers, reverse=True)


def _asides(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if "set-aside" in one.name)


def test_what_sigkill_leaves_is_all_there(path: Path) -> None:
    """S17: the log is part of it."""
    found = reloaded(path)
    assert versions(found) == {f"pool-{number}": 3 for number in range(POOLS)}
    assert (found.troubles, _asides(path)) == ((), [])
    assert _was_stored(found)


def _tries(length: int, many: int) -> Iterable[int]:
    """Every beginning that is special, and some of all others, the same each time."""
    chosen = random.Random(7)
    return sorted({*range(40), *(chosen.randrange(length) for _ in range(many)), length - 1})


@pytest.mark.parametrize("part", ["state.db", "state.db-wal"])
def test_a_database_cut_anywhere_makes_nothing_up(path: Path, whole: Path, tmp_path: Path, part: str) -> None:
    """FAULTS: truncated at every byte. It opens, says what was stored at some time, and loses no file."""
    content = (whole / part).read_bytes()
    for length in _tries(len(content), 25):
        folder = tmp_path / str(length)
        shutil.copytree(whole, folder)
        (folder / part).write_bytes(content[:length])
        found = reloaded(folder / "state.db")
        assert _is_a_beginning(found, part), length
        assert bool(found.troubles) == bool(_asides(folder / "state.db")), length
        if found.troubles:
            assert reloaded(folder / "state.db") == evolve(found, troubles=()), length


@pytest.mark.parametrize("part", ["state.db", "state.db-wal"])
def test_flipped_bits_make_nothing_up(whole: Path, tmp_path: Path, part: str) -> None:
    """FAULTS: wherever they are."""
    content = (whole / part).read_bytes()
    for place in _tries(len(content), 60):
        folder = tmp_path / str(place)
        shutil.copytree(whole, folder)
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        (folder / part).write_bytes(flipped)
        found = reloaded(folder / "state.db")
        assert _is_a_beginning(found, part), place
        if found.troubles:
            assert reloaded(folder / "state.db") == evolve(found, troubles=()), place


def test_garbage_is_set_aside_whole(path: Path) -> None:
    """Not a byte of it is lost, nor of the log that was with it; and it is told, with its new name."""
    log = path.with_name("state.db-wal").read_bytes()
    path.write_bytes(b"precious garbage" * 500)
    found = reloaded(path)
    assert found.pools == ()
    (trouble,) = found.troubles
    first = "state.db.set-aside-20270115T080000Z-1"
    assert set(_asides(path)) >= {first, first + "-wal"}
    assert (path.parent / first).read_bytes() == b"precious garbage" * 500
    assert (path.parent / (first + "-wal")).read_bytes() == log
    assert repr(str(path.parent / first)) in trouble
    assert trouble.endswith("; no pool could be read from it")


def test_what_was_set_aside_is_never_overwritten(path: Path) -> None:
    """Not even within one second."""
    for number in range(1, 4):
        path.write_bytes(b"garbage %d" % number)
        reloaded(path)
    contents = [
        (path.parent / name).read_bytes() for name in _asides(path) if name[-2:] in {"-1", "-2", "-3"}
    ]
    assert contents == [b"garbage 1", b"garbage 2", b"garbage 3"]


def test_what_can_be_read_of_a_damaged_one_goes_on(path: Path) -> None:
    """Pools, leases and history, but for what stood in the damaged page; what is told says how many."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    place = content.rindex(b'"lineage"')  # of a pool, not of a passage
    page = place - place % 4096
    content[page : page + 8] = b"\xff" * 8
    path.write_bytes(content)
    found = reloaded(path)
    assert _was_stored(found)
    assert 0 < len(found.pools) < POOLS
    (trouble,) = found.troubles
    assert f"as it is damaged; what could still be read goes on: {len(found.pools)} pools" in trouble
    with opened(path) as (store, again):
        assert again == evolve(found, troubles=())
        assert store.history("pool-1") == tuple(a_passage(number, "pool-1") for number in range(4))


def _changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_history_of_pools_that_were_lost_does_not_stay_for_ever(path: Path) -> None:
    """S19: in a salvaged database they count as forgotten."""
    _changed(path, "DELETE FROM pools WHERE pool_id = 'pool-3'", "DROP TABLE damaged")
    with opened(path) as (store, found):
        assert (len(found.pools), len(found.troubles)) == (POOLS - 1, 1)
        assert len(store.history("pool-3")) == 4
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT pool_id FROM forgotten").fetchall() == [("pool-3",)]


def test_a_newer_one_is_set_aside_and_says_both_versions(path: Path) -> None:
    """DESIGN: a downgrade destroys nothing: the newer program can have it back by its name."""
    _changed(path, f"PRAGMA user_version = {VERSION + 6}")
    found = reloaded(path)
    (trouble,) = found.troubles
    assert (
        f"a newer program made it (its version is {VERSION + 6}, the newest known here {VERSION})" in trouble
    )
    aside = path.parent / _asides(path)[0]
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM pools").fetchone() == (POOLS,)


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        ((f"PRAGMA application_id = {APPLICATION + 1}",), "another program's"),
        (("PRAGMA user_version = 0",), "another program's"),
        (("DROP TABLE history",), "its tables are damaged"),
        (("ALTER TABLE pools ADD COLUMN more",), "its tables are damaged"),
        (("CREATE TRIGGER t AFTER INSERT ON pools BEGIN DELETE FROM pools; END",), "its tables are damaged"),
        (
            ("PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name LIKE '%autoindex_pools%'"),
            "it is damaged",
        ),
    ],
)
def test_what_is_not_quite_ours_is_not_used(path: Path, statements: tuple[str, ...], why: str) -> None:
    """Another program's database, or one that somebody has changed; what can be read of it goes on."""
    _changed(path, *statements)
    found = reloaded(path)
    (trouble,) = found.troubles
    assert why in trouble
    assert _was_stored(found)
    assert reloaded(path).troubles == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pools SET text = replace(text, '3', '2') WHERE pool_id = 'pool-1'",
        "UPDATE pools SET seal = 1.5 WHERE pool_id = 'pool-1'",
        "UPDATE pools SET seal = 'x' WHERE pool_id = 'pool-1'",
        "UPDATE pools SET text = x'ff00' WHERE pool_id = 'pool-1'",
        "UPDATE pools SET text = CAST(x'ff00' AS TEXT) WHERE pool_id = 'pool-1'",
        "UPDATE pools SET pool_id = 'pool-x' WHERE pool_id = 'pool-1'",
        "UPDATE pools SET pool_id = CAST(x'ff' AS TEXT) WHERE pool_id = 'pool-1'",
        """UPDATE pools SET (text, seal) = (SELECT text, seal FROM pools WHERE pool_id = 'pool-2')
        WHERE pool_id = 'pool-1'""",
    ],
)
def test_a_row_that_is_not_what_was_stored_is_moved_out_of_the_way(path: Path, statement: str) -> None:
    """FAULTS: wrong types. All others load; what it was is kept for people, and so are its leases."""
    _changed(path, statement)
    found = reloaded(path)
    assert _was_stored(found)
    assert [one.snapshot.pool_id for one in found.pools] == [f"pool-{n}" for n in range(POOLS) if n != 1]
    assert len(found.troubles) == 5
    assert any("what was stored of pool " in one and "table 'damaged'" in one for one in found.troubles)
    assert any(
        "what was stored of lease 2 of pool 'pool-1' could not be read" in one for one in found.troubles
    )
    again = reloaded(path)
    assert again == evolve(found, troubles=())
    with closing(sqlite3.connect(path)) as connection:
        moved = connection.execute("SELECT at, origin, count(*) FROM damaged GROUP BY origin").fetchall()
    assert moved == [("2027-01-15T08:00:00Z", "leases", 4), ("2027-01-15T08:00:00Z", "pools", 1)]


def test_what_this_host_had_can_be_lost_alone(path: Path) -> None:
    """Its pools load all the same."""
    _changed(path, "UPDATE host SET seal = 0")
    found = reloaded(path)
    assert (found.host, len(found.pools)) == (None, POOLS)
    assert "what was stored of this host could not be read" in found.troubles[0]


# --- making one, and being interrupted at it ------------------------------------------------------------


def test_one_that_was_emptied_is_not_taken_for_a_new_one(path: Path) -> None:
    """SQLite would, and drop the log that has what is left."""
    path.write_bytes(b"")
    (trouble,) = reloaded(path).troubles
    assert "as it is empty" in trouble
    assert len(_asides(path)) == 2


def test_a_log_without_its_database_is_not_dropped(path: Path) -> None:
    """Nor mixed with a new one: somebody was interrupted at setting both aside."""
    log = path.with_name("state.db-wal").read_bytes()
    path.unlink()
    (trouble,) = reloaded(path).troubles
    (aside,) = _asides(path)
    assert (path.parent / aside).read_bytes() == log
    assert aside.removesuffix("-wal") in trouble


class Interrupted(BaseException):
    """The program ends here."""


@pytest.mark.parametrize("step", range(1, 26))
def test_a_rescue_can_be_interrupted_anywhere(path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """S17: whatever was saved of a damaged database is there the next time, if not all of it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("DROP TABLE damaged")
        connection.commit()
    left = step

    def interrupting(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Interrupted
            return real(*args, **named)

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "unlink", "fsync", "open", "fchmod"):
        interrupting(name)
    with suppress(Interrupted):
        reloaded(path)
    monkeypatch.undo()
    found = reloaded(path)
    assert versions(found) == {f"pool-{number}": 3 for number in range(POOLS)}
    assert not path.with_name("state.db.new").exists()


def test_a_half_made_one_is_made_again(tmp_path: Path) -> None:
    """It was never used: the program ended while it was made."""
    new = tmp_path / "state.db.new"
    for content in (b"", b"SQLite format 3\0half"):
        new.write_bytes(content)
        (tmp_path / "state.db.new-journal").write_bytes(b"half")
        with a_store(tmp_path) as store:
            assert store.save(numbered(1))
        assert os.listdir(tmp_path) == ["state.db"]
        (tmp_path / "state.db").unlink()


# --- the place ------------------------------------------------------------------------------------------


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Nothing of another file is read or overwritten."""
    (tmp_path / "other").write_text("precious")
    (tmp_path / "state.db").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError, match=r"is a symbolic link, which is not followed; remove it once"):
        reloaded(tmp_path / "state.db")
    assert (tmp_path / "other").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["other", "state.db"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    """A folder, or a pipe that would block."""
    assert callable(make)
    make(tmp_path / "state.db")
    with pytest.raises(StoreError, match=r"'.*state.db' is not a file; remove it once"):
        reloaded(tmp_path / "state.db")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path and what helps, as every error of a store."""
    with pytest.raises(StoreError, match=r"cannot open '.*none/state.db': No such file") as told:
        reloaded(tmp_path / "none" / "state.db")
    assert (told.value.path, bool(told.value.remedy)) == (str(tmp_path / "none" / "state.db"), True)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_a_place_where_nothing_can_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A manager that cannot keep its promises does not begin; nothing half-made is left open."""

    def fails(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as disk:
        disk.setattr(os, "open", fails)
        with pytest.raises(StoreError, match=r"cannot open .*state\.db") as told:
            reloaded(tmp_path / "state.db")
    assert told.value.remedy
    assert reloaded(tmp_path / "state.db") == Loaded()


@pytest.mark.parametrize("name", ["upgrade", "rows"])
def test_nothing_stays_open_of_what_could_not_be_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever failed; and nothing is set aside for an error that is not the file's."""
    used: list[sqlite3.Connection] = []

    def fails(connection: sqlite3.Connection) -> None:
        used.append(connection)
        raise says(sqlite3.SQLITE_IOERR)

    with monkeypatch.context() as disk:
        disk.setattr(sqlite_file, name, fails)
        with pytest.raises(StoreError, match="the disk reports an error"):
            reloaded(path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        used[0].execute("SELECT 1")
    assert (len(reloaded(path).pools), _asides(path)) == (POOLS, [])
