"""A state database in use: what is written at once, what waits, and the upkeep of its write-ahead log.

SQLite appends what is written to a log, which takes microseconds and no disk. Sooner or later the log has to
be copied into the database (a checkpoint) and begun anew, or it would grow without end; both wait for the
disk, and the second does so in whoever happens to write next. So there is a `turn` in a thread of its own: it
copies the log while somebody (it is itself) reads from it, as nobody can begin a log anew that is being read;
then it takes the lock, copies what has come meanwhile, and makes the write that begins the log anew. Whoever
finds the lock taken does not wait for it: what he has to write is written by that thread.

That holds as long as, whenever the lock is free, there is something in the log that is not copied. Where it
cannot be had (the disk is full, or broken), nobody but the thread writes: see `direct`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

from pool_lifecycle.errors import StoreError
from pool_lifecycle.kept import Loaded
from pool_lifecycle.sqlite_errors import cannot, says_damaged, told
from pool_lifecycle.sqlite_file import LIMIT, connected, opened
from pool_lifecycle.sqlite_pending import Change, Pending
from pool_lifecycle.sqlite_reading import Row, loaded, reading
from pool_lifecycle.sqlite_tables import Tables

_log = logging.getLogger(__name__)

STORE = "cannot store what happened in"

MOMENT = 0.0005
"""Seconds that whoever has to write may wait for others who do, as long as these wait for no disk."""


LONG = 2 * LIMIT
"""Bytes of log from which on it is copied when the database is opened, and not when its turn comes."""

MENDED = 60.0
"""Seconds within which a damaged database is set aside once, while it is in use."""


class Disk:
    """One thread, the keeper's, opens, closes and keeps it up; what any thread may call says so.

    `pending` waits to be written. `direct`: whoever has the lock may write. `commits` counts what was
    written, `turned_at` is what it was when the log was last begun anew. `given_up`: whoever closed it could
    not wait for its disk, and another manager may have opened it since: nothing may be written any more.
    """

    def __init__(self, path: str, wall: Callable[[], float]) -> None:
        self.path = path
        self.pending = Pending()
        self.lock = threading.Lock()
        self.tables: Tables | None = None
        self.direct = False
        self.commits = 0
        self.turned_at = 0
        self.given_up = False
        self._wall = wall
        self._copying: sqlite3.Connection | None = None
        self._log_file: int | None = None
        self._slow = False  # whether the lock is held by somebody who waits for the disk
        self._damaged = False
        self._mended_at = -math.inf
        self._doubtful = False  # whether what was once told to the disk is still to be trusted to it
        self._trouble: StoreError | None = None
        self._asked = self._served = 0
        self._synced = -1  # what an earlier program wrote may not be on the disk yet

    # --- opening and closing ---------------------------------------------------------------------------

    def open(self) -> Loaded:
        """Open it and read everything. Raises StoreError where nothing can be kept."""
        found = opened(self.path, self._wall, damaged=self._damaged)
        tables = self.tables = Tables(found.connection)
        unread = [row for row in found.rows if row.value is None]
        with told("cannot open", self.path):
            try:
                self._copying = connected(self.path)
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                self._log_file = os.open(self.path + "-wal", flags)
                with tables.transaction():
                    tables.put_aside(unread, _written(self._wall()))
                if os.fstat(self._log_file).st_size > LONG:
                    self._begin_log_anew(tables)  # else something is left to be copied: `opened` has written
            except BaseException:
                self._let_go()
                raise
        self.direct, self._damaged, self._trouble = True, False, None
        return loaded(found.rows, found.troubles + tuple(_moved(row, self.path) for row in unread))

    def close(self) -> None:
        """Write what waits, if that is possible, and leave one file."""
        with contextlib.suppress(StoreError):
            self.flush()
        with self.lock:
            if self.pending:
                _log.error("%r is closed, and not all could be stored: %s", self.path, self._trouble)
            self._let_go()  # SQLite copies the log and removes it when nobody has the database open

    def connections(self) -> tuple[sqlite3.Connection, ...]:
        """Those that are open."""
        writing = None if self.tables is None else self.tables.connection
        return tuple(one for one in (writing, self._copying) if one is not None)

    def _let_go(self) -> None:
        for connection in self.connections():
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        if self._log_file is not None:
            os.close(self._log_file)
        self.tables = self._copying = self._log_file = None
        self.direct = False

    # --- writing ---------------------------------------------------------------------------------------

    def now(self, change: Change) -> bool:
        """From any thread: write it, if its turn comes within a moment without any disk; else False."""
        if not self.lock.acquire(False) and (
            self._slow or not self.direct or not self.lock.acquire(timeout=MOMENT)
        ):
            return False
        try:
            if self.tables is None or not self.direct or self._some_is_left(self.tables):
                return False
            with self.tables.transaction():
                change(self.tables)
            self.commits += 1
        except sqlite3.Error as error:
            self._failed(error)
            return False
        finally:
            self.lock.release()
        return True

    def _some_is_left(self, tables: Tables) -> bool:
        if not self.pending:  # as nearly always
            return False
        if self.pending.write(tables):
            self.commits += 1
        return bool(self.pending)

    def within(self, seconds: float, change: Callable[[Tables], None]) -> None:
        """From any thread: write it after what is pending, or raise StoreError."""
        if not self.lock.acquire(timeout=seconds):
            what = f"cannot store anything in {self.path!r} at the moment: its disk is slow"
            raise StoreError(what, path=self.path, remedy="try again")
        try:
            if self.tables is None or not self.direct:
                raise self._why_not()
            with self._failing():
                while self.pending.write(self.tables):
                    self.commits += 1
                with self.tables.transaction():
                    change(self.tables)
                self.commits += 1
        finally:
            self.lock.release()

    def flush(self) -> None:
        """Write everything that waits. Raises StoreError when that cannot be; then it goes on waiting."""
        while self._flush_some():
            pass  # whoever has something to write now finds the lock free

    def _flush_some(self) -> bool:
        """Some of it; whether more is left."""
        with self.lock, self._failing():
            if self.given_up:
                raise not_open(self.path)
            tables = self._usable()
            if self._some_is_left(tables):
                return True
            if not self.direct:
                self._begin_log_anew(tables)
                self.direct, self._trouble = True, None
                _log.warning("%r can be written again: everything is stored", self.path)
        return False

    def _usable(self) -> Tables:
        if self._damaged:
            self._not_too_often()
            self._let_go()
            for trouble in self.open().troubles:
                _log.error("%s", trouble)
        if self.tables is None:
            raise not_open(self.path)
        return self.tables

    def _not_too_often(self) -> None:
        """Or a disk that damages whatever is written to it would be filled with what was set aside."""
        now = time.monotonic()
        if now < self._mended_at + MENDED:
            raise self._why_not()
        self._mended_at = now

    def _why_not(self) -> StoreError:
        if self._trouble is None:
            return not_open(self.path)
        return StoreError(self._trouble.what, path=self.path, remedy=self._trouble.remedy)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._failed(error)
            raise cannot(STORE, self.path, error) from error

    def _failed(self, error: sqlite3.Error) -> None:
        """From now on nobody writes but the keeper. What is damaged is opened anew, by it, too."""
        trouble = cannot(STORE, self.path, error)
        if self.direct:
            _log.warning("%s", trouble)
        self.direct, self._trouble = False, trouble
        self._damaged = self._damaged or says_damaged(error)

    # --- the upkeep of the log -------------------------------------------------------------------------

    def turn(self) -> None:
        """Copy the log into the database and begin it anew. What fails is logged, and tried again."""
        try:
            with reading(self.path) as pin:
                pin.execute("BEGIN")
                pin.execute("SELECT count FROM beats").fetchone()
                self._copy_log()
                self.lock.acquire()
        except sqlite3.Error as error:  # something is left to be copied, so that whoever writes need not wait
            _log.warning("%s", cannot("cannot copy the log of", self.path, error))
            return
        finally:
            self.turned_at = self.commits
        try:
            if self.tables is not None and self.direct and not self.given_up:
                self._begin_log_anew(self.tables)
        except sqlite3.Error as error:
            self._failed(error)
        finally:
            self.lock.release()

    def asked(self) -> int:
        """A number for `sync`: whatever was saved before it was asked for is meant. On the loop's thread."""
        self._asked += 1
        return self._asked

    def sync(self, number: int) -> None:
        """Have everything on the disk that was saved before `number` was asked for, or raise StoreError.

        What one call has done serves all that were asked for before it began.
        """
        if number <= self._served:
            return
        served = self._asked
        self.flush()
        if self._doubtful:
            with self.lock, self._failing():
                self._begin_log_anew(self._usable())
            if self._doubtful:
                what = f"cannot be sure of what was written to {self.path!r} while another program reads it"
                raise StoreError(what, path=self.path, remedy="end that one")
        commits = self.commits
        if self._log_file is not None and commits != self._synced:
            try:
                os.fdatasync(self._log_file)
            except OSError as error:
                self._doubtful = True  # Linux tells of an error once, and takes the data for written then
                raise cannot("cannot be sure of what was written to", self.path, error) from error
        self._synced, self._served = commits, served

    def _begin_log_anew(self, tables: Tables) -> None:
        """With the lock, or before anybody else can write. Raises sqlite3.Error."""
        self._slow = True
        try:
            complete = self._copy_log()
            with tables.transaction():
                tables.beat()
        finally:
            self._slow = False
        if complete:
            self._doubtful = False

    def _copy_log(self) -> bool:
        """Copy it, as far as nobody reads from it; whether that was all. Raises sqlite3.Error."""
        assert self._copying is not None
        try:
            ((_, there, copied),) = self._copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._doubtful = True
            raise
        return bool(there == copied)


def not_open(path: str) -> StoreError:
    """Nobody has opened it, or somebody has closed it."""
    return StoreError(f"{path!r} is not open", path=path, remedy="open its manager first")


def _written(wall: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))


def _moved(row: Row, path: str) -> str:
    what = {"pools": "pool {0!r}", "leases": "lease {1} of pool {0!r}", "host": "this host"}[row.table]
    about = what.format(*row.key)
    return f"what was stored of {about} could not be read; it was moved to the table 'damaged' of {path!r}"
