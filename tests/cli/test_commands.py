"""What the commands take and say, where nothing runs for long."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pool_lifecycle
from pool_lifecycle import cli as package
from pool_lifecycle.breaker import BREAKER
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.diagrams import DIAGRAMS
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.statedir import StateDir

GOOD = """
[pools.chat]
model = "file:/models/[red]chat.gguf"
engine = { binary = "/bin/llama-server", env = { TOKEN = "s3cret" }, port = 8080 }
[pools.embed]
slots = 8
engine = { binary = "vllm", profile = "vllm" }
"""

BAD = """
[pools.chat]
slots = 0
engine = { binary = "x", prot = 80, env = { TOKEN = 5, KEY = "s3cret" } }
model = "\\u001b[2J: x\\u0000"
"""


def invoke(*args: object, width: int = 100) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": str(width)}).invoke(cli, list(map(str, args)))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file that is right."""
    file = tmp_path / "pools.toml"
    file.write_text(GOOD)
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file with four problems."""
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    return file


@pytest.mark.parametrize("width", [120, 40])
def test_check_shows_the_pools(good: Path, width: int) -> None:
    """In a table, or a list where there is no room; never a secret."""
    result = invoke("check", good, width=width)
    assert result.exit_code == Exit.OK
    for part in (
        "2 pools",
        "chat",
        "127.0.0.1:8080",
        "file:/models/[red]chat.gguf",
        "vllm (vllm)",
        "free port",
    ):
        assert part in result.output
    assert "s3cret" not in result.output
    assert all(len(line) <= width for line in result.output.splitlines()[1:])


def test_check_shows_every_problem(bad: Path) -> None:
    """B-CONFIG-x1: on standard error, by key, without secrets and without what could harm a terminal."""
    result = invoke("check", bad)
    assert result.exit_code == Exit.BAD_CONFIG
    assert result.stdout == ""
    for part in (
        "pools.chat.slots = 0\n    must be",
        "prot",
        "did you mean 'port'",
        "chat.model",
        "4 problems in",
    ):
        assert part in result.stderr
    assert "s3cret" not in result.stderr
    assert "\x1b" not in result.stderr


def test_check_speaks_json(good: Path, bad: Path) -> None:
    """With every default; of environment variables only the names."""
    found = json.loads(invoke("check", "--json", good).stdout)
    chat, embed = found["pools"]
    assert (found["ok"], chat["engine"]["env"], embed["limits"]["start"]) == (True, ["TOKEN"], 120.0)
    result = invoke("check", "--json", bad)
    problems = json.loads(result.stdout)
    assert (result.exit_code, problems["ok"]) == (Exit.BAD_CONFIG, False)
    assert "pools.chat.slots" in [problem["key"] for problem in problems["problems"]]
    assert "s3cret" not in invoke("check", "--json", good).stdout + result.stdout


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_that_is_not_there_is_a_wrong_configuration(command: str, tmp_path: Path) -> None:
    """Said in one line, with its name."""
    result = invoke(command, tmp_path / "none.toml")
    assert result.exit_code == Exit.BAD_CONFIG
    assert "cannot be read: No such file or directory" in result.stderr
    assert "none.toml" in result.stderr


@pytest.mark.parametrize(
    "args", [["run"], ["check"], ["chekc"], ["run", "--format", "x", "f"], ["diagram", "x"]]
)
def test_a_wrong_command_line_is_told_apart(args: list[str]) -> None:
    """Code 2, and how to get help."""
    result = invoke(*args)
    assert result.exit_code == Exit.USAGE
    assert "--help" in result.stderr


def test_run_refuses_a_state_directory_in_use(good: Path, tmp_path: Path) -> None:
    """It names who has it, and the option that chooses another."""
    paths = StateDir(tmp_path / "pools.state")  # the one that goes with pools.toml
    paths.make()
    lock = paths.lock()
    try:
        result = invoke("run", good)
    finally:
        lock.release()
    assert result.exit_code == Exit.STATE_DIR
    assert "in use by another manager" in result.stderr
    assert "--state-dir" in result.stderr


@pytest.mark.parametrize("declared", ["", '[manager]\nstate_dir = "else"\n'])
def test_the_option_chooses_the_state_directory(good: Path, tmp_path: Path, declared: str) -> None:
    """Over what the file says."""
    good.write_text(declared + GOOD)
    (tmp_path / "file").touch()
    result = invoke("run", good, "--state-dir", tmp_path / "file" / "x")
    assert result.exit_code == Exit.STATE_DIR
    assert "file/x" in result.stderr


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagrams_are_drawn(name: str, tmp_path: Path) -> None:
    """In both formats; the ending of the file chooses one."""
    assert invoke("diagram", name).stdout == DIAGRAMS[name].mermaid()
    assert invoke("diagram", name, "--format", "svg").stdout == DIAGRAMS[name].svg()
    file = tmp_path / "drawing.svg"
    assert invoke("diagram", name, "-o", file).exit_code == Exit.OK
    assert file.read_text() == DIAGRAMS[name].svg()
    assert {diagram.table for diagram in DIAGRAMS.values()} == {LIFECYCLE, BREAKER}


def test_a_diagram_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """With the reason."""
    result = invoke("diagram", "-o", tmp_path / "none" / "x.svg")
    assert result.exit_code == Exit.USAGE
    assert "No such file or directory" in result.stderr


def test_the_version_is_the_packages() -> None:
    """By both names of the option."""
    assert invoke("--version").output == invoke("-V").output
    assert pool_lifecycle.__version__ in invoke("-V").output


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line instead of a traceback, and code 2."""
    for name in [name for name in sys.modules if name.startswith((f"{missing}.", "pool_lifecycle.cli."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(package.__file__))["main"]()
    assert ended.value.code == Exit.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'pool-lifecycle[cli]'" in said
