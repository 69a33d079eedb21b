"""The command that says what keeps pools from starting."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.cli import doctor
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.survey import PoolSurvey, Survey
from pool_lifecycle.config import Config
from pool_lifecycle.interfaces import Capability

BUSY = Cause(
    FailureClass.PORT_IN_USE,
    Stage.PREFLIGHT,
    "port 8080 is held by pid 7 ([red]x\x1b[2J)",
    remedy="end that program",
)
FULL = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "the disk is full", heals=False)
IN_USE = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "in use by another manager (pid 9)", remedy="stop it")
SESSION = Capability("containment", "session", "no cgroup is ours", "cgroup v2", "delegate one")
POOLS = (
    PoolSurvey("fine", notes=("its engine lives (pid 5)",)),
    PoolSurvey("old", warnings=("driver 535.1 supports CUDA 12.2",)),
    PoolSurvey("bad", (BUSY, FULL), ("a warning as well",)),
)


def shown(found: Survey, width: int) -> str:
    """What a terminal of that width shows."""
    to = Console(file=io.StringIO(), width=width, highlight=False)
    doctor.show(Config(Path("/etc/pools.toml"), ()), Path("/var/state"), found, to)
    return to.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def invoke(*args: object) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["doctor", *map(str, args)])


def declared(folder: Path, *lines: str) -> Path:
    """A file of pools."""
    file = folder / "pools.toml"
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_finding_is_shown_with_what_helps(width: int) -> None:
    """A line for each pool, and below it everything; nothing does anything to a terminal."""
    text = shown(Survey(POOLS, (), (SESSION, Capability("clock", "the host's"))), width)
    assert "\x1b" not in text
    assert all(len(line) <= width for line in text.splitlines()[1:-1])
    words = " ".join(text.split())
    for part in (
        "/etc/pools.toml: 3 pools, state in /var/state",
        "fine ok its engine lives (pid 5)",
        "old warning driver 535.1 supports CUDA 12.2",
        "bad would not start port 8080 is held by pid 7 ([red]x\\x1b[2J) → end that program",
        "the disk is full a warning as well",
        "containment: session (no cgroup is ours)",
        "2 of 3 pools would start",
    ):
        assert part in words
    assert "clock" not in text


def test_what_keeps_a_manager_from_starting_holds_for_all() -> None:
    """It is told apart from the pools."""
    words = " ".join(shown(Survey(POOLS[:1], (IN_USE,)), 80).split())
    assert "all of them a manager would not start in use by another manager (pid 9) → stop it" in words
    assert words.endswith("1 of 1 pool would start, if a manager did")


def test_a_file_that_would_start(tmp_path: Path) -> None:
    """Code 0, and nothing was made."""
    file = declared(tmp_path, '[pools.chat]\nengine = { binary = "sleep" }')
    result = invoke(file)
    assert (result.exit_code, result.stderr) == (Exit.OK, "")
    assert "1 of 1 pool would start" in result.stdout
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_that_would_not(tmp_path: Path) -> None:
    """A code of its own; programs get one document, with keys that stay."""
    file = declared(tmp_path, '[pools.chat]\nengine = { binary = "/nowhere/x" }')
    assert invoke(file).exit_code == Exit.WOULD_NOT_START
    result = invoke(file, "--json", "--state-dir", tmp_path / "elsewhere")
    assert result.exit_code == Exit.WOULD_NOT_START
    found = json.loads(result.stdout)
    assert found["ok"] is False
    assert found["state_dir"] == str(tmp_path / "elsewhere")
    (pool,) = found["pools"]
    assert (pool["pool_id"], pool["verdict"]) == ("chat", "would not start")
    (cause,) = pool["causes"]
    assert set(cause) == {"kind", "stage", "message", "remedy", "heals"}
    assert "/nowhere/x" in cause["message"]
    assert (pool["warnings"], pool["notes"], found["host"]) == ([], [], [])
    assert {"containment", "clock"} <= {one["name"] for one in found["capabilities"]}


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_that_is_wrong_is_told_as_by_check(tmp_path: Path, as_json: bool) -> None:
    """Every problem, and nothing is looked at."""
    file = declared(tmp_path, "[pools.chat]\nslots = 0\n")
    result = invoke(file, *(["--json"] if as_json else []))
    assert result.exit_code == Exit.BAD_CONFIG
    keys = ("pools.chat.slots", "pools.chat.engine")
    if as_json:
        assert {one["key"] for one in json.loads(result.stdout)["problems"]} == set(keys)
    else:
        assert all(key in result.stderr for key in keys)


def test_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the code of that, and no traceback."""

    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    file = declared(tmp_path, '[pools.chat]\nengine = { binary = "sleep" }')
    result = invoke(file)
    assert (result.exit_code, result.output) == (BY_SIGNAL + 2, "")
