"""The manager: the pools of one host, under one state directory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

from pool_lifecycle import capabilities, forks
from pool_lifecycle.applying import Applied, Applying, plan_for
from pool_lifecycle.boot import Boot
from pool_lifecycle.changes import Change, Changes
from pool_lifecycle.descriptors import make_room
from pool_lifecycle.errors import (
    DeviceNotQuarantined,
    EngineStuck,
    ManagerClosed,
    PoolExists,
    PoolLifecycleError,
    PoolNotFound,
)
from pool_lifecycle.host import FORKED, Host
from pool_lifecycle.interfaces import Capability, ReadyLauncher
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.logs import known_of, log_record
from pool_lifecycle.past import Left, Past, new_lineage, stand_in
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.plan import Plan
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import Observer
from pool_lifecycle.refusals import WATCHED, residue
from pool_lifecycle.registry import Registry
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.spec import Models, PoolSpec
from pool_lifecycle.sqlite_store import SqliteStore
from pool_lifecycle.statedir import Lock, StateDir
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.store import Store

_log = logging.getLogger(__name__)


class PoolManager:
    """Holds many pools. Use it as `async with PoolManager(state_dir) as manager:`.

    Entering takes the state directory's lock (StateDirError when another manager has it) and finds again what
    an earlier manager has left (StoreError when that cannot be read, or nothing can be stored); leaving stops
    every pool that is not to be kept and gives the lock back, also when the block was cancelled or
    interrupted. `drivers` finds drivers by name; `observers` are told every record; `store` keeps what is to
    outlive the manager (None: a database in the state directory); `seed` fixes the jitter; `wall` is the wall
    clock, in seconds. `restarts` is how many restarts this host can take; `blame` says when a device is to
    blame for crashes; `models` where fetched models are kept; `devices` how GPUs are looked after.
    `boot` names this boot of the host and the loop's clock; it need not be given.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        drivers: Drivers | None = None,
        observers: Iterable[Observer] = (),
        store: Store | None = None,
        seed: int | None = None,
        wall: Callable[[], float] = time.time,
        restarts: Budget | None = None,
        blame: Blame | None = None,
        models: Models | None = None,
        devices: DevicePolicy | None = None,
        boot: Boot | None = None,
    ) -> None:
        self.paths = StateDir(state_dir)
        self.changes = Changes()
        self.registry = Registry(lambda: int(wall() * 1000), self.changes)
        self._drivers = drivers or Drivers()
        self._observers: list[Observer] = [partial(log_record, about=self._about), *observers]
        self._store = store or SqliteStore(self.paths.database, wall=wall)
        self._random = Random(seed)  # noqa: S311 - jitter is no secret
        self._wall = wall
        self._restarts = restarts or Budget()
        self._blame = blame or Blame()
        self._models = models or Models()
        self._devices = devices or DevicePolicy()
        self._boot = boot
        self._held: dict[str, Callable[[], Awaitable[None]] | None] = {}
        self._past = Past()
        self._host: Host | None = None
        self._lock: Lock | None = None
        self._closing: asyncio.Task[None] | None = None
        self._pools: dict[str, Pool] = {}
        self._applying = Applying(self)

    async def __aenter__(self) -> PoolManager:
        if self._closing is not None:
            raise ManagerClosed("the manager has been closed", remedy="make a new one")
        self.paths.make()
        self._lock = self.paths.lock()
        try:
            await self._begin()
        except BaseException:
            self._store.close()
            self._lock.release()
            raise
        return self

    async def _begin(self) -> None:
        """Take up what an earlier manager has left."""
        make_room()  # first, as it takes no time before there are threads
        loop = asyncio.get_running_loop()
        loaded = await asyncio.to_thread(self._store.load)
        host = Host(
            loop=loop,
            drivers=self._drivers,
            paths=self.paths,
            store=self._store,
            registry=self.registry,
            random=self._random,
            wall=self._wall,
            observers=self._observers,
            restarts=self._restarts,
            blame=self._blame,
            models=self._models,
            models_in_use=self._models_in_use,
            devices=self._devices,
            boot=self._boot or Boot.of(loop.time()),
        )
        for trouble in loaded.troubles:
            _log.warning("%s", trouble)
        self._past = await Past.of(loaded, host)
        self._host = host
        forks.register(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- pools -----------------------------------------------------------------------------------------

    async def add(self, spec: PoolSpec) -> Pool:
        """A new pool, stopped; or the pool of that id as an earlier manager left it, which goes on.

        Raises PoolExists, and ConfigError when it names a driver there is not.
        """
        host = self._opened()
        if spec.pool_id in self._pools:
            raise PoolExists(spec.pool_id)
        self.check(spec)
        left = await self._past.claim(spec, host)
        if spec.pool_id in self._pools:  # somebody else was as fast
            raise PoolExists(spec.pool_id)
        self._hold(spec.launcher, host.drivers)
        return self._add(spec, host, left)

    def _add(self, spec: PoolSpec, host: Host, left: Left | None) -> Pool:
        if left is None:
            pool = Pool(spec, host, lineage=new_lineage())
        else:
            pool = Pool(spec, host, lineage=left.kept.snapshot.lineage, kept=left.kept)
        self._pools[spec.pool_id] = pool
        self.registry.update(
            spec.pool_id, device_mask=spec.device_mask, slots_total=spec.slots, slots_free=spec.slots
        )
        self.registry.count_from(spec.pool_id, pool.book)
        if left is not None:
            pool.go_on(left.kept, left.found)
        return pool

    def _hold(self, name: str, drivers: Drivers) -> None:
        """Have a launcher keep ready, as long as we are open, what it needs to replace an engine at once."""
        if name not in self._held:
            launcher = drivers.launcher(name)
            self._held[name] = launcher.hold() if isinstance(launcher, ReadyLauncher) else None

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """The pools that an earlier manager has left and that were not added to this one, by id."""
        return tuple(sorted(self._past.left))

    async def end_unclaimed(self) -> None:
        """End what is left of them, and forget them. What cannot be ended stays among the pools, stuck."""
        host, left, self._past.left = self._opened(), self._past.left, {}
        await asyncio.gather(*(self._end_one(host, one) for one in left.values()))

    async def _end_one(self, host: Host, left: Left) -> None:
        spec = stand_in(left)
        pool = self._add(spec, host, left)
        with contextlib.suppress(EngineStuck):
            await pool.stop()
            await self.remove(spec.pool_id)

    async def remove(self, pool_id: str) -> None:
        """Forget a stopped pool. Raises PoolNotFound, and PoolLifecycleError while something of it lives."""
        pool = self[pool_id]
        if pool.state is not PoolState.STOPPED:
            raise PoolLifecycleError(
                "can only be removed when stopped", pool_id=pool_id, state=pool.state, remedy="stop it first"
            )
        if pool.snapshot.quarantine:
            what = f"can only be removed once {residue(pool.snapshot)} is gone"
            raise PoolLifecycleError(what, pool_id=pool_id, state=pool.state, remedy=WATCHED)
        del self._pools[pool_id]
        host = pool.host
        host.tokens_from = max(host.tokens_from, pool.book.next_token)  # should it be added again
        self._store.forget(pool_id)
        self.registry.deregister(pool_id)
        await pool.close()
        await self._store.durable()

    def check(self, spec: PoolSpec) -> None:
        """Raise ConfigError when it names a driver there is not."""
        self._opened().know(spec)

    # --- declarations ----------------------------------------------------------------------------------

    def plan(self, specs: Iterable[PoolSpec]) -> Plan:
        """What `apply` would do by how the pools are now; nothing of it is done."""
        self._opened()
        return plan_for(self, specs)

    async def apply(
        self, specs: Iterable[PoolSpec], *, each: Callable[[Applied], None] | None = None
    ) -> tuple[Applied, ...]:
        """Make the pools be as declared, all at once; return what became of each.

        Pools that are as declared are not touched. New ones are added and started; those declared no more are
        drained and removed; changed ones follow as `plan` says. Each pool is on its own: what fails is that
        pool's outcome, and harms no other. A pool that is on its way somewhere is let arrive first; then only
        the latest declaration counts, and the outcome of those before is `superseded`. `each` is called with
        every outcome as soon as it is known.

        Cancelling the caller cancels its wait, nothing else.
        """
        self._opened()
        wanted: dict[str, PoolSpec | None] = {spec.pool_id: spec for spec in specs}
        for pool_id in (*self._pools, *self._applying.pool_ids):
            wanted.setdefault(pool_id, None)
        made = (self._applying.make(pool_id, spec, each) for pool_id, spec in wanted.items())
        return tuple(await asyncio.gather(*made))

    async def withdraw(self) -> None:
        """Give up what was to be applied and is not yet: it is superseded by the end of the manager."""
        await self._applying.withdraw()

    def get(self, pool_id: str) -> Pool | None:
        """The pool of that name, if there is one."""
        return self._pools.get(pool_id)

    def __getitem__(self, pool_id: str) -> Pool:
        try:
            return self._pools[pool_id]
        except KeyError:
            raise PoolNotFound(pool_id, self._pools) from None

    def __contains__(self, pool_id: object) -> bool:
        return pool_id in self._pools

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    def __len__(self) -> int:
        return len(self._pools)

    def status(self) -> tuple[PoolStatus, ...]:
        """Every pool's status, by pool id."""
        return tuple(self._pools[name].status() for name in sorted(self._pools))

    def capabilities(self) -> tuple[Capability, ...]:
        """What is in force on this host and in this program, why nothing better, and what would help."""
        host = self._opened()
        specs = [pool.spec for pool in self]
        return capabilities.of(host.drivers, specs, loop=host.loop, boot=host.boot, store=host.store)

    def release_device(self, name: str, *, by: str = "an operator") -> tuple[str, ...]:
        """Let pools try a device in quarantine, known by its number or uuid; returns the pools on it.

        Raises DeviceNotQuarantined when it is in none.
        """
        faults = self._opened().faults
        try:
            return faults.release(name, by=by)
        except KeyError:
            raise DeviceNotQuarantined(name, faults.shared.faults) from None

    def observe(self, observer: Observer) -> None:
        """Tell `observer` every record from now on."""
        self._observers.append(observer)

    def events(self, after: int | None = None) -> AsyncIterator[Change]:
        """The changes of the registry as they come, after number `after` (None: from now on).

        Iterating raises EventsLost when changes after that number are no longer all kept. It ends when the
        manager closes.
        """
        return self.changes.follow(after)

    def _models_in_use(self) -> frozenset[tuple[str, str | None]]:
        """What engines serve, or are about to, and what a pool would start with."""
        snapshots = (pool.snapshot for pool in self)
        targets = (target for one in snapshots for target in one.targets)
        return frozenset((one.model, one.digest) for one in targets if one.model is not None)

    def _about(self, pool_id: str) -> dict[str, Any]:
        pool = self._pools.get(pool_id)
        return {} if pool is None else known_of(pool.spec)

    # --- the end ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop every pool, let go of everything, give the lock back. Called again, it only waits for that.

        Nothing new can be asked of the manager or its pools from now on. Cancelled while it stops the pools,
        it kills what is left at once, and lets the cancellation go on when it is done: nothing is left
        running in any case but what cannot be killed. In a forked child it does nothing.
        """
        if self._host is None or self._host.forked:
            return
        if self._closing is None:
            self._closing = self._host.loop.create_task(self._end(), name="manager: close")
        interrupted: asyncio.CancelledError | None = None
        while not self._closing.done():
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError as error:
                interrupted = error
                self._hurry()
        if interrupted is not None:
            raise interrupted

    async def _end(self) -> None:
        try:
            await self.withdraw()
            await asyncio.gather(*(pool.halt() for pool in self), return_exceptions=True)
            await asyncio.gather(*(pool.close() for pool in self), return_exceptions=True)
        except asyncio.CancelledError:
            # A second Ctrl-C makes asyncio.run cancel every task there is, those that end engines included.
            await asyncio.gather(*(pool.kill() for pool in self), return_exceptions=True)
            await asyncio.gather(*(pool.close() for pool in self), return_exceptions=True)
            raise
        finally:
            if self._host is not None:
                await self._host.faults.close()
                await self._host.gpus.close()
            self.changes.close()
            self._store.close()
            if self._lock is not None:
                self._lock.release()
            await self._let_go()

    async def _let_go(self) -> None:
        for name, let_go in self._held.items():
            try:
                if let_go is not None:
                    await let_go()
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the others come after it
                _log.error("launcher %r could not let go of what it had kept: %r", name, error)

    def _hurry(self) -> None:
        for pool in self:
            pool.hurry()

    def forked(self) -> None:
        """In a forked child it is nothing but a copy, and so is every pool: none of them acts."""
        if self._host is not None:
            self._host.forked = True
            forks.part(self._host.loop)
        for pool in self:
            pool.forked()

    def _opened(self) -> Host:
        if self._host is not None and self._host.forked:
            raise ManagerClosed(FORKED, remedy="use it there, or make a manager for another state directory")
        if self._host is None or self._closing is not None:
            what = "the manager is not open" if self._host is None else "the manager has been closed"
            raise ManagerClosed(what, remedy="use it within `async with PoolManager(...) as manager:`")
        return self._host
