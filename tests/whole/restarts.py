"""S13: how often pools were started again after failures, by pool and by host, across managers and boots."""

from __future__ import annotations

from collections import defaultdict

from attrs import define, field

from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.spec import PoolSpec

EPSILON = 1e-3


@define(eq=False)
class Restarts:
    """A restart counts from the moment it was decided, once it became a launch. Times are true ones."""

    budget: Budget
    specs: dict[str, PoolSpec]
    _begun: dict[str, float] = field(factory=dict)
    _by_pool: defaultdict[str, list[float]] = field(factory=lambda: defaultdict(list))
    _all: list[float] = field(factory=list)

    def begun(self, pool_id: str, at: float) -> None:
        """It has left its back-off for a start."""
        self._begun[pool_id] = at

    def launched(self, pool_id: str) -> None:
        """Something was launched for it. Raises AssertionError when that is too much."""
        at = self._begun.pop(pool_id, None)
        if at is None:
            return
        self._by_pool[pool_id].append(at)
        self._all.append(at)
        self._within_window(pool_id, at)
        self._within_budget()

    def forgotten(self) -> None:
        """A manager has ended: what it had decided but not launched is to be decided anew."""
        self._begun.clear()

    def excused(self) -> None:
        """A wrong clock makes all of it seem long ago, or a power cut has taken the record of it."""
        self._by_pool.clear()
        self._all.clear()

    def _within_window(self, pool_id: str, at: float) -> None:
        window = self.specs[pool_id].window
        recent = [one for one in self._by_pool[pool_id] if one > at - window.period + EPSILON]
        if len(recent) > window.limit:
            raise AssertionError(
                f"{pool_id} restarted {len(recent)} times within {window.period:g} s: {recent}"
            )

    def _within_budget(self) -> None:
        """Within any t seconds at most burst + rate * t."""
        times = sorted(self._all)
        for first in range(len(times)):
            count, lasted = len(times) - first, times[-1] - times[first]
            if count > self.budget.burst + self.budget.rate * lasted + EPSILON:
                raise AssertionError(
                    f"the host restarted {count} pools within {lasted:.3f} s: {times[first:]}"
                )
