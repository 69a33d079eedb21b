"""A circuit, and the numbers of its breaker, as values. Its states and rows are in `breaker.py`."""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.checks import check_all, check_order, checked, seconds, whole
from pool_lifecycle.interfaces import DeviceFault


@frozen
class Breaker:
    """When a circuit opens, how long it stays open, and what closes it. Times in seconds.

    It opens at the `threshold`-th failure in a row; after `timeout` one trial start is allowed; a trial
    that runs `stable` seconds closes it, one that fails opens it again for twice as long, at most
    `timeout_max`. The defaults are B-SUPER-020 to B-SUPER-025's.
    """

    threshold: int = field(default=5, metadata=checked(whole(1, 1000)))
    timeout: float = field(default=300.0, metadata=checked(seconds(0.001)))
    timeout_max: float = field(default=1800.0, metadata=checked(seconds(0.001)))
    stable: float = field(default=60.0, metadata=checked(seconds(0.001)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        check_order(self, "timeout", larger="timeout_max")


@frozen(slots=False)
class Circuit:
    """One circuit. `failures` in a row while closed; `until` is when an open one may be tried.

    `timeout` is the length of the current or last opening (0 before the first), `openings` their number,
    `holder` the pool that has the trial's permit. `shared`: other pools have it too, as with a device's.
    `fault` is what the device has reported, for which nobody starts on it.
    """

    name: str
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    timeout: float = 0.0
    until: float | None = None
    holder: str | None = None
    shared: bool = False
    fault: DeviceFault | None = None

    @property
    def at_rest(self) -> bool:
        """Whether it is as it was at first: nothing would be lost by forgetting it."""
        return self.state is BreakerState.CLOSED and not self.failures
