"""Between a pool and its drivers: everything that has to do with one launch of its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from attrs import define, field

from pool_lifecycle import crash_logs, handoff, log_follower
from pool_lifecycle.addressing import url_of
from pool_lifecycle.awake import patiently
from pool_lifecycle.cancelling import heed, only_ours
from pool_lifecycle.causes import LOST, Cause, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.events import Exited, Launched, Target
from pool_lifecycle.handing_off import HandingOff, in_thread
from pool_lifecycle.interfaces import Engine, EngineProfile, ExitZero, StopReport
from pool_lifecycle.lifecycle import ENDS
from pool_lifecycle.own_words import Finding
from pool_lifecycle.postmortem import NOT_KEPT, Launch, judged
from pool_lifecycle.promises import SHOWN, expected, expected_status
from pool_lifecycle.provisions import Provisions
from pool_lifecycle.records import CrashLogKept, EngineEnded
from pool_lifecycle.recovery import PATIENCE, Found, Unsure, find, handle_of
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.spec import NO_PROBE, HealthSpec
from pool_lifecycle.verdict import FRESH, FailedCheck
from pool_lifecycle.wording import cut

T = TypeVar("T")

NOTHING = StopReport(LOST)
"""Of the end of what was not there."""

CALLED_OFF = Cause(FailureClass.UNKNOWN, Stage.LAUNCH, "the launch was called off before it began")
"""For whoever waits for a launch; nobody does any more."""

NEWS_TAKES = 1.0
"""Seconds within which the news of an ending comes, unless it is lost."""


@define(eq=False)
class Launching(Provisions):
    """One pool's way to its drivers: its launches, and all that comes before one.

    `engines` has every engine, by launch token, until it is forgotten. What a pool that serves has no use for
    is None then, as there may be ten thousand of them.
    """

    engines: dict[str, Engine] = field(factory=dict, init=False)
    _launches: dict[str, Launch] = field(factory=dict, init=False)
    _tasks: dict[str, asyncio.Task[Engine]] | None = field(default=None, init=False)
    _watches: dict[str, asyncio.Task[ExitStatus]] = field(factory=dict, init=False)
    _background: tuple[asyncio.Task[Any], ...] = field(default=(), init=False)
    _missed: str | None = field(default=None, init=False)
    _unsure: dict[str, Unsure] | None = field(default=None, init=False)
    _document: HandingOff | None = field(default=None, init=False)

    # --- the launch ------------------------------------------------------------------------------------

    async def launch(self, instance: Instance) -> Engine:
        """Launch the engine of `instance`, unless an earlier manager has: then that one is meant.

        Cancelling the caller does not cancel it: see `settled`. Raises DriverError when it has ended since,
        or when nobody knows.
        """
        if instance.token in self.engines:
            return self.engines[instance.token]
        if instance.token in self._watches:
            await asyncio.wait((self._watches[instance.token],))
            raise DriverError("recovery", self.verdict(instance))
        if (cause := self.unsure(instance)) is not None:
            raise DriverError("recovery", cause)
        task = self.host.loop.create_task(self._launch(instance), name=f"launch {instance.token}")
        self._tasks = {**(self._tasks or {}), instance.token: task}
        task.add_done_callback(lambda _: self._forget_task(instance.token))
        return await asyncio.shield(task)

    async def settled(self, instance: Instance) -> None:
        """Return once no launch of `instance` is under way any more."""
        task = (self._tasks or {}).get(instance.token)
        if task is not None:
            await asyncio.wait((task,))

    def forget(self, instance: Instance) -> None:
        """Nothing is left of it."""
        self.engines.pop(instance.token, None)
        self._launches.pop(instance.token, None)
        self._watches.pop(instance.token, None)
        self._sure(instance)

    def adopt(self, instance: Instance, found: Found) -> None:
        """Go on with what an earlier manager launched, or was about to: see `recovery.Found`."""
        if isinstance(found, Unsure):
            self._unsure = {**(self._unsure or {}), instance.token: found}
            self.host.trouble(self.spec.pool_id, f"generation {instance.generation}: {found.why}")
        elif found is not None or (instance.handle is not None and instance.exit is None):
            self._adopt(instance, found)

    def unsure(self, instance: Instance) -> Cause | None:
        """Why nobody knows whether the engine of `instance` lives; None when that is known."""
        known = (self._unsure or {}).get(instance.token)
        return None if known is None else _unsure(known)

    def _adopt(self, instance: Instance, engine: Engine | None) -> None:
        """What was launched: it lives, or has ended since, and nobody could see how."""
        handle = instance.handle or (engine.handle if engine is not None else None)
        assert handle is not None  # one of the two says who it is
        now, known = self.host.loop.time(), instance.handle is not None
        log = self.host.paths.log(self.spec.pool_id, aside=instance.aside)
        begin = instance.log_begin if known else log_follower.size(log)
        at = now if instance.launched_at is None else instance.launched_at
        if engine is not None:
            self.engines[instance.token] = engine
            if self.spec.probe != NO_PROBE:
                self.keep(self.host.gpus.know(self.spec, instance.token, engine))
        launch = Launch.of(self.request(instance, handle.port), at, self._profile(instance.target), begin)
        self._launches[instance.token] = launch
        if instance.exit is None:
            self._watches[instance.token] = self.keep(self._watch(instance, launch, engine))
        if not known:
            self.pool.tell(Launched(instance.token, handle, begin))

    def _is_called_off(self, instance: Instance) -> bool:
        """Whether it was to be launched, and is not any more: its devices may be others' by now, or ill."""
        engines = self.pool.snapshot.engines
        return not any(one.token == instance.token and one.kill_at is None for one in engines)

    def _forget_task(self, token: str) -> None:
        assert self._tasks is not None  # it was noted when it began
        task = self._tasks.pop(token)
        self._tasks = self._tasks or None
        if not task.cancelled():
            task.exception()  # whoever waited was told; with nobody waiting it concerns nobody

    async def _launch(self, instance: Instance) -> Engine:
        await self._put_in_place(instance.target)
        port, self._port = self._port or await self._choose_port(instance.target), None
        request = self.request(instance, port)
        launch = Launch.of(request, self.host.loop.time(), self._profile(instance.target))
        self._launches[instance.token] = launch
        await self.host.gpus.before(self.spec, instance.token)
        await self.host.kept(self.spec.pool_id)
        if self._is_called_off(instance):
            raise DriverError("launch", CALLED_OFF)
        launched = await self.launcher.launch(request=request)
        engine = expected(Engine, launched, "launch")  # type: ignore[type-abstract]
        self.engines[instance.token] = engine
        self.follow(instance)  # so that its file is held, wherever a rotation may take it
        self._watches[instance.token] = self.keep(self._watch(instance, launch, engine))
        self.pool.tell(Launched(instance.token, engine.handle, launch.log.begin))
        return engine

    def watch(self, instance: Instance) -> asyncio.Task[ExitStatus]:
        """Done, with how, as soon as the engine of `instance` has ended and the pool has been told."""
        return self._watches[instance.token]

    def watched(self, instance: Instance) -> tuple[asyncio.Task[ExitStatus], ...]:
        """The same where there is one: nobody can tell the end of what may never have begun."""
        watch = self._watches.get(instance.token)
        return () if watch is None else (watch,)

    async def _watch(self, instance: Instance, launch: Launch, engine: Engine | None) -> ExitStatus:
        """Tell the pool when the engine has ended, from its launch on, whatever state the pool is in."""
        try:
            with only_ours():
                status = LOST if engine is None else expected_status(await engine.wait(), "wait")
        except asyncio.CancelledError:
            if self._missed != instance.token:
                raise
            status = LOST
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not hide an ending
            self.misbehaved(f"waiting for generation {instance.generation} failed: {error!r}")
            status = LOST
        if engine is None and self.pool.snapshot.state in ENDS:
            launch.end_for(self.pool.snapshot)
        now, graceful, healthy = self.host.loop.time(), self._graceful(instance), self._was_healthy(instance)
        rebooted = self._rebooted(instance)
        cause = self._judged(instance, launch, status, healthy=healthy, graceful=graceful, rebooted=rebooted)
        launch.cause = cause
        self.host.observe(EngineEnded(self.spec.pool_id, now, instance.generation, now - launch.at, cause))
        self.pool.tell(Exited(instance.token, status, cause, graceful))
        self._keep_log(instance, launch, cause)
        return status

    def _graceful(self, instance: Instance) -> bool:
        """Whether exit code 0 of an engine means that it is done: not of one that has to prove itself yet."""
        snapshot = self.pool.snapshot
        if snapshot.unproven and instance.generation == snapshot.serving:
            return False
        declared = self.pool.spec_of(instance.target).engine.exit_zero
        try:
            return (declared or self._profile(instance.target).exit_zero) == ExitZero.GRACEFUL
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not hide an ending
            self.misbehaved(f"what exit code 0 means could not be asked for: {error!r}")
            return False

    async def miss(self, instance: Instance) -> None:
        """Its engine has ended: unless that is told in time, tell it with a lost status."""
        watch = self._watches[instance.token]
        await patiently((watch,), NEWS_TAKES)
        if not watch.done():
            self._missed = instance.token
            watch.cancel()
            await patiently((watch,), NEWS_TAKES)

    def _rebooted(self, instance: Instance) -> bool:
        """Whether it was launched before the host was started anew."""
        return instance.handle is not None and instance.handle.boot_id not in {None, self.host.boot.id}

    def _was_healthy(self, instance: Instance) -> bool:
        engines = self.pool.snapshot.engines
        return any(one.token == instance.token and one.healthy_at is not None for one in engines)

    # --- what it says, and why it ended ------------------------------------------------------------------

    def follow(self, instance: Instance) -> Finding | None:
        """Read what the engine of `instance` has written since the last look; the newest words known of it.

        Words of a healthy engine are a doubt, no more. Cheap where nothing is new; never raises.
        """
        launch = self._launches.get(instance.token)
        if launch is None:
            return None
        try:
            return launch.log.look(self.host.loop.time())
        except Exception as error:  # noqa: BLE001 - what a profile looks for may be nonsense
            if not launch.unread:
                self.misbehaved(f"the log of generation {instance.generation} cannot be read: {error!r}")
            launch.unread = True
            return None

    def verdict(self, instance: Instance) -> Cause:
        """Why the engine of `instance`, whose `watch` is done, ended."""
        cause = self._launches[instance.token].cause
        assert cause is not None  # it was judged before the watch was done
        return cause

    def unhealthy(self, instance: Instance, checks: tuple[FailedCheck, ...]) -> Cause:
        """Why the living engine of `instance` is taken for crashed after these failed checks in a row."""
        launch = self._launches[instance.token]
        cause = self._judged(instance, launch, None, checks=checks)
        self._keep_log(instance, launch, cause)
        return cause

    def _judged(self, instance: Instance, launch: Launch, status: ExitStatus | None, **more: Any) -> Cause:
        """Why it ended, or is to be ended. V3: an ending is told, also where nobody can say why."""
        try:
            faults = self.host.faults.since(self.spec, max(launch.at, self.host.clock() - FRESH))
            return judged(launch, status, now=self.host.loop.time(), faults=faults, **more)
        except Exception as error:  # noqa: BLE001 - whatever drivers have made the evidence of
            self.misbehaved(f"why generation {instance.generation} ended cannot be told: {error!r}")
            how = "was taken for crashed" if status is None else f"ended ({status})"
            said = f"the engine {how}; why cannot be told: {cut(repr(error), SHOWN)}"
            help_ = f"look at the engine's log, {launch.request.log_path}"
            return Cause(
                FailureClass.UNKNOWN, Stage.RUN, said, remedy=help_, exit=status, confidence=Confidence.GUESS
            )

    def _keep_log(self, instance: Instance, launch: Launch, cause: Cause) -> None:
        """Keep what a crashed engine wrote, but once; the pool does not wait for the disk."""
        if launch.kept or cause.kind in NOT_KEPT:
            return
        launch.kept = True
        if launch.log.begin >= launch.log.end:
            return  # it wrote nothing: what many engines take that crash at once, or before they begin
        if len(self.host.copies) >= crash_logs.WAITING:
            what = f"the log of generation {instance.generation}, which crashed, is not kept"
            self.host.trouble(self.spec.pool_id, f"{what}: {len(self.host.copies)} others wait for the disk")
            return
        folder, log = self.host.paths.crash_logs(self.spec.pool_id), launch.log
        copy = partial(crash_logs.keep, log, log.begin, log.end)
        generation = instance.generation
        task = self.keep(
            self._kept(generation, partial(copy, folder=folder, generation=generation, at=self.host.wall()))
        )
        self.host.copies.add(task)
        task.add_done_callback(self.host.copies.discard)

    async def _kept(self, generation: int, copy: Callable[[], str | None]) -> None:
        pool_id = self.spec.pool_id
        try:
            async with self.host.copying:
                path = await in_thread(copy)
        except OSError as error:
            what = f"the log of generation {generation}, which crashed, could not be kept: {error.strerror}"
            self.host.trouble(pool_id, what)
            return
        if path is not None:
            self.host.observe(CrashLogKept(pool_id, self.host.loop.time(), generation, path))

    # --- handing off -----------------------------------------------------------------------------------

    async def hand_off(self, instance: Instance, engine: Engine) -> None:
        """Write the handoff document, unless it is withdrawn meanwhile. Raises StateDirError.

        The model of an engine that an earlier manager launched is in place, but only its stager knows where.
        """
        wish = self.document.wish()
        await self._put_in_place(instance.target)
        staged, spec = self._staged.get(instance.target), self.pool.spec_of(instance.target)
        model_path = staged.path if staged else None
        document = handoff.Handoff.of(spec, url=url_of(engine.handle), model_path=model_path)
        await self.document.write(document, wish)

    async def hand_back(self, instance: Instance) -> None:
        """Write the handoff document of an engine that has gone on serving, unless it is that already."""
        engine = self.engines.get(instance.token)
        if engine is None or await self.document.url() == url_of(engine.handle):
            return
        heed()
        server = self.pool.snapshot.server  # looking took a thread: by now it may be about to end
        if server is not None and server.token == instance.token and self.pool.snapshot.state not in ENDS:
            await self.hand_off(instance, engine)

    def withdraw(self) -> None:
        """Take the handoff document away: nothing serves any more. No end of an engine waits for this."""
        try:
            self.document.withdraw()
        except OSError as error:
            what = f"its handoff file {self.document.path} could not be removed: {error.strerror}"
            self.host.trouble(self.spec.pool_id, what)

    @property
    def document(self) -> HandingOff:
        """Its handoff document."""
        self._document = self._document or HandingOff(self.host.paths.handoff(self.spec.pool_id))
        return self._document

    # --- the end ---------------------------------------------------------------------------------------

    async def stop(self, instance: Instance, kill_after: float, *, last: bool = True) -> bool:
        """End the engine of `instance`, if there is one; False when the driver failed at it.

        Whoever waits for it `last` tells what may have come of it and lives on, for people to look at.
        """
        try:
            report = await self._stop(instance, kill_after)
        except Exception as error:  # noqa: BLE001 - an engine has to be ended, whatever its driver does
            self.misbehaved(f"stopping generation {instance.generation} failed: {error!r}")
            return False
        if last and (suspects := getattr(report, "suspects", ())):
            pids = ", ".join(map(str, suspects))
            what = f"of generation {instance.generation} these processes may have come, and live on: {pids}"
            self.host.trouble(self.spec.pool_id, what)
        return report is not None

    async def _stop(self, instance: Instance, kill_after: float) -> object:
        """What its driver reports; None while nobody can say whether there is anything to be ended."""
        if self.unsure(instance) is not None and not await self._found(instance):
            return None
        engine, launch = self.engines.get(instance.token), self._launches.get(instance.token)
        if launch is not None:
            launch.end_for(self.pool.snapshot)
        if engine is None:
            return NOTHING
        with only_ours():
            report = await engine.stop(kill_after=kill_after)
        await self._told(instance)
        return report or NOTHING

    async def _told(self, instance: Instance) -> None:
        """How it ended is told before that nothing is left of it, unless its driver never tells."""
        watch = self._watches.get(instance.token)
        if watch is not None and not watch.done():
            await asyncio.wait((watch,), timeout=NEWS_TAKES)

    async def _found(self, instance: Instance) -> bool:
        """Look again for one that may live; False as long as nobody can say."""
        look = find(self.host.drivers, self.spec.launcher, handle_of(instance, self.spec.engine.host))
        try:
            async with asyncio.timeout(PATIENCE):
                found = await look
        except TimeoutError:
            return False
        if isinstance(found, Unsure):
            return False
        if self._sure(instance):  # else somebody else has found it meanwhile
            self.adopt(instance, found)
        return True

    def _sure(self, instance: Instance) -> bool:
        """It is known what has become of it; whether that is news."""
        news = self._unsure is not None and self._unsure.pop(instance.token, None) is not None
        self._unsure = self._unsure or None
        return news

    def end_soon(self, instance: Instance, kill_after: float) -> None:
        """Begin to end an engine, or end it sooner; whoever needs to know stops it as well and waits."""
        if instance.token in self.engines:
            self.keep(self.stop(instance, kill_after, last=False))

    def leave(self) -> None:
        """Record that what runs is ended because a manager has left."""
        for launch in self._launches.values():
            launch.leave()

    async def kill(self, *, within: float) -> None:
        """Kill what runs, and wait at most so many seconds until nothing is left of it."""
        self.leave()
        ending = [asyncio.ensure_future(engine.stop(kill_after=0.0)) for engine in self.engines.values()]
        if ending:
            await asyncio.wait(ending, timeout=within)

    @property
    def tasks(self) -> tuple[asyncio.Task[Any], ...]:
        """Everything under way here."""
        return (*self._background, *(self._tasks or {}).values())

    # --- plumbing --------------------------------------------------------------------------------------

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in the background, until the pool is closed."""
        task = self.host.loop.create_task(work)
        self._background = (*self._background, task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background = tuple(one for one in self._background if one is not task)

    def misbehaved(self, what: str) -> None:
        """Report a driver that broke a promise."""
        self.host.misbehaved(self.spec.pool_id, what)

    def profile_of(self, token: str) -> EngineProfile:
        """The profile of the engine launched as `token`."""
        return self._profile(self._target_of(token))

    def health_of(self, token: str | None) -> HealthSpec:
        """How the engine launched as `token` is asked whether it is healthy."""
        return self.pool.spec_of(self._target_of(token)).health

    def _target_of(self, token: str | None) -> Target:
        snapshot = self.pool.snapshot
        known = (one.target for one in (*snapshot.engines, *snapshot.quarantine) if one.token == token)
        return next(known, snapshot.target)


def _unsure(known: Unsure) -> Cause:
    remedy = "nothing is launched before it is known to be gone; look for it by hand"
    return Cause(
        FailureClass.UNKNOWN, Stage.LAUNCH, f"an engine of an earlier manager: {known.why}", remedy=remedy
    )
