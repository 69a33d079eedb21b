"""What would keep pools from starting on this host: asked as a start asks it, without one.

Nothing is launched, staged or written, and a manager that runs is not disturbed: what is stored is only read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from attrs import define, evolve, field, frozen

from pool_lifecycle import capabilities
from pool_lifecycle.activities import failure
from pool_lifecycle.barring import bars
from pool_lifecycle.boot import Boot
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.changes import Changes
from pool_lifecycle.cli.running import NobodyRuns, Running
from pool_lifecycle.config import ManagerSettings
from pool_lifecycle.device_memory import fit, never_fits
from pool_lifecycle.errors import ConfigError, PoolLifecycleError, StoreError
from pool_lifecycle.events import Event, Target
from pool_lifecycle.gpus import Look
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Capability, EngineHandle, ModelInfo
from pool_lifecycle.kept import Loaded
from pool_lifecycle.loading import rebased, rebased_host
from pool_lifecycle.past import new_lineage
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.promises import expected
from pool_lifecycle.provisions import Provisions
from pool_lifecycle.records import Record, Trouble
from pool_lifecycle.registry import Registry
from pool_lifecycle.requests import needs
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.spec import NO_PROBE, PoolSpec
from pool_lifecycle.sqlite_errors import told
from pool_lifecycle.sqlite_reading import loaded, reading, rows
from pool_lifecycle.statedir import StateDir
from pool_lifecycle.store import MemoryStore

PATIENCE = 60.0
"""Seconds that the drivers of one pool have to answer."""


@frozen
class PoolSurvey:
    """One pool: what would keep it from starting, what might matter later, what is only to be known."""

    pool_id: str
    causes: tuple[Cause, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class Survey:
    """All of a file: `host` has what would keep every pool from starting, whatever it is."""

    pools: tuple[PoolSurvey, ...]
    host: tuple[Cause, ...] = ()
    capabilities: tuple[Capability, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all of them would start, as far as can be seen."""
        return not self.host and not any(one.causes for one in self.pools)


async def survey(
    specs: Iterable[PoolSpec], root: Path, settings: ManagerSettings, *, drivers: Drivers | None = None
) -> Survey:
    """Everything that can be known beforehand of these pools under this state directory."""
    specs = tuple(specs)
    hindrances = [*in_the_way(StateDir(root))]
    try:
        left = _left(StateDir(root))
    except StoreError as error:
        hindrances.append(_of(error))
        left = Loaded()
    async with _looking(root, settings, drivers or Drivers(), left) as looking:
        alone, host = await asyncio.gather(*map(looking.at, specs)), looking.host
        found = [looking.beside(spec, one) for spec, one in zip(specs, alone, strict=True)]
        allowed = capabilities.of(host.drivers, specs, loop=host.loop, boot=host.boot)
    return Survey(tuple(found), tuple(hindrances), allowed)


# --- the state directory -------------------------------------------------------------------------------


def in_the_way(paths: StateDir) -> Iterator[Cause]:
    """What would keep a manager from using this state directory."""
    try:
        with Running(paths.root) as running:
            what = f"state directory {str(paths.root)!r} is in use by another manager (pid {running.pid})"
            yield _cause(what, "stop that one, change its pools with `apply`, or use another folder")
    except NobodyRuns:
        pass
    except PoolLifecycleError as error:
        yield _of(error)
    places = {_nearest(paths.root / name) for name in ("", "logs", "run", "engines", "crashes")}
    for place in sorted(places):
        if not place.is_dir():
            yield _cause(f"{str(place)!r}, of the state directory, is not a folder", FOLDER, heals=False)
        elif not os.access(place, os.W_OK | os.X_OK):
            yield _cause(f"{str(place)!r}, of the state directory, cannot be written to", FOLDER, heals=False)


FOLDER = "name a folder that can be written"


def _nearest(path: Path) -> Path:
    """What is there of it already."""
    return next(one for one in (path, *path.parents) if os.path.lexists(one))


