"""The probe for hosts without GPUs."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.check_gpu_probe import check_gpu_probe
from pool_lifecycle_drivers.gpu_none import NoGpuProbe


def test_it_sees_nothing() -> None:
    """No device, no process, no fault."""

    async def program() -> tuple[object, ...]:
        probe = NoGpuProbe()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(probe.faults(), 1000)
        return await probe.devices(), await probe.processes()

    assert virtual_time.run(program()) == ((), ())


def test_it_keeps_the_promises_of_a_gpu_probe() -> None:
    """The public conformance check."""
    virtual_time.run(check_gpu_probe(NoGpuProbe))
