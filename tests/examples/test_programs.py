"""The programs in examples/ run, end well, and tell what they promise to tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.engine]


def run(program: str) -> str:
    """What it prints; it has to end with exit code 0."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_demo_tells_the_whole_story() -> None:
    """From preload to drain on the real engine, with one lease open into the drain, and nothing left."""
    told = run("demo.py")
    for part in (
        "starting → ready",
        "ready → draining",
        "a new lease is refused",
        "the open lease still works",
    ):
        assert part in told
    assert told.index("the last lease is released") < told.index("draining → stopping")
    assert "no process, no port, no lock" in told


def test_the_quickstart_changes_the_model_and_drains() -> None:
    """The thirty lines of the README's API work against the real engine."""
    told = run("quickstart.py")
    assert "generation 1 says" in told
    assert "DrainEnd.DRAINED" in told
    assert "has been stopped" in told
