"""What is kept of pools beyond the life of one manager, as frozen values.

Times within are seconds on a monotonic clock; a `Moment` says on which, and what the wall clock said then,
so that whoever loads them can tell how much later it is.
"""

from __future__ import annotations

from attrs import frozen

from pool_lifecycle.events import Target
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Notify, Snapshot


@frozen(slots=False)
class Moment:
    """When something was stored: `at` on the monotonic clock named `clock`, and `wall`, since the epoch.

    A clock is named after the boot of the host that it began with: its times mean nothing after another.
    """

    clock: str
    at: float
    wall: float


@frozen
class KeptLease:
    """A lease that outlives the manager that granted it. `since` and `expires_at` are on its pool's clock."""

    token: int
    generation: int
    url: str
    holder: str
    kind: str
    since: float
    expires_at: float | None = None


NO_TARGET = Target()


@frozen(slots=False)
class Kept:
    """Everything there is to know about a pool under the next manager.

    `snapshot` is without its rules, which are declared anew. `declared` is what its spec wanted launched,
    `launcher` the driver that has its engines. No lease was ever given `next_token` or a higher token.
    """

    snapshot: Snapshot
    moment: Moment
    launcher: str
    declared: Target = NO_TARGET
    next_token: int = 1
    leases: tuple[KeptLease, ...] = ()


ADOPTED = "adopted"
"""The event of a passage from one manager to another."""


@frozen(slots=False)
class Passage:
    """One row that a pool took, for people who look back. `at` is wall-clock time, since the epoch.

    `cause` is the failure that had to do with it, in words. Where a new manager has gone on with the pool the
    event is `ADOPTED`, the state stays, and `why` says what it found.
    """

    pool_id: str
    at: float
    event: str
    source: str
    target: str
    why: str
    mark: str | None = None
    generation: int = 0
    cause: str | None = None

    @classmethod
    def of(cls, notice: Notify, after: Snapshot, at: float) -> Passage:
        """The row that `notice` tells of, which led to `after`."""
        return cls(
            after.pool_id,
            at,
            notice.event,
            notice.source,
            notice.target,
            notice.why,
            notice.mark,
            after.generation,
            None if notice.cause is None else str(notice.cause),
        )

    @classmethod
    def adopted(cls, after: Snapshot, found: str, at: float) -> Passage:
        """A new manager goes on with the pool."""
        return cls(after.pool_id, at, ADOPTED, after.state, after.state, found, generation=after.generation)


@frozen
class KeptHost:
    """What the pools of a host share: until when its budget of restarts is given out, and its circuits.

    `failed_at` has, by circuit and pool, when that pool last failed in a way that devices make engines fail.
    The fencing tokens of its last manager begin with `tokens_from`.
    """

    moment: Moment
    full_at: float | None = None
    circuits: tuple[Circuit, ...] = ()
    failed_at: tuple[tuple[str, str, float], ...] = ()
    tokens_from: int = 0


@frozen
class Loaded:
    """What a store had kept. `troubles` are sentences about what could not be read and was set aside."""

    pools: tuple[Kept, ...] = ()
    host: KeptHost | None = None
    troubles: tuple[str, ...] = ()
