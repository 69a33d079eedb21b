"""The life of a pool, as one table.

A pool begins `stopped`. A start takes it through `staging` (is everything there? put the model in place,
wait for admission) and `starting` (launch the engine, ask until it is healthy) to `ready`, the one place
where work is normally done. From there three things can happen. Somebody wants it to end: `draining`
lets the leases in flight finish, `stopping` ends the process tree and waits until its port is free. The
engine ends by itself: `recovering` clears up what is left and finds out why; then the pool either waits its
turn in `backing_off` and is staged again, or is `failed`, because a circuit is open or because trying again
cannot help. Every start after a failure goes through `backing_off`, whoever asks for it: an operator skips
the delay, but neither the window of restarts nor the budget of the host. Or the model is to change:
`reloading.*` drains, stages, stops the old engine and starts the new one, going back to the old if the new
one does not become healthy; `surging.*` starts the new engine beside the old, and `retiring` lets the one
that no longer serves finish and end. A new model is committed to only when it has served for a while: until
then it is `proving` itself, and its end, for whatever reason, brings back the old one. A process that cannot
be killed makes the pool `stuck` until it is gone.

Reading a row: on this event, if the guard holds, go there, because. Rows are tried in order. `STAY` rows
join: what was asked for is already under way or already so, and only facts change. `halt` (the manager
leaves) shares every row of `stop`; `reset` is possible everywhere.

Which events exist, who sends them and what they carry is in `events.py`; what a breaker has to do with it
is in `coupling.py`.
"""

from __future__ import annotations

import enum

from pool_lifecycle.table import STAY, Kind, Row, State, Table


class PoolState(enum.StrEnum):
    """Where a pool is in its life."""

    STOPPED = "stopped"
    STAGING = "staging"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    STUCK = "stuck"
    STAGING_AHEAD = "staging_ahead"
    RELOADING_DRAINING = "reloading.draining"
    RELOADING_STAGING = "reloading.staging"
    RELOADING_STOPPING = "reloading.stopping"
    RELOADING_STARTING = "reloading.starting"
    RELOADING_UNDOING = "reloading.undoing"
    RELOADING_PROVING = "reloading.proving"
    RELOADING_RESTORING = "reloading.restoring"
    SURGING_STAGING = "surging.staging"
    SURGING_STARTING = "surging.starting"
    SURGING_PROVING = "surging.proving"
    RETIRING = "retiring"


class PoolEvent(enum.StrEnum):
    """What can happen to a pool."""

    # wishes of people and of the manager
    START = "start"
    STOP = "stop"
    DRAIN = "drain"
    RESUME = "resume"
    RELOAD = "reload"
    RESET = "reset"
    ALLOW_ONE = "allow_one"
    HALT = "halt"
    # outcomes of activities
    STAGED = "staged"
    HEALTHY = "healthy"
    FAILED = "failed"
    DRAINED = "drained"
    GONE = "gone"
    STUCK = "stuck"
    DUE = "due"
    DEADLINE = "deadline"
    PROGRESSED = "progressed"
    POSTPONED = "postponed"
    # facts about the serving engine, and what follows from circuits
    CRASHED = "crashed"
    FINISHED = "finished"
    STABLE = "stable"
    PERMITTED = "permitted"


class Activity(enum.StrEnum):
    """Work that lasts as long as its state."""

    STAGE = "stage"
    LAUNCH = "launch"
    WATCH = "watch"
    DRAIN = "drain"
    END = "end"
    RETIRE = "retire"
    BACK_OFF = "back_off"
    LINGER = "linger"


class Limit(enum.StrEnum):
    """Which of the configured times bounds a state."""

    STAGING = "staging"
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    BACK_OFF = "back_off"
    RETIRE = "retire"
    PROVING = "proving"


class Model(enum.StrEnum):
    """Which model a launch is for: the committed one, or the one a reload is to bring."""

    COMMITTED = "committed"
    CANDIDATE = "candidate"


