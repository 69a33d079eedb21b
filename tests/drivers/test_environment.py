"""The environment of an engine, and what its PATH reaches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.environment import Note, engine_environment, find_program, variable


def environment(own: dict[str, str], *passed: str, **added: str) -> dict[str, str]:
    command = Command(("engine",), tuple(added.items()))
    request = LaunchRequest("p", 1, "token", command, "::1", 1, "/log", "/pid", env_passthrough=passed)
    return engine_environment(request, own)


OURS = {"SPT_NOENV": "1", "POOL_LIFECYCLE_TOKEN": "token"}


def test_nothing_spills_over_unless_it_is_on_the_list() -> None:
    """Least of all which GPUs the manager itself may see (B-DEVICE-011)."""
    own = {"PATH": "/bin", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0", "LD_LIBRARY_PATH": "/x", "LCD": "1"}
    assert environment(own) == {"PATH": "/bin", "LC_ALL": "C", **OURS}


def test_a_pool_names_what_is_passed_on() -> None:
    """What is named and not there is not invented."""
    assert environment({"LD_LIBRARY_PATH": "/x"}, "LD_LIBRARY_PATH", "ABSENT") == {
        "LD_LIBRARY_PATH": "/x",
        **OURS,
    }


def test_what_the_command_adds_wins_but_not_over_what_finds_the_engine_again() -> None:
    """An engine without its token could not be found."""
    added = {"HOME": "/mine", "POOL_LIFECYCLE_TOKEN": "forged", "SPT_NOENV": "0"}
    assert environment({"HOME": "/own"}, **added) == {"HOME": "/mine", **OURS}


def program(folder: Path, name: str, *, mode: int = 0o755) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.touch()
    path.chmod(mode)
    return str(path)


def test_a_name_is_looked_up_on_the_engines_path(tmp_path: Path) -> None:
    """Not on ours; what can be executed wins over what comes first."""
    program(tmp_path / "first", "engine", mode=0o644)
    second = program(tmp_path / "second", "engine")
    path = {"PATH": f"{tmp_path}/none:{tmp_path}/first:{tmp_path}/second"}
    assert find_program("engine", path, None) == second
    assert find_program("engine", {"PATH": str(tmp_path / "first")}, None) == f"{tmp_path}/first/engine"
    assert find_program("engine", {"PATH": str(tmp_path)}, None) is None


def test_relative_places_begin_where_the_engine_will_be(tmp_path: Path) -> None:
    """It has changed to its directory by the time it is executed."""
    engine = program(tmp_path / "bin", "engine")
    for name, path in (("bin/engine", ""), ("./bin/engine", ""), ("engine", "bin")):
        found = find_program(name, {"PATH": path}, str(tmp_path))
        assert found is not None
        assert os.path.samefile(found, engine)
    assert find_program("bin/engine", {}, str(tmp_path / "bin")) is None


def test_what_is_noted_of_a_launch_is_read_from_the_environment() -> None:
    """As the kernel shows it, whatever else is there."""
    note = Note("::1", 8080, '{"log_path": "/a\udc80"}', 123)
    shown = b"A=1\0POOL_LIFECYCLE_LAUNCH=" + os.fsencode(note.dump()) + b"\0POOL_LIFECYCLE_TOKEN=t\0"
    assert Note.load(shown) == note
    assert variable("POOL_LIFECYCLE_TOKEN", shown) == "t"
    assert variable("POOL", shown) is None


@pytest.mark.parametrize(
    "text", ["", "{", "null", "{}", '{"host": 1, "port": 2, "details": "", "at": 3}', "[1]", '{"host": "h"}']
)
def test_a_note_that_says_nothing_usable_is_none(text: str) -> None:
    """An engine can put anything in its children's environment."""
    assert Note.load(f"POOL_LIFECYCLE_LAUNCH={text}".encode()) is None
    assert Note.load(b"") is None
