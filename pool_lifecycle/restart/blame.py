"""When a device is to blame: several pools fail on it in a way that devices make engines fail."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from pool_lifecycle.checks import a, check_all, checked, seconds, whole
from pool_lifecycle.restart.circuit import Breaker


@frozen
class Blame:
    """`pools` different pools failing within `period` seconds open the device's circuit (B-SUPER-x7).

    `breaker` has the circuit's time-outs; its threshold is that number of pools.
    """

    pools: int = field(default=2, metadata=checked(whole(2, 1000)))
    period: float = field(default=300.0, metadata=checked(seconds(0.001)))
    breaker: Breaker = field(default=Breaker(), metadata=checked(a(Breaker)))

    def __attrs_post_init__(self) -> None:
        check_all(self)

    def lies_with_device(self, failed_at: Mapping[str, float], now: float) -> bool:
        """Given when each pool last failed so, in monotonic seconds."""
        return sum(at + self.period > now for at in failed_at.values()) >= self.pools