class When(enum.StrEnum):
    """The guards. What each one asks is in `guards.py`."""

    PERMIT = "permit"
    NO_PERMIT = "no permit"
    STOP_WANTED = "stop wanted"
    CANNOT_HEAL = "cannot heal"
    CAN_HEAL = "can heal"
    FAILED_BEFORE = "failed before"
    DELAYED = "delayed"
    NO_QUARANTINE = "no quarantine"
    SAME_MODEL = "same model"
    SAME_TARGET = "same target"
    REFUSED = "no permit, or does not fit"
    DRAIN_FIRST = "drain_first"
    STAGE_FIRST = "stage_first"
    STAGED_AHEAD = "staged ahead"
    SPARE_LEFT = "spare left"
    SPARE_LIVES = "spare lives"
    OLD_CRASHED = "the old one crashed"
    UNPROVEN = "unproven"
    UNPROVEN_BESIDE = "unproven beside a spare"
    TRUSTED = "trusted"


class Mark(enum.StrEnum):
    """Tells apart rows that mean different things to whoever asked."""

    JOINED = "joined"
    SHORTENED = "shortened"
    REFUSED = "refused"
    BUSY = "busy"
    UNCHANGED = "unchanged"
    CONFIGURED = "configured"
    FORCED = "forced"
    ABORTED = "aborted"
    UNTOUCHED = "untouched"
    COMMITTED = "committed"
    RESTORED = "restored"
    REVERTED = "reverted"
    QUARANTINED = "quarantined"
    NO_PERMIT = "no permit"
    IN_TURN = "in turn"
    RESTART = "restart"


# The rows below read best with bare names.
STOPPED, STAGING, STARTING, READY, DRAINING, STOPPING, RECOVERING, BACKING_OFF, FAILED, STUCK = (
    PoolState.STOPPED, PoolState.STAGING, PoolState.STARTING, PoolState.READY, PoolState.DRAINING,
    PoolState.STOPPING, PoolState.RECOVERING, PoolState.BACKING_OFF, PoolState.FAILED, PoolState.STUCK,
)  # fmt: skip
STAGING_AHEAD = PoolState.STAGING_AHEAD
RELOADING_DRAINING, RELOADING_STAGING = PoolState.RELOADING_DRAINING, PoolState.RELOADING_STAGING
RELOADING_STOPPING, RELOADING_STARTING = PoolState.RELOADING_STOPPING, PoolState.RELOADING_STARTING
RELOADING_UNDOING, RELOADING_RESTORING = PoolState.RELOADING_UNDOING, PoolState.RELOADING_RESTORING
RELOADING_PROVING, SURGING_PROVING = PoolState.RELOADING_PROVING, PoolState.SURGING_PROVING
SURGING_STAGING, SURGING_STARTING = PoolState.SURGING_STAGING, PoolState.SURGING_STARTING
RETIRING = PoolState.RETIRING
STABLE, TRANSIENT = Kind.STABLE, Kind.TRANSIENT
E, W, M = PoolEvent, When, Mark


def _join(*events: PoolEvent, why: str) -> tuple[Row, ...]:
    return tuple(Row(event, STAY, why, mark=M.JOINED) for event in events)


def _end(to: PoolState, why: str) -> tuple[Row, ...]:
    return (Row(E.DRAIN, to, why), Row(E.STOP, to, why))


_PROGRESS = Row(E.PROGRESSED, STAY, "what makes progress is given more time, up to the hard limit")

_STABLE = Row(E.STABLE, STAY, "a long run without trouble clears old counts")

_SERVER_ENDS = (
    Row(E.CRASHED, RECOVERING, "the serving engine failed: clear up, find out why"),
    Row(E.FINISHED, STOPPING, "the engine ended on purpose: so does the pool"),
    _STABLE,
)
"""What the end, or the long life, of the serving engine does wherever it lives, but for a new model that
proves itself: nobody has come to rely on it, so that its end never is one on purpose."""

_BUSY = (
    Row(E.RELOAD, STAY, "the same change is already under way", when=W.SAME_TARGET, mark=M.JOINED),
    Row(E.RELOAD, STAY, "one change at a time", mark=M.BUSY),
)

_END_INSTEAD = (
    Row(E.DRAIN, DRAINING, "the pool is to end instead"),
    Row(E.STOP, STOPPING, "the pool is to end instead"),
)
"""A change of model gives way to the wish that the pool ends, while the old engine still lives."""