def _left(paths: StateDir) -> Loaded:
    """What a manager, of earlier or of now, has stored. Raises StoreError when it cannot be read."""
    if not os.path.lexists(paths.database):
        return Loaded()
    if not os.path.isfile(paths.database):
        raise StoreError(f"{paths.database!r} is not a file", path=paths.database, remedy="remove it")
    with told("cannot read", paths.database), reading(paths.database) as connection:
        return loaded(rows(connection), ())


def _of(error: PoolLifecycleError) -> Cause:
    return _cause(error.what, error.remedy)


def _cause(what: str, remedy: str, *, heals: bool = True) -> Cause:
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, heals=heals, remedy=remedy)


# --- pools ---------------------------------------------------------------------------------------------


@define(eq=False)
class _Candidate:
    """What a pool would be if it were started now: as far as its way to its drivers needs one."""

    spec: PoolSpec
    snapshot: Snapshot

    def spec_of(self, target: Target) -> PoolSpec:
        """There is but one."""
        del target
        return self.spec

    def tell(self, event: Event) -> None:
        """Nothing happens to it."""


@define(eq=False)
class _Looking:
    """A host on which nothing runs. `engines` has those that a manager has left, by pool.

    `models` is what the pools are to serve, `looks` what their devices were like; `taken` is what pools
    before it in the file will have of each device, by pool.
    """

    host: Host
    engines: dict[str, EngineHandle] = field(factory=dict)
    models: dict[str, ModelInfo] = field(factory=dict, init=False)
    looks: dict[str, Look] = field(factory=dict, init=False)
    taken: defaultdict[str, dict[str, int]] = field(factory=lambda: defaultdict(dict), init=False)
    troubles: defaultdict[str, list[str]] = field(factory=lambda: defaultdict(list))

    def note(self, record: Record) -> None:
        """What a start would tell of beside its way."""
        if isinstance(record, Trouble) and record.what not in self.troubles[record.pool_id]:
            self.troubles[record.pool_id].append(record.what)

    async def at(self, spec: PoolSpec) -> PoolSurvey:
        """One pool. Never raises."""
        if (engine := self.engines.get(spec.pool_id)) is not None and _lives(engine, self.host.boot):
            notes = (f"its engine lives (pid {engine.pid}), and a manager goes on with it",)
            return PoolSurvey(spec.pool_id, notes=notes)
        try:
            self.host.know(spec)
        except ConfigError as error:
            causes = tuple(_bad(str(one)) for one in error.problems)
            return PoolSurvey(spec.pool_id, causes)
        causes = tuple([cause async for cause in self._causes(spec)])
        once = sorted(dict.fromkeys(causes), key=lambda cause: cause.heals)
        return PoolSurvey(spec.pool_id, tuple(once), tuple(self.troubles[spec.pool_id]))

    async def _causes(self, spec: PoolSpec) -> AsyncIterator[Cause]:
        host, pool_id = self.host, spec.pool_id
        shared = host.shared.join(pool_id, spec.devices, lambda: None)
        snapshot = Snapshot.new(
            spec,
            lineage=new_lineage(),
            now=host.clock(),
            shared=shared,
            shared_breaker=host.blame.breaker,
        )
        for bar in bars(snapshot):
            yield _cause(bar.why, bar.helps)
        provisions = Provisions(host, _Candidate(spec, snapshot))
        questions: tuple[Question, ...] = (
            lambda: self._resolve(spec),
            lambda: provisions.preflight(spec.target),
            lambda: self._memory(spec),
        )
        for question in questions:
            for cause in await _answer(question):
                yield cause

    async def _resolve(self, spec: PoolSpec) -> tuple[Cause, ...]:
        """Whether its reference stands for a model, which then is among the `models`."""
        if spec.model is not None:
            stager = self.host.stager(spec.stager, spec.model)
            found = expected(ModelInfo, await stager.resolve(reference=spec.model), "resolve")
            self.models[spec.pool_id] = found
        return ()

    async def _memory(self, spec: PoolSpec) -> tuple[Cause, ...]:
        """What would keep its devices from admitting it now; what never fits is known already."""
        look = None if spec.probe == NO_PROBE else await self.host.gpus.seen(spec)
        model = self.models.get(spec.pool_id)
        if (
            look is None
            or any(one.unwell for one in look.of(spec))
            or any(never_fits(spec, self.host, look, model))
        ):
            return ()
        self.looks[spec.pool_id] = look
        short = fit(spec, self.host, look, model).short
        help_ = "end what uses the memory, or give the pool devices with more of it"
        return (_cause(short, help_),) if short else ()

    def beside(self, spec: PoolSpec, alone: PoolSurvey) -> PoolSurvey:
        """The same once the pools before it in the file have started: on their devices there is less room."""
        look = self.looks.get(spec.pool_id)
        if look is None or alone.causes:
            return alone
        model, devices = self.models.get(spec.pool_id), look.of(spec)
        found = fit(spec, self.host, self._after_others(look), model)
        if found.short:
            others = dict.fromkeys(name for one in devices for name in self.taken[one.uuid])
            what = f"once {', '.join(others)} has started, {found.short}"
            return evolve(alone, causes=(_cause(what, "give them different devices, or smaller models"),))
        each = needs(spec, model)[1] or 0
        ratios = found.ratios or (1 / len(devices),) * len(devices)
        for one, ratio in zip(devices, ratios, strict=True):
            self.taken[one.uuid][spec.pool_id] = round(each * len(devices) * ratio)
        return alone

    def _after_others(self, look: Look) -> Look:
        left = (
            evolve(one, memory_free=max(0, one.memory_free - sum(self.taken[one.uuid].values())))
            for one in look.devices
        )
        return evolve(look, devices=tuple(left))


