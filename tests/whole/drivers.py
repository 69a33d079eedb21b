"""The drivers of one manager's life on the simulated host. They keep every promise unless a fault is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from attrs import define

from pool_lifecycle.causes import LOST, Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Device,
    DeviceFault,
    DeviceProcess,
    EngineHandle,
    Health,
    Inspection,
    LaunchRequest,
    ModelInfo,
    Pattern,
    ProbeTarget,
    StagedModel,
    StageProgress,
    StopReport,
)
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.testing.memory import MemoryProfile
from tests.whole.devices import DEVICES, EACH
from tests.whole.processes import Process

if TYPE_CHECKING:
    from tests.whole.life import Life

NAME = "simulation"

SAYS = {
    FailureClass.CUDA: "simulated failure: cuda",
    FailureClass.DEVICE_OUT_OF_MEMORY: "simulated failure: device out of memory",
    FailureClass.BAD_CONFIG: "simulated failure: bad flag",
}
"""Last words by which the profile tells a class."""


class Profile(MemoryProfile):
    """Knows the last words of simulated engines. The model is the last argument."""

    patterns = tuple(
        Pattern(text, kind, heals=kind is not FailureClass.BAD_CONFIG) for kind, text in SAYS.items()
    )

    def command(self, *, context: CommandContext) -> Command:
        """The binary, its arguments, and the model."""
        plain = super().command(context=context)
        return Command((*plain.argv, context.model_path or ""), plain.env)


@define(eq=False)
class Engine:
    """A process as its manager has it. `adopted`: an earlier manager launched it."""

    life: Life
    process: Process
    adopted: bool = False
    _kill_at: float | None = None

    @property
    def handle(self) -> EngineHandle:
        """Which process it is, for all time."""
        one = self.process
        asked = one.request
        ticks = one.start_ticks
        return EngineHandle(NAME, asked.token, asked.host, asked.port, one.pid, one.boot_id, ticks)

    async def wait(self) -> ExitStatus:
        """Until its leader has ended."""
        return await self.life.call("wait", self.process.pool_id, self._wait)

    async def _wait(self) -> ExitStatus:
        while self.process.leads:
            await self.process.change()
        return LOST if self.adopted and not self.life.world.plan.reads_status else self.process.status

    async def stop(self, *, kill_after: float) -> StopReport:
        """Until nothing is left of its tree."""
        return await self.life.call("stop", self.process.pool_id, lambda: self._stop(kill_after))

    async def _stop(self, kill_after: float) -> StopReport:
        process, loop = self.process, self.life.loop
        if process.lives:
            if self._kill_at is None:
                process.term()
            await self.life.ready("term after")
            at = loop.time() + kill_after
            if self._kill_at is None or at < self._kill_at:
                self._kill_at = at
                loop.call_at(at, self._kill)
        while process.lives:
            await process.change()
        exit_ = await self._wait()
        return StopReport(exit_, killed=process.kill_at is not None, ended=(process.pid,))

    def _kill(self) -> None:
        if self.process.lives and not self.life.over:
            self.process.kill()

    async def inspect(self) -> Inspection:
        """A look at its tree."""
        return await self.life.call("inspect", self.process.pool_id, self._inspect)

    async def _inspect(self) -> Inspection:
        one = self.process
        pids = (one.pid,) if one.lives else ()
        return Inspection(one.leads, pids, (one.request.port,) if one.listening else (), containment=NAME)

    async def output(self, *, after: int) -> int:
        """It never writes more than its last words."""
        await self.life.call("output", self.process.pool_id, self._silence)
        return after

    async def _silence(self) -> None:
        await self.life.loop.create_future()


@define(eq=False)
class Launcher:
    """Launches processes on the simulated host, and finds them again by proven identity."""

    life: Life

    async def reserve_port(self, *, host: str) -> int:
        """A free one."""
        return await self.life.call("reserve_port", "", self._port)

    async def _port(self) -> int:
        return self.life.world.host.free_port()

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """Whether somebody holds its port."""
        return await self.life.call("preflight", request.pool_id, lambda: self._preflight(request))

    async def _preflight(self, request: LaunchRequest) -> tuple[Cause, ...]:
        return self._port_taken(request.port)

    def _port_taken(self, port: int) -> tuple[Cause, ...]:
        host = self.life.world.host
        holder = host.holder(port)
        if holder is None and not host.usurped(port):
            return ()
        who = "a stranger" if holder is None else f"pid {holder.pid}"
        return (Cause(FailureClass.PORT_IN_USE, Stage.LAUNCH, f"port {port} is held by {who}"),)

    async def launch(self, *, request: LaunchRequest) -> Engine:
        """Fork; nothing is left behind if it fails, or is cancelled."""
        self.life.listener.begun[request.token] = self.life.loop.time()
        return await self.life.call("launch", request.pool_id, lambda: self._launch(request))

    async def _launch(self, request: LaunchRequest) -> Engine:
        world = self.life.world
        nature = world.nature_of(request)
        await self._dawdle(request.pool_id)
        causes = (nature.launch_error,) if nature.launch_error else self._port_taken(request.port)
        if causes:
            raise DriverError(NAME, causes[0])
        process = world.host.fork(request, nature)
        try:
            await self.life.ready("fork after")
            await self._dawdle(request.pool_id)
        except asyncio.CancelledError:
            process.release()
            process.kill()
            raise
        return Engine(self.life, process)

    async def _dawdle(self, pool_id: str) -> None:
        await asyncio.sleep(self.life.world.dawdle(pool_id))

    async def recover(self, *, handle: EngineHandle) -> Engine | None:
        """By token, pid, boot and start time, as far as they are known."""
        process = self.life.world.host.by_token(handle.token)
        pool_id = process.pool_id if process is not None else ""
        return await self.life.call("recover", pool_id, lambda: self._recover(process, handle))

    async def _recover(self, process: Process | None, handle: EngineHandle) -> Engine | None:
        await self._dawdle(process.pool_id if process else "")
        if process is None or not process.lives:
            return None
        is_he = (process.boot_id, process.start_ticks, process.pid)
        if handle.pid is not None and (handle.boot_id, handle.start_ticks, handle.pid) != is_he:
            return None
        return Engine(self.life, process, adopted=True)


@define(eq=False)
class Probe:
    """Asks whoever answers on a port, our engine or a stranger."""

    life: Life

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """One look."""
        process = self.life.world.host.holder(target.port)
        pool_id = process.pool_id if process is not None else ""
        return await self.life.call("check", pool_id, lambda: self._check(target.port, pool_id, timeout))

    async def _check(self, port: int, pool_id: str, timeout: float) -> Health:  # noqa: ASYNC109
        host, began = self.life.world.host, self.life.loop.time()
        await asyncio.sleep(min(self.life.world.dawdle(pool_id), timeout))
        process = host.holder(port)
        if host.usurped(port):
            return Health(ok=True, detail="a stranger says ok")
        if process is None or not process.listening:
            return Health(ok=False, detail="connection refused")
        if process.ill:
            return Health(ok=False, detail="it says that it is ill")
        if not process.answers:
            await asyncio.sleep(timeout)
            return Health(ok=False, detail="no answer", silent=True)
        process.answered.append((began, host.now))
        return Health(ok=True, detail="ok")


@define(eq=False)
class Stager:
    """Every model can be had; the first time that takes a while. What is staged outlives managers."""

    life: Life

    async def resolve(self, *, reference: str) -> ModelInfo:
        """A name."""
        return await self.life.call("resolve", _pool_of(reference), lambda: self._resolve(reference))

    async def _resolve(self, reference: str) -> ModelInfo:
        return ModelInfo(reference, reference)

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """In some steps."""
        return await self.life.call("stage", _pool_of(reference), lambda: self._stage(reference, progress))

    async def _stage(self, reference: str, progress: Callable[[StageProgress], None]) -> StagedModel:
        staged = self.life.world.staged
        if reference not in staged:
            takes = self.life.world.dawdle(_pool_of(reference), (0.0, 0.5, 3.0))
            for step in (1, 2, 3):
                await asyncio.sleep(takes / 3)
                progress(StageProgress(step, 3))
            staged.add(reference)
        return StagedModel(reference, path_of(reference), 3)

    async def evict(self, *, model: StagedModel) -> bool:
        """Gone."""
        self.life.world.staged.discard(model.reference)
        return True


def path_of(reference: str) -> str:
    """Where a model lies once it is staged."""
    return f"/models/{reference.rpartition('/')[2]}"


def _pool_of(reference: str) -> str:
    """Models are named after the pool that has them: `file:/p0/a`."""
    return reference.removeprefix("file:/").partition("/")[0]


@define(eq=False)
class Gpus:
    """Two devices, whose memory every process holds until it is gone, and perhaps a while longer."""

    life: Life

    async def devices(self) -> tuple[Device, ...]:
        """As they are."""
        return await self.life.call("devices", "", self._devices)

    async def _devices(self) -> tuple[Device, ...]:
        world = self.life.world
        return world.devices.seen(EACH * sum(one.holds_memory for one in world.host.processes))

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """Those that live; what one has kept that is gone belongs to nobody."""
        return await self.life.call("processes", "", self._processes)

    async def _processes(self) -> tuple[DeviceProcess, ...]:
        living = (one for one in self.life.world.host.processes if one.gone_at is None)
        return tuple(DeviceProcess(uuid, one.pid, EACH) for one in living for uuid in DEVICES)

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Whatever a device reports, once."""
        life = self.life
        while not (news := life.listener.news(life.loop.time())):  # noqa: ASYNC110 - whoever adds some knows no loop
            await asyncio.sleep(1)
        return news


def drivers_of(life: Life) -> Drivers:
    """All of them, for one life."""
    return Drivers(
        {
            Interface.LAUNCHER: {NAME: Launcher(life)},
            Interface.HEALTH_PROBE: {NAME: Probe(life)},
            Interface.MODEL_STAGER: {NAME: Stager(life)},
            Interface.ENGINE_PROFILE: {NAME: Profile()},
            Interface.GPU_PROBE: {NAME: Gpus(life)},
        }
    )


def private(seed: int, *what: object) -> Random:
    """A stream of chance of its own, whatever else is drawn."""
    return Random(f"{seed}/{'/'.join(map(str, what))}")
