"""What every pool has been, step by step: the truth that what is stored is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from attrs import define, field

from pool_lifecycle.snapshot import Effect, Persist, Rules, Snapshot, evolved

_ANY = Rules()


def without_rules(snapshot: Snapshot) -> Snapshot:
    """Rules are declared, not kept."""
    return evolved(snapshot, rules=_ANY)


@define(eq=False)
class Ledger:
    """Per pool: `last`, as it is now, when it was loaded, and what was to be stored, in order."""

    last: dict[str, Snapshot] = field(factory=dict)
    stored: defaultdict[str, list[Snapshot]] = field(factory=lambda: defaultdict(list))
    loaded_at: dict[str, float] = field(factory=dict)
    loaded_as: dict[str, Snapshot] = field(factory=dict)
    leaving: set[str] = field(factory=set)
    acknowledged: defaultdict[str, int] = field(factory=lambda: defaultdict(lambda: -1))

    def begin(self) -> None:
        """A new manager: its pools are what it makes of what was kept."""
        self.last.clear()
        self.loaded_at.clear()
        self.leaving.clear()

    def leaves(self, pool_id: str) -> None:
        """From now on it need not be stored any more."""
        self.leaving.add(pool_id)
        self.acknowledged.pop(pool_id, None)

    def cut(self, pool_id: str, after: int) -> None:
        """What came after this one was never kept, and is as if it had not been."""
        del self.stored[pool_id][after + 1 :]

    def forget(self, pool_id: str) -> None:
        """The pool has been removed."""
        self.last.pop(pool_id, None)
        self.leaving.discard(pool_id)
        self.loaded_as.pop(pool_id, None)
        self.stored.pop(pool_id, None)
        self.acknowledged.pop(pool_id, None)

    def length(self, pool_id: str) -> int:
        """How many snapshots of it were to be stored so far."""
        return len(self.stored[pool_id])

    def loaded(self, snapshot: Snapshot, now: float) -> None:
        """A manager goes on with it like this, which follows from what is stored."""
        self.loaded_at[snapshot.pool_id] = now
        self.loaded_as[snapshot.pool_id] = snapshot
        self.last[snapshot.pool_id] = snapshot

    def adopted(self, snapshot: Snapshot) -> None:
        """It is stored as a manager goes on with it, before its first step."""
        self.stored[snapshot.pool_id].append(snapshot)

    def stepped(self, after: Snapshot, effects: tuple[Effect, ...]) -> None:
        """A step was taken."""
        name = after.pool_id
        self.last[name] = after
        if any(isinstance(one, Persist) for one in effects):
            self.loaded_as.pop(name, None)
            self.stored[name].append(after)

    def place(self, pool_id: str, kept: Snapshot) -> int | None:
        """Which of its snapshots this is; None when it never was so."""
        stored, wanted = self.stored[pool_id], without_rules(kept)
        loaded = self.loaded_as.get(pool_id)
        if loaded is not None and without_rules(loaded) == wanted:
            return len(stored) - 1  # that is what the last one means to the manager that loaded it
        places = reversed(range(len(stored)))
        return next((at for at in places if without_rules(stored[at]) == wanted), None)

    def first(self, pool_id: str, since: int, so: Callable[[Snapshot], bool]) -> int | None:
        """The first of its snapshots, from number `since` on, that is `so`."""
        stored = self.stored[pool_id]
        return next((at for at in range(since, len(stored)) if so(stored[at])), None)
