"""What keeps an engine from running on its GPUs is said before anything is fetched or launched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_preflight import assert_gpu_only, cuda_available, device_causes
from pool_lifecycle.errors import DriverError, StartFailed
from pool_lifecycle.gpus import Look
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Device, DriverVersions
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import Record, Trouble
from pool_lifecycle.testing.memory import MemoryGpuProbe
from tests.worlds import OLD, WORKS, a_host, a_spec, a_world, virtually

GIB = 2**30
SEEN = Device(0, "GPU-a", "a GPU", 80 * GIB, 80 * GIB)


class Versioned(MemoryGpuProbe):
    """Knows its driver."""

    async def versions(self) -> DriverVersions:
        """An old one."""
        return DriverVersions("470.1", (11, 4))

    async def close(self) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with nothing on it but what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def a_host_with(probe: MemoryGpuProbe, records: list[Record] | None = None) -> Host:
    host = a_host([] if records is None else [records.append])
    host.drivers = host.gpus.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    return host


async def causes(probe: MemoryGpuProbe, **declared: Any) -> tuple[Cause, ...]:
    spec = a_spec(**{"gpu_probe": "memory", "gpu_only": None} | declared)
    return await device_causes(spec, a_host_with(probe), None)


def install(tool: str, folder: Path) -> None:
    (folder / tool).write_text("")
    (folder / tool).chmod(0o755)


@pytest.mark.parametrize("tool", ["nvcc", "nvidia-smi"])
def test_a_tool_on_the_path_of_now_tells_of_cuda(tool: str, no_tools: Path) -> None:
    """B-PREFLIGHT-001, 002, 003: asked each time anew."""
    assert not cuda_available()
    install(tool, no_tools)
    assert cuda_available()
    assert_gpu_only()


def test_a_device_that_a_probe_sees_tells_of_cuda() -> None:
    """B-PREFLIGHT-004: no tool need be installed."""
    assert cuda_available(Look((SEEN,)))
    assert not cuda_available(Look())


def test_without_either_a_gpu_only_pool_is_refused() -> None:
    """B-PREFLIGHT-010, 011, 012: at once, in these words; there is no falling back to the CPU."""
    with pytest.raises(DriverError, match="GPU-only enforcement: nvcc/nvidia-smi not found") as raised:
        assert_gpu_only(why="no GPU was seen")
    assert raised.value.cause.kind is FailureClass.PREFLIGHT
    assert not raised.value.cause.heals
    assert "gpu_only = false" in raised.value.cause.remedy


@virtually
async def test_gpu_only_is_on_for_pools_that_name_gpus() -> None:
    """B-PREFLIGHT-013: and for nobody who says otherwise."""
    nothing = MemoryGpuProbe()
    (named,) = await causes(nothing, device_mask="0")
    assert "GPU-only enforcement" in named.message
    (said,) = await causes(nothing, gpu_only=True)
    assert said == named
    assert await causes(nothing) == ()
    assert await causes(nothing, device_mask="0", gpu_only=False, gpu_probe=None) == ()


@virtually
async def test_a_start_without_a_gpu_fails_before_anything_is_fetched() -> None:
    """B-PREFLIGHT-010, B-PRELOAD-x1: nothing is staged or launched, and nothing is tried again."""
    spec: dict[str, Any] = {"device_mask": "0", "gpu_probe": "memory", "gpu_only": None}
    async with a_world(WORKS, gpus=MemoryGpuProbe(), **spec) as world:
        with pytest.raises(StartFailed, match="GPU-only enforcement"):
            await world.pool.start()
        assert world.pool.state == "failed"
        assert not world.launcher.launched
        assert OLD not in world.stager.staged


@pytest.mark.parametrize(
    ("mask", "said"),
    [("7", "there is no device 7 on this host; there are: 0"), ("0", ""), ("GPU0", "")],
)
@virtually
async def test_a_mask_is_held_against_the_devices_there_are(mask: str, said: str) -> None:
    """B-DEVICE-003, B-CONFIG-011: unknown ones are refused by name."""
    found = await causes(MemoryGpuProbe([SEEN]), device_mask=mask)
    assert [one.heals for one in found] == ([False] if said else [])
    assert all(said in one.message for one in found)


@virtually
async def test_the_same_device_by_two_names_is_refused() -> None:
    """B-DEVICE-004: that shows only where the devices are."""
    uuid = "GPU-00000000-0000-0000-0000-000000000001"
    probe = MemoryGpuProbe([Device(0, uuid, "a GPU", 80 * GIB, 80 * GIB)])
    (cause,) = await causes(probe, device_mask=f"0,{uuid}")
    assert "which is there already" in cause.message


@virtually
async def test_a_device_that_was_there_before_may_come_back() -> None:
    """FAULTS, device count changing: that is no mistake of whoever declared it."""
    probe = MemoryGpuProbe([SEEN])
    host, spec = a_host_with(probe), a_spec(gpu_probe="memory", device_mask="0")
    assert await device_causes(spec, host, None) == ()
    probe.show(devices=[Device(1, "GPU-b", "another", 1, 1)])
    (cause,) = await device_causes(spec, host, None)
    assert cause.heals


@virtually
async def test_a_lost_device_is_named_with_why() -> None:
    """FAULTS, GPU is lost."""
    (cause,) = await causes(
        MemoryGpuProbe([Device(0, "GPU-a", "a GPU", 0, 0, unwell="GPU is lost")]), device_mask="0"
    )
    assert (cause.kind, cause.heals) == (FailureClass.DEVICE_LOST, True)
    assert cause.message == "device 0 (GPU-a) cannot be used: GPU is lost"


@virtually
async def test_a_split_needs_a_share_for_each_device() -> None:
    """B-HETERO-001: with no mask only the host tells how many there are."""
    (cause,) = await causes(MemoryGpuProbe([SEEN]), engine={"split": (0.5, 0.5)})
    assert cause.message == "engine.split has 2 shares for 1 device"


@virtually
async def test_an_old_driver_is_told_of_with_both_versions() -> None:
    """Part of preflight: a warning that names the engine's CUDA and the driver's, and no refusal."""
    records = list[Record]()
    host = a_host_with(Versioned([SEEN]), records)
    spec = a_spec(gpu_probe="memory", device_mask="0", engine={"cuda": "12.4"})
    assert await device_causes(spec, host, None) == ()
    (told,) = records
    assert isinstance(told, Trouble)
    assert "CUDA 12.4" in told.what
    assert "11.4" in told.what


@virtually
async def test_a_probe_that_fails_is_no_reason_to_refuse_where_a_tool_is(no_tools: Path) -> None:
    """What cannot be known is told, and the start will show."""
    install("nvidia-smi", no_tools)
    records, probe = list[Record](), MemoryGpuProbe()
    probe.fail(Cause(FailureClass.UNKNOWN, Stage.PREFLIGHT, "the driver hangs"))
    host = a_host_with(probe, records)
    assert await device_causes(a_spec(gpu_probe="memory", device_mask="0", gpu_only=True), host, None) == ()
    assert "the driver hangs" in str(records[0])
