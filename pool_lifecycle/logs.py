"""Every record as one structured log entry, through the standard library's logging.

The message is a sentence for people; the fields are attached to the record as `pool_lifecycle`, a
dictionary of plain values, for whoever formats logs as JSON (`JsonFormatter` does).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any, TypeAlias

from pool_lifecycle.barring import stormy
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Confidence, FailureClass, Stage
from pool_lifecycle.conclusions import conclusion, failure_fields, reckoned
from pool_lifecycle.device_entries import DEVICE_ENTRIES
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.model_entries import MODEL_ENTRIES
from pool_lifecycle.records import (
    CircuitMoved,
    CrashLogKept,
    DrainBegan,
    DrainEnded,
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
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.waits import Awaits
from pool_lifecycle.wording import ordinal, plural, seconds, shown

LOGGER = logging.getLogger("pool_lifecycle")
"""Where every record goes. Silent until the program configures logging, as libraries should be."""
LOGGER.addHandler(logging.NullHandler())

if not (_transitions := logging.getLogger("transitions")).level:
    _transitions.setLevel(logging.WARNING)  # at INFO it tells three lines of its insides for every step

HOST = "the host"
"""Whom an entry is about that is about no single pool."""

Entry = tuple[int, str, dict[str, Any]]
"""Level, sentence, fields."""

About: TypeAlias = Callable[[str], Mapping[str, Any]]
"""Takes a pool id."""


def log_record(record: Record, about: About = lambda _: {}) -> None:
    """The observer that logs. `about` has what else is known of a pool, and belongs to every entry of it."""
    if not _is_heard() or (isinstance(record, Moved) and not LOGGER.isEnabledFor(_level(record))):
        return  # as usual: of most rows another record says more, and putting it in words takes time
    level, message, fields = entry(record)
    if LOGGER.isEnabledFor(level):
        known = {"event": type(record).__name__, "pool_id": record.pool_id, **about(record.pool_id)}
        LOGGER.log(level, "%s: %s", record.pool_id or HOST, message, extra={"pool_lifecycle": known | fields})


def _is_heard() -> bool:
    """Whether an entry could get anywhere: programs that configure no logging need no words."""
    logger: logging.Logger | None = LOGGER
    while logger is not None:
        if logger.filters or any(type(one) is not logging.NullHandler for one in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def known_of(spec: PoolSpec) -> dict[str, Any]:
    """What is told of a pool with every entry: its engine's profile and version, its devices."""
    engine = spec.engine
    return {"engine": engine.profile, "engine_version": engine.version, "device_mask": spec.device_mask}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "pool_lifecycle", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


@singledispatch
def entry(record: Any) -> Entry:
    """What is logged of a record."""
    raise TypeError(f"{record!r} is not a record")


for _kind, _entry in (*MODEL_ENTRIES.items(), *DEVICE_ENTRIES.items()):
    entry.register(_kind, _entry)


@entry.register
def _(record: Moved) -> Entry:
    notice = record.notice
    fields: dict[str, Any] = {
        "trigger": str(notice.event),
        "from": str(notice.source),
        "to": str(notice.target),
        "why": notice.why,
        "lasted_seconds": round(record.lasted, 6),
        "generation": record.generation,
        "leases": record.leases,
    }
    if notice.mark:
        fields["mark"] = str(notice.mark)
    if notice.cause is not None:
        fields["last_error"] = str(notice.cause)
    if _stays(record):
        return _level(record), f"{notice.event} in {notice.source}: {notice.why}", fields
    sentence = f"{notice.source} -> {notice.target} after {seconds(record.lasted)}: {notice.why}"
    return _level(record), sentence + _because(record), fields


def _stays(record: Moved) -> bool:
    return record.notice.source is record.notice.target and not record.told


def _level(record: Moved) -> int:
    """What another entry says more of is told there; where a pool comes to rest in vain is always told."""
    notice = record.notice
    if _stays(record):
        return logging.DEBUG
    if notice.target in _AT_A_LOSS:
        return logging.WARNING
    if record.told:
        return logging.DEBUG
    return logging.WARNING if notice.event in _BAD else logging.INFO


_AT_A_LOSS = frozenset({PoolState.FAILED, PoolState.STUCK})
_BAD = frozenset({PoolEvent.FAILED, PoolEvent.CRASHED, PoolEvent.STUCK})


