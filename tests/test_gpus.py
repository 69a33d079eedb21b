"""What a GPU probe does wrong is an error like any other: nobody waits for it in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool_lifecycle.device_memory import reclaimed
from pool_lifecycle.device_records import DevicesSeen
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Device, DeviceFault
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import Record, Trouble
from pool_lifecycle.testing.memory import MemoryGpuProbe
from tests.worlds import WORKS, a_host, a_spec, a_world, virtually

A_DEVICE = Device(0, "GPU-a", "a GPU", 80 * 2**30, 80 * 2**30)


class BrokenProbe(MemoryGpuProbe):
    """As soon as it is broken, it answers what nobody expects, or raises what is its own."""

    def __init__(self, answer: object) -> None:
        super().__init__([A_DEVICE])
        self.answer, self.broken = answer, False

    async def devices(self) -> Any:
        """The devices, or the broken answer."""
        return self._broken() if self.broken else await super().devices()

    async def faults(self) -> Any:
        """The faults, or the broken answer."""
        return self._broken() if self.broken else await super().faults()

    def _broken(self) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


NONSENSE = (None, (None,), RuntimeError("its own"))


@pytest.mark.parametrize("answer", NONSENSE)
@virtually
async def test_whatever_a_probe_does_wrong_is_a_driver_s_error(answer: object) -> None:
    """FAULTS, drivers: nonsense, and errors of another type."""
    host, probe = a_host([]), BrokenProbe(answer)
    host.gpus.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    probe.broken = True
    with pytest.raises(DriverError, match="does not keep its promises"):
        await host.gpus.look("memory")


@pytest.mark.parametrize("answer", NONSENSE)
@virtually
async def test_nobody_waits_for_memory_that_a_broken_probe_cannot_tell(answer: object) -> None:
    """V2: an engine that has ended is gone all the same; it is told that nobody could look."""
    records, probe = list[Record](), BrokenProbe(answer)
    host = a_host([records.append])
    host.drivers = host.gpus.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    spec = a_spec("chat", engine={"device_memory": 10}, gpu_probe="memory")
    await host.gpus.before(spec, "token")
    probe.broken = True
    began = host.clock()
    await reclaimed(spec, host, "token", deadline=None, see=lambda _: None)
    assert host.clock() == began
    assert any(isinstance(one, Trouble) and "cannot be looked at" in one.what for one in records)


@pytest.mark.parametrize("answer", NONSENSE)
@virtually
async def test_faults_are_heard_of_after_a_probe_was_broken_for_a_while(answer: object) -> None:
    """B-GPU-x2: whoever listens, and looks regularly, goes on."""
    probe = BrokenProbe(answer)
    async with a_world(WORKS, WORKS, gpus=probe, gpu_probe="memory", device_mask="0") as world:
        probe.broken = True
        await asyncio.sleep(100)
        probe.broken = False
        await world.ready()
        seen = len(world.of(DevicesSeen))
        await asyncio.sleep(100)
        assert len(world.of(DevicesSeen)) > seen
        probe.report(DeviceFault("GPU-a", 79, ""))
        await world.pool.reached("failed")
