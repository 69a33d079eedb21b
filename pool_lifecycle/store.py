"""Where snapshots are kept before anything is done on their account: intent before effect.

Two things can be waited for, as they differ in price. What is *kept* outlives this program, however it ends:
that comes before an effect. What is *durable* outlives a power cut as well: that comes before an answer to
whoever asked for something.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Protocol

from attrs import evolve

from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Loaded, Passage

HISTORY = 1000
"""How many passages of a pool are kept, at the least; never more than twice as many."""


class Store(Protocol):
    """Keeps the latest of every pool, and the passages that led there.

    Nothing but `load` waits for a disk; nothing here raises but what says so. What cannot be kept at once is
    kept as soon as possible, in the order it was saved, and can be waited for. All but the lease calls are
    for the thread of the event loop.
    """

    def load(self) -> Loaded:
        """Open it and read everything. Called once, before all else, in any thread.

        Raises StoreError when nothing can be kept there; what is damaged is set aside, and told.
        """

    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        """Keep this in the place of what was of the pool, but for its leases; False while it is not kept."""

    def note(self, passage: Passage) -> bool:
        """Keep a passage that leaves its pool as it was saved last; False while it is not kept."""

    def save_lease(self, pool_id: str, lease: KeptLease) -> None:
        """Keep one lease more. From any thread, which may wait. Raises StoreError when it is not kept."""

    def end_lease(self, pool_id: str, token: int) -> None:
        """Keep it no longer. From any thread."""

    def save_host(self, host: KeptHost) -> None:
        """Keep this of the host."""

    def forget(self, pool_id: str) -> None:
        """Keep nothing of this pool any more, but for its history."""

    async def kept(self, pool_id: str) -> None:
        """Return once all that was saved of the pool is kept. Raises StoreError when it cannot be now."""

    async def durable(self) -> None:
        """Return once all that was saved outlives a power cut. Raises StoreError when it cannot be now."""

    def history(self, pool_id: str, limit: int = 100) -> tuple[Passage, ...]:
        """The last passages of a pool, oldest first. Raises StoreError when they cannot be read."""

    def close(self) -> None:
        """Keep what is still to be kept, as far as possible, and let go of everything."""


class MemoryStore:
    """Keeps them for as long as the program lasts."""

    def __init__(self) -> None:
        self.pools: dict[str, Kept] = {}
        self.leases: dict[str, dict[int, KeptLease]] = defaultdict(dict)
        self.passages: dict[str, deque[Passage]] = defaultdict(lambda: deque(maxlen=HISTORY))
        self.host: KeptHost | None = None

    def load(self) -> Loaded:
        """What was kept by an earlier manager of this program."""
        pools = (
            evolve(one, leases=tuple(self.leases[pool_id].values())) for pool_id, one in self.pools.items()
        )
        return Loaded(tuple(pools), self.host)

    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        """Keep it."""
        self.pools[kept.snapshot.pool_id] = kept
        return passage is None or self.note(passage)

    def note(self, passage: Passage) -> bool:
        """Keep it."""
        self.passages[passage.pool_id].append(passage)
        return True

    def save_lease(self, pool_id: str, lease: KeptLease) -> None:
        """Keep it."""
        self.leases[pool_id][lease.token] = lease

    def end_lease(self, pool_id: str, token: int) -> None:
        """Drop it."""
        self.leases[pool_id].pop(token, None)

    def save_host(self, host: KeptHost) -> None:
        """Keep it."""
        self.host = host

    def forget(self, pool_id: str) -> None:
        """Drop it."""
        self.pools.pop(pool_id, None)
        self.leases.pop(pool_id, None)

    async def kept(self, pool_id: str) -> None:
        """It is, always."""

    async def durable(self) -> None:
        """As durable as memory is."""

    def history(self, pool_id: str, limit: int = 100) -> tuple[Passage, ...]:
        """The last passages."""
        return tuple(self.passages[pool_id])[-limit:]

    def close(self) -> None:
        """Another manager of this program may go on with it."""
