"""What is written at once and what waits, and that nobody but the keeper ever waits for a disk."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle import sqlite_disk, sqlite_keeper, sqlite_store
from pool_lifecycle.errors import StoreError
from pool_lifecycle.sqlite_pending import SOME
from pool_lifecycle.sqlite_reading import loaded, reading, rows
from pool_lifecycle.sqlite_store import SqliteStore
from tests.stored import (
    HOST,
    a_lease,
    a_passage,
    a_store,
    make_fail,
    numbered,
    opened,
    reloaded,
    says,
    versions,
)

FULL, BROKEN, BUSY = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the stores of these tests are."""
    return tmp_path / "state.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(sqlite_keeper, "RETRY", 0.001)


def _begun(path: Path) -> bytes:
    """The number and the salt of the log: they change whenever it is begun anew."""
    with open(f"{path}-wal", "rb") as log:
        return log.read(24)[12:]


def _opening_begins_it_anew(killed: Path, folder: Path) -> bool:
    """Whether a store does so with the log of one that is not closed, as its program was killed."""
    shutil.copytree(killed, folder)
    before = _begun(folder / "state.db")
    with opened(folder / "state.db") as (_, found):
        assert versions(found) == {"chat": 1}
        return _begun(folder / "state.db") != before


class ByHand:
    """A keeper without a thread: what was asked is done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], object]] = []

    def submit(self, job: Callable[..., object], *values: object) -> None:
        """Later."""
        self.jobs.append(lambda: job(*values))

    def work(self) -> int:
        """All of it; how much that was."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()
        return len(jobs)


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[tuple[SqliteStore, ByHand]]:
    """A store whose keeper does nothing by itself."""
    with a_store(tmp_path) as store:
        keeper, real = ByHand(), store._keeper
        hand: Any = keeper
        store._keeper = hand
        yield store, keeper
        store._keeper = real


