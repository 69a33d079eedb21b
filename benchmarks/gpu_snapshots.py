"""`python -m benchmarks.gpu_snapshots [nvidia-smi]`: seconds for a snapshot of all GPUs, by maker, as JSON.

A program of its own, as it is started with the environment in which NVIDIA's library, or a stand-in for it,
is found. The peers are asked for the same facts as our probe tells.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pool_lifecycle.gpus import Gpus
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle_drivers.gpu_nvml import NvmlGpuProbe

pynvml: Any = importlib.import_module("pynvml")

ROUNDS = 60
"""So many snapshots of each, in turns, so that noise is shared."""

Contenders = Mapping[str, Callable[[], Awaitable[object]]]

FEWER = 9
"""The same for a peer that starts a process each time."""

FACTS = (
    *("index", "uuid", "name", "pci.bus_id", "compute_cap", "memory.total", "memory.free", "utilization.gpu"),
    *("temperature.gpu", "power.draw", "ecc.errors.uncorrected.volatile.total", "mig.mode.current"),
)
SMI = (
    ("nvidia-smi", f"--query-gpu={','.join(FACTS)}", "--format=csv"),
    ("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv"),
)


class Bare:
    """The calls themselves. What never changes is asked once, as our probe does."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._fixed: dict[str, tuple[Any, ...]] = {}

    async def snapshot(self) -> list[tuple[Any, ...]]:
        """Every fact, with one call each."""
        return [self._one(place) for place in range(pynvml.nvmlDeviceGetCount())]

    def _one(self, place: int) -> tuple[Any, ...]:
        handle = pynvml.nvmlDeviceGetHandleByIndex(place)
        uuid = pynvml.nvmlDeviceGetUUID(handle)
        if uuid not in self._fixed:
            self._fixed[uuid] = _fixed(handle)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return (
            uuid,
            self._fixed[uuid],
            memory.total,
            memory.free,
            pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            _optional(
                lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                    handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
                )
            ),
            _optional(lambda: pynvml.nvmlDeviceGetMigMode(handle)),
            [(one.pid, one.usedGpuMemory) for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)],
            [(one.pid, one.usedGpuMemory) for one in pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)],
        )


def _fixed(handle: Any) -> tuple[Any, ...]:
    return (
        pynvml.nvmlDeviceGetName(handle),
        pynvml.nvmlDeviceGetPciInfo(handle).busId,
        pynvml.nvmlDeviceGetCudaComputeCapability(handle),
    )


def _optional(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except pynvml.NVMLError:
        return None


async def measured(*, smi: bool) -> dict[str, float]:
    """Seconds of a snapshot: the median."""
    probe = NvmlGpuProbe()
    gpus = Gpus(Drivers({Interface.GPU_PROBE: {"nvml": probe}}), lambda _pool, _what: None)
    try:
        ours = {"ours": lambda: gpus.look("nvml"), "pynvml": Bare().snapshot}
        taken = await _in_turns(ours, ROUNDS)
        return taken | (await _in_turns({"nvidia-smi": _told_by_smi}, FEWER) if smi else {})
    finally:
        await gpus.close()


async def _in_turns(contenders: Contenders, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, look in contenders.items():
            began = time.perf_counter()
            await look()
            if number:  # the first time whatever is slow to begin begins
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in times.items()}


async def _told_by_smi() -> None:
    for command in SMI:
        subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nobody else is here


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured(smi="nvidia-smi" in sys.argv[1:]))))
