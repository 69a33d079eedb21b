"""The drivers of a simulation: engines that live and end as a trace says, and models that are simply there.

They are the memory drivers, and every ending is told by the evidence that real engines leave: an exit
status, a last line that the profile knows, what the host says of a kill, silence. So a simulated class has
been through the verdict like a real one.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, evolve, field

from pool_lifecycle.addressing import reachable
from pool_lifecycle.causes import LOST, Cause, Clue, ClueKind, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Device,
    EngineHandle,
    Health,
    LaunchRequest,
    ModelInfo,
    Pattern,
    ProbeTarget,
    StagedModel,
    StageProgress,
)
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.references import stager_of
from pool_lifecycle.simulation.trace import QUICK_START, WEEK, Run, Trace
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    ProbeScript,
)

F = FailureClass
NAME = "simulation"

SAID = (F.CUDA, F.DEVICE_OUT_OF_MEMORY, F.DEVICE_LOST, F.BAD_CONFIG, F.PORT_IN_USE)
"""The classes that an engine's own last words tell."""

_PATTERNS = tuple(Pattern(f"simulated failure: {kind}.", kind) for kind in SAID)
_WORDS = {pattern.kind: pattern.text for pattern in _PATTERNS}

_OOM = Clue(ClueKind.OOM_KILL, "the simulated kernel killed it for want of memory", proof=True)

_STATUSES: dict[FailureClass, ExitStatus] = {
    F.GRACEFUL: ExitStatus(code=0),
    F.SIGNAL: ExitStatus(signal=int(signal.SIGSEGV)),
    F.OUT_OF_MEMORY: ExitStatus(signal=int(signal.SIGKILL), clues=(_OOM,)),
    F.UNKNOWN: LOST,
}
_FAILED = ExitStatus(code=1)

ILL = Health(ok=False, detail="simulated: it answers that it is ill")
REFUSED = Health(ok=False, detail="connection refused")
SILENT = ProbeScript(takes=math.inf)


class Profile(MemoryProfile):
    """Knows the last words of simulated engines."""

    patterns = _PATTERNS


