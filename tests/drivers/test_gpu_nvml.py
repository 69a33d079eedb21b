"""NVIDIA's GPUs, through the real pynvml, in front of a stand-in for NVIDIA's library."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import DeviceFault, DeviceProcess, DriverVersions, FaultKind
from pool_lifecycle.testing.check_gpu_probe import check_gpu_probe
from pool_lifecycle_drivers.gpu_nvml import LEFT_BEHIND, NvmlGpuProbe
from stub_nvml.stub import GIB, HOT, Gpu, Instance, Process, StubbedNvml, a_uuid

pytestmark = pytest.mark.slow

T = TypeVar("T")
A, B = a_uuid(1), a_uuid(2)
FIRST, SECOND = Gpu(A), Gpu(B, pci="00000000:02:00.0", free=20 * GIB)
ENDED = "the process that talked to the GPU driver has ended"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled once."""
    return StubbedNvml(tmp_path_factory.mktemp("nvml")).folder


@pytest.fixture
def stub(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubbedNvml]:
    """Two GPUs; afterwards no process is left that talked to the library."""
    stub = StubbedNvml(library)
    stub.show(FIRST, SECOND)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    yield stub
    assert helpers() == []


def helpers() -> list[psutil.Process]:
    """Those of ours that talk to the library."""
    ours = psutil.Process().children()
    return [one for one in ours if one.status() != psutil.STATUS_ZOMBIE and _is_helper(one)]