def test_nobody_who_saves_begins_the_log_anew(
    by_hand: tuple[SqliteStore, ByHand], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To begin it anew is to wait for the disk. It does not grow without end all the same."""
    monkeypatch.setattr(sqlite_store, "TURN", 20)
    store, keeper = by_hand
    turns, begun = 0, _begun(path)
    for number in range(400):
        assert store.save(numbered(number), a_passage(number))
        store.save_lease("chat", a_lease(1))
        assert _begun(path) == begun, "a save has begun the log anew"
        if worked := keeper.work():
            turns += worked
            assert _begun(path) != begun, "the keeper has not begun the log anew"
            begun = _begun(path)
    assert turns == 40
    assert path.with_name("state.db-wal").stat().st_size < 1 << 20


def test_opening_copies_no_log_but_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To copy is to wait for the disk; but under managers that are killed again and again it would grow."""
    with a_store(tmp_path) as store:
        store.save(numbered(1))
        killed = tmp_path / "killed"
        killed.mkdir()
        for part in ("state.db", "state.db-wal"):
            shutil.copy(tmp_path / part, killed)
    assert not _opening_begins_it_anew(killed, tmp_path / "short")
    monkeypatch.setattr(sqlite_disk, "LONG", 1000)
    assert _opening_begins_it_anew(killed, tmp_path / "long")


@pytest.mark.parametrize("where", ["_copy_log", "lock"])
def test_a_log_being_copied_is_not_begun_anew_by_who_saves_meanwhile(
    by_hand: tuple[SqliteStore, ByHand], path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Neither while it is copied nor just before the keeper takes the lock."""
    store, _ = by_hand
    store.save(numbered(1))
    disk, begun, saved = store._disk, _begun(path), []
    real = disk._copy_log

    def save_then() -> bool:
        if not disk.lock.locked():
            saved.append(store.save(numbered(2)))
            assert _begun(path) == begun
        return real()

    def then_save() -> bool:
        complete = real()
        if not disk.lock.locked():
            saved.append(store.save(numbered(2)))
            assert _begun(path) == begun
        return complete

    monkeypatch.setattr(disk, "_copy_log", save_then if where == "_copy_log" else then_save)
    disk.turn()
    assert saved == [True]
    assert _begun(path) != begun


def test_who_reads_for_long_stops_nobody(by_hand: tuple[SqliteStore, ByHand], path: Path) -> None:
    """The log grows as long as it is read, and is begun anew when it is not; nobody else does that."""
    store, _ = by_hand
    with reading(str(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM pools").fetchall()
        for number in range(3):
            begun = _begun(path)
            store._disk.turn()
            assert store.save(numbered(number))
            assert _begun(path) == begun
    store._disk.turn()
    assert _begun(path) != begun
    assert store.save(numbered(4))


def test_a_log_that_cannot_be_begun_anew_is_not_begun_by_who_saves(
    by_hand: tuple[SqliteStore, ByHand], path: Path
) -> None:
    """A full disk, at the worst moment: everything is copied. Then only the keeper writes, until it can."""
    store, keeper = by_hand
    disk: Any = store._disk
    mend = make_fail(store, lambda said: says(FULL) if said.startswith("UPDATE beats") else None)
    begun = _begun(path)
    disk.turn()
    assert not disk.direct
    assert not store.save(numbered(1))
    assert _begun(path) == begun
    mend()
    assert keeper.work() == 1
    assert disk.direct
    assert _begun(path) != begun
    assert store.save(numbered(2))


@pytest.mark.parametrize("code", [FULL, BROKEN, BUSY, sqlite3.SQLITE_READONLY])
@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO pools", "INSERT INTO history", "COMMIT"])
def test_what_cannot_be_written_now_is_written_when_it_can(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, code: int, statement: str
) -> None:
    """FAULTS: ENOSPC, EIO, EROFS on each call: nothing is lost, told apart, or waits for somebody to ask."""
    monkeypatch.setattr("pool_lifecycle.sqlite_errors.os.access", lambda *_: False)
    tried = threading.Event()

    def fault(said: str) -> Exception | None:
        tried.set()
        return says(code) if said.startswith(statement) else None

    async def fails(store: SqliteStore) -> None:
        for wait in (store.kept("chat"), store.durable()):
            with pytest.raises(StoreError, match=r"cannot store what happened in '.*state.db'") as told:
                await wait
            assert told.value.remedy

    with a_store(tmp_path) as store:
        assert store.save(numbered(1), a_passage(1))
        mend = make_fail(store, fault)
        assert not store.save(numbered(2), a_passage(2))
        assert not store.save(numbered(3), a_passage(3))
        asyncio.run(fails(store))
        mend()
        _until(lambda: not store._disk.pending and store._disk.direct)
        store.save(numbered(1, "other"))
    assert store.history("chat") == tuple(map(a_passage, (1, 2, 3)))
    assert versions(reloaded(path)) == {"chat": 3, "other": 1}


def _until(true: Callable[[], bool]) -> None:
    """Wait for another thread."""
    waiting = threading.Event()
    while not true():
        waiting.wait(0.001)


def test_a_disk_that_is_full_for_real(tmp_path: Path, path: Path) -> None:
    """ENOSPC as SQLite has it: a database that must not grow."""
    with a_store(tmp_path) as store:
        store.save(numbered(1))
        assert store._disk.tables is not None
        write = store._disk.tables.connection.execute
        write("PRAGMA max_page_count = 1")
        many = 200
        saved = [store.save(numbered(1, f"pool-{number}")) for number in range(many)]
        assert not saved[-1]
        with pytest.raises(StoreError, match=r"no space is left on the device \(SQLITE_FULL\); free some"):
            asyncio.run(store.kept(f"pool-{many - 1}"))
        asyncio.run(store.kept("chat"))
        with store._disk.lock:
            write("PRAGMA max_page_count = 100000")
        _until(lambda: not store._disk.pending)
        asyncio.run(store.durable())
    assert len(reloaded(path).pools) == many + 1


def test_it_is_told_once_that_it_fails_and_once_that_it_works(
    by_hand: tuple[SqliteStore, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried."""
    store, keeper = by_hand
    mend = make_fail(store, lambda _: says(FULL))
    with caplog.at_level(logging.WARNING, "pool_lifecycle"):
        for number in range(5):
            store.save(numbered(number))
            with pytest.raises(StoreError):
                keeper.work()
        mend()
        store._disk.flush()
        store._disk.flush()
    first, last = caplog.messages
    assert "no space is left on the device" in first
    assert "can be written again" in last


def test_what_waits_is_bounded(by_hand: tuple[SqliteStore, ByHand], monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: on a disk that is full for days: the latest of each pool, the latest passages, one job."""
    store, keeper = by_hand
    make_fail(store, lambda _: says(FULL))
    for number in range(30_000):
        store.save(numbered(number, f"pool-{number % 3}"), a_passage(number))
    store.save_host(HOST)
    batch = store._disk.pending._waiting
    assert len(batch.pools) == 3
    assert 9_000 < len(batch.passages) <= 10_000
    assert batch.passages[-1][1].count("29999")
    assert len(keeper.jobs) == 1


def test_a_long_queue_is_worked_off_in_short_bits(by_hand: tuple[SqliteStore, ByHand]) -> None:
    """By the keeper, and by whoever saves: nobody writes all of it while others wait."""
    store, keeper = by_hand
    many = 5 * SOME
    with store._disk.lock:
        for number in range(many):
            assert not store.save(numbered(1, f"pool-{number}"), a_passage(1, f"pool-{number}"))
    saves = 0
    while not store.save(numbered(2)):
        saves += 1
    assert saves == many // SOME
    assert keeper.work() == 1


def test_a_lease_does_not_overtake_what_waits(by_hand: tuple[SqliteStore, ByHand], path: Path) -> None:
    """Its token was ended before it was given anew: it must not be ended again, later."""
    store, keeper = by_hand
    store.save(numbered(1))
    with store._disk.lock:
        store.end_lease("chat", 1)
        store.forget("chat")
        store.save(numbered(2))
    store.save_lease("chat", a_lease(1))
    assert not store._disk.pending
    keeper.work()
    with reading(str(path)) as connection:
        (pool,) = loaded(rows(connection), ()).pools
    assert pool == evolve(numbered(2), leases=(a_lease(1),))


def test_a_lease_that_could_not_be_stored_has_somebody_look_after_the_disk(
    by_hand: tuple[SqliteStore, ByHand],
) -> None:
    """Or it would be refused for ever, where no pool changes its state."""
    store, keeper = by_hand
    mend = make_fail(store, lambda _: says(FULL))
    for _ in range(3):
        with pytest.raises(StoreError, match="no space is left"):
            store.save_lease("chat", a_lease(1))
    assert len(keeper.jobs) == 1
    mend()
    keeper.work()
    store.save_lease("chat", a_lease(1))


# --- power cuts -----------------------------------------------------------------------------------------


def test_who_asks_together_waits_for_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with nothing new there is none; it is the log that is synced, not on the loop's thread."""
    calls: list[tuple[str, bool]] = []
    real, here = os.fdatasync, threading.get_ident()

    def sync(descriptor: int) -> None:
        calls.append((os.readlink(f"/proc/self/fd/{descriptor}"), threading.get_ident() == here))
        real(descriptor)

    async def many(store: SqliteStore) -> None:
        for number in range(3):
            store.save(numbered(number))
            await asyncio.gather(*(store.durable() for _ in range(50)))

    monkeypatch.setattr(os, "fdatasync", sync)
    with a_store(tmp_path) as store:
        asyncio.run(many(store))
        assert calls == [(f"{tmp_path}/state.db-wal", False)] * 3


def test_what_a_killed_program_had_saved_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: it may not be on the disk yet, and whoever asks next relies on it."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    with a_store(tmp_path) as store:
        asyncio.run(store.durable())
        asyncio.run(store.durable())
    assert len(syncs) == 1


def test_a_sync_serves_all_who_asked_before_it_began(
    by_hand: tuple[SqliteStore, ByHand], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although others go on saving: hundreds who start at once do not wait for one another's syncs."""
    store, _ = by_hand
    disk, real, syncs = store._disk, os.fdatasync, list[int]()

    def saving_meanwhile(descriptor: int) -> None:
        syncs.append(descriptor)
        store.save(numbered(10 + len(syncs)))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", saving_meanwhile)
    store.save(numbered(1))
    asked = [disk.asked() for _ in range(100)]
    for number in asked:
        disk.sync(number)
    assert len(syncs) == 1
    disk.sync(disk.asked())
    assert len(syncs) == 2


def test_what_is_saved_while_a_sync_is_under_way_waits_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: it may have come too late for that one. Saving goes on meanwhile: a slow disk stops no loop."""
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        begun.release()
        go_on.acquire()
        real(descriptor)

    async def program(store: SqliteStore) -> None:
        assert store.save(numbered(1))
        first = asyncio.create_task(store.durable())
        await asyncio.to_thread(begun.acquire)
        assert store.save(numbered(2))
        await store.kept("chat")
        second = asyncio.create_task(store.durable())
        await asyncio.sleep(0)
        go_on.release()
        await asyncio.to_thread(begun.acquire)
        assert (first.done(), second.done()) == (True, False)
        go_on.release()
        await second

    monkeypatch.setattr(os, "fdatasync", slow)
    with a_store(tmp_path) as store:
        asyncio.run(program(store))


def test_a_sync_that_failed_is_not_forgotten_by_the_next(
    by_hand: tuple[SqliteStore, ByHand], monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Linux reports a lost write once: what was written then is written anew before anybody is told yes."""
    store, _ = by_hand
    disk = store._disk

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store.save(numbered(1))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        with pytest.raises(StoreError, match=r"cannot be sure of what was written to .*: Input/output error"):
            disk.sync(disk.asked())
    with reading(str(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM pools").fetchall()
        store.save(numbered(2))
        with pytest.raises(StoreError, match=r"while another program reads it; end that one"):
            disk.sync(disk.asked())
    begun = _begun(path)
    disk.sync(disk.asked())
    assert _begun(path) != begun
    begun = _begun(path)
    store.save(numbered(3))
    disk.sync(disk.asked())
    assert _begun(path) == begun


def test_a_log_that_could_not_be_copied_is_not_trusted_either(
    by_hand: tuple[SqliteStore, ByHand], caplog: pytest.LogCaptureFixture
) -> None:
    """The error may have been that of a sync. Saving goes on; it is told."""
    store, _ = by_hand
    disk: Any = store._disk
    real = disk._copying

    class Broken:
        def execute(self, _: str) -> None:
            raise says(sqlite3.SQLITE_IOERR)

    disk._copying = Broken()
    disk.turn()
    assert "cannot copy the log of" in caplog.text
    assert store.save(numbered(1))
    with pytest.raises(StoreError):
        disk.sync(disk.asked())
    disk._copying = real
    disk.sync(disk.asked())
    assert store.save(numbered(2))


# --- damage while it is in use --------------------------------------------------------------------------


def test_what_turns_out_to_be_damaged_is_opened_anew(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Set aside, and what can be read of it goes on: no pool has to wait for the next manager."""
    with a_store(tmp_path) as store:
        for number in range(5):
            store.save(numbered(1, f"pool-{number}"), a_passage(number, f"pool-{number}"))
        make_fail(store, lambda _: says(sqlite3.SQLITE_CORRUPT))
        assert not store.save(numbered(2, "pool-1"), a_passage(7, "pool-1"))
        _until(lambda: store._disk.direct)
        asyncio.run(store.kept("pool-1"))
        asyncio.run(store.durable())
        assert store.save(numbered(3, "pool-2"))
        assert store.history("pool-1") == (a_passage(1, "pool-1"), a_passage(7, "pool-1"))
    assert "was set aside as" in caplog.text
    assert any("set-aside" in one.name for one in tmp_path.iterdir())
    assert versions(reloaded(path)) == {"pool-0": 1, "pool-1": 2, "pool-2": 3, "pool-3": 1, "pool-4": 1}


def test_what_is_damaged_again_and_again_is_not_set_aside_each_time(
    by_hand: tuple[SqliteStore, ByHand], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S19: a disk that damages everything must not be filled by us."""
    store, keeper = by_hand
    for number in range(5):
        make_fail(store, lambda _: says(sqlite3.SQLITE_CORRUPT))
        store.save(numbered(number + 1))
        if number:
            with pytest.raises(StoreError, match="it is damaged"):
                keeper.work()
        else:
            keeper.work()
    assert (
        len({one.name.split("-")[-1] for one in tmp_path.iterdir() if "set-aside" in one.name} & set("12"))
        == 1
    )
    monkeypatch.setattr(sqlite_disk, "MENDED", 0.0)
    store._disk.flush()
    assert store.save(numbered(7))


def test_closing_with_something_left_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And closes all the same."""
    with opened(tmp_path / "state.db") as (store, _):
        make_fail(store, lambda _: says(FULL))
        store.save(numbered(1))
    assert "is closed, and not all could be stored: cannot store what happened" in caplog.text