@define(eq=False)
class SimulatedHost:
    """Launches the engines, and knows which run of the trace each pool is in.

    A pool takes its next run when it begins to start; when its runs are used up, its engine runs for ever.
    """

    _left: dict[str, deque[Run]]
    _now: dict[str, Run | None] = field(factory=dict)
    _engines: dict[str, MemoryEngine] = field(factory=dict)
    _ill: set[str] = field(factory=set)
    _addresses: dict[str, MemoryLauncher] = field(factory=dict)

    @classmethod
    def of(cls, trace: Trace) -> SimulatedHost:
        """The host on which the runs of `trace` are to happen."""
        return cls({pool_id: deque(runs) for pool_id, runs in trace.runs.items()})

    def left(self, pool_id: str) -> int:
        """How many runs the pool has not begun."""
        return len(self._left.get(pool_id, ()))

    def doomed(self, pool_id: str) -> bool:
        """Whether the run that the pool is in, or was in last, has an end."""
        return self._now.get(pool_id) is not None

    def drivers(self, specs: Iterable[PoolSpec]) -> Drivers:
        """Simulated ones under every name that the pools use."""
        given: dict[Interface, dict[str, Any]] = {interface: {} for interface in Interface}
        probe = MemoryHealthProbe(answers=self._answer)
        gpus = MemoryGpuProbe(_devices(declared := tuple(specs)))
        for spec in declared:
            given[Interface.LAUNCHER][spec.launcher] = self
            given[Interface.HEALTH_PROBE][spec.health.probe] = probe
            given[Interface.MODEL_STAGER][spec.stager or stager_of(spec.model or "")] = Stager(self._staging)
            given[Interface.GPU_PROBE][spec.probe] = gpus
            given[Interface.ENGINE_PROFILE][spec.engine.profile] = Profile()
        return Drivers(given)

    # --- the launcher --------------------------------------------------------------------------------------

    async def reserve_port(self, *, host: str) -> int:
        """The next free port."""
        return await self._at(host).reserve_port(host=host)

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """The pool begins to start: its next run begins, and may end already."""
        left = self._left.get(request.pool_id)
        run = self._now[request.pool_id] = left.popleft() if left else None
        if run is None or run.kind is not F.PREFLIGHT:
            return ()
        await asyncio.sleep(run.uptime_seconds)
        return (Cause(F.PREFLIGHT, Stage.PREFLIGHT, "simulated"),)

    async def launch(self, *, request: LaunchRequest) -> MemoryEngine:
        """Launch it; one that is not to become ready has its end before it."""
        engine = await self._at(request.host).launch(request=request)
        self._engines[request.pool_id] = engine
        run = self._now[request.pool_id]
        if run is not None and not run.becomes_ready and run.kind is not F.START_TIMEOUT:
            self._end_later(engine, run)
        return engine

    async def recover(self, *, handle: EngineHandle) -> MemoryEngine | None:
        """There is never anything to be found again."""
        del handle
        return None

    def served(self, pool_id: str) -> None:
        """The pool has become ready: from now on its run lasts as long as the trace says."""
        run, engine = self._now.get(pool_id), self._engines[pool_id]
        if run is not None:
            self._end_later(engine, run)

    def _at(self, host: str) -> MemoryLauncher:
        """Engines on different addresses may have the same port."""
        return self._addresses.setdefault(reachable(host), MemoryLauncher(self._script))

    def _script(self, request: LaunchRequest) -> EngineScript:
        """It says something when it is ready: then it is looked at in this very instant."""
        run = self._now[request.pool_id]
        if run is not None and not run.becomes_ready:
            return EngineScript(ready_after=None)
        after = QUICK_START if run is None else run.start_seconds
        return EngineScript(ready_after=after, output=((after, 1),))

    # --- how engines end -----------------------------------------------------------------------------------

    def _end_later(self, engine: MemoryEngine, run: Run) -> None:
        asyncio.get_running_loop().call_later(run.uptime_seconds, self._end, engine, run.kind)

    def _end(self, engine: MemoryEngine, kind: FailureClass) -> None:
        if kind is F.HANG:
            engine.hang()
        elif kind is F.HEALTH:
            self._ill.add(engine.request.token)
        else:
            if kind in _WORDS:
                engine.say(_WORDS[kind])
            engine.crash(_STATUSES.get(kind, _FAILED))

    def _answer(self, target: ProbeTarget) -> Health | ProbeScript:
        engine = self._at(target.host).on_port(target.port)
        if engine is None or not engine.listening:
            return REFUSED
        if engine.request.token in self._ill:
            return ILL
        return ProbeScript() if engine.ready else SILENT

    def _staging(self, pool_id: str) -> Run | None:
        run = self._now[pool_id]
        return run if run is not None and run.kind is F.STAGING else None


class Stager:
    """Every model is in place, unless the run that a pool is in ends while its model is staged.

    The reference of a simulated model is the name of its pool.
    """

    def __init__(self, failing: Callable[[str], Run | None]) -> None:
        self._failing = failing

    async def resolve(self, *, reference: str) -> ModelInfo:
        """Every reference stands for something."""
        return ModelInfo(reference, reference)

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """In place at once; raises DriverError where the trace says so."""
        del digest, progress
        run = self._failing(reference)
        if run is not None:
            await asyncio.sleep(run.uptime_seconds)
            raise DriverError(NAME, Cause(F.STAGING, Stage.STAGING, "simulated"))
        return StagedModel(reference, reference, 0)

    async def evict(self, *, model: StagedModel) -> bool:
        """There is nothing to remove."""
        del model
        return False


def simulated(specs: Iterable[PoolSpec], trace: Trace) -> Iterator[PoolSpec]:
    """The pools as declared, each with a model of its own that can be told by its name.

    Health checks that can only be good are left out: a day of them would be most of the work.
    """
    for spec in specs:
        kinds = {run.kind for run in trace.runs.get(spec.pool_id, ())}
        health = spec.health if kinds & {F.HANG, F.HEALTH} else evolve(spec.health, interval=WEEK)
        yield evolve(spec, model=spec.pool_id, health=health)


def _devices(specs: Iterable[PoolSpec]) -> Iterator[Device]:
    """Every device that a pool names, with as much memory as anybody may want."""
    for number, name in enumerate(sorted({name for spec in specs for name in spec.devices})):
        index, uuid = (int(name), f"GPU-{name}") if name.isdigit() else (number, name)
        yield Device(index, uuid, "simulated", ROOM, ROOM)


ROOM = 2**62
"""Bytes of memory of a simulated device: what runs happen is said by the trace alone."""
