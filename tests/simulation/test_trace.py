"""Traces: what their lines mean, and what is said of lines that mean nothing."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.config import MOST_PROBLEMS
from pool_lifecycle.errors import ConfigError
from pool_lifecycle.simulation import trace as module
from pool_lifecycle.simulation.logged import BEFORE_READY, ENDED_ON_PURPOSE
from pool_lifecycle.simulation.trace import REASONS, WHEN_READY, WISHES, Action, Run, Trace, load
from tests.replays import written

POOLS = ("chat", "embed")
CRASH = {"pool_id": "chat", "uptime_seconds": 3.5, "reason": "cuda"}
WISH = {"pool_id": "embed", "at": 60, "wish": "reset"}


def told(file: Path) -> list[str]:
    """Every problem of a trace, without the name of the file."""
    with pytest.raises(ConfigError) as refused:
        load(file, POOLS)
    return [str(one).removeprefix(f"{file}: ") for one in refused.value.problems]


def problems(tmp_path: Path, *lines: object) -> list[str]:
    """Every problem of these lines."""
    return told(written(tmp_path / "trace.jsonl", *lines))


# --- what is right -------------------------------------------------------------------------------------


def test_runs_keep_their_order_and_actions_come_by_time(tmp_path: Path) -> None:
    """Each pool has its own runs; empty lines and the mark of some editors mean nothing."""
    later = {"pool_id": "embed", "at": 5.5, "wish": "stop"}
    file = written(
        tmp_path / "t", "\ufeff" + json.dumps(CRASH), "", WISH, {**CRASH, "uptime_seconds": 1}, later
    )
    trace = load(file, POOLS)
    assert trace.runs == {"chat": (Run("chat", "cuda", 3.5), Run("chat", "cuda", 1))}
    assert trace.actions == (Action("embed", 5.5, "stop"), Action("embed", 60, "reset"))
    assert trace.pools == {"chat", "embed"}


def test_every_reason_is_a_class_or_no_failure() -> None:
    """And each is of a start, of a run, or of both."""
    assert {FailureClass(one) for one in REASONS} | ENDED_ON_PURPOSE == set(FailureClass)
    assert not BEFORE_READY & WHEN_READY


@pytest.mark.parametrize("reason", REASONS)
def test_whether_a_run_becomes_ready_follows_from_its_reason(reason: str) -> None:
    """Where the trace does not say."""
    assert Run("chat", reason, 1.0).becomes_ready == (reason not in BEFORE_READY)


def test_a_trace_may_come_through_a_pipe(tmp_path: Path) -> None:
    """`<(zcat log.gz)` is a name like any other."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=written, args=(pipe, CRASH), daemon=True)
    writer.start()
    trace = load(pipe, POOLS)
    writer.join(timeout=60)
    assert trace == Trace({"chat": (Run("chat", "cuda", 3.5),)})


# --- what is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nope", "line 1: must be a JSON object: Expecting value at character 1"),
        ("[1]", "line 1: must be a JSON object"),
        ("[" * 100_000, "line 1: must be a JSON object: it is nested too deeply"),
        ({**CRASH, "reason": "cud"}, "line 1: reason = 'cud': must be one of 'graceful', 'exit', "),
        ({**CRASH, "reason": ["cuda"]}, "line 1: reason = ['cuda']: must be one of"),
        ({**CRASH, "reason": "manager_exit"}, "line 1: reason = 'manager_exit': must be one of"),
        ({**CRASH, "uptime_seconds": -1}, "line 1: uptime_seconds = -1: must be a number of seconds from 0"),
        ({**CRASH, "uptime_seconds": float("nan")}, "line 1: uptime_seconds = nan: must be a number"),
        ({**CRASH, "uptime_seconds": True}, "line 1: uptime_seconds = True: must be a number"),
        ({**CRASH, "start_seconds": 1e9}, "line 1: start_seconds = 1000000000.0: must be a number"),
        ({**CRASH, "ready": "no"}, "line 1: ready = 'no': must be true or false"),
        (
            {**CRASH, "pool_id": "char"},
            "line 1: pool_id = 'char': must be a pool of the configuration: 'chat'",
        ),
        ({**CRASH, "pool_id": {}}, "line 1: pool_id = {}: must be a pool's name"),
        ({**CRASH, "reson": 1}, "line 1: reson: unknown key (valid: pool_id, reason, uptime_seconds, "),
        (
            {**CRASH, "reason": "hang", "ready": False},
            "line 1: ready = False: must be true or left out: only",
        ),
        (
            {**CRASH, "reason": "staging", "ready": True},
            "line 1: ready = True: must be false or left out: only",
        ),
        ({**WISH, "wish": "halt"}, "line 1: wish = 'halt': must be one of 'start', 'stop', "),
        ({**WISH, "at": "noon"}, "line 1: at = 'noon': must be a number of seconds"),
        ({"pool_id": "chat", "at": 5}, "line 1: wish: is missing; it must be one of 'start'"),
    ],
)
def test_a_wrong_line_is_told_with_what_would_be_right(line: object, said: str, tmp_path: Path) -> None:
    """By its number and key."""
    (problem,) = problems(tmp_path, line)
    assert problem.startswith(said)


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    """In the order of the lines; what is right in between is passed over."""
    found = problems(tmp_path, CRASH, {}, CRASH, {**CRASH, "reason": 5, "ready": 5}, "x")
    assert [one.split(":")[:2] for one in found] == [
        ["line 2", " pool_id"],
        ["line 2", " reason"],
        ["line 2", " uptime_seconds"],
        ["line 4", " reason = 5"],
        ["line 4", " ready = 5"],
        ["line 5", " must be a JSON object"],
    ]


