"""`pool-lifecycle apply`: what it shows, and how it ends; the whole of it with real processes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from pool_lifecycle.cli.apply import Asked, as_json, code_of, show_outcome, show_plan
from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.declared import Application, Declared, Outcome
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.config import load
from pool_lifecycle.plan import described, differences, plan_between, settings
from pool_lifecycle.statedir import StateDir
from tests.cli.test_run import PATIENCE, Program

OLD = """
[pools.chat]
model = "file:/models/[red]chat.gguf"
engine = { binary = "/bin/llama-server", args = ["-c", "4096", "--flash"], env = { TOKEN = "s3cret-of-old" } }
[pools.gone]
engine = { binary = "vllm" }
[pools.same]
engine = { binary = "vllm" }
"""

NEW = """
[manager.restarts]
burst = 3
[pools.chat]
model = "file:/models/better.gguf"
engine = { binary = "/bin/llama-server", args = ["-c", "8192", "--flash"], env = { TOKEN = "s3cret-of-new" } }
limits = { drain = 5 }
[pools.same]
engine = { binary = "vllm" }
[pools.embed]
slots = 8
device_mask = "0"
engine = { binary = "vllm" }
"""


def written(folder: Path, content: str) -> Path:
    """The file with this content."""
    file = folder / "pools.toml"
    file.write_text(content)
    return file


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """The new file against a run of the old one."""
    old = load(written(tmp_path, OLD))
    pools = tuple(described(spec, b"key") for spec in old.pools)
    declared = Declared(7, str(tmp_path / "pools.toml"), b"key", settings(old.manager, b"key"), pools)
    new = load(written(tmp_path, NEW))
    after = [described(spec, b"key") for spec in new.pools]
    left = differences(declared.manager, settings(new.manager, b"key"))
    return Asked(new, declared, plan_between(declared.pools, after), left)


def shown(asked: Asked, width: int, *, terminal: bool) -> str:
    """The plan as people see it."""
    to = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, highlight=False)
    show_plan(asked, to)
    assert isinstance(to.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", to.file.getvalue())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_plan_fits_a_terminal(asked: Asked, width: int) -> None:
    """A table where there is room, else a list; every difference is in it, no secret is."""
    said = shown(asked, width, terminal=True)
    last = said.index("pools.toml: 1 to add, 1 to reload, 1 to remove, 1 unchanged")
    assert "manager.restarts.burst: 20 -> 3: only by the next run" in said[last:]
    if width >= 80:
        assert all(len(line) <= width for line in said.splitlines() if "│" in line)
    unbroken = re.sub(r"[\s│]+", "", said)
    for part in (
        "chat",
        "gone",
        "remove",
        "embed",
        "limits.drain",
        '[...,"8192",...]',
        "<hidden>",
        "anotherone",
    ):
        assert part in unbroken
    assert ("┃ pool" in said) == (width >= 80)
    assert "s3cret" not in said


def test_piped_the_plan_is_lines(asked: Asked) -> None:
    """Each of them whole, whatever the width: pool, change, key, from, to."""
    lines = [line.split("\t") for line in shown(asked, 40, terminal=False).splitlines()]
    assert ["chat", "reload", "limits.drain", "30", "5"] in lines
    assert ["chat", "reload", "engine.env.TOKEN", "<hidden>", "another one"] in lines
    assert ["embed", "add", "slots", "", "8"] in lines
    assert ["gone", "remove", "", "", ""] in lines
    assert not [line for line in lines if line[0] == "same"]


def test_programs_get_all_of_it(asked: Asked) -> None:
    """The plan with whole values, and what became of it."""
    outcome = Outcome("chat", "reload", "failed", "why", "ready")
    found = json.loads(as_json(asked, Application(1, "SIGHUP", (), (outcome,)), ok=False))
    assert (found["ok"], found["pid"], found["outcomes"][0]["error"]) == (False, 7, "why")
    ways = {one["pool_id"]: one["way"] for one in found["plan"]}
    assert ways == {"chat": "reload", "same": "unchanged", "embed": "add", "gone": "remove"}
    assert {"key": "limits.drain", "before": "30", "after": "5"} in found["plan"][0]["differences"]
    assert "outcomes" not in json.loads(as_json(asked, None, ok=True))
    assert "s3cret" not in json.dumps(found)


def test_outcomes_are_shown() -> None:
    """What failed with why; what was not touched is not told of."""
    outcomes = (
        Outcome("a", "reload", "done", "", "ready"),
        Outcome("b", "reload", "failed", "no \x1b[2J room", "ready"),
        Outcome("c", "remove", "done"),
        Outcome("d", "unchanged", "done", "", "ready"),
    )
    to = Console(file=io.StringIO(), width=100)
    show_outcome(Application(1, "SIGHUP", (), outcomes), to)
    assert isinstance(to.file, io.StringIO)
    assert to.file.getvalue().splitlines() == [
        "a\treload\tdone\tready, as declared",
        "b\treload\tfailed\tready, not as declared: no \\x1b[2J room",
        "c\tremove\tdone\tremoved",
    ]


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (Application(1, "", (), (Outcome("a", "add", "done"),)), Exit.OK),
        (Application(1, "", (), ()), Exit.OK),
        (Application(1, "", (), (Outcome("a", "add", "failed"),)), Exit.NOT_APPLIED),
        (Application(1, "", (), (Outcome("a", "add", "superseded"),)), Exit.NOT_APPLIED),
        (Application(1, "", ("wrong",)), Exit.NOT_APPLIED),
    ],
)
def test_the_code_says_whether_all_is_as_declared(one: Application, code: Exit) -> None:
    """Nothing less is fine."""
    assert code_of(one) is code


def invoke(*args: object) -> Result:
    """The command, as if typed."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["apply", *map(str, args)])


