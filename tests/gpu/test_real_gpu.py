"""What only a real NVIDIA GPU can show: `tests/gpu/run.sh` runs these. Elsewhere they are skipped."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pool_lifecycle import EngineSpec, PoolManager, PoolSpec
from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import Device
from pool_lifecycle.spec import Limits
from pool_lifecycle_drivers.gpu_nvml import NvmlGpuProbe

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(300)]

T = TypeVar("T")
MIB, GIB = 2**20, 2**30
VRAM = Path(__file__).with_name("vram.py")

AWAKE = 60.0
"""Seconds in which a process has got memory of a GPU: without persistence mode the driver wakes it first."""

RETURNS = 30.0
"""Seconds in which the memory of a killed process is back."""


def _missing() -> str:
    """What keeps these tests from running here; empty when nothing does."""
    for library in ("libcuda.so.1", "libnvidia-ml.so.1"):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return f"no NVIDIA driver: {error}"
    if importlib.util.find_spec("pynvml") is None:
        return "nvidia-ml-py is not installed"
    try:
        return "" if devices() else "the driver has no GPU"
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no GPU to be had
        return str(error)


@pytest.fixture(autouse=True, scope="module")
def _a_gpu() -> None:
    if missing := _missing():
        pytest.skip(missing)


def asked(look: Callable[[NvmlGpuProbe], Awaitable[T]]) -> T:
    """What a probe answers, which is closed then."""

    async def main() -> T:
        probe = NvmlGpuProbe()
        try:
            return await look(probe)
        finally:
            await probe.close()

    return asyncio.run(main())


def devices() -> tuple[Device, ...]:
    """The whole GPUs, without their instances."""
    found = asked(lambda probe: probe.devices())
    return tuple(one for one in found if one.parent is None)


@contextlib.contextmanager
def holding(size: int, device: Device) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has so much memory of a device."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": device.uuid}
    command = [sys.executable, str(VRAM), "--memory", str(size)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline(), process.stdout.readline()
        try:
            assert said[1] == b"holding\n", said
            yield process
        finally:
            process.kill()


async def until(holds: Callable[[], Awaitable[bool]], within: float) -> float:
    """The seconds until it holds; fails when it does not within that time."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() < began + within, "it does not come about"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def an_engine(folder: Path, *args: str, **more: Any) -> PoolSpec:
    """A pool whose engine is a program that uses a GPU."""
    engine: dict[str, Any] = more.pop("engine", {})
    arguments = (str(VRAM), "--port", "{port}", *args)
    made = EngineSpec(sys.executable, args=arguments, env_passthrough=("LD_LIBRARY_PATH",), **engine)
    return PoolSpec("gpu", made, gpu_probe="nvml", limits=Limits(memory_wait=1.0), **more)


def test_the_inventory_is_that_of_nvidia_smi() -> None:
    """B-GPU-x1: order, uuid, name, memory, place on the bus, and the driver's version."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("there is no nvidia-smi to compare with")
    facts = "uuid,name,memory.total,pci.bus_id,driver_version"
    command = ["nvidia-smi", f"--query-gpu={facts}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    theirs = [tuple(field.strip() for field in row) for row in csv.reader(told.splitlines())]
    driver = asked(lambda probe: probe.versions()).driver
    ours = [(one.uuid, one.name, str(one.memory_total // MIB), one.pci, driver) for one in devices()]
    assert ours == theirs


def test_memory_is_attributed_and_comes_back_after_a_kill() -> None:
    """B-GPU-x1, B-PROC-x3: who has it, and that it is back soon after SIGKILL; how soon is printed."""
    (first, *_) = devices()

    async def look(probe: NvmlGpuProbe) -> None:
        with holding(2 * GIB, first) as process:

            async def attributed() -> bool:
                mine = [one for one in await probe.processes() if one.pid == process.pid]
                return any(one.uuid == first.uuid and (one.memory_used or 2 * GIB) >= 2 * GIB for one in mine)

            taken = next(one for one in await probe.devices() if one.uuid == first.uuid)
            assert taken.memory_free <= first.memory_free - 2 * GIB
            if not any(one.pid == process.pid for one in await probe.processes()):
                pytest.skip("this driver does not tell the pids of this container")
            await until(attributed, AWAKE)
            process.kill()

            async def back() -> bool:
                now = next(one for one in await probe.devices() if one.uuid == first.uuid)
                return now.memory_free >= taken.memory_free + 2 * GIB and not await attributed()

            took = await until(back, RETURNS)
            print(f"2 GiB of {first.name} were back {took * 1000:.0f} ms after SIGKILL")

    asked(look)


def test_a_start_without_memory_is_refused_with_the_name_of_who_has_it(tmp_path: Path) -> None:
    """B-GPU-x3: in bytes, and with the pid."""
    (first, *_) = devices()

    async def main(stranger: int) -> str:
        pool_spec = an_engine(
            tmp_path, engine={"device_memory": first.memory_free - GIB}, device_mask=str(first.index)
        )
        async with PoolManager(tmp_path / "state") as manager:
            pool = await manager.add(pool_spec)
            with pytest.raises(StartFailed, match="bytes") as refused:
                await pool.start()
        if not any(one.pid == stranger for one in await _processes()):
            pytest.skip(f"this driver does not tell the pids of this container; refused: {refused.value}")
        return str(refused.value)

    with holding(2 * GIB, first) as process:
        assert f"pid {process.pid}" in asyncio.run(main(process.pid))


async def _processes() -> tuple[Any, ...]:
    probe = NvmlGpuProbe()
    try:
        return await probe.processes()
    finally:
        await probe.close()


def test_an_engine_sees_the_devices_of_its_pool_and_no_other(tmp_path: Path) -> None:
    """B-DEVICE-010: as CUDA itself tells it, in an engine that the pool has started."""
    last = devices()[-1]

    async def main() -> str:
        async with PoolManager(tmp_path / "state") as manager:
            pool = await manager.add(an_engine(tmp_path, device_mask=str(last.index)))
            await pool.start()
            log = next((tmp_path / "state").rglob("*.log"))
            return log.read_text()

    said = next(json.loads(line) for line in asyncio.run(main()).splitlines() if '"sees"' in line)
    assert said["sees"] == [last.uuid]


@pytest.mark.parametrize("mask", ["one", "none"])
def test_pytorch_sees_what_a_mask_names(mask: str) -> None:
    """B-DEVICE-010: the framework of most engines reads a mask as we write it."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    visible, there = {"one": (devices()[-1].uuid, 1), "none": ("", 0)}[mask]
    told = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(told.stdout) == there


def test_a_device_that_is_out_of_memory_is_told_as_such(tmp_path: Path) -> None:
    """S16: by the words of an engine that really asked for too much."""
    (first, *_) = devices()

    async def main() -> FailureClass:
        too_much = ("--memory", str(4 * first.memory_total))
        async with PoolManager(tmp_path / "state") as manager:
            pool = await manager.add(an_engine(tmp_path, *too_much, device_mask=str(first.index)))
            with pytest.raises(StartFailed) as failed:
                await pool.start()
        return failed.value.cause.kind

    assert asyncio.run(main()) is FailureClass.DEVICE_OUT_OF_MEMORY
