"""What observers are told of models: how they come, and how they are changed. A part of `records`."""

from __future__ import annotations

import enum

from attrs import frozen

from pool_lifecycle.causes import Cause, FailureClass
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import StagedModel
from pool_lifecycle.transfer import Transfer


class ModelFrom(enum.StrEnum):
    """Where a staged model came from. `here`: it lies on this host and was used where it lies."""

    FETCHED = "fetched"
    CACHE = "cache"
    HERE = "here"


@frozen
class StagingProgressed:
    """A model is being put in place, and is so far; told at most once a second.

    `milestone`: it is time to say so where every line is kept, at least a tenth of it or half a minute after
    the last one.
    """

    pool_id: str
    at: float
    transfer: Transfer
    milestone: bool


@frozen
class ModelStaged:
    """A model is in place, after `duration` seconds. `again`: that was the last news as well."""

    pool_id: str
    at: float
    model: StagedModel
    duration: float
    came_from: ModelFrom
    again: bool = False


class ReloadEnd(enum.StrEnum):
    """How a change of model ended. After `restored`, `reverted`, `untouched`, `aborted` the old one serves.

    `restored`: its engine was ended and launched again; `reverted`: it had waited beside the new one;
    `untouched`: the new model never came so far; `aborted`: leases were left at the drain's deadline;
    `called_off`: by a resume; `refused`: a circuit opened meanwhile; `superseded`: by a drain, a stop, or the
    end of the manager; `engine_finished`: the engine ended on purpose; `failed`: nothing serves.
    """

    COMMITTED = "committed"
    RESTORED = "restored"
    REVERTED = "reverted"
    UNTOUCHED = "untouched"
    ABORTED = "aborted"
    CALLED_OFF = "called_off"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    ENGINE_FINISHED = "engine_finished"
    FAILED = "failed"


class NoReload(enum.StrEnum):
    """Why a change of model failed where that is no class of failure."""

    BUSY = "busy"
    NO_ROOM = "no_room"
    CIRCUIT_OPEN = "circuit_open"
    DRAIN_TIMEOUT = "drain_timeout"
    CALLED_OFF = "called_off"
    SUPERSEDED = "superseded"
    ENGINE_FINISHED = "engine_finished"
    STUCK = "stuck"


@frozen
class ReloadBegan:
    """A change from one model to another began; `old` is what the pool goes back to should it fail."""

    pool_id: str
    at: float
    old: Target
    new: Target
    strategy: Strategy


@frozen
class ReloadEnded:
    """A change of model ended after `duration` seconds, with those in which the new one had to prove itself.

    `gap` is for how many seconds of it no lease could be granted. `reason` says why the pool does not have
    the new model; None if it has. `cause` is the failure behind that, if there was one.
    """

    pool_id: str
    at: float
    new: Target
    strategy: Strategy
    end: ReloadEnd
    duration: float
    gap: float
    reason: FailureClass | NoReload | None = None
    cause: Cause | None = None


@frozen
class ReloadNotBegun:
    """A change of model was asked for and refused; nothing changed."""

    pool_id: str
    at: float
    reason: NoReload