def test_what_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    """A compressed log, for one."""
    file = tmp_path / "log.gz"
    file.write_bytes(b"\x1f\x8b\x08\n")
    assert told(file) == ["line 1: must be a JSON object: it is not UTF-8 text"]


def test_nothing_to_replay_is_a_problem(tmp_path: Path) -> None:
    """An empty file, or a log without a crash: the reader is told what a run looks like."""
    for lines in ((), ({"event": "DrainBegan", "pool_id": "chat"},)):
        (problem,) = problems(tmp_path, *lines)
        assert problem.startswith('has nothing to replay; a run is {"pool_id"')


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "Is a directory"), ("\0", "null")])
def test_what_cannot_be_read_is_said(name: str, why: str, tmp_path: Path) -> None:
    """With the reason."""
    (problem,) = told(tmp_path / name)
    assert "cannot be read: " in problem
    assert why in problem


def test_a_long_line_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends, such as a device, would fill the memory."""
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    found = problems(tmp_path, " " * 2000)
    assert [one.partition(";")[0] for one in found] == [
        "line 1: is longer than 1000 bytes",
        "the rest of the file was not looked at",
    ]


def test_a_file_without_end_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However harmless its lines are."""
    monkeypatch.setattr(module, "LARGEST_TRACE", 1000)
    found = problems(tmp_path, CRASH, *[""] * 2000)
    assert found[0].endswith("the file is larger than 1000 bytes")


def test_problems_are_not_collected_without_end(tmp_path: Path) -> None:
    """Nobody corrects more at a time."""
    found = problems(tmp_path, *["x"] * 1000)
    assert len(found) == MOST_PROBLEMS + 1
    assert found[-1] == "the rest of the file was not looked at"


def test_runs_are_not_replayed_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take minutes, and nobody could read the picture."""
    monkeypatch.setattr(module, "MOST_ENTRIES", 5)
    assert len(load(written(tmp_path / "t", *[CRASH] * 5), POOLS).runs["chat"]) == 5
    assert problems(tmp_path, *[CRASH] * 6)[0].endswith("no more than 5 runs and wishes can be replayed")


def test_not_every_pool_of_a_large_configuration_is_named(tmp_path: Path) -> None:
    """Some, and how many others there are."""
    with pytest.raises(ConfigError, match="'p9' or 990 others"):
        load(written(tmp_path / "t", CRASH), [f"p{n}" for n in range(1000)])


# --- hostile -------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    (
        *("pool_id", "uptime_seconds", "reason", "start_seconds", "ready", "at", "wish"),
        *("event", "from", "to", "lasted_seconds", "duration_ms"),
    )
)
LIKELY = st.sampled_from(
    ["chat", "EngineCrashed", "Moved", "PreloadEnded", "starting", "ready", *REASONS, *WISHES]
)
ENTRIES = st.dictionaries(KEYS | st.text(max_size=5), LIKELY | VALUES, max_size=8)
LINES = st.one_of(
    ENTRIES.map(json.dumps).map(str.encode), VALUES.map(json.dumps).map(str.encode), st.binary()
)


@given(st.lists(LINES, max_size=5))
def test_any_bytes_are_a_trace_or_a_list_of_problems(lines: list[bytes]) -> None:
    """Nothing else is ever raised; each problem can be shown; what was read is valid."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t"
        file.write_bytes(b"\n".join(lines))
        found = _shown(file)
    assert all(one.startswith(str(file)) for one in found)


def _shown(file: Path) -> list[str]:
    """The problems of a trace."""
    try:
        trace = load(file, POOLS)
    except ConfigError as error:
        return [*map(str, error.problems)]
    assert trace.pools <= set(POOLS)
    return []


@given(st.fixed_dictionaries({"reason": st.sampled_from(REASONS), "uptime_seconds": st.floats(0, 1e5)}))
def test_any_run_can_be_written_and_read(line: dict[str, Any]) -> None:
    """What a program writes as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        trace = load(written(Path(folder) / "t", {"pool_id": "chat", **line}), POOLS)
    assert trace.runs["chat"] == (Run("chat", line["reason"], line["uptime_seconds"]),)
