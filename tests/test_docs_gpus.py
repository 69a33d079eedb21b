"""docs/gpus.md is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest

from pool_lifecycle.config import ManagerSettings, read
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.placement.xid import XIDS, Blame
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.testing.memory import MemoryGpuProbe

PAGE = (Path(__file__).parent.parent / "docs" / "gpus.md").read_text()

pytestmark = pytest.mark.sources


def test_the_example_is_a_right_file() -> None:
    """Its pools look at their GPUs, and run on nothing else."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    drivers = Drivers({Interface.GPU_PROBE: {"nvml": MemoryGpuProbe()}})
    chat, large = read(tomllib.loads(example), file=Path("pools.toml"), drivers=drivers).pools
    assert (chat.probe, chat.on_gpus, chat.engine.cuda) == ("nvml", True, "12.4")
    assert large.engine.split == (0.25, 0.75)
    assert large.devices == {"1", "2"}


def test_the_keys_are_those_of_a_file() -> None:
    """Every key that is named with its table."""
    tables = {
        "manager.devices": DevicePolicy,
        "manager": ManagerSettings,
        "engine": EngineSpec,
        "limits": Limits,
    }
    named = re.findall(r"`(manager\.devices|engine|limits)\.(\w+)`", PAGE)
    assert len(named) >= 6
    for table, key in named:
        assert key in {one.name for one in attrs.fields(tables[table])}, f"{table}.{key}"
    for key in ("device_mask", "gpu_only", "gpu_probe"):
        assert f"`{key}" in PAGE
        assert key in {one.name for one in attrs.fields(PoolSpec)}


def test_the_numbers_are_those_of_the_program() -> None:
    """The reserve, and when a quarantine ends."""
    policy = DevicePolicy()
    assert f"(`manager.devices.reserve`, {policy.reserve >> 20} MiB)" in PAGE
    assert f"({policy.release:g}; none: never by itself)" in PAGE


def test_the_xids_are_whose_fault_it_says() -> None:
    """By the catalogue."""
    words = " ".join(PAGE.split())
    found = re.search(r"application's doing \(([\d, ]+)\), some the device's \(([\d, ]+)\)", words)
    assert found is not None
    for numbers, blame, isolates in (
        (found[1], Blame.APPLICATION, False),
        (found[2], Blame.DEVICE, True),
    ):
        for number in map(int, numbers.split(", ")):
            assert (XIDS[number].blame, XIDS[number].isolates) == (blame, isolates)


def test_the_links_lead_somewhere() -> None:
    """Files of this repository."""
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / link).exists(), link
