"""What every GPU probe promises, as one check.

    await check_gpu_probe(MyProbe)

Raises AssertionError with a sentence naming the broken promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess, GpuProbe

Seen = TypeVar("Seen")


async def check_gpu_probe(make: Callable[[], GpuProbe], *, within: float = 10.0) -> None:
    """Check a probe made by `make`, on a host whose GPUs work. No call may take longer than `within` s."""
    probe = make()
    assert isinstance(probe, GpuProbe), "a GPU probe has the methods devices, processes and faults"
    devices = await _tuple_of(Device, probe.devices(), within)
    processes = await _tuple_of(DeviceProcess, probe.processes(), within)
    _sound_devices(devices)
    _sound_processes(processes, {device.uuid for device in devices})
    await _faults(probe)
    again, _ = await asyncio.gather(probe.devices(), probe.processes())
    assert _names(again) == _names(devices), "devices keep their indices and names from call to call"


async def _faults(probe: GpuProbe) -> None:
    """Nothing may be reported now; who stops waiting harms nobody."""
    waiting = asyncio.ensure_future(probe.faults())
    await asyncio.wait((waiting,), timeout=AT_ONCE)
    if not waiting.done():
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled(), "waiting for faults can be cancelled"
        return
    faults = waiting.result()
    assert faults, "a GPU probe waits for faults, and does not return without one"
    assert all(isinstance(one, DeviceFault) for one in faults), (
        f"faults are DeviceFault, unlike in {faults!r}"
    )


AT_ONCE = 0.1
"""Seconds within which a fault that was there already is told."""


async def _tuple_of(kind: type[Seen], call: Coroutine[Any, Any, object], within: float) -> tuple[Seen, ...]:
    try:
        seen = await asyncio.wait_for(call, within)
    except TimeoutError as error:
        raise AssertionError(f"a GPU probe never hangs: no {kind.__name__} within {within:g} s") from error
    assert isinstance(seen, tuple), f"a GPU probe returns tuples of {kind.__name__}, not {seen!r}"
    assert all(isinstance(one, kind) for one in seen), (
        f"every element is a {kind.__name__}, unlike in {seen!r}"
    )
    return seen


def _names(devices: tuple[Device, ...]) -> list[tuple[int, str, str]]:
    return [(device.index, device.uuid, device.name) for device in devices]


def _sound_devices(devices: tuple[Device, ...]) -> None:
    indices = [device.index for device in devices if device.parent is None]
    assert indices == sorted(set(indices)), f"devices come by index, each once, unlike {indices}"
    _sound_instances(devices)
    uuids = [device.uuid for device in devices]
    assert "" not in uuids, "each device has a uuid"
    assert len(set(uuids)) == len(uuids), f"each device has a uuid of its own, unlike {uuids}"
    for device in devices:
        assert 0 <= device.memory_free <= device.memory_total, (
            f"free memory is between 0 and the total, unlike in {device}"
        )
        assert not device.unwell or device.memory_total == 0, (
            f"a device that is unwell has no memory, unlike {device}"
        )


def _sound_instances(devices: tuple[Device, ...]) -> None:
    gpu: tuple[str, int] | None = None
    for device in devices:
        if device.parent is None:
            gpu = device.uuid, device.index
        assert gpu == (device.parent or device.uuid, device.index), (
            f"an instance follows its GPU and has its index, unlike {device}"
        )


def _sound_processes(processes: tuple[DeviceProcess, ...], uuids: set[str]) -> None:
    for process in processes:
        assert process.pid > 0, f"a process has a pid, unlike {process}"
        assert process.memory_used is None or process.memory_used >= 0, (
            f"memory in use is not negative, unlike in {process}"
        )
        assert process.uuid in uuids, f"a process is on a known device, unlike {process}"
