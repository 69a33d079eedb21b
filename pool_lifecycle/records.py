"""What observers are told: one frozen value per happening. Times in seconds, on the loop's clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from pool_lifecycle.causes import Cause, FailureClass
from pool_lifecycle.device_records import DeviceFaulted, DeviceReleased, DevicesSeen, DeviceWell
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.model_records import (
    ModelFrom,
    ModelStaged,
    NoReload,
    ReloadBegan,
    ReloadEnd,
    ReloadEnded,
    ReloadNotBegun,
    StagingProgressed,
)
from pool_lifecycle.restart.storm import Storm
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Notify
from pool_lifecycle.waits import Awaits
from pool_lifecycle.wording import plural, seconds

__all__ = [
    "Awaits",
    "CircuitMoved",
    "CrashLogKept",
    "DeviceFaulted",
    "DeviceReleased",
    "DeviceWell",
    "DevicesSeen",
    "DrainBegan",
    "DrainEnd",
    "DrainEnded",
    "DrainOutcome",
    "DriverMisbehaved",
    "EngineCrashed",
    "EngineEnded",
    "EngineUnhealthy",
    "LateOutcome",
    "LeasesEnded",
    "ModelFrom",
    "ModelStaged",
    "Moved",
    "NoReload",
    "Observer",
    "PoolAdopted",
    "PreloadEnded",
    "Record",
    "ReloadBegan",
    "ReloadEnd",
    "ReloadEnded",
    "ReloadNotBegun",
    "RestartBegan",
    "RestartScheduled",
    "StagingProgressed",
    "StormBegan",
    "Trouble",
]


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

    `generation` is that of the newest engine, `leases` the number of active leases. `told`: another record
    of this very step says more about it.
    """

    pool_id: str
    at: float
    lasted: float
    generation: int
    leases: int
    notice: Notify
    told: bool = False


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
    """A way from staging to ready ended, after `duration` seconds; `cause` None means it is ready.

    `crashed`: there was an engine, and EngineCrashed says the same of it.
    """

    pool_id: str
    at: float
    duration: float
    cause: Cause | None
    crashed: bool = False


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
class EngineCrashed:
    """An engine failed: one that served, or one that was to serve the pool's own model and never did.

    `uptime` counts from its launch. `crash_count` is the number of failures in a row, with this one if its
    class is `counted`.
    """

    pool_id: str
    at: float
    generation: int
    engine_version: str | None
    uptime: float
    cause: Cause
    crash_count: int
    counted: bool = True


@frozen
class RestartScheduled:
    """The pool will start again after `backoff` seconds, at `next_restart_at` (seconds, on the wall clock).

    `reason` is the class of the failure, `crash_count` the number of failures in a row, `restart_count` the
    number of starts after a failure so far, `recent` of them within the window's `time_window`. `why` says
    what has cut the delay short; empty where the pool's own policy rules. A later record for the same
    restart, which awaits its turn on the host, postpones it: its `backoff` counts from then.
    """

    pool_id: str
    at: float
    backoff: float
    crash_count: int
    next_restart_at: float
    reason: FailureClass
    restart_count: int
    recent: int
    time_window: float
    awaits: Awaits
    why: str = ""


@frozen
class RestartBegan:
    """A pool starts again after a failure of class `reason`, for the `restart_count`-th time.

    `recent` of them were within the last `time_window` seconds; `frequent`: that is more than should be.
    """

    pool_id: str
    at: float
    reason: FailureClass | None
    restart_count: int
    recent: int
    time_window: float
    frequent: bool


@frozen
class StormBegan:
    """A pool was started again and again: its general circuit opens. `restart_count` counts all restarts."""

    pool_id: str
    at: float
    storm: Storm
    restart_count: int


@frozen
class CrashLogKept:
    """What the engine of `generation` wrote before it crashed lies at `path`, for whoever looks into it."""

    pool_id: str
    at: float
    generation: int
    path: str


@frozen
class PoolAdopted:
    """A manager goes on with a pool that an earlier one left in this state; its record is `age` seconds old.

    `found` has the generations whose engines live, `gone` those of which nothing lives any more, `unsure`
    those of which nobody can say yet. So many `leases` go on.
    """

    pool_id: str
    at: float
    state: PoolState
    age: float
    found: tuple[int, ...]
    gone: tuple[int, ...]
    unsure: tuple[int, ...]
    leases: int

    @property
    def idle(self) -> bool:
        """Whether there was nothing to go on with."""
        return self.state is PoolState.STOPPED and not (self.found or self.gone or self.unsure)

    @property
    def findings(self) -> str:
        """In words: how old the record was, what has become of its engines, what goes on."""
        return ", ".join(
            (
                f"as recorded {seconds(self.age)} ago",
                *(f"engine generation {one} goes on" for one in self.found),
                *(f"engine generation {one} is gone" for one in self.gone),
                *(f"of engine generation {one} nobody knows" for one in self.unsure),
                *((f"{plural(self.leases, 'lease')} held",) if self.leases else ()),
            )
        )


@frozen
class LeasesEnded:
    """Leases ended without a release: their time was over, or their engine was."""

    pool_id: str
    at: float
    how: str
    holders: tuple[str, ...]


@frozen
class CircuitMoved:
    """A circuit changed its state. A circuit that several pools share is told of once.

    `pool_id` is then the pool that brought it about; `pools` has every pool that the circuit concerns.
    """

    pool_id: str
    at: float
    change: CircuitChanged
    pools: tuple[str, ...] = ()


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
    | StagingProgressed
    | ModelStaged
    | PreloadEnded
    | ReloadBegan
    | ReloadEnded
    | ReloadNotBegun
    | EngineEnded
    | EngineUnhealthy
    | EngineCrashed
    | RestartScheduled
    | RestartBegan
    | StormBegan
    | CrashLogKept
    | PoolAdopted
    | LeasesEnded
    | CircuitMoved
    | DevicesSeen
    | DeviceFaulted
    | DeviceWell
    | DeviceReleased
    | LateOutcome
    | DriverMisbehaved
    | Trouble
)
Observer: TypeAlias = Callable[[Record], None]
"""Called on the loop's thread, in order. What it raises is logged; it must not block."""
