"""How many restarts a host can take: a token bucket for all its pools together.

The bucket is kept as the one time at which it would be full again (the generic cell rate algorithm, known
from ATM networks), so that whoever asks is told at once when its turn is, instead of being kept in a queue.
"""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.checks import check_all, checked, number, whole


@frozen
class Budget:
    """`burst` restarts at once, then `rate` a second: within any t seconds at most burst + rate * t."""

    burst: int = field(default=20, metadata=checked(whole(1, 100_000)))
    rate: float = field(default=10.0, metadata=checked(number(0.001, 100_000.0, "restarts a second")))

    def __attrs_post_init__(self) -> None:
        check_all(self)

    def turn(self, full_at: float, now: float) -> tuple[float, float]:
        """When the next restart may be, not before `now`, and when the bucket is full again after that.

        Turns are given out in the order in which they are asked for. A bucket that is full has any
        `full_at` in the past.
        """
        full_at = max(full_at, now)
        turn = max(now, full_at - (self.burst - 1) / self.rate)
        return turn, full_at + 1 / self.rate
