"""Why an engine ended, or has to be ended, from what is known about it. Pure.

The conclusion rests on the exit status and, where the profile knows the engine's own words, on the last lines
of this launch's log.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import evolve, frozen

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.interfaces import Pattern


def ending(
    status: ExitStatus,
    *,
    stage: Stage,
    lived: float,
    lines: tuple[str, ...],
    patterns: tuple[Pattern, ...],
    log: str,
) -> Cause:
    """The cause of an ending nobody asked for, `lived` seconds after the launch, in the given stage.

    `log` is where the engine's log is, for whoever has to read on.
    """
    said = f"; its last line: {lines[-1]!r}" if lines else ""
    cause = Cause(
        _kind(status),
        stage,
        f"the engine ended after {lived:.2f} s ({status}){said}",
        exit=status,
        evidence=(str(status), *lines[-1:]),
        remedy=f"look at the engine's log, {log}",
    )
    known = recognise(lines, patterns)
    if known is None:
        return cause
    pattern, line = known
    return evolve(
        cause,
        kind=pattern.kind,
        heals=pattern.heals,
        remedy=pattern.remedy.replace("{log}", log) or cause.remedy,
        message=f"the engine ended after {lived:.2f} s ({status}); it said: {line!r}",
        evidence=(str(status), line),
    )


@frozen
class FailedCheck:
    """One health check that failed: when, on the wall clock (seconds), and what was seen instead.

    `silent`: nothing was answered in time, or the work stood still: it looks like a hang.
    """

    at: float
    detail: str
    silent: bool = False


TIMES_SHOWN = 5
"""With more failed checks the message has the first and the last time only; the evidence has them all."""


def unhealthy(checks: tuple[FailedCheck, ...], *, log: str) -> Cause:
    """The cause when as many health checks in a row failed as make a crash of a living engine."""
    times = [datetime.fromtimestamp(one.at, UTC) for one in checks]
    clock = [f"{time:%H:%M:%S}" for time in times]
    when = ", ".join(clock) if len(clock) <= TIMES_SHOWN else f"{clock[0]} to {clock[-1]}"
    what = "1 health check failed" if len(checks) == 1 else f"{len(checks)} health checks in a row failed"
    return Cause(
        FailureClass.HANG if all(one.silent for one in checks) else FailureClass.HEALTH,
        Stage.RUN,
        f"{what} (at {when} UTC): {checks[-1].detail}",
        remedy=f"look at the engine's log, {log}; if it was only busy, give it a larger health.timeout",
        evidence=tuple(
            f"{time.isoformat(timespec='seconds')}: {one.detail}"
            for time, one in zip(times, checks, strict=True)
        ),
    )


def _kind(status: ExitStatus) -> FailureClass:
    if not status.known:
        return FailureClass.UNKNOWN
    return FailureClass.EXIT if status.signal is None else FailureClass.SIGNAL


def recognise(lines: Iterable[str], patterns: Iterable[Pattern]) -> tuple[Pattern, str] | None:
    """The first pattern, in their order, that some line contains, and the last line that does."""
    kept = tuple(lines)
    for pattern in patterns:
        for line in reversed(kept):
            if pattern.text in line:
                return pattern, line
    return None
