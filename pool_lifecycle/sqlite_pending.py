"""What could not be stored at once, until it is: bounded, and in an order that changes nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol, TypeAlias, TypeVar

from attrs import define, field

from pool_lifecycle.sqlite_tables import Tables

K = TypeVar("K")
V = TypeVar("V")

PASSAGES = 10_000
"""How many passages wait at most; then the oldest are lost, which are for people who look back."""


class Keeping(Protocol):
    """What can be changed, at once or later: the tables, or a batch of what is to become of them."""

    def save(self, pool_id: str, text: str, passage: str | None) -> None:
        """A pool in the place of what was of it, and what led there."""

    def add_passage(self, pool_id: str, text: str) -> None:
        """The next of its pool."""

    def forget(self, pool_id: str) -> None:
        """Nothing of it any more but its history."""

    def end_lease(self, pool_id: str, token: int) -> None:
        """No longer."""

    def put_host(self, text: str) -> None:
        """In the place of what was of it."""


Change: TypeAlias = Callable[[Keeping], None]


SOME = 16
"""How many changes of a kind are written at once, so that nobody has to wait long for whoever does it."""


@define
class Batch:
    """Of each pool only the latest, as text. What is forgotten is so before what comes after."""

    forgotten: dict[str, None] = field(factory=dict)
    pools: dict[str, str] = field(factory=dict)
    passages: deque[tuple[str, str]] = field(factory=lambda: deque(maxlen=PASSAGES))
    ended: dict[tuple[str, int], None] = field(factory=dict)
    host: str | None = None

    def __bool__(self) -> bool:
        return bool(self.forgotten or self.pools or self.passages or self.ended or self.host)

    def has(self, pool_id: str) -> bool:
        """Whether anything of the pool itself is among it."""
        return pool_id in self.pools or pool_id in self.forgotten

    def save(self, pool_id: str, text: str, passage: str | None) -> None:
        """A pool, and what led there."""
        self.pools[pool_id] = text
        if passage is not None:
            self.add_passage(pool_id, passage)

    def add_passage(self, pool_id: str, text: str) -> None:
        """After all others."""
        self.passages.append((pool_id, text))

    def forget(self, pool_id: str) -> None:
        """Whatever was to be stored of the pool need not be."""
        self.pools.pop(pool_id, None)
        self.forgotten[pool_id] = None

    def end_lease(self, pool_id: str, token: int) -> None:
        """No longer."""
        self.ended[pool_id, token] = None

    def put_host(self, text: str) -> None:
        """Only the latest."""
        self.host = text

    def add(self, later: Batch) -> None:
        """What came after it."""
        for pool_id in later.forgotten:
            self.forget(pool_id)
        self.pools |= later.pools
        self.passages.extend(later.passages)
        self.ended |= later.ended
        self.host = later.host or self.host

    def split(self, most: int) -> Batch:
        """Take some of it out: the part that has to be written first."""
        first = Batch(host=self.host)
        self.host = None
        _move(self.ended, first.ended, most)
        _move(self.forgotten, first.forgotten, most)
        if not self.forgotten:
            _move(self.pools, first.pools, most)
            for _ in range(min(most, len(self.passages))):
                first.passages.append(self.passages.popleft())
        return first

    def write(self, tables: Tables) -> None:
        """All of it, within the caller's transaction. Raises sqlite3.Error."""
        for pool_id, token in self.ended:
            tables.end_lease(pool_id, token)
        for pool_id in self.forgotten:
            tables.forget(pool_id)
        for pool_id, text in self.pools.items():
            tables.put_pool(pool_id, text)
        for pool_id, text in self.passages:
            tables.add_passage(pool_id, text)
        if self.host is not None:
            tables.put_host(self.host)


def _move(source: dict[K, V], to: dict[K, V], most: int) -> None:
    for key in list(islice(source, most)):
        to[key] = source.pop(key)


class Pending:
    """The batch that waits, and the one that is being written meanwhile. From any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # never held for longer than it takes to change a dict
        self._waiting = Batch()
        self._under_way: Batch | None = None
        self._some = False  # whether there is any: what every durable step asks

    def __bool__(self) -> bool:
        return self._some

    def has(self, pool_id: str) -> bool:
        """Whether anything of the pool itself is not stored yet."""
        with self._mutex:
            under_way = self._under_way is not None and self._under_way.has(pool_id)
            return under_way or self._waiting.has(pool_id)

    def add(self, change: Change) -> None:
        """To be written after all that already waits."""
        with self._mutex:
            self._some = True
            change(self._waiting)

    def write(self, tables: Tables) -> bool:
        """Write some of it, all or nothing; False if nothing waits. Raises sqlite3.Error: then it waits.

        For one thread at a time, the one that has the tables.
        """
        with self._mutex:
            if not self._waiting:
                self._some = False
                return False
            batch = self._under_way = self._waiting.split(SOME)
        try:
            with tables.transaction():
                batch.write(tables)
        except BaseException:
            with self._mutex:
                batch.add(self._waiting)
                self._waiting, self._under_way = batch, None
            raise
        with self._mutex:
            self._under_way = None
            self._some = bool(self._waiting)
        return True
