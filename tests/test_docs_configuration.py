"""docs/configuration.md and examples/pools.toml are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

from pool_lifecycle.config import ManagerSettings, load
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.window import Window
from pool_lifecycle.spec import STRATEGIES, EngineSpec, HealthSpec, Limits, Models, PoolSpec, ReloadSpec

ROOT = Path(__file__).parent.parent

CLASSES: dict[str, type[attrs.AttrsInstance]] = {
    "manager": ManagerSettings,
    "pools.<id>": PoolSpec,
    "pools.<id>.engine": EngineSpec,
    "pools.<id>.health": HealthSpec,
    "pools.<id>.limits": Limits,
    "pools.<id>.backoff": Backoff,
    "pools.<id>.breaker": Breaker,
    "pools.<id>.window": Window,
    "pools.<id>.classes": ClassPolicy,
    "pools.<id>.reload": ReloadSpec,
    "manager.restarts": Budget,
    "manager.blame": Blame,
    "manager.models": Models,
    "manager.devices": DevicePolicy,
}


def documented(table: str) -> dict[str, str]:
    """The keys of a table on the page, with their defaults."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    section = page.partition(f"## `[{table}]`")[2].partition("\n## ")[0]
    keys = section.partition("| key |")[2]
    return dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", keys, re.MULTILINE))


def said(field: attrs.Attribute[object]) -> str:
    """How the page puts the default of a field."""
    default = field.default
    if default is attrs.NOTHING:
        return "-"
    if default is None:
        return "none"
    if field.name == "env":  # a table in the file, pairs in the class
        return "`{}`"
    if isinstance(default, str | int | float | tuple):
        return f"`{json.dumps(default)}`"
    return "its defaults"


@pytest.mark.parametrize("table", CLASSES)
def test_every_key_is_explained_with_its_default(table: str) -> None:
    """No key is missing, none is made up, and each default is what the class says."""
    fields = [one for one in attrs.fields(CLASSES[table]) if one.name != "pool_id"]
    assert documented(table) == {one.name: said(one) for one in fields}


def test_every_class_is_explained() -> None:
    """B-SUPER-x2: each class that a pool can say something about, and no other."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    section = page.partition("## `[pools.<id>.classes]`")[2].partition("| key |")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert listed == [one.name for one in attrs.fields(ClassPolicies)]


def test_every_strategy_is_explained() -> None:
    """B-RELOAD-x2, B-RELOAD-x4: each way in which a model can be changed, and no other."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    section = page.partition("## `[pools.<id>.reload]`")[2].partition("| key |")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == STRATEGIES


def test_the_example_is_right() -> None:
    """A file to begin with must not begin with an error."""
    found = load(ROOT / "examples" / "pools.toml")
    assert [spec.pool_id for spec in found.pools] == ["chat", "embed", "rerank"]
    assert found.manager.state_dir == str(ROOT / "examples" / "state")