def test_where_nobody_runs_it_says_so(tmp_path: Path) -> None:
    """And what would help."""
    result = invoke(written(tmp_path, OLD))
    assert result.exit_code == Exit.NOT_RUNNING
    assert "no manager runs in" in result.stderr
    assert "pool-lifecycle run" in result.stderr


def test_a_wrong_file_is_told_first(tmp_path: Path) -> None:
    """Nobody is told to read it."""
    result = invoke(written(tmp_path, "[pools.chat]\nslots = 0"))
    assert result.exit_code == Exit.BAD_CONFIG
    assert "pools.chat.slots" in result.stderr


@pytest.mark.parametrize("declared", [None, "another run's", "damaged"])
def test_a_manager_of_another_program_takes_no_file(tmp_path: Path, declared: str | None) -> None:
    """Here it is this one; it is sent nothing: SIGHUP would end it."""
    file = written(tmp_path, OLD)
    root = StateDir(tmp_path / "pools.state")
    root.make()
    if declared == "damaged":
        (root.root / "declared.json").write_text("{")
    elif declared is not None:
        Declared(1, str(file), b"", {}, ()).write(root.root)
    lock = root.lock()
    result = invoke(file)
    lock.release()
    assert result.exit_code == Exit.NOT_RUNNING
    assert f"(pid {os.getpid()}) has not said that it runs a file" in result.stderr


def test_another_file_is_refused(tmp_path: Path) -> None:
    """With the names of both."""
    file = written(tmp_path, OLD)
    root = StateDir(tmp_path / "state")
    root.make()
    Declared(os.getpid(), "/elsewhere/pools.toml", b"", {}, ()).write(root.root)
    lock = root.lock()
    result = invoke(file, "--state-dir", root.root)
    lock.release()
    assert result.exit_code == Exit.NOT_RUNNING
    assert f"it runs '/elsewhere/pools.toml', not {str(file)!r}" in result.stderr


# --- all of it ---------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A program that has not begun."""
    made = Program(tmp_path)
    yield made
    made.close()


def apply(program: Program, *options: str) -> subprocess.CompletedProcess[str]:
    """The command on the program's file."""
    words = [sys.executable, "-m", "pool_lifecycle.cli", "apply", str(program.file), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=60)


def pids(program: Program) -> dict[str, str]:
    """The pid of every pool's engine."""
    folder = program.folder / "pools.state" / "run"
    return {path.stem: path.read_text() for path in folder.iterdir() if path.suffix == ".pid"}


