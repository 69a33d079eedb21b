"""What a start that is due waits for. Pure."""

from __future__ import annotations

import enum


class Awaits(enum.StrEnum):
    """What the next start of a pool that backs off waits for."""

    NOTHING = "nothing"
    DELAY = "delay"
    WINDOW = "window"
    TURN = "turn"
