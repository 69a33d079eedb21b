"""`pool-lifecycle simulate`: what it takes, says and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.config import load
from pool_lifecycle.simulation import as_json, as_text, load_trace, picture, replay
from tests.replays import written

CRASH = {"pool_id": "chat", "uptime_seconds": 3, "reason": "exit"}


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    """A configuration."""
    return written(tmp_path / "pools.toml", "[pools.chat]", 'engine = { binary = "/nowhere/engine" }')


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two crashes."""
    return written(tmp_path / "crashes.jsonl", CRASH, CRASH)


def invoke(*args: object) -> Result:
    """The command, as if typed."""
    return CliRunner().invoke(cli, ["simulate", *map(str, args)])


def test_it_prints_what_happened(pools: Path, trace: Path) -> None:
    """As text, as JSON or as the picture, and nothing else; no file is written unasked."""
    config = load(pools)
    timeline = replay(config, load_trace(trace, ["chat"]))
    before = sorted(pools.parent.iterdir())
    drawing = picture(timeline, "crashes.jsonl against pools.toml")
    wanted = {"text": as_text(timeline), "json": as_json(timeline), "svg": drawing}
    for style, said in wanted.items():
        result = invoke(pools, trace, "--format", style)
        assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, said, "")
    assert invoke(pools, trace).stdout == wanted["text"]
    assert sorted(pools.parent.iterdir()) == before


def test_the_picture_goes_into_a_file_besides(pools: Path, trace: Path, tmp_path: Path) -> None:
    """What is printed stays the same."""
    file = tmp_path / "out.svg"
    result = invoke(pools, trace, "-o", file)
    assert result.stdout == invoke(pools, trace).stdout
    assert file.read_text(encoding="utf-8") == invoke(pools, trace, "--format", "svg").stdout


def test_its_options_are_heeded(pools: Path, trace: Path) -> None:
    """Another seed gives other delays; --until ends it."""
    one, other = (
        [pool["attempts"][1]["waited"] for pool in json.loads(invoke(pools, trace, *more).stdout)["pools"]]
        for more in (["--format", "json"], ["--format", "json", "--seed", "1"])
    )
    assert one != other
    assert "Not over: --until ended it, 0:00:02.0" in invoke(pools, trace, "--until", 2).stdout


def test_a_wrong_trace_is_told_like_a_wrong_configuration(pools: Path, tmp_path: Path) -> None:
    """Every problem on standard error, without what could harm a terminal, and code 1."""
    bad = written(tmp_path / "bad.jsonl", {**CRASH, "reason": "\x1b[2J"}, CRASH, {**CRASH, "pool_id": "nix"})
    result = invoke(pools, bad)
    assert (result.exit_code, result.stdout) == (Exit.BAD_CONFIG, "")
    for part in ("line 1: reason", "must be one of 'graceful'", "line 3: pool_id = 'nix'", "2 problems in"):
        assert part in result.stderr
    assert "\x1b" not in result.stderr
    assert invoke(bad, pools).exit_code == Exit.BAD_CONFIG
    assert "cannot be read" in invoke(pools, tmp_path / "none").stderr


@pytest.mark.parametrize("more", [["--until", "0"], ["--until", "1e9"], ["--seed", "x"], ["--format", "png"]])
def test_a_wrong_option_is_a_wrong_command_line(more: list[str], pools: Path, trace: Path) -> None:
    """Code 2."""
    assert invoke(pools, trace, *more).exit_code == Exit.USAGE


def test_a_picture_that_cannot_be_written_is_said(pools: Path, trace: Path, tmp_path: Path) -> None:
    """With the reason, before anything is printed."""
    result = invoke(pools, trace, "-o", tmp_path / "none" / "x.svg")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "No such file or directory" in result.stderr


def test_the_help_has_examples_and_the_format_of_a_run() -> None:
    """So that nobody needs the page to begin."""
    shown = invoke("--help").stdout
    assert "pool-lifecycle simulate pools.toml crashes.jsonl -o crashes.svg" in shown
    assert '"uptime_seconds": 3.5' in shown


def test_its_words_can_be_shown_anywhere(pools: Path, trace: Path) -> None:
    """Also where the locale knows no character of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pool_lifecycle.cli", "simulate", pools, trace],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.decode() == invoke(pools, trace).stdout