Question = Callable[[], Awaitable[tuple[Cause, ...]]]


async def _answer(question: Question) -> tuple[Cause, ...]:
    """What was found; that nothing could be found out is a finding, too."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await question()
    except TimeoutError:
        what = f"its drivers have not answered within {PATIENCE:g} s"
        return (_cause(what, "see what keeps the network, the disk or the GPU driver from answering"),)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises
        return (failure(error, Stage.PREFLIGHT),)


def _bad(what: str) -> Cause:
    return Cause(FailureClass.BAD_CONFIG, Stage.PREFLIGHT, what, heals=False, remedy="correct that")


def _lives(engine: EngineHandle, boot: Boot) -> bool:
    """Whether this very process is still there."""
    if engine.boot_id != boot.id or engine.pid is None:
        return False
    try:
        words = Path(f"/proc/{engine.pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return words.rpartition(")")[2].split()[_START - 3] == str(engine.start_ticks)


_START = 22
"""The field of `/proc/<pid>/stat` with the time of its start; what follows the name begins with field 3."""


@asynccontextmanager
async def _looking(
    root: Path, settings: ManagerSettings, drivers: Drivers, left: Loaded
) -> AsyncIterator[_Looking]:
    loop = asyncio.get_running_loop()
    host = Host(
        loop=loop,
        drivers=drivers,
        paths=StateDir(root),
        store=MemoryStore(),
        registry=Registry(lambda: int(time.time() * 1000), Changes()),
        random=Random(0),  # noqa: S311 - no chance is taken
        wall=time.time,
        restarts=settings.restarts,
        blame=settings.blame,
        models=settings.models,
        devices=settings.devices,
        boot=Boot.of(loop.time()),
    )
    looking = _Looking(host, _remembered(left, host))
    host.observers.append(looking.note)
    try:
        yield looking
    finally:
        await host.gpus.close()


def _remembered(left: Loaded, host: Host) -> dict[str, EngineHandle]:
    """Let the host know what was stored of its devices; the engines that pools had, by pool."""
    now = host.now()
    records = [rebased(one, now) for one in left.pools]
    if left.host is not None:
        rebooted = left.host.moment.clock != now.clock
        host.go_on(rebased_host(left.host, now), [one.snapshot for one in records], rebooted=rebooted)
    serving = ((one.snapshot.pool_id, one.snapshot.server) for one in records)
    return {name: one.handle for name, one in serving if one is not None and one.handle is not None}