def declare(program: Program, **pools: tuple[str, ...]) -> None:
    """Just these pools, by name: the flags of their engines. The new file comes into place as a whole."""
    file = program.file
    program.file = file.with_name("new.toml")
    program.file.unlink(missing_ok=True)
    for name, flags in pools.items():
        program.declare(name, *flags)
    program.file.replace(file)
    program.file = file


@pytest.mark.slow
def test_only_the_changed_pools_engine_is_another_one(program: Program) -> None:
    """Told what is to be done before, and what became of it after."""
    declare(program, a=(), b=(), c=())
    program.run()
    program.until('"to": "ready"', times=3)
    before = pids(program)
    declare(program, a=("--ready-after", "0.1"), b=(), d=())
    planned = apply(program, "--plan")
    assert planned.returncode == Exit.OK, planned.stderr
    assert "pools.toml: 1 to add, 1 to reload, 1 to remove, 1 unchanged" in planned.stdout
    assert pids(program) == before
    done = apply(program)
    assert done.returncode == Exit.OK, done.stderr + done.stdout
    assert done.stdout.endswith(
        "a\treload\tdone\tready, as declared\nd\tadd\tdone\tready, as declared\nc\tremove\tdone\tremoved\n"
    )
    after = pids(program)
    assert set(after) == {"a", "b", "d"}
    assert after["b"] == before["b"]
    assert after["a"] != before["a"]
    again = json.loads(apply(program, "--json").stdout)
    assert {one["way"] for one in again["plan"]} == {"unchanged"}
    assert pids(program) == after
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK
    assert program.engines() == []
    assert not (program.folder / "pools.state" / "declared.json").exists()


@pytest.mark.slow
def test_a_change_that_fails_is_told_with_its_code(program: Program) -> None:
    """The old engine's place is taken by one like it; the other pool never notices."""
    declare(program, a=(), b=())
    program.run()
    program.until('"to": "ready"', times=2)
    before = pids(program)
    declare(program, a=("--no-such-flag",), b=())
    done = apply(program)
    assert done.returncode == Exit.NOT_APPLIED
    assert "a\treload\tfailed\tready, not as declared: reload failed" in done.stdout
    assert pids(program)["b"] == before["b"]
    assert apply(program, "--plan").stdout.startswith("a\treload\tengine.args\t")
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK


@pytest.mark.slow
def test_watched_the_file_is_read_when_it_changes(program: Program) -> None:
    """Without anybody saying so."""
    declare(program, a=(), b=())
    program.run("--watch")
    program.until('"to": "ready"', times=2)
    before = pids(program)
    declare(program, a=())
    program.until('"event": "Applied"')
    assert pids(program) == {"a": before["a"]}
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK


@pytest.mark.slow
def test_on_a_terminal_that_is_there_sighup_means_the_file(program: Program) -> None:
    """Only of one that is gone it says so (see `test_run`)."""
    declare(program, a=())
    program.run_on_terminal("--format", "lines")
    program.until("our own process answered")
    declare(program, a=(), b=())
    program.signal(signal.SIGHUP)
    program.until("our own process answered", times=2)
    program.until("as declared")
    assert program.process is not None
    assert program.process.poll() is None
    program.signal(signal.SIGTERM)
    assert program.ended() == Exit.OK


@pytest.mark.slow
def test_a_manager_that_ends_meanwhile_is_noticed(program: Program) -> None:
    """Nobody waits for what nobody will say."""
    declare(program, a=())
    program.run()
    program.until('"to": "ready"')
    declare(program, a=("--never-ready",))
    words = [sys.executable, "-m", "pool_lifecycle.cli", "apply", str(program.file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as waiting:
        program.until('"to": "reloading.starting"')
        assert program.process is not None
        program.process.kill()
        program.process.wait()
        _, told = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == Exit.NOT_APPLIED
    assert "the manager has ended meanwhile" in told
    until = time.monotonic() + PATIENCE
    while program.engines() and time.monotonic() < until:  # its guardian ends what it has left
        time.sleep(0.05)
    assert program.engines() == []
