"""`pool-lifecycle gpus` and `doctor` as a user has them, on imagined GPUs behind NVIDIA's library."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pool_lifecycle.cli.exits import Exit
from stub_nvml.stub import GIB, Gpu, Instance, Process, StubbedNvml, a_uuid

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler for the imagined GPUs"),
]

WHOLE, CUT, PART = a_uuid(1), a_uuid(2), a_uuid(3, "MIG")
PATIENCE = 120.0
"""Seconds: far more than it takes."""


@pytest.fixture
def stub(tmp_path: Path) -> StubbedNvml:
    """A host with two GPUs, one of them cut."""
    made = StubbedNvml(tmp_path / "nvml")
    made.show(Gpu(WHOLE, free=50 * GIB, utilisation=97), Gpu(CUT, pci="00000000:02:00.0", mig=True))
    made.cut(Instance(CUT, PART))
    made.hold(Process(WHOLE, os.getpid(), 30 * GIB))
    return made


def command(*words: object) -> list[str]:
    """How it is called."""
    return [sys.executable, "-m", "pool_lifecycle.cli", *map(str, words)]


def environment(stub: StubbedNvml) -> dict[str, str]:
    """With which environment."""
    return {**os.environ, **stub.environment, "COLUMNS": "120"}


def said(stub: StubbedNvml, *words: object) -> subprocess.CompletedProcess[str]:
    """What the command says of the imagined GPUs."""
    return subprocess.run(
        command(*words),
        env=environment(stub),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_gpus_of_the_host(stub: StubbedNvml) -> None:
    """As the driver tells them: GPUs, instances below theirs, versions, who has memory."""
    result = said(stub, "gpus")
    assert (result.returncode, result.stderr) == (Exit.OK, "")
    words = " ".join(result.stdout.split())
    for part in ("2 GPUs, 1 MIG instance, driver 550.54.15, CUDA 12.4", "30.0 of 80.0 GiB", "97 %"):
        assert part in words
    assert f"0 {os.getpid()} {psutil.Process().name()} 30.0 GiB" in words
    assert result.stdout.index(WHOLE) < result.stdout.index(CUT) < result.stdout.index(PART)


def test_the_same_for_programs(stub: StubbedNvml) -> None:
    """In one document."""
    found = json.loads(said(stub, "gpus", "--json").stdout)
    assert [one["uuid"] for one in found["devices"]] == [WHOLE, CUT, PART]
    assert [one["parent"] for one in found["devices"]] == [None, None, CUT]
    (user,) = found["processes"]
    assert (user["uuid"], user["pid"], user["memory_used"]) == (WHOLE, os.getpid(), 30 * GIB)


def test_a_lost_gpu_is_there_and_unwell(stub: StubbedNvml) -> None:
    """FAULTS: GPU lost. The others are told as before."""
    stub.lose(WHOLE)
    found = json.loads(said(stub, "gpus", "--json").stdout)["devices"]
    assert [one["uuid"] for one in found if not one["unwell"]] == [CUT, PART]
    (lost,) = [one for one in found if one["unwell"]]
    assert "lost" in lost["unwell"]


def test_a_driver_that_is_not_loaded(stub: StubbedNvml) -> None:
    """FAULTS: driver not loaded. A sentence with what helps, and a code; no traceback."""
    stub.fail("nvmlInit_v2", 9)
    result = said(stub, "gpus")
    assert (result.returncode, result.stdout) == (Exit.NO_GPU, "")
    assert "modprobe nvidia" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_watches_until_it_is_interrupted(stub: StubbedNvml) -> None:
    """A line a look, in which changes are seen; Ctrl-C is the usual end of it."""
    with subprocess.Popen(
        command("gpus", "--watch", "--every", "0.1"),
        env=environment(stub),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["devices"][0]["temperature"] == 40
        stub.change(WHOLE, temperature=88)
        for line in watching.stdout:
            if json.loads(line)["devices"][0]["temperature"] == 88:
                break
        watching.send_signal(signal.SIGINT)
        _, complaints = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, complaints) == (Exit.OK, "")


def test_the_doctor_knows_what_a_start_would_find(stub: StubbedNvml, tmp_path: Path) -> None:
    """Too little memory and who has it, a GPU that there is not, one that is cut; and what would start."""
    file = tmp_path / "pools.toml"
    engine = '{ binary = "sleep", device_memory = %d }'
    pools = {"fine": ("0", 10), "full": ("0", 60), "cut": ("1", 1), "none": ("7", 1), "part": (PART, 5)}
    file.write_text(
        "\n".join(
            f'[pools.{name}]\ndevice_mask = "{mask}"\nengine = {engine % (gib * GIB)}'
            for name, (mask, gib) in pools.items()
        )
    )
    result = said(stub, "doctor", file, "--json")
    assert (result.returncode, result.stderr) == (Exit.WOULD_NOT_START, "")
    told = {
        one["pool_id"]: " ".join(cause["message"] for cause in one["causes"])
        for one in json.loads(result.stdout)["pools"]
    }
    assert (told["fine"], told["part"]) == ("", "")
    assert f"pid {os.getpid()} with 30.0 GiB" in told["full"]
    assert PART in told["cut"]
    assert "there is no device 7" in told["none"]
