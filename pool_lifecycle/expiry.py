"""Ends leases when their time is over, and keeps those no longer that have ended: one timer for a book."""

from __future__ import annotations

import asyncio

from pool_lifecycle.host import Host
from pool_lifecycle.lease import Lease
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.records import LeasesEnded


class LeaseTimer:
    """Looks after the leases of `book` that have a time to live. No timer is set while none has."""

    __slots__ = ("_book", "_closed", "_host", "_timer")

    def __init__(self, book: LeaseBook, host: Host) -> None:
        self._book = book
        self._host = host
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        book.on_timed = self._timed
        book.on_reclaimed = self._reclaimed
        book.on_ended = self._ended

    def close(self) -> None:
        """Look after nothing any more."""
        self._closed = True
        self._arm()

    def _timed(self, _when: float) -> None:
        """A lease that ends earlier than the others was taken, on whichever thread."""
        self._host.loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = None if self._closed else self._book.next_expiry()
        if due is not None:
            self._timer = self._host.loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._book.expire(self._host.loop.time())
        self._arm()

    def _ended(self, lease: Lease) -> None:
        """A lasting lease is over, on whichever thread."""
        self._host.store.end_lease(self._book.pool_id, lease.token)

    def _reclaimed(self, leases: tuple[Lease, ...]) -> None:
        """Leases expired, whoever noticed it, on whichever thread."""
        holders = tuple(lease.holder for lease in leases)
        record = LeasesEnded(self._book.pool_id, self._host.loop.time(), "expired", holders)
        self._host.loop.call_soon_threadsafe(self._host.observe, record)