def _because(record: Moved) -> str:
    """The failure, if this is the news of it; and what would help, where nothing goes on by itself."""
    notice = record.notice
    cause = notice.cause
    if cause is None:
        return ""
    news = reckoned(cause) if notice.event in _BAD and not record.told else ""
    hopeless = notice.target is PoolState.FAILED and not cause.heals
    told = "; ".join(one for one in (news, cause.remedy if hopeless else "") if one)
    return f" ({told})" if told else ""


@entry.register
def _(record: DrainBegan) -> Entry:
    fields = {"leases": record.leases, "deadline_ms": round(record.deadline * 1000)}
    if record.leases == 0:
        return logging.INFO, "drain began with no leases in flight", fields
    message = f"drain began with {plural(record.leases, 'lease')} in flight, {seconds(record.deadline)} to go"
    return logging.WARNING, message, fields


@entry.register
def _(record: DrainEnded) -> Entry:
    outcome = record.outcome
    fields = {
        "outcome": str(outcome.end),
        "duration_ms": round(outcome.duration * 1000),
        "leases_at_start": outcome.leases_at_start,
        "leases_left": outcome.leases_left,
    }
    left = f", {plural(outcome.leases_left, 'lease')} left" if outcome.leases_left else ""
    level = logging.WARNING if outcome.leases_left else logging.INFO
    return level, f"drain ended after {seconds(outcome.duration)}: {outcome.end}{left}", fields


@entry.register
def _(record: PreloadEnded) -> Entry:
    fields: dict[str, Any] = {"duration_ms": round(record.duration * 1000)}
    if record.cause is None:
        return logging.INFO, f"ready {seconds(record.duration)} after the start", fields
    fields |= failure_fields(record.cause) | {"crashed": record.crashed}
    why = "" if record.crashed else f": {reckoned(record.cause)}"
    return logging.ERROR, f"start failed after {seconds(record.duration)}{why}", fields


@entry.register
def _(record: EngineEnded) -> Entry:
    fields = {
        "generation": record.generation,
        "uptime_seconds": round(record.uptime, 3),
        "exit_code": record.cause.exit.code if record.cause.exit else None,
        "status": str(record.cause.exit),
    }
    message = (
        f"engine generation {record.generation} ended after {seconds(record.uptime)}: {record.cause.exit}"
    )
    return logging.INFO, message, fields


@entry.register
def _(record: EngineUnhealthy) -> Entry:
    times = [_clock(at) for at in record.failed_at]
    fields = {"generation": record.generation, "failed_at": times, "reason": str(record.cause.kind)}
    checks = plural(len(times), "health check")
    return logging.WARNING, f"engine generation {record.generation} failed {checks} in a row", fields


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


@entry.register
def _(record: EngineCrashed) -> Entry:
    cause = record.cause
    fields = {
        "generation": record.generation,
        "uptime_seconds": round(record.uptime, 3),
        "exit_code": cause.exit.code if cause.exit else None,
        "status": str(cause.exit) if cause.exit else None,
        "crash_count": record.crash_count,
        **failure_fields(cause),
    }
    if record.engine_version is not None:
        fields["engine_version"] = record.engine_version
    what = "crashed" if cause.stage is Stage.RUN else "did not become ready"
    sure = "" if cause.confidence is Confidence.CERTAIN else f" ({conclusion(cause)})"
    count = f"failure {record.crash_count} in a row" if record.counted else "not counted"
    level = logging.CRITICAL if cause.kind is FailureClass.OUT_OF_MEMORY else logging.ERROR
    return level, f"engine generation {record.generation} {what}: {cause.message}{sure}; {count}", fields


@entry.register
def _(record: RestartScheduled) -> Entry:
    fields = {
        "backoff_ms": round(record.backoff * 1000),
        "crash_count": record.crash_count,
        "next_restart_at": _clock(record.next_restart_at),
        "restart_count": record.restart_count,
        "reason": str(record.reason),
        "awaits": str(record.awaits),
        "time_window": record.time_window,
    }
    when = f"in {seconds(record.backoff)}" if record.backoff else "at once"
    level = logging.WARNING if record.awaits is Awaits.WINDOW else logging.INFO
    return level, f"restart {record.restart_count + 1} {when}: {_WAITS[record.awaits](record)}", fields


_WAITS: dict[Awaits, Callable[[RestartScheduled], str]] = {
    Awaits.NOTHING: lambda one: one.why or f"{one.reason} is tried again without delay",
    Awaits.DELAY: lambda one: f"back-off after {plural(one.crash_count, 'failure')} in a row ({one.reason})",
    Awaits.WINDOW: lambda one: (
        f"rate limit, there were {plural(one.recent, 'restart')} within the last {seconds(one.time_window)}"
    ),
    Awaits.TURN: lambda _: "the host restarts one pool after the other",
}


