"""A host without GPUs, or one whose GPUs are nobody's business."""

from __future__ import annotations

import asyncio

from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess


class NoGpuProbe:
    """Sees no GPU. Pools that ask for one are refused at preflight; all others run."""

    async def devices(self) -> tuple[Device, ...]:
        """None."""
        return ()

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """None."""
        return ()

    async def faults(self) -> tuple[DeviceFault, ...]:
        """None, ever."""
        await asyncio.get_running_loop().create_future()
        return ()
