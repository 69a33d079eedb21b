"""The work that lasts as long as a state: stage, launch, drain, end, retire, back off.

An activity begins when its state is entered and is cancelled when it is left. It returns exactly one outcome,
which the pool turns into its next step. What it learns about processes on the way it tells as facts.
Which state has which activity is said in the table; why an activity works on one model or the other it
reads from the snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Protocol

from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_memory import admit, reclaimed, until_enough
from pool_lifecycle.errors import DriverError, PoolLifecycleError, StoreError
from pool_lifecycle.events import (
    Cleared,
    Drained,
    Due,
    Event,
    Failed,
    Gone,
    Healthy,
    Outcome,
    Postponed,
    Progressed,
    Staged,
    Target,
)
from pool_lifecycle.guards import permit
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Engine
from pool_lifecycle.launching import Launching
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import Activity, PoolState
from pool_lifecycle.notes import patience
from pool_lifecycle.readiness import Readiness
from pool_lifecycle.snapshot import Instance, Snapshot
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.transfer import Transfer
from pool_lifecycle.waits import Awaits


class Subject(Protocol):
    """What an activity sees of its pool."""

    spec: PoolSpec
    host: Host
    book: LeaseBook

    @property
    def launching(self) -> Launching:
        """Its way to the drivers."""

    @property
    def snapshot(self) -> Snapshot:
        """As it is now."""

    def spec_of(self, target: Target) -> PoolSpec:
        """What an engine for this target is launched from."""

    def tell(self, event: Event) -> None:
        """Take a step."""

    def see(self, observed: str, stage: Stage = Stage.HEALTH) -> None:
        """Note what was last seen of the work, for people and for the cause of a time-out.

        `stage` is how far an engine that starts has come.
        """


Runner = Callable[[Subject, int], Awaitable[Outcome]]


async def stage(pool: Subject, epoch: int) -> Outcome:
    """Look whether the launch can work at all, then put the model in place.

    Whether two engines fit is known for sure only when the model is here.
    """
    target, launching = _target(pool.snapshot), pool.launching
    ahead = bool(pool.snapshot.engines)
    if cause := await _hindrance(pool, launching.preflight_ahead if ahead else launching.preflight):
        return Failed(epoch=epoch, cause=cause)
    if target.model is not None:
        pool.see(f"staging {target.model}")
        await launching.stage(target, partial(_staging, pool, epoch), keep=pool.snapshot.target)
    if pool.snapshot.state is PoolState.SURGING_STAGING and (
        cause := await _hindrance(pool, launching.preflight_beside)
    ):
        return Failed(epoch=epoch, cause=cause)
    if cause := await _admission(pool, epoch, target):
        return Failed(epoch=epoch, cause=cause)
    return Staged(epoch)


async def _admission(pool: Subject, epoch: int, target: Target) -> Cause | None:
    """Why the engine may not start on its devices. It comes last, so that it counts what will be there.

    What the pool's own engine holds is free by then, unless the two are to serve beside each other.
    """

    def see(what: str) -> None:
        pool.see(what)
        _progressed(pool, epoch)

    host, spec = pool.host, pool.spec_of(target)
    replaces, model = pool.snapshot.state is not PoolState.SURGING_STAGING, pool.launching.model_of(target)
    try:
        with during(Stage.PREFLIGHT):
            admitted = await admit(spec, host, model, replaces=replaces, see=see)
    finally:
        if pool.snapshot.epoch != epoch:  # its state was left meanwhile: nobody else would give them back
            host.gpus.turns.give_back(spec.pool_id)
    if isinstance(admitted, Cause):
        return admitted
    pool.launching.spread(target, admitted)
    return None


async def _hindrance(
    pool: Subject, preflight: Callable[[Target], Awaitable[tuple[Cause, ...]]]
) -> Cause | None:
    """Why the launch cannot work: what does not heal comes first."""
    pool.see("checking whether the engine can be launched")
    with during(Stage.PREFLIGHT):
        causes = await preflight(_target(pool.snapshot))
    return min(causes, key=lambda cause: cause.heals, default=None)


def _target(snapshot: Snapshot) -> Target:
    return snapshot.target if snapshot.plan is None else snapshot.plan.target


def _staging(pool: Subject, epoch: int, transfer: Transfer) -> None:
    if pool.snapshot.epoch == epoch:
        pool.see(f"staging: {transfer}")
        _progressed(pool, epoch)


def _progressed(pool: Subject, epoch: int) -> None:
    """Tell that the work gets on, if that gives it more time."""
    snapshot = pool.snapshot
    wanted = pool.host.loop.time() + patience(snapshot)
    if snapshot.epoch == epoch and snapshot.deadline is not None and snapshot.deadline < wanted:
        pool.tell(Progressed(epoch))


async def launch(pool: Subject, epoch: int) -> Outcome:
    """Start the engine and wait until its own process tree answers that it is ready, or has ended."""
    instance = pool.snapshot.newest
    assert instance is not None  # made by the step that entered this state
    with during(Stage.LAUNCH):
        engine = await pool.launching.launch(instance)
    ready = asyncio.ensure_future(_until_ready(pool, epoch, instance, engine))
    ended = pool.launching.watch(instance)
    try:
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            return ready.result()
        return Failed(epoch=epoch, cause=pool.launching.verdict(instance))
    finally:
        await _cancelled(ready)


async def _until_ready(pool: Subject, epoch: int, instance: Instance, engine: Engine) -> Outcome:
    grew, look = asyncio.Event(), Readiness(pool.launching)
    follower = asyncio.ensure_future(_follow_output(pool, epoch, engine, grew))
    owner = asyncio.ensure_future(look.until_port_held(engine))
    try:
        await look.until_healthy(engine, grew, pool.see)
        proven = owner.done() and owner.exception() is None
    finally:
        await _cancelled(follower, owner)
    impostor = None if proven else await look.impostor(instance, engine)
    if impostor is not None:
        return Failed(epoch=epoch, cause=impostor)
    with during(Stage.WARM_UP):
        await look.warm_up(engine, grew, partial(pool.see, stage=Stage.WARM_UP))
    heed()
    await pool.host.gpus.know(pool.spec, instance.token, engine)
    pool.see("writing the handoff document", stage=Stage.HANDOFF)
    with during(Stage.HANDOFF):
        await pool.launching.hand_off(instance, engine)
    return Healthy(epoch)


async def _follow_output(pool: Subject, epoch: int, engine: Engine, grew: asyncio.Event) -> None:
    """Engine output is a reason to look again at once, and a sign of progress."""
    written = 0
    try:
        while True:
            written = await engine.output(after=written)
            heed()
            grew.set()
            _progressed(pool, epoch)
            await asyncio.sleep(FLOOD_GAP)
    except Exception as error:  # noqa: BLE001 - readiness can be found without it
        pool.launching.misbehaved(f"following the engine's output failed: {error!r}")


FLOOD_GAP = 0.010
"""Seconds between two looks at output that never stops."""


async def drain(pool: Subject, epoch: int) -> Outcome:
    """Wait for the last lease on any engine; end a spare as soon as it has none, or has no more time."""
    snapshot = pool.snapshot
    await asyncio.gather(
        _no_lease(pool, snapshot.serving or 0), *(_spare_drained(pool, spare) for spare in snapshot.spares)
    )
    return Drained(epoch)


async def _spare_drained(pool: Subject, spare: Instance) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_patience(pool, spare)):
            await _finished(pool, spare)
    pool.launching.end_soon(spare, min(pool.spec.limits.stop_grace, _grace(pool, spare)))
    await _finished(pool, spare)


def _patience(pool: Subject, spare: Instance) -> float:
    """Seconds until it is asked to end, so that it can do so before it is killed."""
    return max(0.0, (spare.kill_at or 0.0) - pool.spec.limits.stop_grace - pool.host.loop.time())


async def _finished(pool: Subject, spare: Instance) -> None:
    """Returns when nobody works on the spare any more: its last lease ended, or the engine itself."""
    empty = asyncio.ensure_future(_no_lease(pool, spare.generation))
    try:
        await asyncio.wait((empty, *pool.launching.watched(spare)), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(empty)


async def _no_lease(pool: Subject, generation: int) -> None:
    """Returns as soon as the last lease of the generation ended, on whichever thread that was."""
    loop = pool.host.loop
    empty = asyncio.Event()
    forget = pool.book.when_empty(generation, partial(loop.call_soon_threadsafe, empty.set))
    try:
        await empty.wait()
    finally:
        forget()


async def end(pool: Subject, epoch: int) -> Outcome:
    """End every engine and wait until nothing is left of any."""
    pool.launching.withdraw()
    match pool.snapshot.engines:
        case (one,):
            await _end_one(pool, one)  # as nearly always: it needs no task of its own
        case several:
            await asyncio.gather(*(_end_one(pool, one) for one in several))
    return Gone(epoch)


async def _end_one(pool: Subject, instance: Instance) -> None:
    """End one engine, however often its driver fails at it; the limit of the state is not its concern."""
    await pool.launching.settled(instance)
    pool.see(f"ending generation {instance.generation}")
    await _until_gone(pool, instance)


async def clear(pool: Subject, instance: Instance) -> None:
    """Go on ending what could not be killed, beside whatever the pool does by now."""
    await pool.launching.settled(instance)
    await _until_gone(pool, instance)
    pool.tell(Cleared(instance.token))


async def _until_gone(pool: Subject, instance: Instance) -> None:
    pause = STOP_AGAIN
    while not await pool.launching.stop(instance, _grace(pool, instance)):
        heed()
        await asyncio.sleep(pause)
        pause = min(2 * pause, STOP_AGAIN_AT_MOST)
    deadline = pool.snapshot.deadline
    await reclaimed(pool.spec, pool.host, instance.token, deadline=deadline, see=pool.see)
    pool.launching.forget(instance)


STOP_AGAIN, STOP_AGAIN_AT_MOST = 1.0, 60.0
"""Seconds until a stop that failed is tried again: at first, and at most after doubling."""


def _grace(pool: Subject, instance: Instance) -> float:
    """Seconds until it is killed, as things stand now: while we waited that may have moved earlier."""
    now = pool.host.loop.time()
    times = (one.kill_at for one in pool.snapshot.engines if one.token == instance.token)
    kill_at = next(times, instance.kill_at)
    return pool.spec.limits.stop_grace if kill_at is None else max(0.0, kill_at - now)


async def retire(pool: Subject, epoch: int) -> Outcome:
    """Let the spare's leases finish while there is time, then end it.

    What serves is handed off first, if there is time: that may have been the new one, before it failed.
    """
    handing = pool.launching.keep(hand_back(pool))
    for spare in pool.snapshot.spares:
        try:
            async with asyncio.timeout(_patience(pool, spare)):
                await asyncio.wait((handing,), timeout=HANDING_TAKES)
                await _finished(pool, spare)
        except TimeoutError:
            pool.see(f"generation {spare.generation} still had leases at its deadline")
        await _end_one(pool, spare)
    await asyncio.wait((handing,), timeout=HANDING_TAKES)
    return Gone(epoch)


HANDING_TAKES = 5.0
"""Seconds that a spare waits for the handoff document of what serves, before it is ended all the same."""


async def hand_back(pool: Subject) -> None:
    """What serves is handed off, if it is not; where that fails, all else goes on all the same."""
    server = pool.snapshot.server
    try:
        async with asyncio.timeout(HANDING_TAKES):
            if server is not None:
                await pool.launching.hand_back(server)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises
        pool.host.trouble(pool.spec.pool_id, f"what serves could not be handed off: {error!r}")


async def back_off(pool: Subject, epoch: int) -> Outcome:
    """Wait for the delay and the window, then for devices' memory, then for the pool's turn on the host."""
    host, pool_id, cause = pool.host, pool.spec.pool_id, pool.snapshot.cause
    has_turn = pool.snapshot.awaits is Awaits.TURN  # given to it under an earlier manager
    await _until(pool.snapshot.not_before or 0.0, host)
    if cause is not None and pool.snapshot.rules.treatment(cause.kind).awaits_memory:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pool.spec.limits.memory_wait):
                await until_enough(pool.spec, host, pool.see)
    if has_turn or not permit(pool.snapshot):
        return Due(epoch)  # where somebody else has the trial, no turn is to be wasted
    turn = host.turn(pool_id)
    if turn > host.clock():
        pool.tell(Postponed(epoch, until=turn))
        await _until(turn, host)
    host.turns.used(pool_id)
    return Due(epoch)


async def _until(when: float, host: Host) -> None:
    if (wait := when - host.clock()) > 0:
        await asyncio.sleep(wait)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, wait for it, and let no error of it be complained about later."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def during(stage_: Stage) -> Iterator[None]:
    """Whatever is raised within is a failure of this stage."""
    try:
        yield
    except Exception as error:
        raise DriverError("driver", failure(error, stage_)) from error


def failure(error: BaseException, stage_: Stage) -> Cause:
    """The cause of an exception that came out of an activity. Only our own errors are as they should be."""
    if isinstance(error, DriverError):
        return error.cause
    if isinstance(error, PoolLifecycleError):
        kind = FailureClass.PREFLIGHT if isinstance(error, StoreError) else FailureClass.UNKNOWN
        return Cause(kind, stage_, error.what, remedy=error.remedy)
    message = f"a driver raised {type(error).__name__}: {error}"
    return Cause(FailureClass.UNKNOWN, stage_, message, remedy="report this to the driver's author")


RUNNERS: dict[Activity, Runner] = {
    Activity.STAGE: stage,
    Activity.LAUNCH: launch,
    Activity.DRAIN: drain,
    Activity.END: end,
    Activity.RETIRE: retire,
    Activity.BACK_OFF: back_off,
    Activity.LINGER: end,
}
"""Who does what. `WATCH` has no entry: an engine's end is watched from its launch on, its health from when it
serves, whatever the state."""

STAGE_OF: dict[Activity, Stage] = {
    Activity.STAGE: Stage.STAGING,
    Activity.LAUNCH: Stage.HEALTH,
    Activity.DRAIN: Stage.DRAIN,
    Activity.END: Stage.STOP,
    Activity.RETIRE: Stage.STOP,
    Activity.BACK_OFF: Stage.RUN,
    Activity.LINGER: Stage.STOP,
}
"""Which part of an engine's life an activity's failure belongs to."""
