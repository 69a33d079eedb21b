"""A manager's own log is a trace."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.logs import LOGGER, JsonFormatter
from pool_lifecycle.simulation import Run, load_trace
from pool_lifecycle.simulation.logged import LONGEST, Log
from pool_lifecycle.simulation.trace import REASONS
from tests.replays import a_config, a_pool, played, runs, the_pool

READY = {"event": "Moved", "pool_id": "chat", "from": "starting", "to": "ready", "lasted_seconds": 12.5}
LAUNCHED = {"event": "Moved", "pool_id": "chat", "from": "staging", "to": "starting"}
CRASHED = {"event": "EngineCrashed", "pool_id": "chat", "uptime_seconds": 20.0, "reason": "signal"}


def told(*records: dict[str, Any]) -> dict[str, Any] | None:
    """What the last of these records is as a line of a trace."""
    log = Log()
    return [log.run_of(record) for record in records][-1]


def test_an_uptime_counts_from_the_launch() -> None:
    """So what its start took is taken off."""
    assert told(LAUNCHED, READY, CRASHED) == {
        "pool_id": "chat",
        "reason": "signal",
        "uptime_seconds": 7.5,
        "start_seconds": 12.5,
        "ready": True,
    }


def test_a_crash_before_it_was_ready_is_one() -> None:
    """Of the launch it belongs to, not of an earlier one that was ready."""
    found = told(LAUNCHED, READY, CRASHED, LAUNCHED, CRASHED)
    assert found == {"pool_id": "chat", "reason": "signal", "uptime_seconds": 20.0, "ready": False}


def test_a_log_may_begin_in_the_middle() -> None:
    """Of an engine whose launch it does not tell only the reason says whether it was ready."""
    assert told(CRASHED) == {"pool_id": "chat", "reason": "signal", "uptime_seconds": 20.0, "ready": True}
    assert (told({**CRASHED, "reason": "bad_config"}) or {})["ready"] is False


def test_failed_preparations_are_runs_too() -> None:
    """They have no engine, hence no crash."""
    ended = {"event": "PreloadEnded", "pool_id": "chat", "duration_ms": 1500, "reason": "staging"}
    assert told(ended) == {"pool_id": "chat", "reason": "staging", "uptime_seconds": 1.5}
    assert told({**ended, "reason": "cuda"}) is None


@pytest.mark.parametrize(
    "record",
    [
        {"event": "Moved", "pool_id": "chat", "from": "ready", "to": "draining"},
        {"event": "Anything"},
        {"event": "EngineCrashed", "pool_id": 5},
        {**CRASHED, "reason": "killed_by_operator"},
        {**CRASHED, "reason": []},
        {"event": ["Moved"], "pool_id": "chat"},
    ],
)
def test_whatever_tells_of_no_failure_is_passed_over(record: dict[str, Any]) -> None:
    """A log has lines of every kind, those of other versions too."""
    assert told(record) is None


def test_an_engine_that_ran_for_months_ran_as_long_as_any_simulation() -> None:
    """It is no problem of the log."""
    assert (told({**CRASHED, "uptime_seconds": 1e8}) or {})["uptime_seconds"] == LONGEST


def test_a_replayed_log_comes_to_the_same_end(tmp_path: Path) -> None:
    """What a manager logs while a trace is replayed is, as a trace, the same trace."""
    file = tmp_path / "log.jsonl"
    pools = [
        evolve(a_pool(name), breaker=evolve(a_pool().breaker, threshold=50)) for name in ("chat", "embed")
    ]
    config = a_config(*pools)
    endings = [name for name in REASONS if name not in {"graceful", "bad_config", "hang", "health"}]
    given = [run for name in endings for run in runs(4.0, reason=name, pool_id="chat", start_seconds=2.0)]
    given += runs(1.0, 2.0, reason="exit", pool_id="embed", ready=False)
    handler = logging.FileHandler(file)
    handler.setFormatter(JsonFormatter())
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        first = played(*given, config=config)
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)
        handler.close()
    again = load_trace(file, ["chat", "embed"])
    assert [run.reason for run in again.runs["chat"]] == endings
    assert all(isinstance(run, Run) for run in again.runs["embed"])
    second = played(*again.runs["chat"], *again.runs["embed"], config=config)
    for one, other in zip(first.pools, second.pools, strict=True):
        assert [crash.ended_as for crash in one.attempts] == [crash.ended_as for crash in other.attempts]
        assert one.served == pytest.approx(other.served, abs=0.5)
    assert json.loads(file.read_text().splitlines()[0])["event"] == "Moved"
    assert the_pool(played(*again.runs["embed"], config=config)).restarts == 2
