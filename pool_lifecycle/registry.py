"""The registry: what is known of every pool at the moment, for readers.

Each pool has one frozen entry that is replaced on change, so that a reader sees the whole old or the
whole new one. Every change that changes something is published to the change stream, in order.

Setters create the entry of a pool that has none. Readers never do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict, Unpack

from attrs import evolve, frozen

from pool_lifecycle import handoff
from pool_lifecycle.changes import Changes


@frozen
class Entry:
    """What is known of one pool. A new one is neither live nor ready, and has no slots.

    `heartbeat_ms` is in milliseconds since the epoch, None until there was one. `version` is the
    registry's own version of the pool's declaration, `engine_version` that of the program that serves.
    `device_mask` None means unrestricted.
    """

    pool_id: str
    live: bool = False
    ready: bool = False
    draining: bool = False
    last_error: str | None = None
    heartbeat_ms: int | None = None
    version: str | None = None
    engine_version: str | None = None
    engine_digest: str | None = None
    engine_catalog_id: str | None = None
    device_mask: str | None = None
    slots_total: int = 0
    slots_free: int = 0
    active_leases: int = 0


class EntryFields(TypedDict, total=False):
    """The fields of an entry that can be set; what is absent stays as it is."""

    live: bool
    ready: bool
    draining: bool
    last_error: str | None
    heartbeat_ms: int | None
    version: str | None
    engine_version: str | None
    engine_digest: str | None
    engine_catalog_id: str | None
    device_mask: str | None
    slots_total: int
    slots_free: int


class LeaseCounts(Protocol):
    """What counts the leases of a pool, such as its LeaseBook."""

    @property
    def slots(self) -> int:
        """How many leases there can be."""

    @property
    def count(self) -> int:
        """How many there are."""


@frozen
class Snapshot:
    """Every entry, sorted by pool id, as it was right after change `number` of the stream."""

    number: int
    entries: tuple[Entry, ...]


class Registry:
    """Entries by pool id, safe from any thread.

    `wall_ms` gives the wall clock in milliseconds since the epoch. Without `changes` it has a stream of
    its own.
    """

    def __init__(self, wall_ms: Callable[[], int], changes: Changes | None = None) -> None:
        self.changes = changes or Changes()
        self._wall_ms = wall_ms
        self._entries: dict[str, Entry] = {}
        self._counts: dict[str, LeaseCounts] = {}
        self._lock = threading.Lock()

    # --- reading -----------------------------------------------------------------------------------

    def get(self, pool_id: str) -> Entry | None:
        """The entry of a pool; None for an unknown one."""
        with self._lock:
            entry = self._entries.get(pool_id)
            return None if entry is None else self._counted(entry)

    def is_draining(self, pool_id: str) -> bool:
        """Whether the pool is draining; False for an unknown one."""
        entry = self.get(pool_id)
        return entry is not None and entry.draining

    def active_leases(self, pool_id: str) -> int:
        """How many leases the pool has; 0 for an unknown one."""
        entry = self.get(pool_id)
        return 0 if entry is None else entry.active_leases

    def entries(self) -> tuple[Entry, ...]:
        """Every entry, sorted by pool id."""
        return self.snapshot().entries

    def snapshot(self) -> Snapshot:
        """Every entry with the number of the change from which on a reader follows the stream."""
        with self._lock:
            pools = sorted(self._entries)
            return Snapshot(self.changes.last, tuple(self._counted(self._entries[one]) for one in pools))

    # --- pools come and go -------------------------------------------------------------------------

    def register(self, pool_id: str) -> bool:
        """Make an entry. False when there is one already, which stays as it is."""
        with self._lock:
            return self._add(pool_id)

    def deregister(self, pool_id: str) -> bool:
        """Drop the entry. False when there was none."""
        with self._lock:
            self._counts.pop(pool_id, None)
            if self._entries.pop(pool_id, None) is None:
                return False
            self.changes.publish("deregistered", pool_id)
            return True

    # --- what is known -----------------------------------------------------------------------------

    def update(self, pool_id: str, **fields: Unpack[EntryFields]) -> Entry:
        """Set the given fields, keep the others, and return the entry. Free slots stay within 0 and total."""
        with self._lock:
            self._add(pool_id)
            return self._counted(self._set(pool_id, fields))

    def note(self, pool_id: str, fields: EntryFields) -> None:
        """What `update` does, for whoever does not want the entry, which takes as long to make again."""
        with self._lock:
            self._add(pool_id)
            self._set(pool_id, fields)

    def set_health(self, pool_id: str, *, live: bool, ready: bool) -> Entry:
        """Whether the engine lives, and whether it serves."""
        return self.update(pool_id, live=live, ready=ready)

    def set_last_error(self, pool_id: str, message: str) -> Entry:
        """Keep `message` until it is cleared or overwritten."""
        return self.update(pool_id, last_error=message)

    def clear_last_error(self, pool_id: str) -> Entry:
        """Forget the last error."""
        return self.update(pool_id, last_error=None)

    def beat(self, pool_id: str) -> Entry:
        """The pool was heard of just now."""
        return self.update(pool_id, heartbeat_ms=self._wall_ms())

    def set_slots(self, pool_id: str, total: int, free: int) -> Entry:
        """How many slots there are and how many of them are free."""
        return self.update(pool_id, slots_total=total, slots_free=free)

    def register_ready_from_handoff(self, pool_id: str, document: object) -> Entry:
        """The pool became ready, as its handoff document says: live, ready, no error, heard of now.

        What the document does not have is left alone. Raises HandoffError, and changes nothing, when a
        field has the wrong type.
        """
        taken = handoff.read(document)
        return self.update(
            pool_id, live=True, ready=True, last_error=None, heartbeat_ms=self._wall_ms(), **taken
        )

    # --- leases ------------------------------------------------------------------------------------

    def count_from(self, pool_id: str, counts: LeaseCounts) -> None:
        """From now on take the pool's slots and leases from `counts`, at the moment somebody reads them.

        They change too often to be published.
        """
        with self._lock:
            self._add(pool_id)
            self._counts[pool_id] = counts

    def allocate_lease(self, pool_id: str) -> int:
        """Count one lease more, for a pool whose leases are not kept in a book; return the new count."""
        with self._lock:
            self._add(pool_id)
            return self._count(pool_id, +1)

    def release_lease(self, pool_id: str) -> int:
        """Count one lease less, never below 0; return the new count. An unknown pool counts 0."""
        with self._lock:
            return self._count(pool_id, -1) if pool_id in self._entries else 0

    # --- with the lock held ------------------------------------------------------------------------

    def _add(self, pool_id: str) -> bool:
        if pool_id in self._entries:
            return False
        self._entries[pool_id] = Entry(pool_id)
        self.changes.publish("registered", pool_id)
        return True

    def _count(self, pool_id: str, change: int) -> int:
        if pool_id in self._counts:
            raise ValueError(f"the leases of pool {pool_id!r} are counted by its lease book")
        leases = max(0, self._entries[pool_id].active_leases + change)
        return self._set(pool_id, {"active_leases": leases}).active_leases

    def _set(self, pool_id: str, fields: Mapping[str, Any]) -> Entry:
        old = self._entries[pool_id]
        wanted = _clamped(old, fields)
        # A name that there is not differs from everything, and is refused below.
        news = {name: value for name, value in wanted.items() if getattr(old, name, _NO_FIELD) != value}
        if news:
            self._entries[pool_id] = evolve(old, **news)
            self.changes.publish("changed", pool_id, news)
        return self._entries[pool_id]

    def _counted(self, entry: Entry) -> Entry:
        counts = self._counts.get(entry.pool_id)
        if counts is None:
            return entry
        count, slots = counts.count, counts.slots
        return evolve(entry, active_leases=count, slots_total=slots, slots_free=max(0, slots - count))


_NO_FIELD = object()


def _clamped(old: Entry, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if "slots_total" not in fields and "slots_free" not in fields:
        return fields
    total = max(0, fields.get("slots_total", old.slots_total))
    free = min(max(0, fields.get("slots_free", old.slots_free)), total)
    return {**fields, "slots_total": total, "slots_free": free}
