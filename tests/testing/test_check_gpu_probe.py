"""The conformance check for GPU probes finds each broken promise, and passes a probe without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.check_gpu_probe import check_gpu_probe
from pool_lifecycle.testing.memory import MemoryGpuProbe

FIRST = Device(0, "GPU-a", "Test", memory_total=100, memory_free=50)
SECOND = evolve(FIRST, index=1, uuid="GPU-b")
INSTANCE = evolve(SECOND, uuid="MIG-c", parent="GPU-b")
PROCESS = DeviceProcess("GPU-b", pid=7, memory_used=50)


class Scripted:
    """Shows what it is given, of whatever type."""

    def __init__(
        self, devices: Any = (FIRST, SECOND), processes: Any = (PROCESS,), faults: Any = None
    ) -> None:
        self.shown: dict[str, Any] = {"devices": devices, "processes": processes, "faults": faults}

    async def devices(self) -> tuple[Device, ...]:
        shown: tuple[Device, ...] = self.shown["devices"]
        return shown

    async def processes(self) -> tuple[DeviceProcess, ...]:
        shown: tuple[DeviceProcess, ...] = self.shown["processes"]
        return shown

    async def faults(self) -> tuple[DeviceFault, ...]:
        shown: tuple[DeviceFault, ...] | None = self.shown["faults"]
        if shown is None:
            await asyncio.sleep(1e6)
            return ()
        return shown


class Stays(Scripted):
    async def faults(self) -> tuple[DeviceFault, ...]:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            return ()
        return ()


class Hangs(Scripted):
    async def devices(self) -> tuple[Device, ...]:
        await asyncio.sleep(1e6)
        return ()


class Forgets(Scripted):
    async def devices(self) -> tuple[Device, ...]:
        devices = await super().devices()
        self.shown["devices"] = devices[:1]
        return devices


def test_a_sound_probe_passes() -> None:
    """No promise is asked for that a plain probe does not keep."""
    virtual_time.run(check_gpu_probe(lambda: Scripted(faults=(DeviceFault("GPU-a", 79, "lost"),))))


def test_a_probe_of_instances_passes() -> None:
    """Instances have the index of the GPU that they are cut from, and follow it."""
    virtual_time.run(check_gpu_probe(lambda: Scripted(devices=(FIRST, SECOND, INSTANCE))))


def test_the_memory_probe_passes() -> None:
    """The memory driver keeps the promises of the real ones, in virtual time."""
    virtual_time.run(check_gpu_probe(lambda: MemoryGpuProbe([SECOND, FIRST], [PROCESS])))


@pytest.mark.parametrize(
    ("probe", "promise"),
    [
        (object(), "has the methods"),
        (Hangs(), "never hangs"),
        (Forgets(), "from call to call"),
        (Scripted(devices=[FIRST, SECOND]), "returns tuples"),
        (Scripted(faults=("Xid 79",)), "faults are DeviceFault"),
        (Scripted(faults=()), "waits for faults"),
        (Stays(), "can be cancelled"),
        (Scripted(devices=(SECOND, FIRST)), "by index"),
        (Scripted(devices=(FIRST, evolve(FIRST, index=1)), processes=()), "uuid of its own"),
        (Scripted(devices=(evolve(FIRST, uuid=""),), processes=()), "has a uuid"),
        (Scripted(devices=(FIRST, INSTANCE, SECOND)), "follows its GPU"),
        (Scripted(devices=(INSTANCE, FIRST, SECOND)), "follows its GPU"),
        (Scripted(devices=(FIRST, SECOND, evolve(INSTANCE, index=2))), "has its index"),
        (Scripted(devices=(FIRST, evolve(SECOND, memory_free=101))), "free memory"),
        (Scripted(devices=(FIRST, evolve(SECOND, unwell="GPU is lost"))), "unwell has no memory"),
        (Scripted(processes=(evolve(PROCESS, pid=0),)), "has a pid"),
        (Scripted(processes=(evolve(PROCESS, memory_used=-1),)), "not negative"),
        (Scripted(processes=(evolve(PROCESS, uuid="GPU-c"),)), "known device"),
    ],
)
def test_a_broken_promise_is_named(probe: Any, promise: str) -> None:
    """Each broken promise is told in its own sentence."""
    with pytest.raises(AssertionError, match=promise):
        virtual_time.run(check_gpu_probe(lambda: probe))
