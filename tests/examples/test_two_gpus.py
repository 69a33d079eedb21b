"""`examples/two_gpus.py` tells what becomes of pools on two GPUs, and leaves nothing at any end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "two_gpus.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler for the imagined GPUs"),
]

PATIENCE = 120.0
"""Seconds: several times what it takes, as the machine may be busy."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The program at work, with a folder for temporary files that is its own."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        (sys.executable, PROGRAM), text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        yield running
        running.kill()


def engines(folder: Path) -> list[psutil.Process]:
    """What is left of the engines, which have the folder in their command line."""
    left = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()):
                left.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return left


def assert_told(told: str, *parts: str) -> None:
    """These parts stand in it, in this order; where its lines end makes no difference."""
    told, found = " ".join(told.split()), 0
    for part in parts:
        assert part in told[found:], f"{part!r} is missing, or comes too early, in:\n{told}"
        found = told.index(part, found) + len(part)


def test_it_tells_of_masks_turns_a_refusal_a_lost_device_and_its_release(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    """B-GPU-x3, B-PROC-x3, B-SUPER-x7: on the stub, through the real probe, with real processes."""
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (0, ""), told + complaints
    started, _, rest = " ".join(told.split()).partition("2. Somebody else")
    loads = [started.index(f"all that it sees is GPU {mask}") for mask in ("0.", "1.", "GPU-77c0ffee")]
    first, second = sorted(loads[1:])
    assert "code Ready" in started[first:second] or "draft Ready" in started[first:second]
    assert_told(
        rest,
        *(
            "takes 30.0 GiB of GPU 1",
            "draft Does not start: device 1 has 10.0 GiB free",
            "too few of 20.0 GiB",
        ),
        *("in use by pool code (pid", "with 30.0 GiB (32212254720 bytes)", "tries again", "draft Ready"),
        *("3. A GPU falls", "device 1 reports Xid 79: GPU has fallen off the bus. It is in quarantine"),
        *("device 1 reports loss of contact", "explain() Pool 'code'", "lost device", "is in quarantine"),
        *("chat Answers a user, as before: CUDA_VISIBLE_DEVICES=0", "4. It is back", "is released"),
        *("chat ready, generation 1.", "code ready", "draft ready", "Left behind: no process, no file."),
    )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("moment", ["loads its model", "takes 30.0 GiB", "in quarantine"])
def test_it_can_be_interrupted_at_any_time(
    program: subprocess.Popen[str], tmp_path: Path, moment: str
) -> None:
    """Ctrl-C while it starts, while it waits and while a device is lost: no engine, no file, no traceback."""
    assert program.stdout is not None
    assert any(moment in line for line in program.stdout), "it ended before that"
    program.send_signal(signal.SIGINT)
    told, complaints = program.communicate(timeout=PATIENCE)
    assert (program.returncode, complaints) == (130, ""), told + complaints
    assert told.endswith("Interrupted: the engines have been ended, and their folder removed.\n")
    assert engines(tmp_path) == []
    assert [*tmp_path.iterdir()] == []
