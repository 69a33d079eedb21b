"""A pool holds its devices while it starts there, and not a moment longer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.testing.memory import EngineScript, MemoryGpuProbe
from tests.worlds import WORKS, a_spec, a_world, virtually

GIB = 2**30
UUID = "GPU-a"
ON_IT: dict[str, Any] = {"gpu_probe": "memory", "device_mask": "0"}


class SlowProbe(MemoryGpuProbe):
    """Takes a while to say who has memory, and does not hear that nobody wants to know any more."""

    def __init__(self) -> None:
        super().__init__([Device(0, UUID, "a GPU", 80 * GIB, 80 * GIB)])
        self.takes = 0.0

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """None, in its own time."""
        until = asyncio.get_running_loop().time() + self.takes
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return ()


@virtually
async def test_a_start_that_works_gives_them_back() -> None:
    """B-GPU-x3: as soon as it is ready the next one may start there."""
    async with a_world(EngineScript(ready_after=5.0), WORKS, gpus=SlowProbe(), **ON_IT) as world:
        start = await world.began(world.pool.start())
        await world.pool.reached("starting")
        turns = world.pool.host.gpus.turns
        assert turns.holders([UUID]) == ("chat",)
        await start
        assert turns.holders([UUID]) == ()


@pytest.mark.parametrize("after", [0.5, 1.0, 1.5, 2.0, 2.5])
@virtually
async def test_a_start_that_is_called_off_gives_them_back(after: float) -> None:
    """V4: at whatever moment, also where the probe goes on for a while: nobody else waits for ever."""
    async with a_world(WORKS, WORKS, gpus=(probe := SlowProbe()), **ON_IT) as world:
        other = await world.manager.add(a_spec("embed", **ON_IT))
        probe.takes = 1.0
        start = await world.began(world.pool.start())
        await asyncio.sleep(after)
        await world.pool.stop()
        await asyncio.wait((start,))
        probe.takes = 0.0
        await asyncio.wait_for(other.start(), 100)
        assert world.pool.host.gpus.turns.holders([UUID]) == ()
