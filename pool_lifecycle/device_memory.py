"""Waits until the devices of a pool have the memory that its engine declares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Device
from pool_lifecycle.spec import PoolSpec

See = Callable[[str], None]
"""Told what is waited for."""

LOOK = 2.0
"""Seconds between two looks: memory comes back within seconds of a process's end."""


async def until_enough(spec: PoolSpec, host: Host, see: See) -> None:
    """Return once every device in the pool's mask has so much free, or nobody can know."""
    needed = spec.engine.device_memory
    while needed is not None:
        short = await _short(spec, host, needed)
        if short is None:
            return
        see(f"device {short.index} has {short.memory_free} of {needed} bytes free")
        await asyncio.sleep(LOOK)
        heed()


async def shortage(spec: PoolSpec, host: Host, needed: int | None) -> Cause | None:
    """Why an engine that needs so much on each of its devices does not fit there now; None if it does."""
    short = None if needed is None else await _short(spec, host, needed)
    if short is None or needed is None:
        return None
    what = f"device {short.index} has {short.memory_free} bytes free, {needed - short.memory_free} too few"
    help_ = "end something that uses the device, or use a strategy that needs no room for two engines"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, f"{what} of {needed}", remedy=help_)


async def _short(spec: PoolSpec, host: Host, needed: int) -> Device | None:
    """A device with too little."""
    try:
        seen = await host.drivers.gpu_probe(spec.gpu_probe).devices()
    except DriverError as error:
        host.trouble(spec.pool_id, f"its devices cannot be looked at: {error.cause.message}")
        return None
    mine = [one for one in seen if not spec.devices or _names(one) & spec.devices]
    return next((one for one in mine if one.memory_free < needed), None)


def _names(device: Device) -> frozenset[str]:
    return frozenset({str(device.index), device.uuid.lower()})