def _serve_again(event: PoolEvent) -> tuple[Row, ...]:
    unproven = "it serves again; the new model still has to prove itself"
    return (
        Row(event, SURGING_PROVING, f"{unproven}, and the spare to go", when=W.UNPROVEN_BESIDE),
        Row(event, RELOADING_PROVING, unproven, when=W.UNPROVEN),
        Row(event, RETIRING, "it serves again, and the spare still has to go", when=W.SPARE_LEFT),
        Row(event, READY, "it serves again"),
    )


_STAGED_BESIDE = (
    Row(E.STAGED, READY, "a circuit opened meanwhile", mark=M.REFUSED),
    Row(E.FAILED, READY, "the old engine was never touched", mark=M.UNTOUCHED),
    Row(E.RESUME, READY, "the change is called off", mark=M.UNTOUCHED),
    _PROGRESS,
)
"""How the staging of a new model beside a living engine can end without a change."""

_AFTER_THE_END = (
    Row(E.GONE, STOPPED, "it was to stop, and nothing is left", when=W.STOP_WANTED),
    Row(E.GONE, FAILED, "trying again cannot help until somebody acts", when=W.CANNOT_HEAL),
    Row(E.GONE, FAILED, "a circuit is open", when=W.NO_PERMIT),
    Row(E.GONE, BACKING_OFF, "cleared up; the next start waits its time"),
)
"""Where a pool goes once nothing is left of an engine that failed."""

