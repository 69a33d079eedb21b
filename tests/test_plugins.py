"""Drivers by name."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.testing.memory import (
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
)

MEMORY: dict[Interface, Any] = {
    Interface.LAUNCHER: MemoryLauncher(),
    Interface.HEALTH_PROBE: MemoryHealthProbe(),
    Interface.MODEL_STAGER: MemoryStager(),
    Interface.GPU_PROBE: MemoryGpuProbe(),
    Interface.ENGINE_PROFILE: MemoryProfile(),
}


def find(drivers: Drivers, interface: Interface, name: str) -> Any:
    finders: dict[Interface, Any] = {
        Interface.LAUNCHER: drivers.launcher,
        Interface.HEALTH_PROBE: drivers.health_probe,
        Interface.MODEL_STAGER: drivers.stager,
        Interface.GPU_PROBE: drivers.gpu_probe,
        Interface.ENGINE_PROFILE: drivers.profile,
    }
    return finders[interface](name)


@pytest.mark.parametrize("interface", Interface)
def test_a_given_driver_comes_before_an_installed_one(interface: Interface) -> None:
    """And is used as it is."""
    mine = MEMORY[interface]
    assert find(Drivers({interface: {"memory": mine}}), interface, "memory") is mine
    assert find(Drivers(), interface, "memory") is not mine


@pytest.mark.parametrize("interface", Interface)
def test_an_installed_driver_is_made_once(interface: Interface) -> None:
    """The same object for the same name, whatever is asked for in between."""
    drivers = Drivers()
    assert find(drivers, interface, "memory") is find(drivers, interface, "memory")


@pytest.mark.parametrize("interface", Interface)
def test_every_installed_driver_can_be_made_and_fits(interface: Interface) -> None:
    """Two of each interface at least, each with the methods of its protocol."""
    drivers = Drivers()
    names = drivers.names(interface)
    assert len(names) >= 2
    assert [find(drivers, interface, name) is not None for name in names] == [True] * len(names)


@pytest.mark.parametrize("interface", Interface)
def test_a_name_there_is_not_lists_those_there_are(interface: Interface) -> None:
    """With the key of the configuration that named it."""
    drivers = Drivers({interface: {"mine": MEMORY[interface]}})
    with pytest.raises(ConfigError, match=r"= 'nowhere': must be one of .*'memory'.*'mine'"):
        find(drivers, interface, "nowhere")


@pytest.mark.parametrize("interface", Interface)
def test_what_does_not_fit_is_refused(interface: Interface) -> None:
    """When it is given, not when it is first called."""
    with pytest.raises(ConfigError, match="must have the methods of"):
        Drivers({interface: {"wrong": object()}})


def test_a_driver_that_cannot_be_loaded_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken package names itself; nobody meets a bare ImportError."""
    broken = metadata.EntryPoint("broken", "no_such_module:Launcher", Interface.LAUNCHER)
    monkeypatch.setattr(metadata, "entry_points", lambda **_: metadata.EntryPoints([broken]))
    with pytest.raises(ConfigError, match=r"launcher = 'broken': cannot be loaded: .*no_such_module"):
        Drivers().launcher("broken")


def test_what_is_installed_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many drivers are asked for: each time it would mean a look at every package there is."""
    looks: list[int] = []
    real = metadata.entry_points()

    def look() -> Any:
        looks.append(1)
        return real

    monkeypatch.setattr(metadata, "entry_points", look)
    drivers = Drivers()
    for name in ("tcp", "http"):
        drivers.health_probe(name)
    drivers.launcher("local")
    assert "local" in drivers.names(Interface.LAUNCHER)
    assert looks == [1]
