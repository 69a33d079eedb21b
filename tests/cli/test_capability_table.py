"""What the command line says of this host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pool_lifecycle import capabilities
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.interfaces import Capability
from pool_lifecycle.spec import PoolSpec

FINE = Capability("exit notice", "pidfd, at once")
POOR = Capability(
    "containment", "session\x1b[2J", "no [red]cgroup[/red] is ours", "cgroup v2", "delegate one"
)


def invoke(*args: object, width: int = 100) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": str(width)}).invoke(cli, ["capabilities", *map(str, args)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A host that allows little; the launchers of the pools that were asked about."""
    asked: list[list[str]] = []

    def of(_drivers: object, specs: list[PoolSpec], **_more: object) -> tuple[Capability, ...]:
        asked.append([spec.launcher for spec in specs])
        return (FINE, POOR)

    monkeypatch.setattr(capabilities, "of", of)
    return asked


@pytest.mark.parametrize("width", [120, 40])
@pytest.mark.usefixtures("asked")
def test_it_shows_what_is_in_force_and_what_would_help(width: int) -> None:
    """In a table that fits; nothing that drivers say does anything to a terminal."""
    result = invoke(width=width)
    assert result.exit_code == Exit.OK
    words = " ".join(result.stdout.split())
    for part in (
        "exit notice",
        "pidfd, at once",
        "containment",
        "[red]cgroup[/red]",
        "better: cgroup v2",
        "to get it: delegate one",
    ):
        assert part in words
    assert "\x1b" not in result.stdout
    assert all(len(line) <= width for line in result.stdout.splitlines())


@pytest.mark.usefixtures("asked")
def test_programs_get_it_as_json() -> None:
    """With every field."""
    found = json.loads(invoke("--json").stdout)["capabilities"]
    assert [one["name"] for one in found] == ["exit notice", "containment"]
    assert found[1] == {
        "name": "containment",
        "in_force": "session\x1b[2J",
        "why": "no [red]cgroup[/red] is ours",
        "better": "cgroup v2",
        "remedy": "delegate one",
    }


def test_a_file_says_whose_drivers_are_asked(tmp_path: Path, asked: list[list[str]]) -> None:
    """Without one it is those that pools name by themselves; one that is wrong is told."""
    file = tmp_path / "pools.toml"
    file.write_text('[pools.chat]\nlauncher = "memory"\nengine = { binary = "x" }\n')
    assert invoke(file).exit_code == Exit.OK
    assert invoke().exit_code == Exit.OK
    assert asked == [["memory"], []]
    file.write_text("[pools.chat]\nslots = 0\n")
    result = invoke(file)
    assert (result.exit_code, result.stdout) == (Exit.BAD_CONFIG, "")
    assert "pools.chat.slots" in result.stderr


def test_this_host_is_looked_at() -> None:
    """As it is: the usual launcher answers."""
    found = json.loads(invoke("--json").stdout)["capabilities"]
    assert {"containment", "orphans", "exit notice", "exit status", "clock", "forks"} <= {
        one["name"] for one in found
    }
