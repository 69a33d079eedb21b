"""What is published is what is here: packages, types, entry points, dependencies, version."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTION = "pool-lifecycle"
SOURCES = {
    "pool_lifecycle": ROOT / "pool_lifecycle",
    "pool_lifecycle_drivers": ROOT / "drivers/pool_lifecycle_drivers",
}
CORE = {"attrs", "psutil", "transitions"}
DRIVER_INTERFACES = ("launchers", "health_probes", "model_stagers", "gpu_probes", "engine_profiles")


def _settings() -> ConfigParser:
    settings = ConfigParser(interpolation=None, delimiters=("=",))
    settings.read(ROOT / "setup.cfg")
    return settings


SETTINGS = _settings()


def _lines(section: str, option: str) -> list[str]:
    lines = SETTINGS[section][option].splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _project_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, f"not a requirement: {requirement!r}"
    return found[0].lower()


def _declared_entry_points() -> list[tuple[str, str, str]]:
    group_lines = [
        (group, line)
        for group in SETTINGS["options.entry_points"]
        for line in _lines("options.entry_points", group)
    ]
    pairs = [(group, *line.split("=", 1)) for group, line in group_lines]
    return [(group, name.strip(), target.strip()) for group, name, target in pairs]


ENTRY_POINTS = _declared_entry_points()
EXTRAS = list(SETTINGS["options.extras_require"])


@pytest.mark.sources
def test_declared_packages_are_the_folders_with_python_files() -> None:
    """A new folder that is not declared would be missing from the wheel without anybody noticing."""
    folders = {
        ".".join((name, *file.parent.relative_to(source).parts))
        for name, source in SOURCES.items()
        for file in source.rglob("*.py")
    }
    assert set(_lines("options", "packages")) == folders


@pytest.mark.parametrize("package", _lines("options", "packages"))
def test_every_package_is_importable(package: str) -> None:
    """From the installed distribution; each is a real package, not a namespace that anybody could extend."""
    assert importlib.import_module(package).__file__ is not None


@pytest.mark.parametrize("package", SOURCES)
def test_types_are_published(package: str) -> None:
    """Without `py.typed` a type checker ignores every annotation of ours."""
    assert importlib.resources.files(package).joinpath("py.typed").is_file()


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS, ids=lambda part: part)
def test_every_entry_point_leads_somewhere(group: str, name: str, target: str) -> None:
    """What configuration names is there, and is callable."""
    (entry,) = {
        entry.value: entry for entry in importlib.metadata.entry_points(group=group, name=name)
    }.values()
    assert entry.value == target, "the installation is older than setup.cfg: run `make venv`"
    assert callable(entry.load())


@pytest.mark.parametrize("interface", DRIVER_INTERFACES)
def test_every_interface_has_two_drivers(interface: str) -> None:
    """An interface with a single implementation has not been tried."""
    drivers = {name for group, name, _ in ENTRY_POINTS if group == f"pool_lifecycle.{interface}"}
    assert len(drivers) >= 2


def test_the_version_is_the_same_everywhere() -> None:
    """In setup.cfg, in the installed distribution, and in the package."""
    package = importlib.import_module("pool_lifecycle")
    declared = SETTINGS["metadata"]["version"]
    assert importlib.metadata.version(DISTRIBUTION) == declared
    assert package.__version__ == declared


def test_the_core_needs_three_packages() -> None:
    """Everything else is an extra."""
    assert {_project_of(line) for line in _lines("options", "install_requires")} == CORE


def test_extras_that_an_extra_includes_exist() -> None:
    """pip only warns about an extra that does not exist, and installs nothing for it."""
    included = {
        extra
        for option in EXTRAS
        for line in _lines("options.extras_require", option)
        if _project_of(line) == DISTRIBUTION
        for extra in line.partition("[")[2].rstrip("]").split(",")
    }
    assert included <= set(EXTRAS)


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md says why each is needed."""
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    listed = _lines("options", "install_requires")
    listed += [line for option in EXTRAS for line in _lines("options.extras_require", option)]
    projects = {_project_of(line) for line in listed} - {DISTRIBUTION}
    assert {project for project in projects if f"| {project} |" not in reasons} == set()


def test_pyproject_has_only_what_pip_needs() -> None:
    """Settings live in setup.cfg, in one place."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    assert [line.partition(" = ")[0] for line in lines] == ["[build-system]", "requires", "build-backend"]
