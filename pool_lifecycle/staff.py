"""What works for a pool once something was asked of it. A pool that was never started has none of this."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from pool_lifecycle.activities import Subject
from pool_lifecycle.announcing import Announcer
from pool_lifecycle.events import Outcome
from pool_lifecycle.expiry import LeaseTimer
from pool_lifecycle.health_watch import HealthWatch
from pool_lifecycle.launching import Launching
from pool_lifecycle.waiters import Waiters
from pool_lifecycle.working import Work


@define(eq=False)
class Staff:
    """One pool's helpers, each with its own part of the work."""

    launching: Launching
    health: HealthWatch
    announcer: Announcer
    lease_timer: LeaseTimer
    waiters: Waiters
    work: Work

    @classmethod
    def of(cls, pool: Subject, report: Callable[[Outcome], None]) -> Staff:
        """Make them for `pool`, which hears the outcomes of its work by `report`."""
        launching = Launching(pool.host, pool)
        return cls(
            launching,
            HealthWatch(launching, pool.book),
            Announcer(pool),
            LeaseTimer(pool.book, pool.host),
            Waiters(),
            Work(pool, report),
        )
