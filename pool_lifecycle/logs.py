"""Every record as one structured log entry, through the standard library's logging.

The message is a sentence for people; the fields are attached to the record as `pool_lifecycle`, a
dictionary of plain values, for whoever formats logs as JSON (`JsonFormatter` does).
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any

from pool_lifecycle.records import (
    CircuitMoved,
    CrashLogKept,
    DrainBegan,
    DrainEnded,
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
from pool_lifecycle.snapshot import Notify
from pool_lifecycle.wording import plural, seconds, shown

LOGGER = logging.getLogger("pool_lifecycle")
"""Where every record goes. Silent until the program configures logging, as libraries should be."""
LOGGER.addHandler(logging.NullHandler())

if not (_transitions := logging.getLogger("transitions")).level:
    _transitions.setLevel(logging.WARNING)  # at INFO it tells three lines of its insides for every step

Entry = tuple[int, str, dict[str, Any]]
"""Level, sentence, fields."""


def log_record(record: Record) -> None:
    """The observer that logs."""
    level, message, fields = entry(record)
    if LOGGER.isEnabledFor(level):
        fields = {"event": type(record).__name__, "pool_id": record.pool_id, **fields}
        LOGGER.log(level, "%s: %s", record.pool_id, message, extra={"pool_lifecycle": fields})


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
    if notice.source is notice.target:
        return logging.DEBUG, f"{notice.event} in {notice.source}: {notice.why}", fields
    bad = notice.target in _BAD
    because = f" ({notice.cause}{_remedy(notice)})" if notice.cause is not None and bad else ""
    level = logging.WARNING if bad else logging.INFO
    sentence = f"{notice.source} -> {notice.target} after {seconds(record.lasted)}: {notice.why}{because}"
    return level, sentence, fields


def _remedy(notice: Notify) -> str:
    """What would help, where nothing goes on by itself."""
    cause = notice.cause
    return f"; {cause.remedy}" if cause is not None and cause.remedy and not cause.heals else ""


_BAD = frozenset({"recovering", "backing_off", "failed", "stuck", "reloading.undoing"})


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
    fields |= {"last_error": str(record.cause), "reason": str(record.cause.kind)}
    return logging.ERROR, f"start failed after {seconds(record.duration)}: {record.cause}", fields


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
    times = [datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for at in record.failed_at]
    fields = {"generation": record.generation, "failed_at": times, "reason": str(record.cause.kind)}
    message = f"engine generation {record.generation} is taken for crashed: {record.cause.message}"
    return logging.ERROR, message, fields


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
    fields = {
        "circuit": change.circuit,
        "old_state": str(change.old),
        "new_state": str(change.new),
        "failure_count": change.failures,
    }
    return logging.WARNING, f"circuit {change.circuit!r}: {change.old} -> {change.new}", fields


@entry.register
def _(record: LateOutcome) -> Entry:
    message = f"a late {record.dropped.event} had no effect"
    return logging.DEBUG, message, {"trigger": str(record.dropped.event), "epoch": record.dropped.epoch}


@entry.register
def _(record: DriverMisbehaved | Trouble) -> Entry:
    return logging.ERROR, record.what, {}
