"""Lets a pool start on its devices: when its turn has come there, and their memory suffices.

The memory that is counted on is what is free, less a reserve. Starts on one device happen one at a time, so
that each sees what the one before it has taken; a pool that changes its model keeps its devices until that is
over, so that the old engine still fits should the new one fail. After an end the memory that was taken has to
come back, before anybody else counts on it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.gpus import LOOK, Look
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Device, ModelInfo, StagedModel
from pool_lifecycle.lifecycle import LIFECYCLE, Activity
from pool_lifecycle.placement.admission import Wanted, shortfall
from pool_lifecycle.placement.split import TooBig, split
from pool_lifecycle.requests import needs
from pool_lifecycle.spec import PoolSpec

See = Callable[[str], None]
"""Told what is waited for."""

Model = StagedModel | ModelInfo | None

HOLDING = frozenset(
    state
    for state, one in LIFECYCLE.states.items()
    if one.activity in (Activity.STAGE, Activity.LAUNCH) or state.startswith("reloading.")
)
"""The states in which a pool may hold its devices: it starts there, or may have to start its old engine."""

NOTHING: Mapping[str, int] = {}

FIRST_LOOK = 0.1
"""Seconds until it is looked again whether memory has come back; twice as long each time, up to `LOOK`."""

IN_TIME = 0.5
"""Seconds before the end of its state in which what is left on a device is told, and kept from others."""


@frozen
class Fit:
    """How an engine is spread over its devices, if it has to be; and what keeps it from fitting there."""

    ratios: tuple[float, ...] = ()
    short: str = ""


def fit(spec: PoolSpec, host: Host, look: Look, model: Model, own: Mapping[str, int] = NOTHING) -> Fit:
    """Whether the engine fits on its devices with this model. What is its `own` there, in bytes, is free."""
    wish, (_, each) = spec.engine.split, needs(spec, model)
    if each is None:
        return Fit(wish)
    devices = [_freed(one, own) for one in look.of(spec)]
    if not wish:
        return Fit(short=_short(host, look, devices, [each] * len(devices)))
    if len(devices) != len(wish):
        return Fit(wish, f"its model is split over {len(wish)} devices, of which {len(devices)} are there")
    room = [max(0, one.memory_free - host.gpus.policy.reserve) for one in devices]
    plan = split(each * len(devices), room, wish)
    if isinstance(plan, TooBig):
        return Fit(wish, str(plan))
    if not _can_be_told(spec, host, plan.ratios):  # an engine that knows equal shares only
        return Fit(wish, _short(host, look, devices, [math.ceil(each * len(devices) * one) for one in wish]))
    return Fit(plan.ratios, _short(host, look, devices, plan.shares))


def _can_be_told(spec: PoolSpec, host: Host, ratios: tuple[float, ...]) -> bool:
    try:
        host.drivers.profile(spec.engine.profile).split_flags(ratios=ratios)
    except DriverError:
        return False
    return True


def _freed(device: Device, own: Mapping[str, int]) -> Device:
    freed = device.memory_free + own.get(device.uuid, 0)
    return evolve(device, memory_free=min(device.memory_total, freed))


def _short(host: Host, look: Look, devices: Sequence[Device], shares: Sequence[int]) -> str:
    """What is missing; empty when nothing is."""
    wanted = [Wanted(one, share) for one, share in zip(devices, shares, strict=True)]
    gpus = host.gpus
    short = shortfall(wanted, look.processes, reserve=gpus.policy.reserve, pool_of=gpus.pool_of)
    return "" if short is None else str(short)


async def shortage(spec: PoolSpec, host: Host, model: Model) -> Cause | None:
    """Why an engine does not fit on its devices beside what is there; None if it does, or nobody knows."""
    look = await host.gpus.seen(spec)
    short = "" if look is None else fit(spec, host, look, model).short
    help_ = "end something that uses the device, or use a strategy that needs no room for two engines"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, short, remedy=help_) if short else None


def never_fits(spec: PoolSpec, host: Host, look: Look, model: Model) -> Iterator[Cause]:
    """Why an engine would not fit on its devices even if nobody else were there."""
    empty = tuple(evolve(one, memory_free=one.memory_total) for one in look.devices if not one.unwell)
    if short := fit(spec, host, Look(empty), model).short:
        help_ = "give the pool devices with more memory, a smaller model, or more devices to split it over"
        yield Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, short, heals=False, remedy=help_)


async def until_enough(spec: PoolSpec, host: Host, see: See) -> None:
    """Return once every device in the pool's mask has so much free, or nobody can know."""
    while spec.engine.device_memory is not None:
        look = await host.gpus.seen(spec)
        short = "" if look is None else fit(spec, host, look, None).short
        if not short:
            return
        see(short)
        await asyncio.sleep(LOOK)
        heed()


async def admit(
    spec: PoolSpec, host: Host, model: Model, *, replaces: bool, see: See
) -> tuple[float, ...] | Cause:
    """Wait until the pool may start on its devices; how its model is spread over them, or why it may not.

    It holds them from then on. Where it `replaces` the pool's engine, that will have ended by then. Its turn
    is waited for as long as those before it take, which their limits bound; memory, `limits.memory_wait`.
    """
    if (look := await host.gpus.seen(spec)) is None or not (devices := look.of(spec)):
        return spec.engine.split
    await _turn(spec, host, [one.uuid for one in devices], see)
    look = await host.gpus.seen(spec) or look
    until = host.clock() + spec.limits.memory_wait
    while (found := fit(spec, host, look, model, _own(spec, host, look) if replaces else NOTHING)).short:
        if host.clock() >= until:
            host.gpus.turns.give_back(spec.pool_id)
            help_ = "end what uses the memory, or give the pool devices with more of it"
            return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, found.short, remedy=help_)
        see(f"waiting for memory: {found.short}")
        await asyncio.sleep(LOOK)
        heed()
        look = await host.gpus.seen(spec) or look
    return found.ratios


def _own(spec: PoolSpec, host: Host, look: Look) -> dict[str, int]:
    return host.gpus.held_by(spec.pool_id, look)


async def _turn(spec: PoolSpec, host: Host, devices: Collection[str], see: See) -> None:
    """Hold these devices, after those who asked before; told now and then that they are waited for."""
    turn = asyncio.ensure_future(host.gpus.turns.take(spec.pool_id, devices))
    try:
        while not turn.done():
            await asyncio.wait((turn,), timeout=LOOK)
            heed()
            if not turn.done():
                others = ", ".join(host.gpus.turns.holders(devices, but=spec.pool_id))
                see(f"waiting for its devices, on which it comes after: {others}")
    finally:
        turn.cancel()
    turn.result()


async def reclaimed(spec: PoolSpec, host: Host, token: str, *, deadline: float | None, see: See) -> None:
    """Wait until a launch whose processes are gone has given back its devices' memory.

    What is not back after `limits.reclaim`, or before the `deadline` of the state, is told, and nobody starts
    on these devices until it is.
    """
    until, pause = host.clock() + spec.limits.reclaim, FIRST_LOOK
    if deadline is not None:
        until = min(until, deadline - IN_TIME)
    while left := await host.gpus.left_of(spec, token):
        what = "; ".join(map(str, left))
        if host.clock() >= until:
            host.trouble(spec.pool_id, f"memory has not come back, and its devices are kept from all: {what}")
            host.gpus.reserve(spec, token, left)
            return
        see(f"waiting for memory to come back: {what}")
        await asyncio.sleep(min(pause, max(0.0, until - host.clock())))
        heed()
        pause = min(2 * pause, LOOK)
    host.gpus.forget(token)
