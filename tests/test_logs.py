"""Every record as a log entry."""

from __future__ import annotations

import json
import logging
import sys
from itertools import permutations
from typing import Any, get_args

import pytest
from attrs import evolve

from pool_lifecycle import records
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.device_entries import DEVICE_ENTRIES
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.logs import LOGGER, JsonFormatter, entry, known_of, log_record
from pool_lifecycle.model_entries import MODEL_ENTRIES
from pool_lifecycle.records import (
    CircuitMoved,
    CrashLogKept,
    DrainBegan,
    DrainEnd,
    DrainEnded,
    DrainOutcome,
    DriverMisbehaved,
    EngineCrashed,
    EngineEnded,
    EngineUnhealthy,
    LateOutcome,
    LeasesEnded,
    Moved,
    PoolAdopted,
    PreloadEnded,
    Record,
    RestartBegan,
    RestartScheduled,
    StormBegan,
    Trouble,
)
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.storm import Storm
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Notify
from pool_lifecycle.testing.memory import EngineScript
from pool_lifecycle.waits import Awaits
from tests.worlds import BROKEN, WORKS, a_spec, a_world, virtually

S, E = PoolState, PoolEvent
CAUSE = Cause(FailureClass.SIGNAL, Stage.RUN, "it died", exit=ExitStatus(signal=11))
WEDGED = Cause(FailureClass.HEALTH, Stage.RUN, "2 health checks in a row failed")
UP = Notify(E.HEALTHY, S.STARTING, S.READY, "it answered")
DOWN = Notify(E.CRASHED, S.READY, S.RECOVERING, "it ended", cause=CAUSE)
MISSING = Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "no binary", heals=False, remedy="install it")
OVER = Notify(E.FAILED, S.STAGING, S.FAILED, "nobody can help", cause=MISSING)
BARRED = Notify(E.GONE, S.RECOVERING, S.FAILED, "a circuit is open", cause=CAUSE)
STAYED = Notify(E.START, S.READY, S.READY, "it serves already", mark="joined")

LIKELY = Cause(
    FailureClass.CUDA,
    Stage.HEALTH,
    "it said so",
    remedy="look",
    evidence=("CUDA error", "exit code 1"),
    confidence=Confidence.LIKELY,
)
_B = BreakerState
OPENED = CircuitMoved("p", 1, CircuitChanged("general", _B.CLOSED, _B.OPEN, 5, 300.0, 301.0))
TRIED = CircuitMoved("p", 1, CircuitChanged("general", _B.HALF_OPEN, _B.TRIAL, 5))
CRASHED = EngineCrashed("p", 1, 4, "b6", 9.0, CAUSE, 2)
SCHEDULED = RestartScheduled("p", 1, 4.0, 3, 1004.0, FailureClass.SIGNAL, 2, 2, 60.0, Awaits.DELAY)
BEGAN = RestartBegan("p", 1, FailureClass.SIGNAL, 3, 2, 60.0, frequent=False)
STORM = StormBegan("p", 1, Storm(1, "oom_storm", 10, 60.0, "give it more memory"), 17)

