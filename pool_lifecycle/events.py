"""What a pool can be told: wishes, outcomes, facts, and news of time. All are frozen values.

*Wishes* come from people and programs. *Outcomes* are the one report of an activity; they carry the epoch
of the state that began it, so that a late one is recognised and dropped. *Facts* about processes carry the
launch token and are never dropped: what happened to a process happened, whatever the pool does by now.
*News of time* says that something has become due; it names what, so that it too can be too late.

The pure ring draws no chance of its own: `chance`, a number in [-1, 1], places the jitter of a back-off
delay that an outcome may lead to. Durations are in seconds.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from pool_lifecycle.causes import Cause, ExitStatus, Stage
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.lifecycle import PoolEvent
from pool_lifecycle.restart.circuit import Circuit

if TYPE_CHECKING:
    from pool_lifecycle.snapshot import Rules


class Strategy(enum.StrEnum):
    """How a model is changed."""

    DRAIN_FIRST = "drain_first"
    STAGE_FIRST = "stage_first"
    SURGE = "surge"


@frozen
class Target:
    """What an engine is launched for: a model reference (None: no model), and its digest, if known.

    `variant` names the declaration of the engine itself (`PoolSpec.variant`).
    """

    model: str | None = None
    digest: str | None = None
    variant: str = ""


# --- wishes ----------------------------------------------------------------------------------------


@frozen
class Wish:
    """Somebody wants something of the pool."""

    kind: ClassVar[PoolEvent]


@frozen
class Start(Wish):
    """Bring it up. `loaded`: nobody asks; it is a new manager that goes on with what its pool was to do."""

    kind: ClassVar[PoolEvent] = PoolEvent.START
    loaded: bool = False


@frozen
class Stop(Wish):
    """End it now. `grace` is the time from SIGTERM to SIGKILL; None means the configured one."""

    kind: ClassVar[PoolEvent] = PoolEvent.STOP
    grace: float | None = None


@frozen
class Halt(Wish):
    """The manager leaves: end it now, and bring it up again when it is next loaded."""

    kind: ClassVar[PoolEvent] = PoolEvent.HALT
    grace: float | None = None


@frozen
class Drain(Wish):
    """Take no new work, let leases finish for at most `deadline`, then end it. None: the configured time."""

    kind: ClassVar[PoolEvent] = PoolEvent.DRAIN
    deadline: float | None = None


@frozen
class Resume(Wish):
    """Call off a drain or a change of model."""

    kind: ClassVar[PoolEvent] = PoolEvent.RESUME


@frozen
class Reload(Wish):
    """Change the model. `short` says why two engines cannot live side by side; only surge asks."""

    kind: ClassVar[PoolEvent] = PoolEvent.RELOAD
    target: Target
    strategy: Strategy = Strategy.DRAIN_FIRST
    drain_deadline: float | None = None
    short: Cause | None = None


@frozen
class Reset(Wish):
    """Close the pool's own circuits and forget their counts."""

    kind: ClassVar[PoolEvent] = PoolEvent.RESET


@frozen
class AllowOne(Wish):
    """Allow one start past an open circuit."""

    kind: ClassVar[PoolEvent] = PoolEvent.ALLOW_ONE


# --- outcomes --------------------------------------------------------------------------------------


@frozen
class Outcome:
    """The one report of the activity that began at `epoch`."""

    kind: ClassVar[PoolEvent]
    epoch: int
    chance: float = 0.0


@frozen
class Staged(Outcome):
    """The model is in place and the start is admitted."""

    kind: ClassVar[PoolEvent] = PoolEvent.STAGED


@frozen
class Healthy(Outcome):
    """The newest engine's own process tree answered that it is ready."""

    kind: ClassVar[PoolEvent] = PoolEvent.HEALTHY


@frozen(kw_only=True)
class Failed(Outcome):
    """The activity failed, and why."""

    kind: ClassVar[PoolEvent] = PoolEvent.FAILED
    cause: Cause


@frozen
class Drained(Outcome):
    """No lease is left on the serving generation."""

    kind: ClassVar[PoolEvent] = PoolEvent.DRAINED


@frozen
class Gone(Outcome):
    """Nothing is left of the engines that were to end: trees empty, ports free."""

    kind: ClassVar[PoolEvent] = PoolEvent.GONE


@frozen
class Due(Outcome):
    """The wait before the next start is over."""

    kind: ClassVar[PoolEvent] = PoolEvent.DUE


@frozen
class Progressed(Outcome):
    """The work is getting on. The one outcome that may be reported many times."""

    kind: ClassVar[PoolEvent] = PoolEvent.PROGRESSED


@frozen(kw_only=True)
class Postponed(Outcome):
    """The next start cannot be before `until`. May be reported many times."""

    kind: ClassVar[PoolEvent] = PoolEvent.POSTPONED
    until: float


# --- facts -----------------------------------------------------------------------------------------


@frozen
class Launched:
    """The launch named by `token` has become a process; its output begins at byte `log_begin` of the log."""

    token: str
    handle: EngineHandle
    log_begin: int = 0


@frozen
class Exited:
    """The leading process of the launch named by `token` has ended.

    `cause` is the verdict to go with it, should this have been the serving engine; `graceful` says that
    its profile takes this ending for a wish to stop.
    """

    token: str
    status: ExitStatus
    cause: Cause
    graceful: bool = False


@frozen
class Cleared:
    """Nothing is left of the launch named by `token`, which could not be killed before."""

    token: str


@frozen
class Unhealthy:
    """The engine of the launch named by `token` lives but no longer answers as it should; `cause` says so.

    That is a verdict about a living process: whoever hears it has to end the engine.
    """

    token: str
    cause: Cause


@frozen
class Shared:
    """A circuit that several pools share is now as it is here."""

    circuit: Circuit


@frozen
class Declared:
    """Other numbers were declared for the pool."""

    rules: Rules


# --- news of time ----------------------------------------------------------------------------------


@frozen
class Overdue(Outcome):
    """The state entered at `epoch` has lasted as long as it may.

    `observed` is what was last seen of it, `stage` how far a starting engine had come by then, `log` where
    the engine's log is.
    """

    kind: ClassVar[PoolEvent] = PoolEvent.DEADLINE
    observed: str = ""
    stage: Stage = Stage.HEALTH
    log: str = ""


@frozen
class CircuitDue:
    """The time-out of the `opening`-th opening of a circuit is over."""

    circuit: str
    opening: int


@frozen
class RanStably:
    """The engine of `generation` has served without trouble for `period`."""

    generation: int
    period: float


Event = Wish | Outcome | Launched | Exited | Cleared | Unhealthy | Shared | Declared | CircuitDue | RanStably
"""Everything `step` accepts."""