def _is_helper(process: psutil.Process) -> bool:
    try:
        return any("gpu_nvml_helper" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def asked(look: Callable[[NvmlGpuProbe], Awaitable[T]], **options: Any) -> T:
    """What a probe answers, which is closed then."""

    async def main() -> T:
        probe = NvmlGpuProbe(**{"every": 0.5} | options)
        try:
            return await asyncio.wait_for(look(probe), 60)
        finally:
            await probe.close()

    return asyncio.run(main())


def refused(look: Callable[[NvmlGpuProbe], Coroutine[Any, Any, object]], **options: Any) -> str:
    """Why a probe does not answer."""
    with pytest.raises(DriverError) as raised:
        asked(look, **options)
    return str(raised.value)


def test_it_keeps_the_promises_of_a_gpu_probe(stub: StubbedNvml) -> None:
    """The public conformance check, on a host with a whole GPU and one that is cut into instances."""
    stub.change(B, mig=True)
    stub.cut(Instance(B, instance := a_uuid(3, "MIG")))
    stub.hold(Process(A, 77, 5 * GIB), Process(instance, 78, GIB))

    async def main() -> None:
        probes: list[NvmlGpuProbe] = []

        def make() -> NvmlGpuProbe:
            probes.append(NvmlGpuProbe())
            return probes[-1]

        await check_gpu_probe(make)
        await asyncio.gather(*(one.close() for one in probes))

    asyncio.run(main())


def test_everything_that_is_asked_for_is_told(stub: StubbedNvml) -> None:
    """B-GPU-x1: index in the order of the bus, uuid, name, compute capability, memory, heat, power, ECC."""
    stub.show(
        SECOND, Gpu(A, "NVIDIA H200", total=100, free=40, utilisation=7, temperature=55, power=70_500, ecc=2)
    )
    first, second = asked(lambda probe: probe.devices())
    assert (first.index, first.uuid, first.name, first.pci) == (0, A, "NVIDIA H200", "00000000:01:00.0")
    assert (first.memory_total, first.memory_free, first.compute) == (100, 40, (9, 0))
    assert (first.utilisation, first.temperature, first.power, first.ecc) == (7, 55, 70.5, 2)
    assert (second.index, second.uuid, second.parent, second.unwell) == (1, B, None, "")


def test_instances_of_a_device_have_their_parent(stub: StubbedNvml) -> None:
    """B-GPU-x1: a GPU that is cut into MIG instances is told with each of them."""
    stub.change(B, mig=True)
    stub.cut(Instance(B, one := a_uuid(3, "MIG")), Instance(B, two := a_uuid(4, "MIG")))
    devices = asked(lambda probe: probe.devices())
    stub.cut()
    assert [(one.index, one.uuid, one.parent, one.partitioned) for one in devices] == [
        (0, A, None, False),
        (1, B, None, True),
        (1, one, B, False),
        (1, two, B, False),
    ]


def test_processes_are_told_once_with_their_memory(stub: StubbedNvml) -> None:
    """What one has for graphics and for computing is the same memory; unknown memory is no number."""
    stub.hold(Process(A, 7, 5), Process(A, 7, 5, graphics=True), Process(B, 7, 3), Process(B, 8, None))
    assert set(asked(lambda probe: probe.processes())) == {
        DeviceProcess(A, 7, 5),
        DeviceProcess(B, 7, 3),
        DeviceProcess(B, 8, None),
    }
    stub.hold()


def test_versions(stub: StubbedNvml) -> None:
    """Of the driver, and of CUDA as its tools tell it."""
    assert stub.cuda == 12040
    assert asked(lambda probe: probe.versions()) == DriverVersions("550.54.15", (12, 4))


@pytest.mark.parametrize(
    ("code", "said"),
    [(9, "load the driver"), (12, "install NVIDIA's driver"), (4, "/dev/nvidia"), (999, "cannot be asked")],
)
def test_a_library_that_does_not_begin_is_told_with_what_helps(
    stub: StubbedNvml, code: int, said: str
) -> None:
    """FAULTS, NVML: driver not loaded, library or permission missing, whatever else."""
    stub.fail("nvmlInit_v2", code)
    stub.fail("nvmlInitWithFlags", code)
    try:
        assert said in refused(lambda probe: probe.devices())
    finally:
        stub.functions.clear()
        stub.show(FIRST, SECOND)


def test_no_library_at_all(stub: StubbedNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS, NVML missing: this host has no GPU."""
    del stub
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    assert "install NVIDIA's driver" in refused(lambda probe: probe.devices())


def test_no_pynvml(stub: StubbedNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS, NVML missing: the extra is not installed; what else such a module prints is no answer."""
    del stub
    (tmp_path / "pynvml.py").write_text("print('noise', flush=True)\nraise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "pip install 'pool-lifecycle[nvml]'" in refused(lambda probe: probe.devices())


def test_nonsense_is_told_as_that(stub: StubbedNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS: what writes between the answers is no reason to wait for one in vain; the next try may do."""
    del stub
    (tmp_path / "sitecustomize.py").write_text("print('noise', flush=True)\n")

    async def look(probe: NvmlGpuProbe) -> int:
        with monkeypatch.context() as noisy:
            noisy.setenv("PYTHONPATH", str(tmp_path))
            with pytest.raises(DriverError, match="says nonsense"):
                await probe.devices()
        return len(await probe.devices())

    assert asked(look) == 2


def test_what_an_old_driver_does_not_know_is_not_told(stub: StubbedNvml) -> None:
    """FAULTS, function missing: each of these alone is no reason to know nothing."""
    for name in ("UtilizationRates", "Temperature", "PowerUsage", "TotalEccErrors", "CudaComputeCapability"):
        stub.fail(f"nvmlDeviceGet{name}", "none")
    first, _ = asked(lambda probe: probe.devices())
    stub.functions.clear()
    assert (first.utilisation, first.temperature, first.power, first.ecc, first.compute) == (None,) * 5
    assert first.memory_total == FIRST.total


def test_a_hanging_driver_hangs_nobody(stub: StubbedNvml) -> None:
    """B-GPU-x1, FAULTS, NVML hanging: an error in time, each time; and an answer once it is over."""

    async def look(probe: NvmlGpuProbe) -> tuple[str, int]:
        await probe.devices()
        stub.fail("nvmlDeviceGetMemoryInfo", "hang")
        with pytest.raises(DriverError, match=r"has not answered for 0\.5 s") as raised:
            await probe.devices()
        stub.fail("nvmlDeviceGetMemoryInfo", None)
        return str(raised.value), len(await probe.devices())

    said, devices = asked(look, patience=0.5)
    assert "dmesg" in said
    assert devices == 2


def test_processes_that_cannot_be_killed_are_not_piled_up(stub: StubbedNvml) -> None:
    """S19: while a few hang in the kernel nothing more is started, which is said at once; then it goes on."""
    for_ever = (sys.executable, "-c", "import time; time.sleep(1000)")

    async def look(probe: NvmlGpuProbe) -> int:
        probe._left = [subprocess.Popen(for_ever) for _ in range(LEFT_BEHIND)]  # noqa: ASYNC220
        with pytest.raises(DriverError, match=f"{LEFT_BEHIND} processes wait in it"):
            await probe.devices()
        for one in tuple(probe._left):
            one.kill()
            one.wait()
        return len(await probe.devices())

    del stub
    assert asked(look) == 2


def test_who_stops_waiting_harms_nobody_else(stub: StubbedNvml) -> None:
    """One of two who asked is cancelled; the other gets its answer."""

    async def look(probe: NvmlGpuProbe) -> int:
        first, second = (asyncio.ensure_future(probe.devices()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait((first,))
        return len(await second)

    del stub
    assert asked(look) == 2


def test_a_helper_that_was_killed_is_replaced(stub: StubbedNvml) -> None:
    """Whoever waits is told; the next question is answered."""

    async def look(probe: NvmlGpuProbe) -> int:
        waiting = asyncio.ensure_future(probe.faults())
        await probe.devices()
        (helper,) = helpers()
        helper.kill()
        with pytest.raises(DriverError, match=ENDED):
            await waiting
        return len(await probe.devices())

    del stub
    assert asked(look) == 2


def test_no_helper_outlives_whoever_asked(stub: StubbedNvml) -> None:
    """S5: also when the manager is killed while the driver hangs."""
    program = """
import asyncio, sys
from pool_lifecycle_drivers.gpu_nvml import NvmlGpuProbe
async def main():
    probe = NvmlGpuProbe()
    await probe.devices()
    print(probe._helper.process.pid, flush=True)
    await probe.faults()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as manager:
        assert manager.stdout is not None
        helper = psutil.Process(int(manager.stdout.readline()))
        stub.fail("nvmlEventSetWait_v2", "hang")
        manager.send_signal(signal.SIGKILL)
        manager.wait()
        psutil.wait_procs([helper], timeout=30)
        assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE
    stub.fail("nvmlEventSetWait_v2", None)


# --- faults ----------------------------------------------------------------------------------------


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def told(stub: StubbedNvml, *deeds: Callable[[], None]) -> list[DeviceFault]:
    """What is told after each of these."""

    async def look(probe: NvmlGpuProbe) -> list[DeviceFault]:
        found: list[DeviceFault] = []
        waiting = asyncio.ensure_future(probe.faults())
        await until(lambda: probe._helper is not None and probe._helper.listens)
        for deed in deeds:
            deed()
            found += await waiting
            waiting = asyncio.ensure_future(probe.faults())
        waiting.cancel()
        await asyncio.wait((waiting,))
        return found

    return asked(look)


def test_what_devices_report_is_told_at_once(stub: StubbedNvml) -> None:
    """B-GPU-x2: Xid events, and the event of a double-bit error by its own Xid."""
    faults = told(stub, lambda: stub.xid(A, 79), lambda: stub.event(B, 2))
    assert faults == [DeviceFault(A, 79, ""), DeviceFault(B, 48, "")]


def test_a_device_that_is_lost_and_comes_back_is_told_of(stub: StubbedNvml) -> None:
    """B-GPU-x2, FAULTS, GPU is lost: nobody reports that; it is known by its name until it is back."""
    lost, back = told(stub, lambda: stub.lose(A), lambda: stub.lose(A, lost=False))
    assert (lost.uuid, lost.kind, lost.message) == (A, FaultKind.LOST, "GPU is lost")
    assert (back.uuid, back.kind) == (A, FaultKind.WELL)


def test_a_lost_device_is_still_there_and_unwell(stub: StubbedNvml) -> None:
    """FAULTS: lost, or no longer listed at all; the others keep their numbers."""

    async def look(probe: NvmlGpuProbe) -> list[tuple[int, str, str, int]]:
        await probe.devices()
        stub.lose(A)
        lost = (await probe.devices())[0]
        stub.show(SECOND)
        gone = (await probe.devices())[0]
        stub.show(FIRST, SECOND)
        back = (await probe.devices())[0]
        return [(one.index, one.uuid, one.unwell, one.memory_total) for one in (lost, gone, back)]

    assert asked(look) == [
        (0, A, "GPU is lost", 0),
        (0, A, "the driver no longer lists it", 0),
        (0, A, "", FIRST.total),
    ]


def test_a_device_that_was_lost_before_the_first_look_keeps_its_place(stub: StubbedNvml) -> None:
    """FAULTS: the others have their own numbers, and it is known by its place until it can tell its name."""
    stub.lose(A)

    async def look(probe: NvmlGpuProbe) -> list[list[tuple[int, str]]]:
        seen = [await probe.devices()]
        stub.lose(A, lost=False)
        seen.append(await probe.devices())
        return [[(one.index, one.uuid) for one in devices] for devices in seen]

    assert asked(look) == [[(0, "GPU-at-0"), (1, B)], [(0, A), (1, B)]]


def test_a_device_that_can_tell_its_name_at_last_is_well_by_the_other_too(stub: StubbedNvml) -> None:
    """FAULTS: nothing stays quarantined under a name that nothing has any more."""
    stub.lose(A)
    lost, back = told(stub, lambda: None, lambda: stub.lose(A, lost=False))
    assert (lost.uuid, lost.kind) == ("GPU-at-0", FaultKind.LOST)
    assert (back.uuid, back.kind) == ("GPU-at-0", FaultKind.WELL)


NOT_SUPPORTED, IS_LOST = 3, 15


@pytest.mark.parametrize(("code", "unwell"), [(NOT_SUPPORTED, ""), (IS_LOST, "GPU is lost")])
def test_a_device_whose_memory_cannot_be_told_is_unwell_only_if_it_is_lost(
    stub: StubbedNvml, code: int, unwell: str
) -> None:
    """B-GPU-x2: a question that a driver does not answer is no fault of the device; nothing is free then."""

    async def look(probe: NvmlGpuProbe) -> tuple[str, int]:
        await probe.devices()
        stub.fail("nvmlDeviceGetMemoryInfo", code)
        first = (await probe.devices())[0]
        return first.unwell, first.memory_free

    assert asked(look) == (unwell, 0)


def test_memory_errors_count_from_when_it_is_looked(stub: StubbedNvml) -> None:
    """B-GPU-x2: more of them are a fault; those before us have had their consequences."""
    stub.change(A, ecc=5)
    (fault,) = told(stub, lambda: stub.change(A, ecc=7))
    assert (fault.uuid, fault.kind, fault.code) == (A, FaultKind.ECC, 2)


def test_heat_is_a_fault_until_it_is_over(stub: StubbedNvml) -> None:
    """B-GPU-x2: a device that its own hardware slows down, in two looks in a row."""
    hot, cool = told(
        stub, lambda: stub.change(A, throttle=HOT, temperature=95), lambda: stub.change(A, throttle=0)
    )
    assert (hot.uuid, hot.kind, hot.code) == (A, FaultKind.THERMAL, 95)
    assert (cool.uuid, cool.kind) == (A, FaultKind.WELL)