ENTRIES: list[tuple[Record, int, str]] = [
    (Moved("p", 1, 2.5, 3, 0, UP), logging.INFO, "starting -> ready after 2.5 s: it answered"),
    (
        Moved("p", 1, 2.5, 3, 0, DOWN),
        logging.WARNING,
        "ready -> recovering after 2.5 s: it ended (run failed: it died)",
    ),
    (Moved("p", 1, 2.5, 3, 0, DOWN, told=True), logging.DEBUG, "ready -> recovering after 2.5 s: it ended"),
    (
        Moved("p", 1, 2.5, 3, 0, BARRED, told=True),
        logging.WARNING,
        "recovering -> failed after 2.5 s: a circuit is open",
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
    (PreloadEnded("p", 1, 3, CAUSE, crashed=True), logging.ERROR, "start failed after 3.0 s"),
    (
        EngineEnded("p", 1, 4, 9, CAUSE),
        logging.INFO,
        "engine generation 4 ended after 9.0 s: killed by SIGSEGV",
    ),
    (
        EngineUnhealthy("p", 1, 4, WEDGED, (0.0, 10.0)),
        logging.WARNING,
        "engine generation 4 failed 2 health checks in a row",
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
        "circuit 'general' opens (5 failures in a row): no start until it is released",
    ),
    (OPENED, logging.WARNING, "circuit 'general' opens (5 failures in a row): no start for 5 min"),
    (
        CircuitMoved(
            "p", 1, CircuitChanged("device 0", _B.CLOSED, _B.OPEN, 0, 60, 61, shared=True), ("p", "q")
        ),
        logging.WARNING,
        "circuit 'device 0' opens: no start for 1 min",
    ),
    (TRIED, logging.DEBUG, "circuit 'general' is half-open: its one start is tried"),
    (CRASHED, logging.ERROR, "engine generation 4 crashed: it died; failure 2 in a row"),
    (
        evolve(CRASHED, cause=LIKELY, counted=False),
        logging.ERROR,
        "engine generation 4 did not become ready: it said so (probably a CUDA failure); not counted",
    ),
    (
        evolve(CRASHED, cause=evolve(CAUSE, kind=FailureClass.OUT_OF_MEMORY)),
        logging.CRITICAL,
        "engine generation 4 crashed: it died; failure 2 in a row",
    ),
    (SCHEDULED, logging.INFO, "restart 3 in 4.0 s: back-off after 3 failures in a row (signal)"),
    (
        evolve(SCHEDULED, awaits=Awaits.WINDOW, backoff=50.0),
        logging.WARNING,
        "restart 3 in 50.0 s: rate limit, there were 2 restarts within the last 1 min",
    ),
    (
        evolve(SCHEDULED, awaits=Awaits.TURN),
        logging.INFO,
        "restart 3 in 4.0 s: the host restarts one pool after the other",
    ),
    (
        evolve(SCHEDULED, awaits=Awaits.NOTHING, backoff=0.0, why="an operator asks"),
        logging.INFO,
        "restart 3 at once: an operator asks",
    ),
    (
        evolve(SCHEDULED, awaits=Awaits.NOTHING, backoff=0.0),
        logging.INFO,
        "restart 3 at once: signal is tried again without delay",
    ),
    (BEGAN, logging.INFO, "restart 3 begins, after a failure of class signal"),
    (
        evolve(BEGAN, recent=6, frequent=True),
        logging.WARNING,
        "restart 3 begins, after a failure of class signal; it is the 6th within 1 min",
    ),
    (
        STORM,
        logging.CRITICAL,
        "a restart storm (oom_storm: 10 restarts within 1 min); give it more memory",
    ),
    (
        PoolAdopted("p", 1, PoolState.READY, 2.5, (3,), (), (), 1),
        logging.INFO,
        "taken over in state ready, as recorded 2.5 s ago, engine generation 3 goes on, 1 lease held",
    ),
    (
        PoolAdopted("p", 1, PoolState.SURGING_STARTING, 60.0, (), (3,), (4,), 0),
        logging.INFO,
        (
            "taken over in state surging.starting, as recorded 1 min ago, "
            "engine generation 3 is gone, of engine generation 4 nobody knows"
        ),
    ),
    (
        PoolAdopted("p", 1, PoolState.STOPPED, 1.0, (), (), (), 0),
        logging.DEBUG,
        "taken over in state stopped, as recorded 1.0 s ago",
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
    assert {type(record) for record, _, _ in ENTRIES} | {*MODEL_ENTRIES, *DEVICE_ENTRIES} == set(
        get_args(records.Record)
    )
    with pytest.raises(TypeError, match="is not a record"):
        entry(object())


def fields_of(record: Record) -> dict[str, Any]:
    return entry(record)[2]


def test_the_fields_people_search_for() -> None:
    """B-LOG-007, B-SUPER-002, 007, 026: by the names the specification gives them."""
    ended = fields_of(EngineEnded("p", 1, 4, 9.0, CAUSE))
    assert (ended["uptime_seconds"], ended["exit_code"], ended["status"]) == (9.0, None, "killed by SIGSEGV")
    wedged = fields_of(EngineUnhealthy("p", 1, 4, WEDGED, (0.0, 10.0)))
    assert wedged["failed_at"] == ["1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:10.000+00:00"]
    assert wedged["reason"] == "health"
    moved = fields_of(Moved("p", 1, 2.5, 3, 1, DOWN))
    assert (moved["last_error"], moved["from"], moved["to"]) == ("run failed: it died", "ready", "recovering")
    circuit = fields_of(OPENED)
    assert (circuit["old_state"], circuit["new_state"], circuit["failure_count"]) == ("closed", "open", 5)
    drain = fields_of(DrainEnded("p", 1, DrainOutcome("p", DrainEnd.FORCE_STOPPED, 1.5, 2, 1)))
    assert (drain["outcome"], drain["duration_ms"], drain["leases_left"]) == ("force_stopped", 1500, 1)


def test_a_crash_has_everything_in_its_fields() -> None:
    """B-SUPER-007, 015: version, uptime, exit code, count, class, how sure, and the evidence."""
    assert fields_of(CRASHED) == {
        "generation": 4,
        "engine_version": "b6",
        "uptime_seconds": 9.0,
        "exit_code": None,
        "status": "killed by SIGSEGV",
        "crash_count": 2,
        "last_error": "run failed: it died",
        "reason": "signal",
        "confidence": "certain",
        "evidence": [],
        "heals": True,
        "remedy": "",
    }
    guessed = fields_of(evolve(CRASHED, cause=LIKELY))
    assert (guessed["confidence"], guessed["evidence"]) == ("likely", ["CUDA error", "exit code 1"])
    exited = evolve(CRASHED, cause=evolve(CAUSE, exit=ExitStatus(code=3)))
    assert fields_of(exited)["exit_code"] == 3


def test_a_restart_has_its_numbers_in_its_fields() -> None:
    """B-SUPER-015, 032, 033, 036, B-LOG-005, B-LOG-006: by the specification's names."""
    scheduled = fields_of(SCHEDULED)
    assert (scheduled["backoff_ms"], scheduled["crash_count"], scheduled["restart_count"]) == (4000, 3, 2)
    assert scheduled["next_restart_at"] == "1970-01-01T00:16:44.000+00:00"
    assert (scheduled["reason"], scheduled["awaits"]) == ("signal", "delay")
    began = fields_of(evolve(BEGAN, recent=6, frequent=True))
    assert (began["restart_count"], began["recent"], began["time_window"]) == (3, 6, 60.0)
    storm = fields_of(STORM)
    assert (storm["restart_count"], storm["kind"], storm["remedy"]) == (
        17,
        "oom_storm",
        "give it more memory",
    )


def test_people_are_shown_a_trial_as_half_open() -> None:
    """B-SUPER-026: and which pools a shared circuit concerns, how long it stays open."""
    tried = fields_of(TRIED)
    assert (tried["old_state"], tried["new_state"]) == ("half_open", "half_open")
    shared = evolve(OPENED, pools=("p", "q"))
    assert (fields_of(shared)["pools"], fields_of(shared)["timeout_seconds"]) == (["p", "q"], 300.0)


def test_every_change_of_a_circuit_has_its_words() -> None:
    """Whatever two states of a shared circuit somebody sees one after the other."""
    for old, new in permutations(BreakerState, 2):
        _, sentence, _ = entry(CircuitMoved("p", 1, CircuitChanged("general", old, new, 0)))
        assert sentence.startswith("circuit 'general' ")


def test_every_entry_of_a_pool_says_what_is_known_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """B-LOG-002, B-LOG-003, B-LOG-004: engine, engine_version, device_mask; the record itself comes first."""
    known = known_of(a_spec(engine={"version": "b5"}, device_mask="0,1"))
    assert known == {"engine": "memory", "engine_version": "b5", "device_mask": "0,1"}
    with caplog.at_level(logging.INFO, LOGGER.name):
        log_record(Trouble("p", 1, "disk full"), lambda _: known)
        log_record(CRASHED, lambda _: known)
    first, second = (logged.__dict__["pool_lifecycle"] for logged in caplog.records)
    assert first == {"event": "Trouble", "pool_id": "p", **known}
    assert (second["engine"], second["engine_version"]) == ("memory", "b6")


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
async def test_a_crash_loop_says_each_thing_once(caplog: pytest.LogCaptureFixture) -> None:
    """B-SUPER-001, 004, 005, 015, 020, 026: the failure in one line, then what follows from it."""
    dies = EngineScript(ready_after=2.0, exits_after=3.0, exit=ExitStatus(signal=11))
    with caplog.at_level(logging.INFO, "pool_lifecycle"):
        async with a_world(dies, breaker=Breaker(threshold=2), device_mask="0") as world:
            await world.ready()
            await world.pool.reached("failed")
    entries = [(one.levelname, one.getMessage(), one.__dict__["pool_lifecycle"]) for one in caplog.records]
    told = [fields["event"] for _, message, fields in entries if "SIGSEGV" in message]
    assert told == ["EngineEnded", "EngineCrashed"] * 2
    first = next(at for at, (_, _, fields) in enumerate(entries) if fields["event"] == "EngineCrashed")
    died = "the engine ended after 3.0 s (killed by SIGSEGV)"
    assert [message for _, message, _ in entries[first : first + 3]] == [
        f"chat: engine generation 1 crashed: {died}; failure 1 in a row",
        "chat: restart 1 in 1.0 s: back-off after 1 failure in a row (signal)",
        "chat: restart 1 begins, after a failure of class signal",
    ]
    assert {fields["device_mask"] for _, _, fields in entries} == {"0"}
    assert any("circuit 'general' opens (2 failures in a row)" in message for _, message, _ in entries)


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


class Listening(logging.Handler):
    """Keeps the messages it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def _about_nobody(pool_id: str) -> dict[str, Any]:
    raise AssertionError(f"{pool_id} was put in words")


def test_nothing_is_put_in_words_that_nobody_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that configures no logging pays for none, least of all while many engines crash."""
    monkeypatch.setattr(LOGGER, "propagate", False)
    log_record(Trouble("p", 1, "no room"), _about_nobody)
    monkeypatch.setattr(LOGGER, "propagate", True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_record(Trouble("p", 1, "no room"), _about_nobody)


@pytest.mark.parametrize("name", ["pool_lifecycle", ""], ids=["our own logger", "the root logger"])
def test_one_handler_on_the_way_is_enough_to_be_heard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was added after the first entries."""
    listening = Listening()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger = logging.getLogger(name)
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, listening])
    log_record(Trouble("p", 1, "no room"))
    assert listening.heard == ["p: no room"]


def test_a_filter_hears_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs take their entries there."""
    heard: list[str] = []
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(LOGGER, "filters", [lambda record: heard.append(record.getMessage())])
    log_record(Trouble("p", 1, "no room"))
    assert heard == ["p: no room"]


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
