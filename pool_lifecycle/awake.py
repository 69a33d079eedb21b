"""Time in which the event loop runs: while the program blocks it, nobody hears of anything.

A time-out that passed while nobody listened says nothing about who was to answer. After a block, whatever
became due meanwhile is called in one turn of the loop, the end of a time-out beside the answer that came in
time; so who waits for news must wait awake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from pool_lifecycle.ticks import TICK, Ticks

SLICES = 4
"""Into so many parts a patient wait is cut: however long a block lasts, it uses up one of them."""


class Awake:
    """Counts the seconds in which the loop has run, from when it was made until it is closed.

    It looks at every tick; what is lost between two of them beyond another tick's time counts as blocked.
    """

    __slots__ = ("_asleep", "_began", "_clock", "_next", "_ticks")

    def __init__(self, ticks: Ticks, clock: Callable[[], float]) -> None:
        self._ticks = ticks
        self._clock = clock
        self._began = clock()
        self._asleep = 0.0
        self._next = ticks.at(self._began + TICK, self._look)

    @property
    def seconds(self) -> float:
        """How long it has been awake."""
        return self._clock() - self._began - self._asleep - self._late()

    def close(self) -> None:
        """Look no more."""
        self._ticks.forget(self._next, self._look)

    def _late(self) -> float:
        late = self._clock() - self._next * TICK
        return late if late > TICK else 0.0

    def _look(self) -> None:
        self._asleep += self._late()
        self._next = self._ticks.at(self._clock() + TICK, self._look)


async def patiently(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until all are done, at most so many seconds in which the loop runs; a block costs one slice."""
    waiting: Collection[asyncio.Task[Any]] = tasks
    for _ in range(SLICES):
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=seconds / SLICES)
