"""What observers are told: one frozen value per happening. Times in seconds, on the loop's clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from pool_lifecycle.causes import Cause
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Notify


class DrainEnd(enum.StrEnum):
    """How a drain ended."""

    DRAINED = "drained"
    FORCE_STOPPED = "force_stopped"
    ENGINE_DIED = "engine_died"
    ENGINE_FINISHED = "engine_finished"
    RESUMED = "resumed"
    STOPPED = "stopped"
    NOTHING_SERVED = "nothing_served"


@frozen
class DrainOutcome:
    """How a drain ended, after how many seconds, with how many leases at its begin and at its end.

    `stopped` means that a stop overtook it, `nothing_served` that there was nothing to wait for.
    """

    pool_id: str
    end: DrainEnd
    duration: float
    leases_at_start: int = 0
    leases_left: int = 0

    @property
    def forced(self) -> bool:
        """Whether leases were cut off by the deadline."""
        return self.end is DrainEnd.FORCE_STOPPED


@frozen
class Moved:
    """A row of the pool's table was taken. `lasted` is how long it had been in `notice.source`.

    `generation` is that of the newest engine, `leases` the number of active leases.
    """

    pool_id: str
    at: float
    lasted: float
    generation: int
    leases: int
    notice: Notify


@frozen
class DrainBegan:
    """A drain began with this many leases in flight; they have `deadline` seconds."""

    pool_id: str
    at: float
    leases: int
    deadline: float


@frozen
class DrainEnded:
    """A drain ended."""

    pool_id: str
    at: float
    outcome: DrainOutcome


@frozen
class PreloadEnded:
    """A way from staging to ready ended, after `duration` seconds; `cause` None means it is ready."""

    pool_id: str
    at: float
    duration: float
    cause: Cause | None


@frozen
class EngineEnded:
    """An engine's leading process ended, expected or not. `uptime` counts from its launch."""

    pool_id: str
    at: float
    generation: int
    uptime: float
    cause: Cause


@frozen
class EngineUnhealthy:
    """The engine that served lives but has failed its health checks: it counts as crashed and is ended.

    `failed_at` has the times of the checks, on the wall clock.
    """

    pool_id: str
    at: float
    generation: int
    cause: Cause
    failed_at: tuple[float, ...]


@frozen
class CrashLogKept:
    """What the engine of `generation` wrote before it crashed lies at `path`, for whoever looks into it."""

    pool_id: str
    at: float
    generation: int
    path: str


@frozen
class LeasesEnded:
    """Leases ended without a release: their time was over, or their engine was."""

    pool_id: str
    at: float
    how: str
    holders: tuple[str, ...]


@frozen
class CircuitMoved:
    """A circuit of the pool changed its state."""

    pool_id: str
    at: float
    change: CircuitChanged


@frozen
class LateOutcome:
    """An activity reported after its state had ended; the report had no effect."""

    pool_id: str
    at: float
    dropped: Dropped


@frozen
class DriverMisbehaved:
    """A driver broke a promise: it failed where it may not, or went on when it was cancelled."""

    pool_id: str
    at: float
    what: str


@frozen
class Trouble:
    """Something went wrong that the pool goes on without: its state not stored, a file not removed."""

    pool_id: str
    at: float
    what: str


Record: TypeAlias = (
    Moved
    | DrainBegan
    | DrainEnded
    | PreloadEnded
    | EngineEnded
    | EngineUnhealthy
    | CrashLogKept
    | LeasesEnded
    | CircuitMoved
    | LateOutcome
    | DriverMisbehaved
    | Trouble
)
Observer: TypeAlias = Callable[[Record], None]
"""Called on the loop's thread, in order. What it raises is logged; it must not block."""
