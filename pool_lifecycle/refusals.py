"""Why a pool grants no leases, and what would help: as told to whoever asks it for one. Pure."""

from __future__ import annotations

from collections.abc import Callable

from pool_lifecycle.barring import worst
from pool_lifecycle.lease import GateReason
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.snapshot import Intent, Snapshot

S = PoolState

WATCHED = "it is watched; the pool goes on by itself once it is gone"
"""What is said of whatever could not be ended."""


def refusal(snapshot: Snapshot) -> GateReason:
    """The reason for a pool that does not serve."""
    return _REASONS[snapshot.state](snapshot)


def residue(snapshot: Snapshot) -> str:
    """The engines that are left, by generation and pid."""
    left = ", ".join(
        f"generation {one.generation} (pid {(one.handle and one.handle.pid) or 'unknown'})"
        for one in (*snapshot.engines, *snapshot.quarantine)
    )
    return left or "the engine"


def new_model(snapshot: Snapshot) -> str:
    """The model that a change under way is to bring."""
    model = snapshot.plan.target.model if snapshot.plan is not None else None
    return "no model" if model is None else repr(model)


def _on_its_way(what: str) -> Callable[[Snapshot], GateReason]:
    return lambda snapshot: GateReason(snapshot.state, what=what, remedy=_wait(snapshot))


def _wait(snapshot: Snapshot) -> str:
    """What to do about a state that goes by."""
    match snapshot.intent:
        case Intent.RUN:
            return "wait until it is ready"
        case Intent.RUN_WHEN_LOADED:
            return "its manager is closing"
        case _:
            return ""  # as for a pool that is stopped


def _backing_off(snapshot: Snapshot) -> GateReason:
    return GateReason(
        snapshot.state,
        what=_failure(snapshot),
        remedy="it starts again by itself",
        due=snapshot.not_before,
    )


def _failed(snapshot: Snapshot) -> GateReason:
    cause = snapshot.cause
    if cause is None or cause.heals:
        return _barred(snapshot)
    remedy = cause.remedy or "trying again cannot help by itself, so mend the cause"
    return GateReason(snapshot.state, what=_failure(snapshot), remedy=f"{remedy}; then start the pool")


def _barred(snapshot: Snapshot) -> GateReason:
    """It may heal, but a circuit does not let it try."""
    bar = worst(snapshot)
    if bar is None:
        return GateReason(snapshot.state, what=_failure(snapshot), remedy="start the pool")
    failure = f" ({snapshot.cause})" if snapshot.cause else ""
    remedy = f"{bar.helps}, or wait: a trial is allowed" if bar.due is not None else bar.helps
    return GateReason(snapshot.state, what=f"{bar.why}{failure}", remedy=remedy, due=bar.due)


def _recovering(snapshot: Snapshot) -> GateReason:
    what = f"what is left of its engine is being cleared up ({_failure(snapshot)})"
    return GateReason(snapshot.state, what=what, remedy=_wait(snapshot))


def _failure(snapshot: Snapshot) -> str:
    return str(snapshot.cause) if snapshot.cause is not None else "its engine failed"


def _stuck(snapshot: Snapshot) -> GateReason:
    return GateReason(snapshot.state, what=f"{residue(snapshot)} could not be ended", remedy=WATCHED)


def _changing(snapshot: Snapshot) -> GateReason:
    return GateReason(
        snapshot.state, what=f"is changing its model to {new_model(snapshot)}", remedy=_wait(snapshot)
    )


def _draining_to_change(snapshot: Snapshot) -> GateReason:
    return GateReason(
        snapshot.state,
        draining=True,
        what=f"is draining, to change its model to {new_model(snapshot)}",
        remedy="wait until it is ready, or call the change off with resume",
    )


def _going_back(snapshot: Snapshot) -> GateReason:
    what = f"is going back to its old model, as {new_model(snapshot)} failed"
    return GateReason(snapshot.state, what=what, remedy=_wait(snapshot))


def _serving(snapshot: Snapshot) -> GateReason:
    return GateReason(snapshot.state)  # asked only in the instant before its gate opens


_REASONS: dict[PoolState, Callable[[Snapshot], GateReason]] = {
    **dict.fromkeys(PoolState, _serving),
    S.STOPPED: lambda snapshot: GateReason(snapshot.state),
    S.STAGING: _on_its_way("is starting: its model is being put in place"),
    S.STARTING: _on_its_way("is starting: its engine is not healthy yet"),
    S.DRAINING: lambda snapshot: GateReason(snapshot.state, draining=True),
    S.STOPPING: _on_its_way("its engine is being ended"),
    S.RECOVERING: _recovering,
    S.BACKING_OFF: _backing_off,
    S.FAILED: _failed,
    S.STUCK: _stuck,
    S.RELOADING_DRAINING: _draining_to_change,
    S.RELOADING_STAGING: _changing,
    S.RELOADING_STOPPING: _changing,
    S.RELOADING_STARTING: _changing,
    S.RELOADING_UNDOING: _going_back,
    S.RELOADING_RESTORING: _going_back,
}
