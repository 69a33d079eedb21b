"""A look at eight GPUs against the bare calls of NVIDIA's library, and deciding whether a start fits on them.

Where there is an NVIDIA driver, a look at its real GPUs against `nvidia-smi`, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.rows import Row, each_in_turn
from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.placement.admission import Wanted, shortfall
from pool_lifecycle.placement.split import SplitPlan, TooBig, split

ROOT = Path(__file__).parent.parent
GIB = 2**30
GPUS, USERS = 8, 4
"""So many devices, and so many processes on each of them that is looked at."""

NUMBER = 2000
MOST = 1.3
DECIDES = 100.0
"""Microseconds."""


def run() -> Iterator[Row]:
    """Looks first, then decisions."""
    yield from _looks()
    yield from _decisions()


def _looks() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        taken = _measured(_stub(Path(folder)))
        name = f"look at {GPUS} stubbed GPUs with {GPUS * USERS} processes"
        yield Row.against(
            name, taken["ours"] * 1e3, "ms", "the same in bare pynvml", taken["pynvml"] * 1e3, most=MOST
        )
    if shutil.which("nvidia-smi") is not None:
        taken = _measured({}, "nvidia-smi")
        name, ours = "look at this host's GPUs", taken["ours"] * 1e3
        yield Row.against(name, ours, "ms", "the same in bare pynvml", taken["pynvml"] * 1e3, most=MOST)
        yield Row.against(name, ours, "ms", "nvidia-smi", taken["nvidia-smi"] * 1e3, most=1.0)


def _stub(folder: Path) -> dict[str, str]:
    sys.path.insert(0, str(ROOT / "examples"))
    from stub_nvml.stub import Gpu, Process, StubbedNvml, a_uuid  # noqa: PLC0415 - an example, not a package

    stub = StubbedNvml(folder)
    uuids = [a_uuid(number) for number in range(1, GPUS + 1)]
    stub.show(*(Gpu(uuid, pci=f"00000000:{number:02X}:00.0") for number, uuid in enumerate(uuids, 1)))
    stub.hold(*(Process(uuid, 1000 + user, 5 * GIB) for uuid in uuids for user in range(USERS)))
    return stub.environment


def _measured(environment: Mapping[str, str], *arguments: str) -> dict[str, float]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "drivers", *filter(None, [os.environ.get("PYTHONPATH")]))))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_snapshots", *arguments],
        env=os.environ | environment | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds: dict[str, float] = json.loads(ran.stdout)
    return seconds


def _decisions() -> Iterator[Row]:
    """One that fits, and one that does not, with those who have the memory."""
    times = each_in_turn(_contenders(), number=NUMBER)
    for name in ("fits", "is refused"):
        taken, alone = times[name] * 1e6, times["split alone"] * 1e6
        what = f"admission to {GPUS} GPUs with 16 processes: {name}"
        yield Row.within(what, taken, "us", DECIDES, peer="the split alone", peer_value=alone)


def _contenders() -> dict[str, Callable[[], object]]:
    devices = [Device(number, f"GPU-{number}", "a GPU", 80 * GIB, 40 * GIB) for number in range(GPUS)]
    users = [DeviceProcess(f"GPU-{pid % GPUS}", pid, 20 * GIB) for pid in range(16)]
    pool_of = {pid: f"pool-{pid}" for pid in range(0, 16, 2)}
    ratios = (1 / GPUS,) * GPUS

    def spread() -> SplitPlan:
        plan = split(200 * GIB, [one.memory_free - GIB for one in devices], ratios)
        assert not isinstance(plan, TooBig)
        return plan

    def decided(more: int) -> str:
        wanted = [Wanted(one, share + more) for one, share in zip(devices, spread().shares, strict=True)]
        short = shortfall(wanted, users, reserve=GIB, pool_of=pool_of)
        return "" if short is None else str(short)

    assert decided(0) == ""
    assert "pool-" in decided(20 * GIB)
    return {"split alone": spread, "fits": lambda: decided(0), "is refused": lambda: decided(20 * GIB)}
