"""The store of a state directory: one SQLite database, written without ever waiting for its disk."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
import weakref
from collections.abc import Callable

from pool_lifecycle.errors import StoreError
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Loaded, Passage
from pool_lifecycle.serialized import Dumper, dump_host, dump_lease
from pool_lifecycle.sqlite_disk import Disk, not_open
from pool_lifecycle.sqlite_errors import told
from pool_lifecycle.sqlite_keeper import Keeper
from pool_lifecycle.sqlite_pending import Change
from pool_lifecycle.sqlite_reading import passages, reading

_log = logging.getLogger(__name__)

TURN = 1000
"""Commits after which the log is copied and begun anew: then it has about ten megabytes."""

CLOSE = 5.0
"""Seconds within which it closes, whatever the disk does."""

PATIENCE, HASTE = 5.0, 0.05
"""Seconds that saving a lease may wait for others who write: in a thread, and on an event loop."""


class SqliteStore:
    """A `Store` in the file `path`, for one process; others may read its history. See `Store` for its calls.

    What is saved is kept when `save` returns True: no SIGKILL can undo it. Where the disk is full or broken,
    or slow at the wrong moment, it waits in memory and is kept as soon as possible: of each pool the latest,
    and some thousand passages. A process forked from this one has nothing of it: there everything raises
    StoreError, or does nothing. `wall` is the wall clock, in seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, wall: Callable[[], float] = time.time) -> None:
        self.path = os.path.abspath(path)
        self._wall = wall
        self._disk = Disk(self.path, wall)
        self._keeper: Keeper | None = None
        self._dumper = Dumper()
        self._flushing = self._turning = self._left = False
        _stores.add(self)

    # --- opening and closing ---------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Open it, read everything; what is damaged is set aside, and told."""
        if self._keeper is not None or self._left:
            whose = "of the process that this one was forked from" if self._left else "already open"
            raise StoreError(f"{self.path!r} is {whose}", path=self.path, remedy="make another store")
        disk = Disk(self.path, self._wall)
        found = disk.open()
        self._disk = disk
        self._keeper = Keeper(lambda: not disk.direct or bool(disk.pending), disk.flush)
        self._flushing = self._turning = False
        return found

    def close(self) -> None:
        """Keep what is still to be kept, if the disk answers within CLOSE seconds."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.submit(self._disk.close)
            if not keeper.end(CLOSE):
                self._disk.given_up = True
                _log.error("%r could not be closed in time: its disk does not answer", self.path)

    # --- saving ----------------------------------------------------------------------------------------

    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        """Keep it; False while it is not yet kept."""
        pool_id = kept.snapshot.pool_id
        text = self._dumper.dump(kept)
        row = None if passage is None else self._dumper.dump_passage(passage)
        return self._change(lambda to: to.save(pool_id, text, row))

    def note(self, passage: Passage) -> bool:
        """Keep it; False while it is not yet kept."""
        row = self._dumper.dump_passage(passage)
        return self._change(lambda to: to.add_passage(passage.pool_id, row))

    def save_host(self, host: KeptHost) -> None:
        """Keep it."""
        text = dump_host(host)
        self._change(lambda to: to.put_host(text))

    def forget(self, pool_id: str) -> None:
        """Keep nothing of it but its history, and that until PAST_POOLS others are forgotten."""
        self._change(lambda to: to.forget(pool_id))

    def save_lease(self, pool_id: str, lease: KeptLease) -> None:
        """Keep it, or raise StoreError: what could not be stored must not be granted."""
        self._opened()
        text = dump_lease(lease)
        patience = HASTE if _on_a_loop() else PATIENCE
        try:
            self._disk.within(patience, lambda tables: tables.put_lease(pool_id, lease.token, text))
        except StoreError:
            self._flush_soon()  # so that somebody finds out when it can be written again
            raise
        self._keep_short()

    def end_lease(self, pool_id: str, token: int) -> None:
        """Keep it no longer."""
        self._change(lambda to: to.end_lease(pool_id, token))

    def _change(self, change: Change) -> bool:
        if self._keeper is None:
            return False
        if not self._disk.now(change):
            self._disk.pending.add(change)
            self._flush_soon()
            return False
        self._keep_short()
        return True

    def _flush_soon(self) -> None:
        if self._keeper is not None and not self._flushing:
            self._flushing = True
            self._keeper.submit(self._flush)

    def _flush(self) -> None:
        self._flushing = False  # first: what is added from now on may come too late for this one
        self._disk.flush()

    def _keep_short(self) -> None:
        disk = self._disk
        if disk.commits - disk.turned_at >= TURN and self._keeper is not None and not self._turning:
            self._turning = True
            self._keeper.submit(self._turn)

    def _turn(self) -> None:
        self._disk.turn()
        self._turning = False

    # --- waiting and reading ---------------------------------------------------------------------------

    async def kept(self, pool_id: str) -> None:
        """Return once all that was saved of the pool is kept."""
        keeper = self._opened()
        if self._disk.pending.has(pool_id):
            await asyncio.get_running_loop().run_in_executor(keeper, self._disk.flush)

    async def durable(self) -> None:
        """Return once all that was saved outlives a power cut."""
        keeper = self._opened()
        number = self._disk.asked()
        await asyncio.get_running_loop().run_in_executor(keeper, self._disk.sync, number)

    def history(self, pool_id: str, limit: int = 100) -> tuple[Passage, ...]:
        """The last passages of a pool, oldest first, of an open store or of one that is not."""
        with told("cannot read", self.path), reading(self.path) as connection:
            return passages(connection, pool_id, limit)

    def _opened(self) -> Keeper:
        if self._keeper is None:
            raise not_open(self.path)
        return self._keeper

    # --- forks -----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """In a forked process: have nothing to do with it any more.

        To close a connection here could wait for ever, for a lock that a thread of the other process had at
        the time; so they are never closed, not even at the end of the program.
        """
        for connection in self._disk.connections():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._disk, self._keeper, self._left = Disk(self.path, self._wall), None, True


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


def _leave_all() -> None:
    for store in tuple(_stores):
        store.leave()


os.register_at_fork(after_in_child=_leave_all)
