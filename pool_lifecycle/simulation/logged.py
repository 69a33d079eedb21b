"""What a manager's log tells about the runs of its pools: its records as lines of a trace. Pure.

A log begins and ends anywhere and has lines of every kind. Whatever tells neither of a failure nor of how
long a start took is passed over.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from pool_lifecycle.causes import FailureClass

F = FailureClass

ENDED_ON_PURPOSE = frozenset({F.KILLED_BY_OPERATOR, F.MANAGER_EXIT, F.HOST_RESTART})
"""Endings that are nobody's failure: an operator's are told as wishes."""

BEFORE_READY = frozenset({F.PREFLIGHT, F.STAGING, F.START_TIMEOUT, F.BAD_CONFIG, F.PORT_IN_USE})
"""Only a start ends so: an engine that was ready had a usable configuration, its model, and its port."""

LONGEST = 7 * 86400.0
"""An engine that ran longer ran at least as long as any simulation lasts, in seconds."""


@define(eq=False)
class Log:
    """Follows the records of every pool. `_started`: how long the last start took, None while it lasts."""

    _started: dict[str, float | None] = field(factory=dict)

    def run_of(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """The run that a record tells of, as a line of a trace; None when it tells of none."""
        pool_id = record.get("pool_id")
        if not isinstance(pool_id, str):
            return None
        match record:
            case {"event": "Moved", "to": "starting"}:
                self._started[pool_id] = None
            case {"event": "Moved", "from": "starting", "to": "ready"}:
                self._started[pool_id] = _time(record.get("lasted_seconds"))
            case {"event": "EngineCrashed"}:
                return self._crash(pool_id, record.get("reason"), record.get("uptime_seconds"))
            case {"event": "PreloadEnded", "reason": F.STAGING | F.PREFLIGHT as reason}:
                lasted = _time(record.get("duration_ms"), 0.001)
                return {"pool_id": pool_id, "reason": reason, "uptime_seconds": lasted}
        return None

    def _crash(self, pool_id: str, reason: object, uptime: object) -> dict[str, Any] | None:
        """An engine's uptime counts from its launch. Of one that was launched before the log begins, only
        its reason tells whether it had been ready."""
        if not isinstance(reason, str) or reason in ENDED_ON_PURPOSE:
            return None
        lived, started = _time(uptime), self._started.get(pool_id, 0.0)
        run = {"pool_id": pool_id, "reason": reason, "uptime_seconds": lived}
        if started is None or lived is None or reason in BEFORE_READY:
            return {**run, "ready": False}
        began = {"start_seconds": started} if pool_id in self._started else {}
        return {**run, **began, "ready": True, "uptime_seconds": max(0.0, lived - started)}


def _time(value: object, unit: float = 1.0) -> float | None:
    """In seconds; None for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return min(float(value) * unit, LONGEST) if value <= LONGEST / unit else LONGEST
