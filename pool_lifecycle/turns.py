"""Gives the restarts of a host's pools their turns, one after the other, as the host's budget has it."""

from __future__ import annotations

import math
from collections.abc import Callable

from pool_lifecycle.restart.budget import Budget


class Turns:
    """The turns given out on one host. A pool has one at a time: asking again does not cost the others.

    `full_at` is when the host can take as many at once again as it ever can, on the loop's clock.
    """

    __slots__ = ("_budget", "_clock", "_given", "full_at")

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self._budget = budget
        self._clock = clock
        self.full_at = -math.inf
        self._given: dict[str, float] = {}

    def ask(self, pool_id: str) -> float:
        """When the pool's turn is, on the loop's clock: now, or later."""
        now = self._clock()
        turn = self._given.get(pool_id, -math.inf)
        if turn <= now:
            turn, self.full_at = self._budget.turn(self.full_at, now)
        self._given[pool_id] = turn
        return turn

    def used(self, pool_id: str) -> None:
        """It is over: the pool starts."""
        self._given.pop(pool_id, None)
