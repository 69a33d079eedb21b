"""Between a pool and its drivers: everything that has to do with one launch of its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from pool_lifecycle import handoff, logtail
from pool_lifecycle.addressing import url_of
from pool_lifecycle.cancelling import only_ours
from pool_lifecycle.causes import LOST, Cause, ExitStatus, Stage
from pool_lifecycle.devices import cuda_visible
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
    StagedModel,
    StageProgress,
)
from pool_lifecycle.postmortem import Launch, judged
from pool_lifecycle.promises import expected
from pool_lifecycle.records import EngineEnded
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.spec import PoolSpec

T = TypeVar("T")


@define(eq=False)
class Launching:
    """One pool's way to its drivers. `engines` has every engine, by launch token, until it is forgotten."""

    spec: PoolSpec
    host: Host
    tell: Callable[[Event], None]
    engines: dict[str, Engine] = field(factory=dict, init=False)
    _staged: dict[Target, StagedModel] = field(factory=dict, init=False)
    _launches: dict[str, Launch] = field(factory=dict, init=False)
    _tasks: dict[str, asyncio.Task[Engine]] = field(factory=dict, init=False)
    _watches: dict[str, asyncio.Task[ExitStatus]] = field(factory=dict, init=False)
    _background: set[asyncio.Task[Any]] = field(factory=set, init=False)
    _port: int | None = field(default=None, init=False)

    # --- before the launch -----------------------------------------------------------------------------

    async def preflight(self, target: Target) -> tuple[Cause, ...]:
        """Everything known beforehand to make the launch fail."""
        self._port = await self._choose_port()
        instance = Instance(0, "preflight", target)
        causes = await self.launcher.preflight(request=self.request(instance, self._port))
        return tuple(expected(Cause, one, "preflight") for one in causes)

    async def stage(self, target: Target, progress: Callable[[StageProgress], None], *, keep: Target) -> None:
        """Put the model of a target in place. What is known of others but `keep` is forgotten."""
        reference = target.model or ""
        stager = self.host.drivers.stager(self.spec.stager)
        await stager.resolve(reference=reference)
        staged = await stager.stage(reference=reference, progress=progress)
        kept = {known: place for known, place in self._staged.items() if known == keep}
        self._staged = {**kept, target: expected(StagedModel, staged, "stage")}

    async def _choose_port(self) -> int:
        engine = self.spec.engine
        return engine.port or await self.launcher.reserve_port(host=engine.host)

    # --- the launch ------------------------------------------------------------------------------------

    async def launch(self, instance: Instance) -> Engine:
        """Launch the engine of `instance`. Cancelling the caller does not cancel it: see `settled`."""
        task = self.host.loop.create_task(self._launch(instance), name=f"launch {instance.token}")
        self._tasks[instance.token] = task
        task.add_done_callback(lambda _: self._forget_task(instance.token))
        return await asyncio.shield(task)

    async def settled(self, instance: Instance) -> None:
        """Return once no launch of `instance` is under way any more."""
        task = self._tasks.get(instance.token)
        if task is not None:
            await asyncio.wait((task,))

    def forget(self, instance: Instance) -> None:
        """Nothing is left of it."""
        self.engines.pop(instance.token, None)
        self._launches.pop(instance.token, None)
        self._watches.pop(instance.token, None)

    def _forget_task(self, token: str) -> None:
        task = self._tasks.pop(token)
        if not task.cancelled():
            task.exception()  # whoever waited was told; with nobody waiting it concerns nobody

    async def _launch(self, instance: Instance) -> Engine:
        port, self._port = self._port or await self._choose_port(), None
        request = self.request(instance, port)
        launch = Launch(request, self.host.loop.time(), logtail.size(request.log_path))
        self._launches[instance.token] = launch
        launched = await self.launcher.launch(request=request)
        engine = expected(Engine, launched, "launch")  # type: ignore[type-abstract]
        self.engines[instance.token] = engine
        self._watches[instance.token] = self.keep(self._watch(instance, launch, engine))
        self.tell(Launched(instance.token, engine.handle))
        return engine

    def watch(self, instance: Instance) -> asyncio.Task[ExitStatus]:
        """Done, with how, as soon as the engine of `instance` has ended and the pool has been told."""
        return self._watches[instance.token]

    async def _watch(self, instance: Instance, launch: Launch, engine: Engine) -> ExitStatus:
        """Tell the pool when the engine has ended, from its launch on, whatever state the pool is in."""
        try:
            with only_ours():
                status = expected(ExitStatus, await engine.wait(), "wait")
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not hide an ending
            self.misbehaved(f"waiting for generation {instance.generation} failed: {error!r}")
            status = LOST
        cause = self._verdict(launch, status, Stage.RUN)
        now = self.host.loop.time()
        self.host.observe(EngineEnded(self.spec.pool_id, now, instance.generation, now - launch.at, cause))
        graceful = self.spec.engine.exit_zero or self.profile.exit_zero
        self.tell(Exited(instance.token, status, cause, graceful == ExitZero.GRACEFUL))
        return status

    def verdict(self, instance: Instance, status: ExitStatus) -> Cause:
        """Why the engine of `instance` ended with `status` before it was ready."""
        return self._verdict(self._launches[instance.token], status, Stage.HEALTH)

    def _verdict(self, launch: Launch, status: ExitStatus, stage: Stage) -> Cause:
        return judged(launch, status, stage, now=self.host.loop.time(), profile=self.profile)

    # --- handing off -----------------------------------------------------------------------------------

    async def hand_off(self, instance: Instance, engine: Engine) -> None:
        """Write the handoff document. Raises StateDirError when it cannot be written."""
        staged = self._staged.get(instance.target)
        document = handoff.Handoff.of(
            self.spec, url=url_of(engine.handle), model_path=staged.path if staged else None
        )
        await _in_thread(partial(document.write, self._handoff_path))

    def withdraw(self) -> None:
        """Take the handoff document away: nothing serves any more. No end of an engine waits for this."""
        try:
            handoff.remove(self._handoff_path)
        except OSError as error:
            what = f"its handoff file {self._handoff_path} could not be removed: {error.strerror}"
            self.host.trouble(self.spec.pool_id, what)

    @property
    def _handoff_path(self) -> Path:
        return Path(self.host.paths.handoff(self.spec.pool_id))

    # --- the end ---------------------------------------------------------------------------------------

    async def stop(self, instance: Instance, kill_after: float) -> bool:
        """End the engine of `instance`, if there is one; False when the driver failed at it."""
        engine = self.engines.get(instance.token)
        try:
            if engine is not None:
                with only_ours():
                    await engine.stop(kill_after=kill_after)
        except Exception as error:  # noqa: BLE001 - an engine has to be ended, whatever its driver does
            self.misbehaved(f"stopping generation {instance.generation} failed: {error!r}")
            return False
        return True

    def end_soon(self, instance: Instance, kill_after: float) -> None:
        """Begin to end an engine, or end it sooner; whoever needs to know stops it as well and waits."""
        if instance.token in self.engines:
            self.keep(self.stop(instance, kill_after))

    async def kill(self, *, within: float) -> None:
        """Kill what runs, and wait at most so many seconds until nothing is left of it."""
        ending = [asyncio.ensure_future(engine.stop(kill_after=0.0)) for engine in self.engines.values()]
        if ending:
            await asyncio.wait(ending, timeout=within)

    @property
    def tasks(self) -> tuple[asyncio.Task[Any], ...]:
        """Everything under way here."""
        return (*self._background, *self._tasks.values())

    # --- plumbing --------------------------------------------------------------------------------------

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in the background, until the pool is closed."""
        task = self.host.loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def misbehaved(self, what: str) -> None:
        """Report a driver that broke a promise."""
        self.host.misbehaved(self.spec.pool_id, what)

    @property
    def launcher(self) -> EngineLauncher:
        """The pool's launcher."""
        return self.host.drivers.launcher(self.spec.launcher)

    @property
    def profile(self) -> EngineProfile:
        """The pool's engine profile."""
        return self.host.drivers.profile(self.spec.engine.profile)

    def request(self, instance: Instance, port: int) -> LaunchRequest:
        """What a launch of `instance` on `port` asks of the launcher."""
        spec, paths = self.spec, self.host.paths
        staged = self._staged.get(instance.target)
        context = CommandContext(
            binary=spec.engine.binary,
            args=spec.engine.args,
            host=spec.engine.host,
            port=port,
            slots=spec.slots,
            model_path=staged.path if staged else instance.target.model,
        )
        command = self.profile.command(context=context)
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
            memory=spec.engine.memory,
        )


def _mask(spec: PoolSpec) -> tuple[tuple[str, str], ...]:
    """The engine sees its masked devices only, numbered as the driver's tools number them."""
    if spec.device_mask is None:
        return ()
    return (("CUDA_VISIBLE_DEVICES", cuda_visible(spec.device_mask)), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))


async def _in_thread(work: Callable[[], object]) -> None:
    """Do it in a thread. A thread cannot be cancelled: who is cancelled meanwhile goes when it has ended."""
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait((doing,))
        raise
