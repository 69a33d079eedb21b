"""What a pool that backs off waits for. Pure."""

from __future__ import annotations

import enum
import math

from pool_lifecycle.snapshot import Snapshot


class Awaits(enum.StrEnum):
    """What the next start waits for."""

    NOTHING = "nothing"
    DELAY = "delay"
    WINDOW = "window"
    TURN = "turn"


def awaits(snapshot: Snapshot) -> Awaits:
    """What a pool that backs off waits for, unless the host has postponed its turn since."""
    not_before = snapshot.not_before
    if not_before is None or not_before <= snapshot.since:
        return Awaits.NOTHING
    opens = snapshot.rules.window.opens(snapshot.restarts, -math.inf)
    return Awaits.WINDOW if not_before == opens else Awaits.DELAY
