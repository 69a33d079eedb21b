"""The store in a SQLite database: what a manager can rely on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from pool_lifecycle import sqlite_store, sqlite_tables
from pool_lifecycle.errors import StoreError
from pool_lifecycle.sqlite_store import TURN, SqliteStore
from pool_lifecycle.store import HISTORY, Store
from pool_lifecycle.testing import virtual_time
from tests.stored import (
    FIRST,
    HOST,
    a_lease,
    a_passage,
    a_store,
    make_fail,
    numbered,
    reloaded,
    says,
    versions,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the stores of these tests are."""
    return tmp_path / "state.db"


def test_what_was_saved_last_is_what_the_next_manager_gets(tmp_path: Path, path: Path) -> None:
    """S17: of every pool, in the order in which they were first saved, and of the host."""
    with a_store(tmp_path) as opened:
        store: Store = opened
        assert store.save(numbered(1, "b"))
        assert store.save(numbered(1, "a"), a_passage(1, "a"))
        assert store.save(numbered(2, "b"), a_passage(2, "b"))
        store.save_host(HOST)
        store.save_host(last := evolve(HOST, full_at=31.0))
    found = reloaded(path)
    assert found.pools == (numbered(2, "b"), numbered(1, "a"))
    assert (found.host, found.troubles) == (last, ())


