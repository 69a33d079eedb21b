"""One timer for what may come a little late: calls are gathered into ticks of a quarter of a second.

Ten thousand pools that each want to look at something every ten seconds would be ten thousand timers, and a
thousand wake-ups a second. Gathered, they are at most four. While nobody waits for a tick there is no timer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from pool_lifecycle.wake import call_each

TICK = 0.25
"""Seconds between two ticks: a call comes less than this after its time."""

Call = Callable[[], None]


class Ticks:
    """The ticks of one loop; all of it is for the loop's thread."""

    __slots__ = ("_armed", "_due", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, dict[Call, None]] = {}
        self._armed = 0
        self._timer: asyncio.TimerHandle | None = None

    def at(self, when: float, call: Call) -> int:
        """Call at the first tick not before `when`, on the loop's clock; returns the tick's number."""
        tick = math.ceil(when / TICK)
        self._due.setdefault(tick, {})[call] = None
        if self._timer is None or tick < self._armed:
            self._arm()
        return tick

    def forget(self, tick: int, call: Call) -> None:
        """Do not call at that tick; nothing happens if that has been done, or was never to be."""
        calls = self._due.get(tick)
        if calls is None or call not in calls:
            return
        del calls[call]
        if not calls:
            del self._due[tick]
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._armed = min(self._due)
            self._timer = self._loop.call_at(self._armed * TICK, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        for tick in sorted(tick for tick in self._due if tick * TICK <= now):
            call_each(self._due.pop(tick))
        self._arm()