LIFECYCLE = Table(
    name="lifecycle",
    initial=STOPPED,
    rest=STOPPED,
    failures=frozenset({E.FAILED, E.STUCK, E.CRASHED, E.DUE}),
    common=(Row(E.RESET, STAY, "its own circuits are closed; the pool is unchanged"),),
    same_as={E.HALT: E.STOP},
    declared=(
        State(STOPPED, STABLE, rows=(
            Row(E.START, FAILED, "wanted, but a circuit is open", when=W.NO_PERMIT),
            Row(E.START, BACKING_OFF, "wanted; it failed before: a restart", when=W.FAILED_BEFORE,
                mark=M.IN_TURN),
            Row(E.START, STAGING, "wanted, and every circuit allows a start"),
            Row(E.RELOAD, STAY, "no engine lives: the next start uses the new model", mark=M.CONFIGURED),
            *_join(E.STOP, E.DRAIN, why="nothing runs"),
        )),
        State(STAGING, TRANSIENT, activity=Activity.STAGE, limit=Limit.STAGING, on_deadline=E.FAILED, rows=(
            Row(E.STAGED, STARTING, "the model is in place", when=W.PERMIT),
            Row(E.STAGED, FAILED, "a circuit opened meanwhile"),
            Row(E.FAILED, FAILED, "trying again cannot help until somebody acts", when=W.CANNOT_HEAL),
            Row(E.FAILED, FAILED, "a circuit is open", when=W.NO_PERMIT),
            Row(E.FAILED, BACKING_OFF, "it may work later"),
            _PROGRESS,
            *_end(STOPPED, "nothing was launched yet"),
            *_join(E.START, why="already on its way"),
        )),
        State(STARTING, TRANSIENT, activity=Activity.LAUNCH, limit=Limit.START, on_deadline=E.FAILED,
              launches=Model.COMMITTED, rows=(
            Row(E.HEALTHY, READY, "our own process answered that it is ready"),
            Row(E.FAILED, RECOVERING, "it ended, or was not ready in time"),
            _PROGRESS,
            *_end(STOPPING, "a launched engine has to be ended"),
            *_join(E.START, why="already on its way"),
        )),
        State(READY, STABLE, live=True, serving=True, activity=Activity.WATCH, rows=(
            Row(E.RELOAD, STAY, "it has this model already", when=W.SAME_MODEL, mark=M.UNCHANGED),
            Row(E.RELOAD, STAY, "no start would be allowed, or both do not fit", when=W.REFUSED,
                mark=M.REFUSED),
            Row(E.RELOAD, RELOADING_DRAINING, "the old one finishes its work first", when=W.DRAIN_FIRST),
            Row(E.RELOAD, STAGING_AHEAD, "the old one serves while the new model comes",
                when=W.STAGE_FIRST),
            Row(E.RELOAD, SURGING_STAGING, "the new one is to start beside the old"),
            Row(E.DRAIN, DRAINING, "no new work; what is in flight may finish"),
            Row(E.STOP, STOPPING, "it is to end now"),
            *_SERVER_ENDS,
            *_join(E.START, E.RESUME, why="it serves already"),
        )),
        State(DRAINING, TRANSIENT, live=True, activity=Activity.DRAIN, limit=Limit.DRAIN,
              on_deadline=E.DEADLINE, rows=(
            Row(E.DRAINED, STOPPING, "the last lease was released"),
            Row(E.DEADLINE, STOPPING, "time is up: the leases left are lost", mark=M.FORCED),
            *_serve_again(E.RESUME),
            *_serve_again(E.START),
            Row(E.DRAIN, STAY, "already draining: the shorter deadline wins", mark=M.SHORTENED),
            Row(E.STOP, STOPPING, "it is to end now"),
            Row(E.CRASHED, STOPPING, "a new model failed that the pool never was committed to",
                when=W.UNPROVEN),
            *_SERVER_ENDS,
        )),
        State(STOPPING, TRANSIENT, activity=Activity.END, limit=Limit.STOP, on_deadline=E.STUCK, rows=(
            Row(E.GONE, STOPPED, "tree empty, port free", when=W.STOP_WANTED),
            Row(E.GONE, FAILED, "a start was asked for meanwhile, but a circuit is open", when=W.NO_PERMIT),
            Row(E.GONE, BACKING_OFF, "a start was asked for meanwhile; it failed before: a restart",
                when=W.FAILED_BEFORE, mark=M.IN_TURN),
            Row(E.GONE, STAGING, "a start was asked for meanwhile"),
            Row(E.STUCK, STUCK, "something cannot be killed"),
            *_join(E.STOP, E.DRAIN, why="already stopping"),
            *_join(E.START, why="it will start once the old engine is gone"),
        )),
        State(RECOVERING, TRANSIENT, activity=Activity.END, limit=Limit.STOP, on_deadline=E.STUCK, rows=(
            *_AFTER_THE_END,
            Row(E.STUCK, STUCK, "something cannot be killed"),
            *_join(E.START, E.STOP, E.DRAIN, why="first what is left has to be cleared up"),
        )),
        State(BACKING_OFF, TRANSIENT, activity=Activity.BACK_OFF, limit=Limit.BACK_OFF, on_deadline=E.DUE,
              rows=(
            Row(E.DUE, STAGING, "the wait is over", when=W.PERMIT, mark=M.RESTART),
            Row(E.DUE, FAILED, "a circuit opened meanwhile"),
            Row(E.POSTPONED, STAY, "the host starts one after the other"),
            Row(E.START, FAILED, "a circuit opened meanwhile", when=W.NO_PERMIT),
            Row(E.START, BACKING_OFF, "an operator need not wait out the delay", when=W.DELAYED,
                mark=M.IN_TURN),
            Row(E.RELOAD, STAY, "no engine lives: the next start uses the new model", mark=M.CONFIGURED),
            *_join(E.START, why="nobody can ask past the window and the host"),
            *_end(STOPPED, "nothing runs"),
        )),
        State(FAILED, STABLE, rows=(
            Row(E.PERMITTED, BACKING_OFF, "a circuit allows a start again", when=W.CAN_HEAL),
            Row(E.PERMITTED, STAY, "still, trying again cannot help until somebody acts"),
            Row(E.START, BACKING_OFF, "an operator asks, and every circuit allows it", when=W.PERMIT,
                mark=M.IN_TURN),
            Row(E.START, STAY, "a circuit is open", mark=M.NO_PERMIT),
            Row(E.RESET, BACKING_OFF, "circuits closed by an operator", when=W.PERMIT, mark=M.IN_TURN),
            Row(E.RESET, STAY, "its own circuits are closed, but another one is open", mark=M.NO_PERMIT),
            Row(E.ALLOW_ONE, BACKING_OFF, "an operator allows one start past the open circuit",
                when=W.NO_QUARANTINE, mark=M.IN_TURN),
            Row(E.ALLOW_ONE, STAY, "a device in quarantine is not overridden", mark=M.REFUSED),
            Row(E.RELOAD, STAY, "no engine lives: the next start uses the new model", mark=M.CONFIGURED),
            *_end(STOPPED, "nothing runs"),
        )),
        State(STUCK, STABLE, activity=Activity.LINGER, rows=(
            *_AFTER_THE_END,
            *_join(E.START, E.STOP, E.DRAIN, why="the unkillable has to be gone first"),
        )),
        State(STAGING_AHEAD, TRANSIENT, live=True, serving=True, activity=Activity.STAGE,
              limit=Limit.STAGING, on_deadline=E.FAILED, rows=(
            Row(E.STAGED, RELOADING_DRAINING, "the new model is in place", when=W.PERMIT),
            *_STAGED_BESIDE,
            *_END_INSTEAD,
            *_SERVER_ENDS,
            *_BUSY,
            *_join(E.START, why="it serves already"),
        )),
        State(RELOADING_DRAINING, TRANSIENT, live=True, activity=Activity.DRAIN, limit=Limit.DRAIN,
              on_deadline=E.DEADLINE, rows=(
            Row(E.DRAINED, RELOADING_STOPPING, "the last lease was released; the model is already here",
                when=W.STAGED_AHEAD),
            Row(E.DRAINED, RELOADING_STAGING, "the last lease was released"),
            Row(E.DEADLINE, READY, "leases are left: the old model goes on serving", mark=M.ABORTED),
            Row(E.RESUME, READY, "the change is called off", mark=M.UNTOUCHED),
            *_END_INSTEAD,
            *_SERVER_ENDS,
            *_BUSY,
            *_join(E.START, why="the change brings it back"),
        )),
        State(RELOADING_STAGING, TRANSIENT, live=True, activity=Activity.STAGE, limit=Limit.STAGING,
              on_deadline=E.FAILED, rows=(
            Row(E.STAGED, RELOADING_STOPPING, "the new model is in place", when=W.PERMIT),
            *_STAGED_BESIDE,
            *_END_INSTEAD,
            *_SERVER_ENDS,
            *_BUSY,
            *_join(E.START, why="the change brings it back"),
        )),
        State(RELOADING_STOPPING, TRANSIENT, activity=Activity.END, limit=Limit.STOP, on_deadline=E.STUCK,
              rows=(
            Row(E.GONE, RELOADING_STARTING, "the old one is gone", when=W.PERMIT),
            Row(E.GONE, FAILED, "a circuit opened meanwhile"),
            Row(E.STUCK, STUCK, "the old one cannot be killed"),
            *_end(STOPPING, "the pool is to end instead"),
            *_BUSY,
            *_join(E.START, why="the change brings it back"),
        )),
        State(RELOADING_STARTING, TRANSIENT, activity=Activity.LAUNCH, limit=Limit.START,
              on_deadline=E.FAILED, launches=Model.CANDIDATE, rows=(
            Row(E.HEALTHY, READY, "the new model serves", when=W.TRUSTED, mark=M.COMMITTED),
            Row(E.HEALTHY, RELOADING_PROVING, "the new model serves, and has to prove itself"),
            Row(E.FAILED, RELOADING_UNDOING, "back to the old model"),
            _PROGRESS,
            *_end(STOPPING, "the pool is to end instead"),
            *_BUSY,
            *_join(E.START, why="the change brings it back"),
        )),
        State(RELOADING_UNDOING, TRANSIENT, activity=Activity.END, limit=Limit.STOP, on_deadline=E.STUCK,
              rows=(
            Row(E.GONE, RELOADING_RESTORING, "the failed new one is gone", when=W.PERMIT),
            Row(E.GONE, FAILED, "a circuit opened meanwhile"),
            Row(E.STUCK, STUCK, "the failed new one cannot be killed"),
            *_end(STOPPING, "the pool is to end instead"),
            *_BUSY,
            *_join(E.START, why="the old model is on its way back"),
        )),
        State(RELOADING_PROVING, TRANSIENT, live=True, serving=True, activity=Activity.WATCH,
              limit=Limit.PROVING, on_deadline=E.DEADLINE, rows=(
            Row(E.DEADLINE, READY, "the new model has proven itself", mark=M.COMMITTED),
            Row(E.CRASHED, RELOADING_UNDOING, "the new model failed after all: back to the old one"),
            _STABLE,
            *_END_INSTEAD,
            *_BUSY,
            *_join(E.START, why="it serves already"),
        )),
        State(RELOADING_RESTORING, TRANSIENT, activity=Activity.LAUNCH, limit=Limit.START,
              on_deadline=E.FAILED, launches=Model.COMMITTED, rows=(
            Row(E.HEALTHY, READY, "the old model serves again", mark=M.RESTORED),
            Row(E.FAILED, RECOVERING, "the old one failed as well: ordinary recovery"),
            _PROGRESS,
            *_end(STOPPING, "the pool is to end instead"),
            *_BUSY,
            *_join(E.START, why="the old model is on its way back"),
        )),
        State(SURGING_STAGING, TRANSIENT, live=True, serving=True, activity=Activity.STAGE,
              limit=Limit.STAGING, on_deadline=E.FAILED, rows=(
            Row(E.STAGED, SURGING_STARTING, "the new model is in place", when=W.PERMIT),
            *_STAGED_BESIDE,
            *_END_INSTEAD,
            *_SERVER_ENDS,
            *_BUSY,
            *_join(E.START, why="it serves already"),
        )),
        State(SURGING_STARTING, TRANSIENT, live=True, serving=True, activity=Activity.LAUNCH,
              limit=Limit.START, on_deadline=E.FAILED, launches=Model.CANDIDATE, rows=(
            Row(E.HEALTHY, RETIRING, "the new one serves; the old one may finish", when=W.TRUSTED,
                mark=M.COMMITTED),
            Row(E.HEALTHY, SURGING_PROVING, "the new one serves, and the old one waits whether it does well"),
            Row(E.FAILED, RETIRING, "the old one goes on serving; the new one has to go",
                mark=M.UNTOUCHED),
            Row(E.RESUME, RETIRING, "the change is called off; the new one has to go", mark=M.UNTOUCHED),
            *_END_INSTEAD,
            _PROGRESS,
            *_SERVER_ENDS,
            *_BUSY,
            *_join(E.START, why="it serves already"),
        )),
        State(SURGING_PROVING, TRANSIENT, live=True, serving=True, activity=Activity.WATCH,
              limit=Limit.PROVING, on_deadline=E.DEADLINE, rows=(
            Row(E.DEADLINE, RETIRING, "the new model has proven itself; the old one may finish",
                mark=M.COMMITTED),
            Row(E.CRASHED, RETIRING, "the new one failed after all: the old one serves again",
                when=W.SPARE_LIVES, mark=M.REVERTED),
            Row(E.CRASHED, RECOVERING, "both engines failed: clear up, find out why; next is the old model",
                when=W.OLD_CRASHED),
            Row(E.CRASHED, RELOADING_UNDOING, "the new one failed after all, and the old one has ended"),
            _STABLE,
            Row(E.RESUME, RETIRING, "the change is called off: the old one serves again",
                when=W.SPARE_LIVES, mark=M.REVERTED),
            Row(E.RESUME, STAY, "too late: the old engine has ended", mark=M.REFUSED),
            *_END_INSTEAD,
            *_BUSY,
            *_join(E.START, why="it serves already"),
        )),
        State(RETIRING, TRANSIENT, live=True, serving=True, activity=Activity.RETIRE, limit=Limit.RETIRE,
              on_deadline=E.STUCK, rows=(
            Row(E.GONE, READY, "the spare is gone"),
            Row(E.STUCK, READY, "the spare cannot be killed: it is kept on the quarantine ledger",
                mark=M.QUARANTINED),
            Row(E.DRAIN, DRAINING, "the pool is to end"),
            Row(E.STOP, STOPPING, "the pool is to end"),
            Row(E.RELOAD, STAY, "it has this model already", when=W.SAME_MODEL, mark=M.UNCHANGED),
            Row(E.RELOAD, STAY, "the engine of the last change still has to go", mark=M.BUSY),
            *_SERVER_ENDS,
            *_join(E.START, E.RESUME, why="it serves already"),
        )),
    ),
)  # fmt: skip
"""The table. `LIFECYCLE.states[...]` has each state with its common and shared rows written out."""

DRAINS = frozenset(state for state, one in LIFECYCLE.states.items() if one.activity == Activity.DRAIN)
"""The states in which leases in flight may finish and no new ones are granted."""

ENDING = frozenset({Activity.END, Activity.LINGER})
"""The activities that end every engine."""

ENDS = frozenset(state for state, one in LIFECYCLE.states.items() if one.activity in ENDING)
"""The states in which every engine is ended."""
