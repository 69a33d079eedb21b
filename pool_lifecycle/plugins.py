"""Drivers by name: objects that were given, else what installed packages offer as entry points."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import cached_property
from importlib import metadata
from typing import Any, TypeVar, cast

from pool_lifecycle.errors import ConfigError, DriverError, Problem
from pool_lifecycle.interfaces import EngineLauncher, EngineProfile, GpuProbe, HealthProbe, ModelStager

D = TypeVar("D")


class Interface(enum.StrEnum):
    """The driver interfaces. The value is the entry-point group in which drivers are offered."""

    LAUNCHER = "pool_lifecycle.launchers"
    HEALTH_PROBE = "pool_lifecycle.health_probes"
    MODEL_STAGER = "pool_lifecycle.model_stagers"
    GPU_PROBE = "pool_lifecycle.gpu_probes"
    ENGINE_PROFILE = "pool_lifecycle.engine_profiles"


_PROTOCOLS: dict[Interface, Any] = {
    Interface.LAUNCHER: EngineLauncher,
    Interface.HEALTH_PROBE: HealthProbe,
    Interface.MODEL_STAGER: ModelStager,
    Interface.GPU_PROBE: GpuProbe,
    Interface.ENGINE_PROFILE: EngineProfile,
}


class Drivers:
    """Finds a driver by interface and name; makes each named one once.

    `given` maps names to driver objects, for each interface; they come before what is installed:

        Drivers({Interface.LAUNCHER: {"local": my_launcher}})
    """

    def __init__(self, given: dict[Interface, dict[str, Any]] | None = None) -> None:
        self._made: dict[tuple[Interface, str], Any] = {
            (interface, name): _fitting(interface, name, driver)
            for interface, drivers in (given or {}).items()
            for name, driver in drivers.items()
        }

    def launcher(self, name: str) -> EngineLauncher:
        """The launcher of that name. Raises ConfigError naming the ones there are; so do the others."""
        return cast("EngineLauncher", self._find(Interface.LAUNCHER, name, "launcher"))

    def health_probe(self, name: str) -> HealthProbe:
        """The health probe of that name."""
        return cast("HealthProbe", self._find(Interface.HEALTH_PROBE, name, "health.probe"))

    def stager(self, name: str) -> ModelStager:
        """The model stager of that name."""
        return cast("ModelStager", self._find(Interface.MODEL_STAGER, name, "stager"))

    def gpu_probe(self, name: str) -> GpuProbe:
        """The GPU probe of that name."""
        return cast("GpuProbe", self._find(Interface.GPU_PROBE, name, "gpu_probe"))

    def profile(self, name: str) -> EngineProfile:
        """The engine profile of that name."""
        return cast("EngineProfile", self._find(Interface.ENGINE_PROFILE, name, "engine.profile"))

    def names(self, interface: Interface) -> tuple[str, ...]:
        """Every name that can be asked for."""
        made = {name for kind, name in self._made if kind is interface}
        return tuple(sorted(made | {point.name for point in self._installed(group=interface)}))

    @cached_property
    def _installed(self) -> Callable[..., metadata.EntryPoints]:
        """Selects from what is installed. Read once: it means a look at every package."""
        return metadata.entry_points().select

    def _find(self, interface: Interface, name: str, key: str) -> Any:
        if (interface, name) not in self._made:
            self._made[interface, name] = _fitting(interface, key, self._load(interface, name, key))
        return self._made[interface, name]

    def _load(self, interface: Interface, name: str, key: str) -> Any:
        points = tuple(self._installed(group=interface, name=name))
        if not points:
            valid = ", ".join(map(repr, self.names(interface))) or "none is installed"
            raise ConfigError([Problem(key, name, f"must be one of {valid}")])
        try:
            return points[0].load()()
        except DriverError as error:
            why = f"cannot be used: {error.cause.message}; {error.cause.remedy}".removesuffix("; ")
            raise ConfigError([Problem(key, name, why)]) from error
        except Exception as error:
            raise ConfigError([Problem(key, name, f"cannot be loaded: {error!r}")]) from error


def _fitting(interface: Interface, key: str, driver: Any) -> Any:
    protocol = _PROTOCOLS[interface]
    if not isinstance(driver, protocol):
        raise ConfigError([Problem(key, driver, f"must have the methods of {protocol.__name__}")])
    return driver
