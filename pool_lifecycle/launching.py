"""Between a pool and its drivers: everything that has to do with one launch of its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from attrs import define, evolve, frozen

from pool_lifecycle import handoff, logtail, probing, verdict
from pool_lifecycle.causes import LOST, Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import Event, Exited, Launched, Target
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Engine,
    EngineLauncher,
    EngineProfile,
    ExitZero,
    LaunchRequest,
    ProbeTarget,
    StagedModel,
)
from pool_lifecycle.records import DriverMisbehaved, EngineEnded
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.spec import PoolSpec

PROBE_GAP = 0.010
"""At least this many seconds between the begins of two probes, however much an engine logs."""

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
"""Where an engine is reached that listens on every address."""


@frozen
class Launch:
    """What is remembered of one launch: the request, when it was, where in the log it begins (bytes)."""

    request: LaunchRequest
    at: float
    log_offset: int


@define(eq=False)
class Launching:
    """One pool's way to its drivers. `engines` are the running ones by launch token, shared with the pool."""

    spec: PoolSpec
    host: Host
    engines: dict[str, Engine]
    tell: Callable[[Event], None]
    _staged: dict[Target, StagedModel] | None = None
    _launches: dict[str, Launch] | None = None
    _tasks: dict[str, asyncio.Task[Engine]] | None = None
    _background: set[asyncio.Task[None]] | None = None
    _port: int | None = None

    # --- before the launch -----------------------------------------------------------------------------

    async def preflight(self, target: Target) -> tuple[Cause, ...]:
        """Everything known beforehand to make the launch fail."""
        self._port = await self._choose_port()
        instance = Instance(0, "preflight", target)
        return await self._launcher.preflight(request=self._request(instance, self._port))

    def place(self, target: Target, staged: StagedModel) -> None:
        """Remember where the model of a target is."""
        self._staged = {**(self._staged or {}), target: staged}

    async def _choose_port(self) -> int:
        engine = self.spec.engine
        return engine.port or await self._launcher.reserve_port(host=engine.host)

    # --- the launch ------------------------------------------------------------------------------------

    async def launch(self, instance: Instance) -> Engine:
        """Launch the engine of `instance`. Cancelling the caller does not cancel it: see `settled`."""
        task = self.host.loop.create_task(self._launch(instance), name=f"launch {instance.token}")
        self._tasks = {**(self._tasks or {}), instance.token: task}
        task.add_done_callback(lambda _: self._forget_task(instance.token))
        return await asyncio.shield(task)

    async def settled(self, instance: Instance) -> None:
        """Return once no launch of `instance` is under way any more."""
        task = (self._tasks or {}).get(instance.token)
        if task is not None:
            await asyncio.wait((task,))

    def _forget_task(self, token: str) -> None:
        task = (self._tasks or {}).pop(token)
        if not task.cancelled():
            task.exception()  # whoever waited was told; with nobody waiting it concerns nobody

    async def _launch(self, instance: Instance) -> Engine:
        port, self._port = self._port or await self._choose_port(), None
        request = self._request(instance, port)
        launch = Launch(request, self.host.loop.time(), logtail.size(request.log_path))
        self._launches = {**(self._launches or {}), instance.token: launch}
        engine = await self._launcher.launch(request=request)
        self.engines[instance.token] = engine
        self._keep(self._watch(instance, engine))
        self.tell(Launched(instance.token, engine.handle))
        return engine

    async def _watch(self, instance: Instance, engine: Engine) -> None:
        """Tell the pool when the engine has ended, from its launch on, whatever state the pool is in."""
        try:
            status = await engine.wait()
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not hide an ending
            self._misbehaved(f"waiting for generation {instance.generation} raised {error!r}")
            status = LOST
        cause = self.verdict(instance, status, Stage.RUN)
        now, at = self.host.loop.time(), self._launched_at(instance)
        self.host.observe(EngineEnded(self.spec.pool_id, now, instance.generation, now - at, cause))
        graceful = self.spec.engine.exit_zero or self._profile.exit_zero
        self.tell(Exited(instance.token, status, cause, graceful == ExitZero.GRACEFUL))
        (self._launches or {}).pop(instance.token, None)

    def verdict(self, instance: Instance, status: ExitStatus, stage: Stage) -> Cause:
        """Why the engine of `instance` ended with `status`."""
        launch = (self._launches or {}).get(instance.token)
        lines = logtail.last_lines(launch.request.log_path, since=launch.log_offset) if launch else ()
        lived = self.host.loop.time() - self._launched_at(instance)
        return verdict.ending(status, stage=stage, lived=lived, lines=lines, patterns=self._profile.patterns)

    def _launched_at(self, instance: Instance) -> float:
        launch = (self._launches or {}).get(instance.token)
        return launch.at if launch else self.host.loop.time()

    # --- readiness -------------------------------------------------------------------------------------

    async def until_healthy(
        self, engine: Engine, grew: asyncio.Event, see: Callable[[str], None], *, path: str | None = None
    ) -> None:
        """Probe until the answer is healthy: often at first, then less, and at once when output grew."""
        probe = self.host.drivers.health_probe(self.spec.health.probe)
        target = self._target(engine, path)
        loop = self.host.loop
        launched = loop.time()
        while True:
            grew.clear()
            began = loop.time()
            health = await probe.check(target=target, timeout=self.spec.health.timeout)
            if health.ok:
                return
            see(f"{target.path}: {health.detail}")
            await _either(grew, probing.interval(loop.time() - launched))
            await asyncio.sleep(max(0.0, PROBE_GAP - (loop.time() - began)))

    async def impostor(self, instance: Instance, engine: Engine) -> Cause | None:
        """Why the healthy answer cannot have come from our own engine; None when it did."""
        if engine.handle.port in (await engine.inspect()).listening:
            return None
        request = self._request(instance, engine.handle.port)
        causes = await self._launcher.preflight(request=request)
        held = next((one for one in causes if one.kind is FailureClass.PORT_IN_USE), None)
        if held is None:
            return None
        message = f"the healthy answer did not come from our engine: {held.message}"
        return evolve(held, stage=Stage.HEALTH, message=message)

    async def warm_up(self, engine: Engine, grew: asyncio.Event, see: Callable[[str], None]) -> None:
        """Make the first request for the users, if one is configured."""
        if self.spec.health.warm_up is not None:
            see("warming up")
            await self.until_healthy(engine, grew, see, path=self.spec.health.warm_up)

    def _target(self, engine: Engine, path: str | None) -> ProbeTarget:
        health, handle = self.spec.health, engine.handle
        wanted = path or health.path or self._profile.health_path
        return ProbeTarget(reachable(handle.host), handle.port, wanted, health.command)

    # --- handing off -----------------------------------------------------------------------------------

    async def hand_off(self, instance: Instance, engine: Engine) -> None:
        """Write the handoff document. Raises StateDirError when it cannot be written."""
        staged = (self._staged or {}).get(instance.target)
        document = handoff.Handoff.of(
            self.spec, url=self.url(engine), model_path=staged.path if staged else None
        )
        await asyncio.to_thread(document.write, self._handoff_path)

    async def withdraw(self) -> None:
        """Take the handoff document away: nothing serves any more."""
        if self._handoff_path.exists():
            await asyncio.to_thread(handoff.remove, self._handoff_path)

    @property
    def _handoff_path(self) -> Path:
        return Path(self.host.paths.handoff(self.spec.pool_id))

    @staticmethod
    def url(engine: Engine) -> str:
        """Where the engine is reached."""
        host = reachable(engine.handle.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{engine.handle.port}"

    # --- the end ---------------------------------------------------------------------------------------

    def end_soon(self, engine: Engine, kill_after: float) -> None:
        """Begin to end an engine, or end it sooner; whoever needs to know stops it as well and waits."""
        self._keep(self._stop(engine, kill_after))

    async def _stop(self, engine: Engine, kill_after: float) -> None:
        try:
            await engine.stop(kill_after=kill_after)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end meets it again
            self._misbehaved(f"stopping raised {error!r}")

    def close(self) -> tuple[asyncio.Task[object], ...]:
        """Cancel what still watches engines that cannot be ended; the tasks, to be waited for."""
        tasks: tuple[asyncio.Task[object], ...] = (*(self._background or ()), *(self._tasks or {}).values())
        for task in tasks:
            task.cancel()
        return tasks

    # --- plumbing --------------------------------------------------------------------------------------

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = self.host.loop.create_task(work)
        self._background = self._background or set()
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _misbehaved(self, what: str) -> None:
        self.host.observe(DriverMisbehaved(self.spec.pool_id, self.host.loop.time(), what))

    @property
    def _launcher(self) -> EngineLauncher:
        return self.host.drivers.launcher(self.spec.launcher)

    @property
    def _profile(self) -> EngineProfile:
        return self.host.drivers.profile(self.spec.engine.profile)

    def _request(self, instance: Instance, port: int) -> LaunchRequest:
        spec, paths = self.spec, self.host.paths
        staged = (self._staged or {}).get(instance.target)
        context = CommandContext(
            binary=spec.engine.binary,
            args=spec.engine.args,
            host=spec.engine.host,
            port=port,
            slots=spec.slots,
            model_path=staged.path if staged else instance.target.model,
        )
        command = self._profile.command(context=context)
        return LaunchRequest(
            pool_id=spec.pool_id,
            generation=instance.generation,
            token=instance.token,
            command=Command(command.argv, (*command.env, *_mask(spec), *spec.engine.env)),
            host=spec.engine.host,
            port=port,
            log_path=paths.log(spec.pool_id),
            pid_path=paths.pid(spec.pool_id),
            cwd=spec.engine.cwd,
            env_passthrough=spec.engine.env_passthrough,
        )


def reachable(host: str) -> str:
    """The address at which an engine bound to `host` is reached from this machine."""
    return _ANYWHERE.get(host, host)


def _mask(spec: PoolSpec) -> tuple[tuple[str, str], ...]:
    """The engine sees its masked devices only, numbered as the driver's tools number them."""
    if spec.device_mask is None:
        return ()
    return (("CUDA_VISIBLE_DEVICES", spec.device_mask), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so many seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
