"""How many restarts are too many: a window of time that slides over them."""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.checks import check_all, check_order, checked, seconds, whole

Times = tuple[float, ...]
"""When a pool was started again after a failure: monotonic seconds, the earliest first."""


@frozen
class Window:
    """Within any `period` more than `warning` restarts are warned of, and at most `limit` happen.

    `storm` restarts within `storm_period`, of which the last did not last that long either, are a storm: the
    general circuit opens. After a run of `stable` seconds all is forgotten. Times in seconds. The defaults
    are B-SUPER-031 to B-SUPER-035's.
    """

    period: float = field(default=60.0, metadata=checked(seconds(0.001)))
    warning: int = field(default=5, metadata=checked(whole(1, 1000)))
    limit: int = field(default=10, metadata=checked(whole(1, 1000)))
    storm: int = field(default=10, metadata=checked(whole(2, 1000)))
    storm_period: float = field(default=30.0, metadata=checked(seconds(0.001)))
    stable: float = field(default=600.0, metadata=checked(seconds(0.001)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        check_order(self, "warning", "storm", larger="limit")
        check_order(self, "storm_period", larger="period")
        check_order(self, "period", larger="stable")

    def recent(self, restarts: Times, now: float) -> Times:
        """Those within the period that ends now."""
        return tuple(at for at in restarts if at + self.period > now)

    def opens(self, restarts: Times, now: float) -> float:
        """The earliest time, not before `now`, at which one restart more is within the limit."""
        return now if len(restarts) < self.limit else max(now, restarts[-self.limit] + self.period)

    def frequent(self, restarts: Times, now: float) -> bool:
        """Whether there were so many lately that somebody should look."""
        return len(self.recent(restarts, now)) > self.warning

    def storming(self, restarts: Times, now: float) -> bool:
        """Whether the failure of now is one of a storm."""
        if len(restarts) < self.storm:
            return False
        first, last = restarts[-self.storm], restarts[-1]
        return last - first <= self.storm_period and now - last <= self.storm_period
