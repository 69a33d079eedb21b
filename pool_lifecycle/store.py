"""Where snapshots are kept before anything is done on their account: intent before effect."""

from __future__ import annotations

from typing import Protocol

from pool_lifecycle.snapshot import Snapshot


class Store(Protocol):
    """Keeps the last snapshot of every pool."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep it in the place of the pool's earlier one. When this returns it is kept."""

    def forget(self, pool_id: str) -> None:
        """Keep nothing of this pool any more."""


class MemoryStore:
    """Keeps them for as long as the program lasts."""

    def __init__(self) -> None:
        self.snapshots: dict[str, Snapshot] = {}

    def save(self, snapshot: Snapshot) -> None:
        """Keep it."""
        self.snapshots[snapshot.pool_id] = snapshot

    def forget(self, pool_id: str) -> None:
        """Drop it."""
        self.snapshots.pop(pool_id, None)
