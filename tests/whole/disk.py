"""The simulated disk: what a store had kept when its manager was killed, and what survives a power cut.

Everything saved is one operation in a queue. The disk takes operations in order, at once while it is well.
What it has taken is *kept*: it survives a kill. What was taken before the begin of a completed fsync is
*durable*: it survives a power cut, and so may any part of what came after, in order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, evolve, field

from pool_lifecycle import serialized
from pool_lifecycle.errors import StoreError
from pool_lifecycle.kept import ADOPTED, Kept, KeptHost, KeptLease, Loaded, Passage

if TYPE_CHECKING:
    from tests.whole.life import Life

HISTORY = 200

PATIENCE = 3.0
"""Seconds after which a store that cannot keep something says so."""


@define(eq=False)
class Image:
    """What a file system holds: `pools` as they were saved, `texts` as they are found again."""

    pools: dict[str, Kept] = field(factory=dict)
    texts: dict[str, str] = field(factory=dict)
    leases: dict[str, dict[int, KeptLease]] = field(factory=lambda: defaultdict(dict))
    passages: dict[str, list[Passage]] = field(factory=lambda: defaultdict(list))
    host: KeptHost | None = None

    def copy(self) -> Image:
        """The same, as another one."""
        leases = defaultdict(dict, {name: dict(one) for name, one in self.leases.items()})
        passages = defaultdict(list, {name: list(one) for name, one in self.passages.items()})
        return Image(dict(self.pools), dict(self.texts), leases, passages, self.host)


Operation: TypeAlias = Callable[[Image], None]


@define(eq=False)
class Disk:
    """It outlives every manager. `lag`: seconds that taking an operation takes; `full`: nothing is taken.

    `fsync_takes` so many seconds; `broken`: fsync fails.
    """

    kept: Image = field(factory=Image)
    durable: Image = field(factory=Image)
    lag: float = 0.0
    fsync_takes: float = 0.0
    full: bool = False
    broken: bool = False
    saves: int = 0
    syncs: int = 0
    since: list[Operation] = field(factory=list)

    @property
    def well(self) -> bool:
        """Whether it takes everything at once."""
        return not (self.full or self.lag)

    def take(self, operation: Operation) -> None:
        """Keep it."""
        operation(self.kept)
        self.since.append(operation)

    def synced(self, count: int) -> None:
        """The first `count` of what was not durable is."""
        for operation in self.since[:count]:
            operation(self.durable)
        del self.since[:count]
        self.syncs += 1

    def power_cut(self, chance: Random) -> None:
        """Only what is durable is left, and any part of what came after, in order."""
        self.synced(chance.randint(0, len(self.since)))
        self.kept, self.since = self.durable.copy(), []

    def heal(self) -> None:
        """No fault any more."""
        self.lag = self.fsync_takes = 0.0
        self.full = self.broken = False


class LifeStore:
    """The store of one manager's life, on the disk that outlives it; afterwards it does nothing."""

    def __init__(self, life: Life, disk: Disk) -> None:
        self._life = life
        self._disk = disk
        self._dumper = serialized.Dumper()
        self._queue: list[tuple[str, Operation]] = []
        self._pumping: asyncio.Task[None] | None = None

    # --- the queue -------------------------------------------------------------------------------------

    def _do(self, pool_id: str, what: str, operation: Operation) -> bool:
        """Take it if the disk is well and nothing waits before it."""
        self._life.point(f"store.{what} before")
        if self._life.over:
            return False
        self._disk.saves += 1
        kept = self._disk.well and not self._queue
        if kept:
            self._disk.take(operation)
        else:
            self._queue.append((pool_id, operation))
            self._pump()
        self._life.point(f"store.{what} after")
        return kept

    def _pump(self) -> None:
        if self._pumping is None or self._pumping.done():
            self._pumping = self._life.loop.create_task(self._write(), name="simulated disk")

    async def _write(self) -> None:
        while self._queue:
            await asyncio.sleep(max(self._disk.lag, 0.001))
            if not self._disk.full:
                self._disk.take(self._queue.pop(0)[1])
                self._life.point("store.write after")

    # --- what is kept ----------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Everything there is, as the real store would have written and read it."""
        image = self._disk.kept
        pools = tuple(
            evolve(serialized.load(text), leases=tuple(map(_reread, image.leases[pool_id].values())))
            for pool_id, text in image.texts.items()
        )
        host = image.host and serialized.load_host(serialized.dump_host(image.host))
        return Loaded(pools, host)

    def save(self, kept: Kept, passage: Passage | None = None) -> bool:
        """Keep it."""
        if passage is not None and passage.event == ADOPTED and not self._life.over:
            self._life.world.ledger.adopted(kept.snapshot)
        save = partial(_save, kept, self._dumper.dump(kept), passage)
        return self._do(kept.snapshot.pool_id, "save", save)

    def note(self, passage: Passage) -> bool:
        """Keep it."""
        return self._do(passage.pool_id, "note", partial(_note, passage))

    def save_lease(self, pool_id: str, lease: KeptLease) -> None:
        """Keep it, or say that it is not."""
        if not self._disk.well or self._queue:
            raise StoreError("the simulated disk is full", path="simulated")
        self._do(pool_id, "save_lease", partial(_save_lease, pool_id, lease))

    def end_lease(self, pool_id: str, token: int) -> None:
        """Drop it."""
        self._do(pool_id, "end_lease", partial(_end_lease, pool_id, token))

    def save_host(self, host: KeptHost) -> None:
        """Keep it."""
        self._do("", "save_host", partial(_save_host, host))

    def forget(self, pool_id: str) -> None:
        """Drop it."""
        self._life.world.ledger.leaves(pool_id)
        self._do(pool_id, "forget", partial(_forget, pool_id))

    async def kept(self, pool_id: str) -> None:
        """Wait while anything of the pool is queued."""
        await self._life.ready("store.kept")
        give_up_at = self._life.loop.time() + PATIENCE
        while any(name == pool_id for name, _ in self._queue):
            if self._life.loop.time() >= give_up_at:
                raise StoreError("the simulated disk is full", path="simulated", pool_id=pool_id)
            await asyncio.sleep(0.05)

    async def durable(self) -> None:
        """Wait for a whole fsync of everything saved so far."""
        await self._life.ready("store.durable")
        give_up_at = self._life.loop.time() + PATIENCE
        while self._queue:
            if self._life.loop.time() >= give_up_at:
                raise StoreError("the simulated disk is full", path="simulated")
            await asyncio.sleep(0.05)
        wanted = list(self._disk.since)
        if self._disk.fsync_takes:
            await asyncio.sleep(self._disk.fsync_takes)
        if self._disk.broken:
            raise StoreError("the simulated fsync failed", path="simulated")
        if wanted and wanted[-1] in self._disk.since:
            self._disk.synced(self._disk.since.index(wanted[-1]) + 1)

    def history(self, pool_id: str, limit: int = 100) -> tuple[Passage, ...]:
        """The last passages."""
        return tuple(self._disk.kept.passages[pool_id])[-limit:]

    def close(self) -> None:
        """What is queued is written, if the disk takes it."""
        if self._life.over:
            return
        if not self._disk.full:
            while self._queue:
                self._disk.take(self._queue.pop(0)[1])
        if self._pumping is not None:
            self._pumping.cancel()


def _reread(lease: KeptLease) -> KeptLease:
    return serialized.load_lease(serialized.dump_lease(lease))


def _save(kept: Kept, text: str, passage: Passage | None, image: Image) -> None:
    image.pools[kept.snapshot.pool_id] = kept
    image.texts[kept.snapshot.pool_id] = text
    if passage is not None:
        _note(passage, image)


def _note(passage: Passage, image: Image) -> None:
    passages = image.passages[passage.pool_id]
    passages.append(passage)
    del passages[:-HISTORY]


def _save_lease(pool_id: str, lease: KeptLease, image: Image) -> None:
    image.leases[pool_id][lease.token] = lease


def _end_lease(pool_id: str, token: int, image: Image) -> None:
    image.leases[pool_id].pop(token, None)


def _save_host(host: KeptHost, image: Image) -> None:
    image.host = host


def _forget(pool_id: str, image: Image) -> None:
    image.pools.pop(pool_id, None)
    image.texts.pop(pool_id, None)
    image.leases.pop(pool_id, None)
