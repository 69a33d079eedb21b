"""Every record as a log entry."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, get_args

import pytest

from pool_lifecycle import records
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.logs import LOGGER, JsonFormatter, entry, log_record
from pool_lifecycle.records import (
    CircuitMoved,
    CrashLogKept,
    DrainBegan,
    DrainEnd,
    DrainEnded,
    DrainOutcome,
    DriverMisbehaved,
    EngineEnded,
    EngineUnhealthy,
    LateOutcome,
    LeasesEnded,
    Moved,
    PreloadEnded,
    Record,
    Trouble,
)
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Notify
from tests.worlds import BROKEN, WORKS, a_world, virtually

S, E = PoolState, PoolEvent
CAUSE = Cause(FailureClass.SIGNAL, Stage.RUN, "it died", exit=ExitStatus(signal=11))
WEDGED = Cause(FailureClass.HEALTH, Stage.RUN, "2 health checks in a row failed")
UP = Notify(E.HEALTHY, S.STARTING, S.READY, "it answered")
DOWN = Notify(E.CRASHED, S.READY, S.RECOVERING, "it ended", cause=CAUSE)
MISSING = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "no binary", heals=False, remedy="install it")
OVER = Notify(E.FAILED, S.STAGING, S.FAILED, "nobody can help", cause=MISSING)
STAYED = Notify(E.START, S.READY, S.READY, "it serves already", mark="joined")

ENTRIES: list[tuple[Record, int, str]] = [
    (Moved("p", 1, 2.5, 3, 0, UP), logging.INFO, "starting -> ready after 2.5 s: it answered"),
    (
        Moved("p", 1, 2.5, 3, 0, DOWN),
        logging.WARNING,
        "ready -> recovering after 2.5 s: it ended (run failed: it died)",
    ),
    (Moved("p", 1, 2.5, 3, 0, STAYED), logging.DEBUG, "start in ready: it serves already"),
    (DrainBegan("p", 1, 0, 5), logging.INFO, "drain began with no leases in flight"),
    (DrainBegan("p", 1, 2, 5), logging.WARNING, "drain began with 2 leases in flight, 5.0 s to go"),
    (
        DrainEnded("p", 1, DrainOutcome("p", DrainEnd.DRAINED, 1.5, 2, 0)),
        logging.INFO,
        "drain ended after 1.5 s: drained",
    ),
    (
        DrainEnded("p", 1, DrainOutcome("p", DrainEnd.FORCE_STOPPED, 1.5, 2, 1)),
        logging.WARNING,
        "drain ended after 1.5 s: force_stopped, 1 lease left",
    ),
    (PreloadEnded("p", 1, 3, None), logging.INFO, "ready 3.0 s after the start"),
    (PreloadEnded("p", 1, 3, CAUSE), logging.ERROR, "start failed after 3.0 s: run failed: it died"),
    (
        EngineEnded("p", 1, 4, 9, CAUSE),
        logging.INFO,
        "engine generation 4 ended after 9.0 s: killed by SIGSEGV",
    ),
    (
        EngineUnhealthy("p", 1, 4, WEDGED, (0.0, 10.0)),
        logging.ERROR,
        "engine generation 4 is taken for crashed: 2 health checks in a row failed",
    ),
    (
        CrashLogKept("p", 1, 4, "/state/crashes/p/000001.log"),
        logging.INFO,
        "what engine generation 4 wrote before it crashed is kept in /state/crashes/p/000001.log",
    ),
    (LeasesEnded("p", 1, "lost", ("a", "b")), logging.WARNING, "2 leases lost: a, b"),
    (
        CircuitMoved("p", 1, CircuitChanged("general", BreakerState.CLOSED, BreakerState.OPEN, 5)),
        logging.WARNING,
        "circuit 'general': closed -> open",
    ),
    (LateOutcome("p", 1, Dropped(E.HEALTHY, 3)), logging.DEBUG, "a late healthy had no effect"),
    (DriverMisbehaved("p", 1, "it lied"), logging.ERROR, "it lied"),
    (Trouble("p", 1, "disk full"), logging.ERROR, "disk full"),
]


@pytest.mark.parametrize(("record", "level", "sentence"), ENTRIES)
def test_every_record_is_a_sentence_with_its_level(record: Record, level: int, sentence: str) -> None:
    """For people; the fields are for programs, and plain values all of them."""
    found_level, message, fields = entry(record)
    assert (found_level, message) == (level, sentence)
    json.dumps(fields)


def test_no_kind_of_record_is_forgotten() -> None:
    """And what is no record is refused."""
    assert {type(record) for record, _, _ in ENTRIES} == set(get_args(records.Record))
    with pytest.raises(TypeError, match="is not a record"):
        entry(object())


def fields_of(record: Record) -> dict[str, Any]:
    return entry(record)[2]


def test_the_fields_people_search_for() -> None:
    """B-LOG, B-SUPER-002, 007, 026: by the names the specification gives them."""
    ended = fields_of(EngineEnded("p", 1, 4, 9.0, CAUSE))
    assert (ended["uptime_seconds"], ended["exit_code"], ended["status"]) == (9.0, None, "killed by SIGSEGV")
    wedged = fields_of(EngineUnhealthy("p", 1, 4, WEDGED, (0.0, 10.0)))
    assert wedged["failed_at"] == ["1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:10.000+00:00"]
    assert wedged["reason"] == "health"
    moved = fields_of(Moved("p", 1, 2.5, 3, 1, DOWN))
    assert (moved["last_error"], moved["from"], moved["to"]) == ("run failed: it died", "ready", "recovering")
    circuit = fields_of(ENTRIES[13][0])
    assert (circuit["old_state"], circuit["new_state"], circuit["failure_count"]) == ("closed", "open", 5)
    drain = fields_of(ENTRIES[6][0])
    assert (drain["outcome"], drain["duration_ms"], drain["leases_left"]) == ("force_stopped", 1500, 1)


def test_many_holders_are_not_all_named() -> None:
    """S19: the sentence is bounded, the fields have them all."""
    holders = tuple(f"h{number}" for number in range(1000))
    _, message, fields = entry(LeasesEnded("p", 1, "lost", holders))
    assert len(message) < 100
    assert len(fields["holders"]) == 1000


def test_the_logger_says_the_pool_and_carries_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """One entry per record; nothing is made of what nobody listens to."""
    with caplog.at_level(logging.INFO, LOGGER.name):
        log_record(ENTRIES[0][0])
        log_record(ENTRIES[2][0])  # debug
    (logged,) = caplog.records
    assert logged.getMessage() == "p: starting -> ready after 2.5 s: it answered"
    assert logged.pool_lifecycle["event"] == "Moved"  # type: ignore[attr-defined]
    assert logged.pool_lifecycle["pool_id"] == "p"  # type: ignore[attr-defined]


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_json_has_one_object_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """B-LOG-001: time, level, logger, message, and the fields beside them, on one line."""
    with caplog.at_level(logging.INFO):
        log_record(DriverMisbehaved("p", 1, "two\nlines"))
        logging.getLogger("other").info("plain %d", 7)
    first, second = map(formatted, caplog.records)
    assert (first["level"], first["message"], first["pool_id"]) == ("error", "p: two\nlines", "p")
    assert first["event"] == "DriverMisbehaved"
    assert (second["logger"], second["message"]) == ("other", "plain 7")
    assert first["time"][:2] == "20"


def test_json_keeps_the_traceback() -> None:
    """As text in one field."""
    try:
        raise ValueError("boom")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "it broke", (), sys.exc_info())
    assert "ValueError: boom" in formatted(record)["exception"]


@virtually
async def test_a_life_can_be_read_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """In the order in which it happened; no secret is in it (S18)."""
    with caplog.at_level(logging.INFO, "pool_lifecycle"):
        async with a_world(WORKS, BROKEN, WORKS, engine={"env": {"KEY": "hunter2"}}) as world:
            await world.ready()
            world.engine.crash()
            await world.pool.reached("recovering")
            await world.pool.reached("ready")
            await world.pool.drain()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "chat: stopped -> staging after 0 ms: wanted, and every circuit allows a start"
    assert lines[-1] == "chat: stopping -> stopped after 0 ms: tree empty, port free"
    assert not any("hunter2" in line for line in lines)


def test_a_holder_cannot_forge_a_line() -> None:
    """Names come from outside: they are made printable and cut."""
    _, message, fields = entry(LeasesEnded("p", 1, "expired", ("a\nchat: ready", "x" * 10_000)))
    assert message == "2 leases expired: a\\nchat: ready, " + "x" * 57 + "..."
    assert fields["holders"] == ["a\\nchat: ready", "x" * 57 + "..."]


def test_the_insides_of_a_step_are_not_told() -> None:
    """A program that logs at INFO is told what happens to its pools, not how `transitions` runs a table."""
    assert not logging.getLogger("transitions.core").isEnabledFor(logging.INFO)


def test_where_nothing_goes_on_by_itself_the_entry_says_what_would_help() -> None:
    """Whoever reads why a pool failed for good reads there what to do about it."""
    _, sentence, _ = entry(Moved("p", 1, 2.5, 3, 0, OVER))
    assert sentence.endswith("nobody can help (preflight failed: no binary; install it)")
