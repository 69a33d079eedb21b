"""A restart waits for memory of its devices."""

from __future__ import annotations

import asyncio

import pytest

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_memory import LOOK, shortage, until_enough
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Device
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import Record, Trouble
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.testing.memory import MemoryGpuProbe
from tests.worlds import a_host, a_spec, virtually

GIB = 2**30


def device(index: int, free: int) -> Device:
    return Device(index, f"GPU-{index}", "a GPU", 80 * GIB, free)


def a_host_with(probe: MemoryGpuProbe, records: list[Record] | None = None) -> Host:
    host = a_host([records.append] if records is not None else [])
    host.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    return host


def spec(needs: int | None = 10 * GIB, mask: str | None = None) -> PoolSpec:
    return a_spec(engine={"device_memory": needs}, gpu_probe="memory", device_mask=mask)


@virtually
async def test_it_waits_until_there_is_enough() -> None:
    """B-SUPER-x2: device out-of-memory waits for memory, and says for how much."""
    probe, seen = MemoryGpuProbe([device(0, GIB)]), list[str]()
    host = a_host_with(probe)
    began = host.clock()
    waiting = asyncio.ensure_future(until_enough(spec(), host, seen.append))
    await asyncio.sleep(20)
    assert not waiting.done()
    assert seen[0] == f"device 0 has {GIB} of {10 * GIB} bytes free"
    probe.show(devices=[device(0, 10 * GIB)])
    await waiting
    assert host.clock() - began <= 20 + LOOK


@virtually
async def test_only_its_own_devices_matter() -> None:
    """What is not in the mask may be as full as it likes."""
    probe = MemoryGpuProbe([device(0, GIB), device(1, 20 * GIB)])
    await until_enough(spec(mask="1"), a_host_with(probe), lambda _: None)


@pytest.mark.parametrize("needs", [None, 10 * GIB])
@virtually
async def test_where_nothing_is_known_nothing_is_waited_for(needs: int | None) -> None:
    """No need declared, or no device seen."""
    await until_enough(spec(needs), a_host_with(MemoryGpuProbe()), lambda _: None)


@virtually
async def test_a_shortage_says_where_and_by_how_much() -> None:
    """B-RELOAD-x2: at once, as it is now; of the pool's own devices only."""
    host = a_host_with(MemoryGpuProbe([device(0, 7 * GIB), device(1, 20 * GIB)]))
    cause = await shortage(spec(mask="0"), host, 10 * GIB)
    assert cause is not None
    assert cause.message == f"device 0 has {7 * GIB} bytes free, {3 * GIB} too few of {10 * GIB}"
    assert cause.stage is Stage.PREFLIGHT
    assert "strategy" in cause.remedy
    assert await shortage(spec(mask="1"), host, 10 * GIB) is None
    assert await shortage(spec(), host, 7 * GIB) is None


@pytest.mark.parametrize("needs", [None, 10 * GIB])
@virtually
async def test_where_nothing_is_known_nothing_is_short(needs: int | None) -> None:
    """No need known, or no device seen, or a probe that fails."""
    probe = MemoryGpuProbe()
    assert await shortage(spec(), a_host_with(probe), needs) is None
    probe.fail(Cause(FailureClass.UNKNOWN, Stage.PREFLIGHT, "the driver hangs"))
    assert await shortage(spec(), a_host_with(probe), needs) is None


@virtually
async def test_a_probe_that_fails_is_trouble_and_no_reason_to_wait() -> None:
    """The start will tell."""
    probe, records = MemoryGpuProbe([device(0, 0)]), list[Record]()
    probe.fail(Cause(FailureClass.UNKNOWN, Stage.PREFLIGHT, "the driver hangs"))
    await until_enough(spec(), a_host_with(probe, records), lambda _: None)
    (trouble,) = records
    assert isinstance(trouble, Trouble)
    assert "the driver hangs" in trouble.what
