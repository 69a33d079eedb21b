"""How long to wait before the next start: exponential back-off with bounded jitter."""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.checks import check_all, check_order, checked, number, seconds


@frozen
class Backoff:
    """delay(n) = initial * factor ** (n - 1) * multiplier, moved by at most `jitter` of itself, bounded.

    All times in seconds. `minimum` and `maximum` hold with the jitter included. The multiplier is that of the
    class of the failure. After a run of `stable`
    seconds the count of failures starts again at 0. The defaults are B-SUPER-010 to B-SUPER-016's.
    """

    initial: float = field(default=1.0, metadata=checked(seconds()))
    factor: float = field(default=2.0, metadata=checked(number(1.0, 100.0, "times")))
    maximum: float = field(default=60.0, metadata=checked(seconds()))
    minimum: float = field(default=0.0, metadata=checked(seconds()))
    jitter: float = field(default=0.1, metadata=checked(number(0.0, 1.0, "parts of the delay")))
    stable: float = field(default=300.0, metadata=checked(seconds(0.001)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        check_order(self, "minimum", "initial", larger="maximum")

    def delay(self, failures: int, chance: float, multiplier: float = 1.0) -> float:
        """Seconds to wait after `failures` failures in a row (at least 1), the last of a class so multiplied.

        `chance` in [-1, 1] places the jitter; the caller draws it, so that this stays a function.
        """
        delay = self._law(max(failures, 1)) * multiplier * (1 + self.jitter * chance)
        return min(max(delay, self.minimum), self.maximum)

    def _law(self, failures: int) -> float:
        try:
            return min(self.initial * float(self.factor) ** (failures - 1), self.maximum)
        except OverflowError:  # a float, unlike an int, says at once that it has grown beyond all bounds
            return self.maximum if self.initial else 0.0