def test_a_database_is_one_file_once_it_is_closed(tmp_path: Path) -> None:
    """So that it can be copied by anybody who does not know SQLite."""
    with a_store(tmp_path) as store:
        store.save(FIRST)
    assert os.listdir(tmp_path) == ["state.db"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_can_read_it(tmp_path: Path, umask: int) -> None:
    """Nor its log, whatever the umask; one that others could read is closed to them."""
    before = os.umask(umask)
    try:
        with a_store(tmp_path) as store:
            store.save(FIRST)
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
    (tmp_path / "state.db").chmod(0o644)
    with a_store(tmp_path):
        assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def test_leases_come_and_go_with_their_pool(tmp_path: Path, path: Path) -> None:
    """They are kept beside it: saving a pool changes none; forgetting it ends all."""
    with a_store(tmp_path) as store:
        for pool_id in ("a", "b"):
            store.save(numbered(1, pool_id))
            for token in (1, 2, 3):
                store.save_lease(pool_id, a_lease(token))
        store.end_lease("a", 2)
        store.end_lease("a", 9)
        store.save_lease("a", renewed := evolve(a_lease(3), expires_at=9.0))
        store.save(numbered(2, "a"))
        store.forget("b")
    (found,) = reloaded(path).pools
    assert found == evolve(numbered(2, "a"), leases=(a_lease(1), renewed))


def test_a_forgotten_pool_leaves_its_history_and_can_come_back(tmp_path: Path, path: Path) -> None:
    """Without the leases it had; its history goes on."""
    with a_store(tmp_path) as store:
        store.save(numbered(1), a_passage(1))
        store.save_lease("chat", a_lease(1))
        store.forget("chat")
        store.forget("chat")
        store.save(numbered(2), a_passage(2))
        assert store.history("chat") == (a_passage(1), a_passage(2))
    assert reloaded(path).pools == (numbered(2),)


def test_a_passage_alone_leaves_its_pool_as_it_was(tmp_path: Path, path: Path) -> None:
    """Also while it has to wait, and of a pool whose latest has to."""
    with a_store(tmp_path) as store:
        store.save(numbered(1), a_passage(1))
        assert store.note(a_passage(2))
        mend = make_fail(store, lambda _: says(sqlite3.SQLITE_FULL))
        assert not store.save(numbered(2), a_passage(3))
        assert not store.note(a_passage(4))
        mend()
        asyncio.run(store.kept("chat"))
        assert store.history("chat") == tuple(map(a_passage, (1, 2, 3, 4)))
    assert reloaded(path).pools == (numbered(2),)


def test_the_history_says_the_last_oldest_first(tmp_path: Path) -> None:
    """As many as asked for, also when nobody has the store open."""
    with a_store(tmp_path) as store:
        for number in range(5):
            store.save(numbered(number), a_passage(number))
        store.save(numbered(1, "other"), a_passage(7, "other"))
        assert store.history("chat", 2) == (a_passage(3), a_passage(4))
    assert store.history("chat") == tuple(map(a_passage, range(5)))
    assert (store.history("chat", 0), store.history("none")) == ((), ())


def test_the_history_of_a_pool_is_bounded(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S19: HISTORY passages at least, twice as many at most, also over many managers."""
    monkeypatch.setattr(sqlite_tables, "HISTORY", 100)
    assert sqlite_tables.PRUNE <= HISTORY
    for manager in range(10):
        with a_store(tmp_path) as store:
            for number in range(50):
                store.save(FIRST, a_passage(50 * manager + number))
                many = len(store.history("chat", 10_000))
                assert min(50 * manager + number + 1, 100) <= many <= 200
    assert store.history("chat", 100) == tuple(map(a_passage, range(400, 500)))


def test_pools_that_come_and_go_do_not_leave_their_history_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S19: those forgotten longest ago lose theirs; one that came back has not been forgotten."""
    monkeypatch.setattr(sqlite_tables, "PAST_POOLS", 2)
    with a_store(tmp_path) as store:
        for number in range(6):
            pool_id = f"pool-{number}"
            store.save(numbered(1, pool_id), a_passage(number, pool_id))
            store.forget(pool_id)
            if number == 0:
                store.save(numbered(2, pool_id))
        left = [number for number in range(6) if store.history(f"pool-{number}")]
    assert left == [0, 4, 5]


@pytest.mark.parametrize("waiting", [False, True])
def test_kept_returns_at_once_or_when_it_is(tmp_path: Path, path: Path, *, waiting: bool) -> None:
    """The same on real and on virtual time, on one loop after the other."""

    async def program(store: SqliteStore, number: int) -> None:
        if waiting:
            with store._disk.lock:
                assert not store.save(numbered(number))
                assert store._disk.pending.has("chat")
        else:
            assert store.save(numbered(number))
        await store.kept("chat")
        assert not store._disk.pending
        await store.durable()

    with a_store(tmp_path) as store:
        runs: tuple[Callable[..., None], ...] = (asyncio.run, virtual_time.run)
        for number, run in enumerate((*runs, *runs)):
            run(program(store, number))
            assert store._disk.tables is not None
            assert store._disk.tables.connection.execute("SELECT count(*) FROM pools").fetchone() == (1,)
    assert versions(reloaded(path)) == {"chat": 3}


def test_a_save_that_waits_is_not_overtaken(tmp_path: Path, path: Path) -> None:
    """What is saved directly comes after all that was saved before, also a forgetting and its leases."""
    with a_store(tmp_path) as store:
        store.save(numbered(1), a_passage(1))
        store.save_lease("chat", a_lease(1))
        with store._disk.lock:
            store.save(numbered(2), a_passage(2))
            store.end_lease("chat", 1)
            store.forget("chat")
            assert not store.save(numbered(3), a_passage(3))
        store.save_lease("chat", a_lease(2))
        store.save(numbered(4), a_passage(4))
    assert store.history("chat") == tuple(map(a_passage, (1, 2, 3, 4)))
    (found,) = reloaded(path).pools
    assert found == evolve(numbered(4), leases=(a_lease(2),))


def test_a_lease_is_stored_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loop it does not wait long for a slow disk; nothing of it is stored later."""
    monkeypatch.setattr(sqlite_store, "HASTE", 0.001)

    async def grant(store: SqliteStore) -> None:
        with store._disk.lock, pytest.raises(StoreError, match=r"its disk is slow; try again"):
            store.save_lease("chat", a_lease(2))
        store.save_lease("chat", a_lease(1))

    with a_store(tmp_path) as store:
        store.save(FIRST)
        asyncio.run(grant(store))
        mend = make_fail(store, lambda _: says(sqlite3.SQLITE_FULL))
        with pytest.raises(StoreError, match="no space is left on the device"):
            store.save_lease("chat", a_lease(3))
        mend()
    (found,) = reloaded(tmp_path / "state.db").pools
    assert found.leases == (a_lease(1),)


def test_a_lease_waits_for_others_who_write_but_a_loop_only_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else is on the loop would have to wait as well."""
    waits: list[float] = []

    async def grant(store: SqliteStore) -> None:
        store.save_lease("chat", a_lease(1))

    with a_store(tmp_path) as store:
        monkeypatch.setattr(store._disk, "within", lambda seconds, _: waits.append(seconds))
        asyncio.run(grant(store))
        store.save_lease("chat", a_lease(1))
    assert waits == [sqlite_store.HASTE, sqlite_store.PATIENCE]
    assert waits[0] <= 0.05


def test_leases_come_from_any_thread(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop's thread saves pools, and the log is begun anew."""
    monkeypatch.setattr(sqlite_store, "PATIENCE", 60.0)
    with a_store(tmp_path) as store:
        store.save(FIRST)

        def lease(first: int) -> None:
            for token in range(first, first + 50):
                store.save_lease("chat", a_lease(token))
                if token % 2:
                    store.end_lease("chat", token)

        threads = [threading.Thread(target=lease, args=(1000 * number,)) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for number in range(TURN + 10):
            store.save(numbered(number))
        for thread in threads:
            thread.join()
    (found,) = reloaded(path).pools
    assert found.next_token == TURN + 9
    assert [one.token for one in found.leases] == [
        1000 * part + n for part in (1, 2, 3) for n in range(0, 50, 2)
    ]


def test_one_that_is_not_open_keeps_nothing_and_says_so(path: Path) -> None:
    """Before it is loaded, and after it is closed; it can be opened again."""
    store = SqliteStore(path)

    async def asked() -> None:
        assert not store.save(FIRST)
        store.save_host(HOST)
        store.forget("chat")
        store.end_lease("chat", 1)
        for wait in (store.kept("chat"), store.durable()):
            with pytest.raises(StoreError, match=r"is not open; open its manager first"):
                await wait
        with pytest.raises(StoreError, match="is not open"):
            store.save_lease("chat", a_lease(1))
        store.close()

    asyncio.run(asked())
    with pytest.raises(StoreError, match=r"cannot read '.*': it is not there; name the state directory"):
        store.history("chat")
    assert store.load().pools == ()
    assert store.save(FIRST)
    with pytest.raises(StoreError, match="is already open; make another store"):
        store.load()
    store.close()
    asyncio.run(asked())
    assert store.load().pools == (FIRST,)
    store.close()


def test_closing_writes_what_waits(tmp_path: Path, path: Path) -> None:
    """Although nobody waited for it."""
    with a_store(tmp_path) as store, store._disk.lock:
        store.save(numbered(7), a_passage(7))
    assert versions(reloaded(path)) == {"chat": 7}


def test_closing_ends_also_where_the_disk_hangs(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S19: its thread is left alone with the disk, and keeps nobody from ending.

    When the disk comes back, what waited is not written over what another manager has stored since.
    """
    hangs = threading.Event()
    with a_store(tmp_path) as store:
        keeper = store._keeper
        assert keeper is not None
        keeper.submit(hangs.wait)
        with store._disk.lock:
            store.save(numbered(1))
        with monkeypatch.context() as soon:
            soon.setattr(sqlite_store, "CLOSE", 0.01)
            store.close()
        assert "its disk does not answer" in caplog.text
        assert not store.save(numbered(3))
        with pytest.raises(StoreError, match="is not open"):
            store.save_lease("chat", a_lease(3))
        with a_store(tmp_path) as other:
            other.save(numbered(2))
        thread = keeper._thread
        assert thread is not None
        assert (thread.is_alive(), thread.daemon) == (True, True)
        hangs.set()
        thread.join()
    assert versions(reloaded(path)) == {"chat": 2}


def _in_a_fork(work: Callable[[], None]) -> int:
    """With which code a forked process ends in which this is done; 1 for an error."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_nothing_of_it(tmp_path: Path, path: Path) -> None:
    """There it does nothing, or raises; here it goes on, whatever the other did."""

    def work() -> None:
        assert not store.save(numbered(9))
        store.forget("chat")
        with pytest.raises(StoreError):
            store.save_lease("chat", a_lease(9))
        with pytest.raises(StoreError, match="of the process that this one was forked from"):
            store.load()
        store.close()
        gc.collect()
        # to close what was inherited could wait for ever
        assert str(path) in {os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}

    with a_store(tmp_path) as store:
        store.save(numbered(1))
        assert _in_a_fork(work) == 0
        assert store.save(numbered(2))
        assert sorted(os.listdir(tmp_path)) == ["state.db", "state.db-shm", "state.db-wal"]
    assert versions(reloaded(path)) == {"chat": 2}


@pytest.mark.slow
def test_no_program_that_is_started_inherits_it(tmp_path: Path) -> None:
    """Close-on-exec: a kept engine must not hold the database of a manager that is gone."""
    with a_store(tmp_path) as store:
        store.save(FIRST)
        child = subprocess.run(
            ["ls", "-l", "/proc/self/fd"],
            close_fds=False,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert "/dev/null" in child.stdout
    assert str(tmp_path) not in child.stdout
