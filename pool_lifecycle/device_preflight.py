"""What can be known beforehand to keep an engine from running on its GPUs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_memory import Model, never_fits
from pool_lifecycle.errors import DriverError
from pool_lifecycle.gpus import Look
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import DriverTelling
from pool_lifecycle.placement.masks import resolve
from pool_lifecycle.placement.versions import parse_cuda, version_warning
from pool_lifecycle.spec import NO_PROBE, PoolSpec
from pool_lifecycle.wording import plural

TOOLS = ("nvcc", "nvidia-smi")
"""Programs that are there where CUDA is."""


def cuda_available(look: Look | None = None) -> bool:
    """Whether one of CUDA's tools is on the PATH, as that is now, or a probe has seen a device."""
    return any(map(shutil.which, TOOLS)) or (look is not None and bool(look.devices))


def assert_gpu_only(look: Look | None = None, *, why: str = "no GPU was seen") -> None:
    """Raise DriverError unless CUDA is available: there is no falling back to the CPU."""
    if not cuda_available(look):
        raise DriverError("gpu", no_gpu(why))


def no_gpu(why: str) -> Cause:
    """Why a pool that has to run on a GPU cannot."""
    what = f"GPU-only enforcement: {'/'.join(TOOLS)} not found, and {why}"
    help_ = "install the GPU's driver, or set gpu_only = false for a pool that runs on the CPU on purpose"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, heals=False, remedy=help_)


async def device_causes(spec: PoolSpec, host: Host, model: Model) -> tuple[Cause, ...]:
    """Everything known to keep an engine with this model from running on the pool's devices."""
    look, why = None, "no pool looks for one"
    if spec.probe != NO_PROBE:
        try:
            look, why = await host.gpus.look(spec.probe), "no GPU was seen"
        except DriverError as error:
            why = error.cause.message
            host.trouble(spec.pool_id, f"its devices cannot be looked at: {why}")
    if spec.on_gpus and not cuda_available(look):
        return (no_gpu(why),)
    if look is None:
        return ()
    await _compare_versions(spec, host)
    # Each of these can only be asked where there is nothing to say of the one before.
    for wrong in (_misnamed(spec, host, look), _missplit(spec, look), _unwell(spec, look)):
        if causes := tuple(wrong):
            return causes
    return tuple(never_fits(spec, host, look, model))


def _misnamed(spec: PoolSpec, host: Host, look: Look) -> Iterator[Cause]:
    """A device that was seen before may come back; one that never was is a mistake."""
    if spec.device_mask is None:
        return
    heals = host.gpus.has_seen(spec.devices)
    help_ = "correct device_mask" if not heals else "see what has become of the device"
    for defect in resolve(spec.device_mask, look.devices).defects:
        what = f"device_mask = {spec.device_mask!r}: {defect}"
        yield Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, heals=heals, remedy=help_)


def _missplit(spec: PoolSpec, look: Look) -> Iterator[Cause]:
    shares, there = len(spec.engine.split), len(look.of(spec))
    if shares and shares != there:
        what = f"engine.split has {plural(shares, 'share')} for {plural(there, 'device')}"
        help_ = "name the devices in device_mask, and one share for each of them"
        yield Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, heals=False, remedy=help_)


def _unwell(spec: PoolSpec, look: Look) -> Iterator[Cause]:
    for one in look.of(spec) if spec.device_mask is not None else ():
        if one.unwell:
            what = f"device {one.index} ({one.uuid}) cannot be used: {one.unwell}"
            help_ = "reset the device, or start the host anew"
            yield Cause(FailureClass.DEVICE_LOST, Stage.PREFLIGHT, what, remedy=help_)


async def _compare_versions(spec: PoolSpec, host: Host) -> None:
    """Tell of a driver that is too old for the engine; whether that matters, the start will show."""
    probe = host.gpus.probe(spec.probe)
    if spec.engine.cuda is None or not isinstance(probe, DriverTelling):
        return
    try:
        versions = await probe.versions()
    except DriverError:
        return
    if warning := version_warning(versions, parse_cuda(spec.engine.cuda)):
        host.trouble(spec.pool_id, warning)
