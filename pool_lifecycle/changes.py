"""The change stream: ordered, numbered, resumable, and bounded.

A reader keeps the number of the last change it saw. It can come back with that number and gets all that
followed, or is told with EventsLost that some of it is no longer kept; then it takes a snapshot and
goes on from the snapshot's number. Nothing is ever left out silently, and nobody is ever waited for.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from attrs import frozen

from pool_lifecycle.checks import whole
from pool_lifecycle.errors import ConfigError, EventsLost, Problem
from pool_lifecycle.wake import LoopWaker

_check_capacity = whole(1, 10_000_000)


@frozen
class Change:
    """One thing that happened. Numbers grow by one; `data` is not to be changed by readers."""

    number: int
    kind: str
    pool_id: str | None
    data: Mapping[str, Any]


class Changes:
    """Keeps the last `capacity` changes; `start` is the number after which they are counted.

    Safe from any thread. A reader costs something only while it waits.
    """

    __slots__ = ("_capacity", "_closed", "_last", "_lock", "_ring", "_start", "_waiting")

    def __init__(self, capacity: int = 4096, *, start: int = 0) -> None:
        if sentence := _check_capacity(capacity):
            raise ConfigError([Problem("capacity", capacity, sentence)])
        self._capacity = capacity
        self._start = start
        self._last = start
        self._ring: list[Change] = []
        self._waiting: set[LoopWaker] = set()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        """The number of the newest change; `start` when there has been none."""
        return self._last

    @property
    def oldest(self) -> int:
        """The number of the oldest change still kept; one more than `last` when there is none."""
        return max(self._start, self._last - self._capacity) + 1

    def publish(self, kind: str, pool_id: str | None = None, data: Mapping[str, Any] | None = None) -> int:
        """Add a change and return its number. It never waits and never fails because of a reader."""
        with self._lock:
            number = self._last + 1
            self._keep(Change(number, kind, pool_id, dict(data or {})))
            self._last = number
            self._wake_all()
        return number

    def since(self, number: int) -> tuple[Change, ...]:
        """Every change after `number`, oldest first.

        Raises EventsLost when one of them is no longer kept, or when `number` was never given out (it
        then is from an earlier run, and what followed it there is not kept either).
        """
        with self._lock:
            if not self.oldest <= number + 1 <= self._last + 1:
                raise EventsLost(number, self.oldest)
            return tuple(self._ring[self._index(kept)] for kept in range(number + 1, self._last + 1))

    def follow(self, after: int | None = None) -> AsyncIterator[Change]:
        """Every change after number `after`, as it comes; from this call on when it is None.

        Iterating raises EventsLost when the reader fell behind by more than what is kept. It ends when
        the stream has been closed and all was read.
        """
        return self._follow(self._last if after is None else after)

    async def _follow(self, position: int) -> AsyncIterator[Change]:
        while True:
            for change in self.since(position):
                yield change
                position = change.number
            if self._closed and position == self._last:
                return
            await self._beyond(position)

    def close(self) -> None:
        """End every reader once it has read what there is. What is kept can still be asked for."""
        with self._lock:
            self._closed = True
            self._wake_all()

    async def _beyond(self, position: int) -> None:
        """Return when there is something after `position`, or the stream has been closed."""
        reader = LoopWaker()
        with self._lock:
            if self._closed or self._last > position:
                return
            self._waiting.add(reader)
        try:
            await reader.wait()
        finally:
            with self._lock:
                self._waiting.discard(reader)

    def _wake_all(self) -> None:
        for reader in self._waiting:
            reader.wake()
        self._waiting.clear()

    def _keep(self, change: Change) -> None:
        if len(self._ring) < self._capacity:
            self._ring.append(change)
        else:
            self._ring[self._index(change.number)] = change

    def _index(self, number: int) -> int:
        return (number - self._start - 1) % self._capacity
