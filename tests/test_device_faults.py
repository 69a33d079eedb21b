"""A device at fault takes its pools down once, and then nobody starts on it until it has been seen to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.device_records import DeviceFaulted, DeviceReleased, DevicesSeen, DeviceWell
from pool_lifecycle.errors import DeviceNotQuarantined, StartFailed
from pool_lifecycle.interfaces import Device, DeviceFault, FaultKind
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.records import Trouble
from pool_lifecycle.testing.memory import EngineScript, MemoryGpuProbe
from tests.reborn import a_mortal_world, reborn
from tests.worlds import NEW, OLD, WORKS, World, a_spec, a_world, virtually

GIB = 2**30
A, B = "GPU-a", "GPU-b"
OFF_THE_BUS = DeviceFault(A, 79, "")
PAGE_FAULT = DeviceFault(A, 31, "")
LOST = DeviceFault(A, 0, "GPU is lost", FaultKind.LOST)
WELL = DeviceFault(A, 0, "it answers again", FaultKind.WELL)
ON_A: dict[str, Any] = {"gpu_probe": "memory", "device_mask": "0"}


def gpus() -> MemoryGpuProbe:
    """Two of them."""
    return MemoryGpuProbe(
        [Device(0, A, "a GPU", 80 * GIB, 80 * GIB), Device(1, B, "a GPU", 80 * GIB, 80 * GIB)]
    )


async def reported(world: World, probe: MemoryGpuProbe, *faults: DeviceFault) -> None:
    """The device reports these, and everybody has heard of it."""
    probe.report(*faults)
    await asyncio.sleep(0.01)


@virtually
async def test_a_fault_of_the_device_makes_its_pools_unready_and_keeps_them_off_it() -> None:
    """B-GPU-x2: the one on it at once, with that cause; the one beside it goes on."""
    async with a_world(WORKS, WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        other = await world.manager.add(a_spec("embed", gpu_probe="memory", device_mask="GPU1"))
        await other.start()
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")
        assert other.state == "ready"
        status = world.pool.status()
        assert not status.ready
        assert world.pool.snapshot.cause is not None
        assert world.pool.snapshot.cause.kind is FailureClass.DEVICE_LOST
        assert "Xid 79: GPU has fallen off the bus" in world.pool.explain()
        assert "in quarantine" in world.pool.explain()
        with pytest.raises(StartFailed, match="quarantine"):
            await world.pool.start()
        await asyncio.sleep(100_000)
        assert world.pool.state == "failed"
        assert len(world.launcher.launched) == 2
        (told,) = world.of(DeviceFaulted)
        assert (told.device, told.isolated, told.pools) == (f"0 ({A})", True, ("chat",))


@virtually
async def test_an_application_s_fault_is_evidence_and_no_more() -> None:
    """B-GPU-x2, B-SUPER-x1: it is told; if the engine dies of it, it is in the verdict."""
    async with a_world(
        EngineScript(exits_after=60.0, exit=ExitStatus(code=1)), WORKS, gpus=(probe := gpus()), **ON_A
    ) as world:
        await world.ready()
        await asyncio.sleep(55)
        await reported(world, probe, PAGE_FAULT)
        assert world.pool.state == "ready"
        (told,) = world.of(DeviceFaulted)
        assert not told.isolated
        await world.pool.reached("backing_off")
        cause = world.pool.snapshot.cause
        assert cause is not None
        assert any("Xid 31" in one for one in cause.evidence)
        await world.pool.reached("ready")


@virtually
async def test_a_device_that_was_lost_is_released_once_it_has_been_well_for_a_while() -> None:
    """B-GPU-x2, automatic release: and the pool that was on it starts by itself."""
    async with a_world(WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        probe.show(devices=[Device(0, A, "a GPU", 0, 0, unwell="GPU is lost")])
        await reported(world, probe, LOST)
        await world.pool.reached("failed")
        await asyncio.sleep(1000)
        assert world.pool.state == "failed"
        probe.show(devices=[Device(0, A, "a GPU", 80 * GIB, 80 * GIB)])
        await reported(world, probe, WELL)
        began = world.now
        await world.pool.reached("ready")
        assert world.now - began == pytest.approx(60.0, abs=1.0)
        (well,), (released,) = world.of(DeviceWell), world.of(DeviceReleased)
        assert well.reset
        assert released.pools == ("chat",)


@virtually
async def test_a_device_that_fails_again_meanwhile_stays_in_quarantine() -> None:
    """The time begins anew with each fault."""
    async with a_world(WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        await reported(world, probe, LOST, WELL)
        await asyncio.sleep(50)
        await reported(world, probe, OFF_THE_BUS)
        await asyncio.sleep(50_000)
        assert world.pool.state == "failed"
        assert world.of(DeviceReleased) == []


@pytest.mark.parametrize("name", ["0", "GPU0", A, A.lower()])
@virtually
async def test_an_operator_may_release_it(name: str) -> None:
    """B-GPU-x2, manual release: by any of its names; then one start is tried."""
    manager = {"devices": DevicePolicy(release=None)}
    async with a_world(WORKS, WORKS, gpus=(probe := gpus()), manager=manager, **ON_A) as world:
        await world.ready()
        await reported(world, probe, OFF_THE_BUS, WELL)
        await asyncio.sleep(10_000)
        assert world.pool.state == "failed"
        assert world.manager.release_device(name) == ("chat",)
        await world.pool.reached("ready")
        (circuit,) = [one for one in world.pool.snapshot.circuits if one.shared]
        assert circuit.holder == "chat"
        with pytest.raises(DeviceNotQuarantined, match=f"device '{name}' is not in quarantine"):
            world.manager.release_device(name)


@virtually
async def test_a_fault_in_the_middle_of_a_start_ends_the_start() -> None:
    """B-GPU-x2: nothing becomes ready on a device in quarantine."""
    async with a_world(EngineScript(ready_after=50.0), gpus=(probe := gpus()), **ON_A) as world:
        start = await world.began(world.pool.start())
        await world.pool.reached("starting")
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")
        await asyncio.wait((start,))
        assert start.exception() is not None


@virtually
async def test_a_pool_that_comes_later_finds_the_quarantine() -> None:
    """Also one that knows the device by another name."""
    async with a_world(WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        await reported(world, probe, OFF_THE_BUS)
        late = await world.manager.add(a_spec("late", gpu_probe="memory", device_mask="0"))
        with pytest.raises(StartFailed, match="quarantine"):
            await late.start()
        (circuit,) = [one for one in late.snapshot.circuits if one.shared]
        assert circuit.state is BreakerState.OPEN


@virtually
async def test_devices_are_looked_at_regularly() -> None:
    """B-METRICS-003, 004: for whoever counts; every ten seconds, and never by pools without one."""
    async with a_world(WORKS, gpus=gpus(), **ON_A) as world:
        await asyncio.sleep(101)
        assert len(world.of(DevicesSeen)) == 11
        assert [one.uuid for one in world.of(DevicesSeen)[0].devices] == [A, B]
    async with a_world(WORKS) as world:
        await asyncio.sleep(100)
        assert world.of(DevicesSeen) == []


@virtually
async def test_a_probe_that_fails_is_told_of_once_and_listened_to_again() -> None:
    """FAULTS, NVML hanging: it is trouble, again and again it is tried, more and more seldom."""
    async with a_world(WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        probe.fail(Cause(FailureClass.UNKNOWN, Stage.PREFLIGHT, "the driver hangs"))
        await asyncio.sleep(600)
        unheard = [one for one in world.of(Trouble) if "not heard of" in one.what]
        assert [one.what for one in unheard] == ["faults of its devices are not heard of: the driver hangs"]
        assert world.pool.state == "ready"
        probe.fail(None)
        await asyncio.sleep(61)
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")


@virtually
async def test_an_instance_of_a_faulty_device_is_at_fault_too() -> None:
    """B-GPU-x2: a MIG instance lives on its parent."""
    instance = "MIG-00000000-0000-0000-0000-000000000001"
    probe = MemoryGpuProbe(
        [
            Device(0, A, "a GPU", 80 * GIB, 80 * GIB, partitioned=True),
            Device(0, instance, "an instance", 10 * GIB, 10 * GIB, parent=A),
        ]
    )
    async with a_world(WORKS, gpus=probe, gpu_probe="memory", device_mask=instance) as world:
        await world.ready()
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")


@virtually
async def test_neither_engine_serves_on_a_device_at_fault() -> None:
    """B-GPU-x2: the old engine, beside which a new model proves itself, is on that device as well."""
    async with a_world(WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        change = await world.began(world.pool.reload(NEW, strategy="surge"))
        await world.pool.reached("surging.proving")
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")
        assert not world.living
        await asyncio.wait((change,))
        assert change.exception() is not None


@virtually
async def test_a_device_that_is_released_is_started_on_after_a_reload_of_a_new_model_failed() -> None:
    """B-RELOAD-007: the old model is on its way back, and waits for the device."""
    async with a_world(WORKS, WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        change = await world.began(world.pool.reload(NEW))
        await world.pool.reached("reloading.proving")
        await reported(world, probe, OFF_THE_BUS)
        await world.pool.reached("failed")
        await asyncio.wait((change,))
        world.manager.release_device("0")
        await world.pool.reached("ready")
        assert world.pool.status().model == OLD


@virtually
async def test_the_next_manager_releases_a_device_that_was_well_again() -> None:
    """S17: the one that was told so was killed while the device had to stay well."""
    async with a_mortal_world(WORKS, WORKS, gpus=(probe := gpus()), **ON_A) as world:
        await world.ready()
        await reported(world, probe, OFF_THE_BUS, WELL)
        await world.pool.reached("failed")
        assert "well again" in world.pool.explain()
        await reborn(world, **ON_A)
        await world.pool.reached("ready")
