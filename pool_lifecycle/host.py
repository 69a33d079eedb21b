"""What the pools of one manager share: the loop, the drivers, the paths, and where news goes."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

from attrs import define, field

from pool_lifecycle.boot import Boot
from pool_lifecycle.device_faults import DeviceFaults
from pool_lifecycle.errors import StoreError
from pool_lifecycle.gpus import Gpus
from pool_lifecycle.interfaces import Caching, InUse, ModelStager
from pool_lifecycle.kept import Kept, KeptHost, Moment, Passage
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.records import CircuitMoved, DriverMisbehaved, Observer, Record, Trouble
from pool_lifecycle.references import stager_of
from pool_lifecycle.registry import Registry
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.shared_circuits import SharedCircuits
from pool_lifecycle.snapshot import CircuitChanged, Snapshot
from pool_lifecycle.spec import Models, PoolSpec
from pool_lifecycle.statedir import StateDir
from pool_lifecycle.store import Store
from pool_lifecycle.ticks import Ticks
from pool_lifecycle.turns import Turns

_log = logging.getLogger(__name__)

FORKED = "its manager lives in the process that this one was forked from"
"""Why nothing can be asked of a pool's copy."""


@define(eq=False)
class Host:
    """Handed to every pool. `random` is the one source of chance, `wall` the one wall clock (seconds).

    `clock` is the loop's (monotonic seconds), `boot` says which one; `ticks` is for what may come a little
    late. `turns` gives the pools' restarts their turns, `shared` has the circuits of devices. Who copies a
    log holds `copying`: one at a time is enough for a disk. `copies` has all that are under way or wait. The
    pools' fencing tokens begin with `tokens_from`.
    Fetched `models` are kept as that says, and `models_in_use` always; GPUs are looked after as `devices`
    says, by `gpus`, and by `faults` when something is wrong with them.
    `forked` says that this is a copy in a forked child, which must not act.
    """

    loop: asyncio.AbstractEventLoop
    drivers: Drivers
    paths: StateDir
    store: Store
    registry: Registry
    random: Random
    wall: Callable[[], float]
    observers: list[Observer] = field(factory=list)
    restarts: Budget = field(factory=Budget)
    blame: Blame = field(factory=Blame)
    boot: Boot = field(default=Boot("", ""))
    tokens_from: int = 1
    clock: Callable[[], float] = field(init=False)
    ticks: Ticks = field(init=False)
    copying: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    copies: set[asyncio.Task[None]] = field(factory=set, init=False)
    forked: bool = field(default=False, init=False)
    models: Models = field(factory=Models)
    devices: DevicePolicy = field(factory=DevicePolicy)
    models_in_use: InUse = field(default=frozenset)
    _stagers: set[str] = field(factory=set, init=False)
    _unkept: dict[str, Exception] = field(factory=dict, init=False)
    turns: Turns = field(init=False)
    shared: SharedCircuits = field(init=False)
    gpus: Gpus = field(init=False)
    faults: DeviceFaults = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = self.loop.time  # one for all pools, as each look-up makes an object
        self.ticks = Ticks(self.loop)
        self.turns = Turns(self.restarts, self.clock)
        self.shared = SharedCircuits(self.blame, self.clock, self._circuit_moved, self.keep_shared)
        self.gpus = Gpus(self.drivers, self.trouble, self.devices)
        self.faults = DeviceFaults(self.gpus, self.shared, self.loop, self.observe)

    def stager(self, declared: str | None, reference: str) -> ModelStager:
        """What stages `reference`: the declared driver, else the one for such references."""
        name = declared or stager_of(reference)
        stager = self.drivers.stager(name)
        if name not in self._stagers:
            self._stagers.add(name)
            if isinstance(stager, Caching):
                folder = self.models.folder or self.paths.models()
                stager.keep_in(folder=folder, limit=self.models.limit, in_use=self.models_in_use)
        return stager

    def know(self, spec: PoolSpec) -> None:
        """Raise ConfigError for a driver there is not: now rather than when it is needed."""
        drivers = self.drivers
        drivers.launcher(spec.launcher)
        if spec.stager is not None or spec.model is not None:
            drivers.stager(spec.stager or stager_of(spec.model or ""))
        drivers.health_probe(spec.health.probe)
        drivers.profile(spec.engine.profile)
        drivers.gpu_probe(spec.probe)

    def chance(self) -> float:
        """A number in [-1, 1]."""
        return self.random.uniform(-1.0, 1.0)

    def observe(self, record: Record) -> None:
        """Tell every observer. One that raises is logged and disturbs nobody.

        Nor does a CancelledError: nothing is awaited here, so that it is the observer's own.
        """
        for observer in self.observers:
            try:
                observer(record)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - an observer is a guest
                _log.exception("observer %r raised at %r", observer, record)

    def _circuit_moved(self, pool_id: str, change: CircuitChanged, pools: tuple[str, ...]) -> None:
        self.observe(CircuitMoved(pool_id, self.clock(), change, pools))

    def now(self) -> Moment:
        """This moment, so that a later manager knows how long ago it was."""
        return Moment(self.boot.clock, self.clock(), self.wall())

    def keep(self, kept: Kept, passage: Passage | None = None) -> None:
        """Store it. A store that fails is reported: it must not keep an engine from being ended."""
        self._or_report(kept.snapshot.pool_id, self.store.save, kept, passage)

    def note(self, passage: Passage) -> None:
        """Store what happened to a pool that is as it was stored last; as `keep`."""
        self._or_report(passage.pool_id, self.store.note, passage)

    def _or_report(self, pool_id: str, save: Callable[..., object], *what: object) -> None:
        if self.forked:
            return
        try:
            save(*what)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a store
            self._unkept[pool_id] = error
            self.trouble(pool_id, f"its state could not be stored: {error!r}")
        else:
            self._unkept.pop(pool_id, None)

    async def kept(self, pool_id: str) -> None:
        """Return once what was to be stored of the pool is kept. Raises StoreError when it is not."""
        self._refuse(pool_id)
        await self.store.kept(pool_id)

    async def durable(self, pool_id: str) -> None:
        """Return once what was to be stored of the pool outlives a power cut. Raises StoreError if not."""
        self._refuse(pool_id)
        await self.store.durable()

    def _refuse(self, pool_id: str) -> None:
        error = self._unkept.get(pool_id)
        if error is not None:
            what = f"its state could not be stored: {error!r}"
            raise StoreError(what, path=str(self.paths.root), pool_id=pool_id) from error

    def turn(self, pool_id: str) -> float:
        """When the pool's turn to start is, on the loop's clock; it counts for later managers, too."""
        full_at = self.turns.full_at
        turn = self.turns.ask(pool_id)
        if self.turns.full_at != full_at:
            self.keep_shared()
        return turn

    def keep_shared(self) -> None:
        """Store what pools share."""
        if self.forked:
            return
        circuits, failed_at = self.shared.to_keep()
        full_at = self.turns.full_at
        full = full_at if full_at > -math.inf else None
        try:
            self.store.save_host(KeptHost(self.now(), full, circuits, failed_at, self.tokens_from))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a store
            _log.exception("what pools share could not be stored: %r", error)

    def go_on(self, kept: KeptHost, left: Iterable[Snapshot], *, rebooted: bool) -> None:
        """What an earlier manager has given out of this host's budget, and thought of its devices.

        `left` has the pools that it left.
        """
        if kept.full_at is not None:
            self.turns.full_at = kept.full_at
        known, stuck = set(), defaultdict[str, set[str]](set)
        for one in left:
            known.add(one.pool_id)
            for circuit in one.circuits if one.holds_on else ():
                if circuit.shared:
                    stuck[circuit.name].add(one.pool_id)
        self.shared.restore(kept, known, stuck, rebooted=rebooted)

    def misbehaved(self, pool_id: str, what: str) -> None:
        """Report a driver that broke a promise."""
        self.observe(DriverMisbehaved(pool_id, self.loop.time(), what))

    def trouble(self, pool_id: str, what: str) -> None:
        """Report what went wrong beside a pool's way."""
        self.observe(Trouble(pool_id, self.loop.time(), what))
