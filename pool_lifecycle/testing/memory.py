"""Drivers without a world: engines, models and GPUs that exist only in memory, and do what a script says.

They keep every promise of `pool_lifecycle.interfaces`, measure time by the event loop alone, and are cheap
enough for ten thousand at once. A script is a frozen value; a driver takes one, or several (one for each
call, the last for all further ones), or a function from what is asked to a script. Without scripts,
everything works at once.

    launcher = MemoryLauncher([EngineScript(ready_after=3.0), EngineScript(launch_error=cause)])
    probe = MemoryHealthProbe(launcher)         # healthy when the engine on that port is ready

What a test does to a running engine, it does by the methods of `MemoryEngine`: `crash`, `hang`, `heal`,
`write`, `say`, `release`. Like everything here they are for the event loop's own thread.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import frozen

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Device,
    DeviceFault,
    DeviceProcess,
    ExitZero,
    Health,
    ModelInfo,
    Pattern,
    ProbeTarget,
    StagedModel,
    StageProgress,
)
from pool_lifecycle.testing.memory_engine import NAME, EngineScript, MemoryEngine
from pool_lifecycle.testing.memory_launcher import MemoryLauncher, scripted

__all__ = [
    "EngineScript",
    "MemoryEngine",
    "MemoryGpuProbe",
    "MemoryHealthProbe",
    "MemoryLauncher",
    "MemoryProfile",
    "MemoryStager",
    "ProbeScript",
    "StageScript",
]

# --- health ----------------------------------------------------------------------------------------

OK = Health(ok=True, detail="ok")
REFUSED = Health(ok=False, detail="connection refused")


@frozen
class ProbeScript:
    """One answer of a probe, after `takes` seconds; an `error` is raised instead."""

    health: Health = OK
    takes: float = 0.0
    error: Cause | None = None


ALIVE, NEVER = ProbeScript(), ProbeScript(takes=math.inf)


class MemoryHealthProbe:
    """Asks a memory engine, or a script.

    With `answers` it gives these: each a Health or a ProbeScript, the last for all further checks. Without,
    it looks for the engine on the target's port, on the host of `launcher`: ready is healthy, hanging lets
    the time-out pass. With neither, everything is healthy. `checks` counts the checks.

    `metrics` is what an engine that does not hang tells of its work, by name: yours to change. `counts`
    counts how often it was asked for.
    """

    def __init__(
        self,
        launcher: MemoryLauncher | None = None,
        answers: Sequence[Health | ProbeScript] | Callable[[ProbeTarget], Health | ProbeScript] = (),
    ) -> None:
        self.checks = self.counts = 0
        self.metrics: dict[str, float] = {}
        self._launcher = launcher
        self._answers = answers

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """One look. What takes longer than `timeout` is an unhealthy answer at the time-out."""
        answer = self._answer(target)
        self.checks += 1
        if answer.takes > timeout:
            await asyncio.sleep(timeout)
            return Health(ok=False, detail=f"no answer within {timeout:g} s", silent=True)
        await asyncio.sleep(answer.takes)
        if answer.error is not None:
            raise DriverError(NAME, answer.error)
        return answer.health

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        """The sum of what is told under these names; None, for which a hanging engine lets the time pass."""
        self.counts += 1
        look = self._look(target.port)
        await asyncio.sleep(min(look.takes, timeout))
        told = [self.metrics[name] for name in names if name in self.metrics]
        return sum(told) if told and look is ALIVE else None

    def _answer(self, target: ProbeTarget) -> ProbeScript:
        if not self._answers:
            return self._look(target.port)
        answer = scripted(self._answers, self.checks, target)
        return ProbeScript(answer) if isinstance(answer, Health) else answer

    def _look(self, port: int) -> ProbeScript:
        if self._launcher is None:
            return ALIVE
        engine = self._launcher.on_port(port)
        if engine is None or not engine.listening:
            return ProbeScript(REFUSED)
        return ALIVE if engine.ready else NEVER


# --- models ----------------------------------------------------------------------------------------

ANY_SIZE = 2**20
"""Bytes of a model whose size nobody gave."""


@frozen
class StageScript:
    """How one staging goes: it lasts `takes` seconds, reports progress `steps` times at equal distances, and
    fails with `error`, if there is one, in place of the last step."""

    takes: float = 0.0
    steps: int = 1
    error: Cause | None = None


STAGES = StageScript()


class MemoryStager:
    """Stages models that exist only in memory.

    `models` maps references to sizes in bytes; None: every reference stands for a model. `requests` has
    the reference of every staging begun, `staged` the models now in place.
    """

    def __init__(
        self,
        models: Mapping[str, int] | None = None,
        script: StageScript | Sequence[StageScript] | Callable[[str], StageScript] = STAGES,
    ) -> None:
        self.requests: list[str] = []
        self.staged: dict[str, StagedModel] = {}
        self._models = models
        self._scripts = (script,) if isinstance(script, StageScript) else script

    async def resolve(self, *, reference: str) -> ModelInfo:
        """Name and size. Raises DriverError for a reference that stands for nothing."""
        return ModelInfo(reference, _model_name(reference), self._size(reference))

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """Stage by the next script, with any digest. What is in place already is not staged again."""
        size = self._size(reference)
        known = self.staged.get(reference)
        if known is None or digest not in (None, known.digest):
            script = scripted(self._scripts, len(self.requests), reference)
            self.requests.append(reference)
            await self._carry_over(script, size, progress)
            self.staged[reference] = StagedModel(reference, f"/memory/{_model_name(reference)}", size, digest)
        return self.staged[reference]

    async def evict(self, *, model: StagedModel) -> bool:
        """True if it was in place."""
        return self.staged.pop(model.reference, None) is not None

    async def _carry_over(
        self, script: StageScript, size: int, progress: Callable[[StageProgress], None]
    ) -> None:
        for step in range(1, script.steps + 1):
            await asyncio.sleep(script.takes / script.steps)
            if step == script.steps and script.error is not None:
                raise DriverError(NAME, script.error)
            progress(StageProgress(size * step // script.steps, size))

    def _size(self, reference: str) -> int:
        size = ANY_SIZE if self._models is None else self._models.get(reference)
        if size is None:
            known = ", ".join(self._models or ())
            raise DriverError(NAME, _no_model(reference, f"known models: {known or 'none'}"))
        return size


def _no_model(reference: str, remedy: str) -> Cause:
    message = f"no model {reference!r}"
    return Cause(FailureClass.STAGING, Stage.STAGING, message, heals=False, remedy=remedy)


def _model_name(reference: str) -> str:
    return reference.rstrip("/").rpartition("/")[2].rpartition(":")[2]


# --- GPUs ------------------------------------------------------------------------------------------


class MemoryGpuProbe:
    """GPUs as they are told to be: `show`, `report` and `fail` change what the next call sees."""

    def __init__(
        self,
        devices: Iterable[Device] = (),
        processes: Iterable[DeviceProcess] = (),
        faults: Iterable[DeviceFault] = (),
    ) -> None:
        self._devices = tuple(devices)
        self._processes = tuple(processes)
        self._faults = tuple(faults)
        self._error: Cause | None = None
        self._reported: asyncio.Future[None] | None = None

    async def devices(self) -> tuple[Device, ...]:
        """The devices shown last, by index."""
        self._raise()
        return tuple(sorted(self._devices, key=lambda device: device.index))

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """The processes shown last."""
        self._raise()
        return self._processes

    async def faults(self) -> tuple[DeviceFault, ...]:
        """The faults reported since the last call; waits until there is one."""
        self._raise()
        while not self._faults:
            self._reported = asyncio.get_running_loop().create_future()
            await self._reported
            self._raise()
        faults, self._faults = self._faults, ()
        return faults

    def show(
        self, *, devices: Iterable[Device] | None = None, processes: Iterable[DeviceProcess] | None = None
    ) -> None:
        """From now on these are seen; None leaves them as they were."""
        self._devices = self._devices if devices is None else tuple(devices)
        self._processes = self._processes if processes is None else tuple(processes)

    def report(self, *faults: DeviceFault) -> None:
        """A device reports faults."""
        self._faults += faults
        self._wake()

    def _wake(self) -> None:
        if self._reported is not None and not self._reported.done():
            self._reported.set_result(None)

    def fail(self, cause: Cause | None) -> None:
        """From now on every call raises DriverError with this cause; None ends that."""
        self._error = cause
        self._wake()

    def _raise(self) -> None:
        if self._error is not None:
            raise DriverError(NAME, self._error)


# --- engine profiles -------------------------------------------------------------------------------


class MemoryProfile:
    """The plainest profile: the binary and its arguments, exit code 0 is graceful."""

    name = NAME
    health_path = "/health"
    exit_zero = ExitZero.GRACEFUL
    patterns: tuple[Pattern, ...] = ()

    def command(self, *, context: CommandContext) -> Command:
        """The binary and its arguments, nothing added."""
        return Command((context.binary, *context.args))

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:
        """None, however many GPUs."""
        del ratios
        return ()
