"""A timeline in words, for a terminal of eighty columns, and as plain values for programs. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.simulation.timeline import Attempt, CircuitLife, CircuitSpan, PoolLife, Timeline
from pool_lifecycle.wording import plural, seconds

COLUMNS = 80
"""No line is longer."""

_HEADINGS = ("time", "waited", "because of", "served", "ended as")
_RIGHT = (True, True, False, True, False)
_ELASTIC = 2
"""Which column is cut when the others leave it too little room."""

Row = tuple[str, ...]
Entry = tuple[float, int, Row]
"""When, which of several at that time, and what."""


def clock(at: float) -> str:
    """A time after the begin: `0:00:35.7`, `2 d 3:04:05.0`."""
    tenths = round(at * 10)
    days, tenths = divmod(tenths, 864_000)
    hours, tenths = divmod(tenths, 36_000)
    minutes, tenths = divmod(tenths, 600)
    whole = f"{hours}:{minutes:02}:{tenths // 10:02}.{tenths % 10}"
    return f"{days} d {whole}" if days else whole


def as_text(timeline: Timeline) -> str:
    """What happened to each pool, line by line, and in sum; then the circuits that pools share."""
    parts = ["\n".join(_pool(pool, timeline)) for pool in timeline.pools]
    if timeline.shared:
        parts.append("\n".join(["circuits that pools share", *_shared(timeline)]))
    parts.append(_ending(timeline))
    return "\n\n".join(parts) + "\n"


def as_json(timeline: Timeline) -> str:
    """All of it as one JSON document, with each pool's summary."""
    plain = attrs.asdict(timeline)
    for pool, life in zip(plain["pools"], timeline.pools, strict=True):
        pool["summary"] = summary(life, timeline)
    return json.dumps(plain, indent=2) + "\n"


def summary(pool: PoolLife, timeline: Timeline) -> dict[str, Any]:
    """The numbers by which configurations are compared; times in seconds."""
    concerned = [*pool.circuits, *(one for one in timeline.shared if pool.pool_id in one.pools)]
    return {
        "state": str(pool.state),
        "served_seconds": round(pool.served, 6),
        "down_seconds": round(pool.down, 6),
        "restarts": pool.restarts,
        "longest_wait_seconds": pool.longest_wait,
        "circuit_openings": {one.name: one.openings for one in concerned},
        "storms": [storm.kind for storm in pool.storms],
        "runs_not_reached": pool.unused,
    }


# --- one pool ------------------------------------------------------------------------------------------


def _pool(pool: PoolLife, timeline: Timeline) -> Iterator[str]:
    on = f", on device {', '.join(pool.devices)}" if pool.devices else ""
    yield from _wrapped(f"{pool.pool_id}{on}", "")
    entries = sorted(_entries(pool, timeline.end), key=lambda one: one[:2])
    yield from _table([row for _, _, row in entries])
    yield from _sums(pool, timeline)


def _entries(pool: PoolLife, end: float) -> Iterator[Entry]:
    for circuit in pool.circuits:
        yield from _moves(circuit)
    for act in pool.acts:
        refused = f" ({act.refused})" if act.refused else ""
        yield act.at, 0, (clock(act.at), f"* operator: {act.wish}{refused}")
    for storm in pool.storms:
        what = f"{storm.kind}: {plural(storm.restarts, 'restart')} within {seconds(storm.period)}"
        yield storm.at, 1, (clock(storm.at), f"* {what}")
    for attempt in pool.attempts:
        yield attempt.begin, 2, _attempt(attempt, end)


def _attempt(one: Attempt, end: float) -> Row:
    until = end if one.end is None else one.end
    return (
        clock(one.begin),
        seconds(one.waited) if one.waited else "-",
        one.because,
        "-" if one.ready is None else seconds(until - one.ready),
        one.ended_as or "runs on",
    )


def _moves(circuit: CircuitLife) -> Iterator[Entry]:
    for before, span in zip(circuit.spans, circuit.spans[1:], strict=False):
        if said := _move(before, span):
            yield span.begin, 0, (clock(span.begin), f"* circuit {circuit.name} {said}")


def _move(before: CircuitSpan, span: CircuitSpan) -> str:
    """People call a trial half-open, so one that begins there is no news."""
    match span.state:
        case BreakerState.OPEN:
            return f"opens after {plural(span.failures, 'failure')}" if span.failures else "opens"
        case BreakerState.CLOSED:
            return "closes"
        case BreakerState.TRIAL if before.state is BreakerState.HALF_OPEN:
            return ""
        case _:
            return "is half-open: one trial"


def _table(rows: list[Row]) -> Iterator[str]:
    """Rows under their headings; a row of two is a time and a remark across the other columns."""
    full = [_HEADINGS, *(row for row in rows if len(row) == len(_HEADINGS))]
    widths = [max(len(row[column]) for row in full) for column in range(len(_HEADINGS))]
    widths[_ELASTIC] = min(widths[_ELASTIC], COLUMNS - sum(widths) - GAP * len(widths) + widths[_ELASTIC])
    for row in (_HEADINGS, *rows):
        time = f"  {row[0]:>{widths[0]}}"
        if len(row) == len(_HEADINGS):
            cells = zip(row[1:], widths[1:], _RIGHT[1:], strict=True)
            yield "  ".join([time, *(_cell(*cell) for cell in cells)]).rstrip()
        else:
            yield from _wrapped(f"{time}  {row[1]}", " " * (len(time) + 4))


GAP = 2
"""Columns between two cells, and before the first."""


def _cell(said: str, width: int, right: bool) -> str:
    cut = said if len(said) <= width else f"{said[: width - 1]}…"
    return cut.rjust(width) if right else cut.ljust(width)


def _wrapped(said: str, indent: str) -> list[str]:
    return textwrap.wrap(said, COLUMNS, subsequent_indent=indent, drop_whitespace=True) if said else []


def _sums(pool: PoolLife, timeline: Timeline) -> Iterator[str]:
    whole = pool.served + pool.down
    share = f" ({100 * pool.served / whole:.1f} %)" if whole else ""
    longest = f", longest wait {seconds(pool.longest_wait)}" if pool.restarts else ""
    yield ""
    yield f"  served {seconds(pool.served)} of {seconds(whole)} wanted{share}"
    yield f"  {plural(pool.restarts, 'restart')}{longest}"
    if pool.state is not PoolState.READY:
        yield f"  at the end: {pool.state}"
    for name, openings in summary(pool, timeline)["circuit_openings"].items():
        yield f"  circuit {name} opened {_times(openings)}"
    for storm in pool.storms:
        yield from _wrapped(f"  {storm.kind}: {storm.remedy}", "    ")
    if pool.unused:
        yield f"  {plural(pool.unused, 'run')} of the trace not reached"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# --- all pools -----------------------------------------------------------------------------------------


def _shared(timeline: Timeline) -> Iterator[str]:
    moves = sorted(move for circuit in timeline.shared for move in _moves(circuit))
    width = max(len(at) for _, _, (at, _) in moves)
    for _, _, (at, said) in moves:
        yield from _wrapped(f"  {at:>{width}}  {said}", " " * (width + 6))


def _ending(timeline: Timeline) -> str:
    lasted = f"{clock(timeline.end)} after the begin (seed {timeline.seed})"
    if timeline.rested:
        return f"Nothing is left that could happen, {lasted}."
    return f"Not over: --until ended it, {lasted}."