@entry.register
def _(record: RestartBegan) -> Entry:
    fields = {
        "reason": str(record.reason),
        "restart_count": record.restart_count,
        "recent": record.recent,
        "time_window": record.time_window,
    }
    sentence = f"restart {record.restart_count} begins, after a failure of class {record.reason}"
    if not record.frequent:
        return logging.INFO, sentence, fields
    often = f"it is the {ordinal(record.recent)} within {seconds(record.time_window)}"
    return logging.WARNING, f"{sentence}; {often}", fields


@entry.register
def _(record: StormBegan) -> Entry:
    storm = record.storm
    fields = {
        "restart_count": record.restart_count,
        "kind": storm.kind,
        "recent": storm.restarts,
        "time_window": storm.period,
        "remedy": storm.remedy,
    }
    return logging.CRITICAL, f"a restart storm ({stormy(storm)}); {storm.remedy}", fields


@entry.register
def _(record: CrashLogKept) -> Entry:
    message = f"what engine generation {record.generation} wrote before it crashed is kept in {record.path}"
    return logging.INFO, message, {"generation": record.generation, "path": record.path}


@entry.register
def _(record: LeasesEnded) -> Entry:
    message = (
        f"{plural(len(record.holders), 'lease')} {record.how}: {', '.join(map(shown, record.holders[:10]))}"
    )
    return logging.WARNING, message, {"how": record.how, "holders": [*map(shown, record.holders)]}


@entry.register
def _(record: CircuitMoved) -> Entry:
    change = record.change
    fields: dict[str, Any] = {
        "circuit": change.circuit,
        "old_state": change.old.shown,
        "new_state": change.new.shown,
        "failure_count": change.failures,
    }
    if record.pools:
        fields["pools"] = [*record.pools]
    sentence = f"circuit {change.circuit!r} {_CHANGES[change.old, change.new]}"
    if change.new is not BreakerState.OPEN:
        begins = (change.old, change.new) == (BreakerState.HALF_OPEN, BreakerState.TRIAL)
        return logging.DEBUG if begins else logging.INFO, sentence, fields  # the restart is told already
    fields["timeout_seconds"] = change.timeout
    lasts = f"for {seconds(change.timeout)}" if change.until is not None else "until it is released"
    count = f" ({plural(change.failures, 'failure')} in a row)" if change.failures else ""
    return logging.WARNING, f"{sentence}{count}: no start {lasts}", fields


_B = BreakerState
_CHANGES: dict[tuple[BreakerState, BreakerState], str] = {
    (_B.CLOSED, _B.OPEN): "opens",
    (_B.HALF_OPEN, _B.OPEN): "opens again",
    (_B.TRIAL, _B.OPEN): "opens again, as its trial failed",
    (_B.OPEN, _B.HALF_OPEN): "is half-open: one start may be tried",
    (_B.TRIAL, _B.HALF_OPEN): "is half-open again: its trial was given up",
    (_B.HALF_OPEN, _B.TRIAL): "is half-open: its one start is tried",
    (_B.OPEN, _B.TRIAL): "is half-open: one start is allowed by an operator",
    (_B.CLOSED, _B.HALF_OPEN): "is half-open: one start may be tried",
    (_B.CLOSED, _B.TRIAL): "is half-open: its one start is tried",
    (_B.OPEN, _B.CLOSED): "closes, reset by an operator",
    (_B.HALF_OPEN, _B.CLOSED): "closes, reset by an operator",
    (_B.TRIAL, _B.CLOSED): "closes",
}
"""Several steps of a shared circuit may come as one."""


@entry.register
def _(record: PoolAdopted) -> Entry:
    what = f"taken over in state {record.state}, {record.findings}"
    fields = {
        "state": str(record.state),
        "age_seconds": round(record.age, 6),
        "found": record.found,
        "gone": record.gone,
        "unsure": record.unsure,
        "leases": record.leases,
    }
    return logging.DEBUG if record.idle else logging.INFO, what, fields


@entry.register
def _(record: LateOutcome) -> Entry:
    message = f"a late {record.dropped.event} had no effect"
    return logging.DEBUG, message, {"trigger": str(record.dropped.event), "epoch": record.dropped.epoch}


@entry.register
def _(record: DriverMisbehaved | Trouble) -> Entry:
    return logging.ERROR, record.what, {}
