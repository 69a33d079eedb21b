"""What must hold of every step of a pool, whatever the step: the oracle of the exploration and of chance.

Nothing here asks the pure ring what it would do; a law speaks of a snapshot before, one after, and the
effects in between. Only what a state is (live, serving, its activity) is read from the table.
"""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.events import Drain, Event, Exited, Halt, Reload, Resume, Start, Stop
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import (
    Cancel,
    CircuitChanged,
    CloseGate,
    Effect,
    Emit,
    Intent,
    Invoke,
    Notify,
    OpenGate,
    Persist,
    Snapshot,
)

S = PoolState

NOTHING_RUNS = {S.STOPPED, S.STAGING, S.BACKING_OFF, S.FAILED}
TWO_MAY_RUN = {
    *(S.SURGING_STARTING, S.SURGING_PROVING, S.RETIRING, S.RELOADING_UNDOING),
    *(S.DRAINING, S.RECOVERING, S.STOPPING, S.STUCK),
}
"""Two engines only while the new one starts and proves itself beside the old, until the spare is gone, and
where all end."""

ON_THE_WAY = set(S) - {S.STOPPED, S.DRAINING, S.STOPPING, S.RECOVERING, S.STUCK}
"""Where a pool only is because it is wanted to run."""

CHANGING = {state for state in S if "ing." in state or state is S.STAGING_AHEAD}

PROVING = {S.RELOADING_PROVING, S.SURGING_PROVING}

GRACEFUL, COMMITTED = "finished", "committed"


def snapshot_is_sound(pool: Snapshot) -> None:
    """What holds of a snapshot by itself: S3 SingleLive, S8 ReadyTruth, S15 BreakerPermit and more."""
    state = LIFECYCLE.states[pool.state]
    most = 0 if pool.state in NOTHING_RUNS else 2 if pool.state in TWO_MAY_RUN else 1
    assert len(pool.engines) <= most
    tokens = [one.token for one in (*pool.engines, *pool.quarantine)]
    assert len(set(tokens)) == len(tokens)
    if state.live:
        assert pool.server is not None
        assert pool.server.healthy_at is not None
        assert pool.server.exit is None
    assert state.live or not state.serving
    assert (pool.plan is not None) == (pool.state in CHANGING)
    assert (pool.deadline is not None) == (state.limit is not None)
    assert (pool.not_before is not None) == (pool.state is S.BACKING_OFF)
    _intent_fits(pool)
    _model_fits(pool)
    _circuits_fit(pool)


def _model_fits(pool: Snapshot) -> None:
    """S12: what serves is what the pool is committed to, but for a new model that proves itself."""
    if pool.state in PROVING:
        assert pool.server is not None
        assert pool.plan is not None
        assert pool.server.target == pool.plan.target != pool.target
    elif LIFECYCLE.states[pool.state].live and pool.state is not S.DRAINING:
        assert pool.server is not None
        assert pool.server.target == pool.target


def _intent_fits(pool: Snapshot) -> None:
    if pool.state in ON_THE_WAY:
        assert pool.intent is Intent.RUN
    if pool.state in (S.STOPPED, S.DRAINING):
        assert pool.intent is not Intent.RUN


def _circuits_fit(pool: Snapshot) -> None:
    """No trial is held where nothing will be launched; nobody waits for a permit that is there (V5)."""
    holds = [one for one in pool.circuits if one.holder == pool.pool_id]
    assert all(one.state is BreakerState.TRIAL for one in holds)
    if pool.state in (S.STOPPED, S.STUCK, S.FAILED):
        assert not holds
    if pool.state is S.FAILED:
        hopeless = pool.cause is not None and not pool.cause.heals
        assert hopeless or not allowed(pool)


def allowed(pool: Snapshot) -> bool:
    """Whether every circuit would let this pool start."""
    return all(
        one.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN) or one.holder == pool.pool_id
        for one in pool.circuits
    )


def step_is_sound(before: Snapshot, event: Event, after: Snapshot, effects: tuple[Effect, ...]) -> None:
    """What holds of one step that was taken."""
    snapshot_is_sound(after)
    _is_a_row(before, after, effects)
    _launches_with_permit(before, after)
    _keeps_intent(before, event, after, effects)
    _changes_at_once_or_not(before, event, after, effects)
    _blames_no_new_model(before, after)
    _kills_no_later(before, after)
    assert effects == _expected_effects(before, after, effects)


def _is_a_row(before: Snapshot, after: Snapshot, effects: tuple[Effect, ...]) -> None:
    """S1 OneWriter: the state changes by a row of the table, and not otherwise."""
    notices = [one for one in effects if isinstance(one, Notify)]
    entered = after.epoch - before.epoch
    assert entered in (0, 1)
    assert entered or after.state is before.state
    assert len(notices) == 1 or not (entered or notices)
    for notice in notices:
        rows = LIFECYCLE.rows[before.state, notice.event]
        taken = [row for row in rows if (row.why, row.mark) == (notice.why, notice.mark)]
        assert (before.state, after.state) == (notice.source, notice.target)
        assert [row.to for row in taken] == [after.state if entered else None]


def _launches_with_permit(before: Snapshot, after: Snapshot) -> None:
    """A new engine comes one at a time, in a state that launches, with every circuit's permit taken (S15)."""
    new = {one.token for one in after.engines} - {one.token for one in before.engines}
    entered = after.epoch != before.epoch
    assert len(new) == after.generation - before.generation == int(_launches(after) and entered)
    if new:
        free = (BreakerState.CLOSED, BreakerState.TRIAL)
        assert all(one.state in free and one.holder in (None, after.pool_id) for one in after.circuits)
        assert len(after.engines) == 1 or after.state is S.SURGING_STARTING


def _launches(pool: Snapshot) -> bool:
    return LIFECYCLE.states[pool.state].launches is not None


def _keeps_intent(before: Snapshot, event: Event, after: Snapshot, effects: tuple[Effect, ...]) -> None:
    """Only who has a say changes what is wanted, and always to what was said."""
    finished = any(isinstance(one, Notify) and one.event == GRACEFUL for one in effects)
    match event:
        case Start() | Resume():
            assert after.intent is Intent.RUN
        case Stop() | Drain():
            assert after.intent is Intent.STOPPED
        case Halt():
            wanted = before.intent is not Intent.STOPPED
            assert after.intent is (Intent.RUN_WHEN_LOADED if wanted else Intent.STOPPED)
        case Exited() if finished:
            assert after.intent is Intent.STOPPED
        case _:
            assert after.intent is before.intent


def _changes_at_once_or_not(
    before: Snapshot, event: Event, after: Snapshot, effects: tuple[Effect, ...]
) -> None:
    """S12 ReloadAtomic: the model changes in one step, to one that serves, or where nothing lives."""
    committed = any(isinstance(one, Notify) and one.mark == COMMITTED for one in effects)
    if committed:
        assert before.plan is not None
        assert after.server is not None
        assert after.target == before.plan.target == after.server.target
    elif after.target != before.target:
        renamed = evolve(before.target, variant=before.rules.variant)  # an earlier manager's, launched anew
        assert (isinstance(event, Reload) and not before.engines) or (
            after.target == renamed and after.generation > before.generation
        )


def _blames_no_new_model(before: Snapshot, after: Snapshot) -> None:
    """B-RELOAD-x5: whatever a change of model leads to is counted, if ever, after it.

    Nor is what becomes of a new model that has not proven itself before a drain.
    """
    if before.state is S.DRAINING and before.unproven and after.state is S.STOPPING:
        assert after.cause == before.cause
    if before.state in CHANGING:
        known = {one.name: one.failures for one in before.circuits}
        own = [one for one in after.circuits if not one.shared]  # others may have failed meanwhile
        assert after.crash_count <= before.crash_count
        assert all(one.failures <= known.get(one.name, 0) for one in own)
        if after.plan is not None or after.state in (S.READY, S.RETIRING):
            assert after.cause in (before.cause, None)


def _kills_no_later(before: Snapshot, after: Snapshot) -> None:
    """A promised kill only ever moves earlier, and what ended never lives again (S2 OneShot)."""
    kept = {one.token: one for one in (*after.engines, *after.quarantine)}
    for old in (*before.engines, *before.quarantine):
        new = kept.get(old.token, old)
        assert (new.generation, new.target) == (old.generation, old.target)
        if old.kill_at is not None:
            assert new.kill_at is not None
            assert new.kill_at <= old.kill_at
        if old.exit is not None:
            assert (new.exit, new.handle, new.healthy_at) == (old.exit, old.handle, old.healthy_at)


def _expected_effects(before: Snapshot, after: Snapshot, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """The effects there must be, in the order in which they must come."""
    old, new = LIFECYCLE.states[before.state], LIFECYCLE.states[after.state]
    moved = after.epoch != before.epoch
    gate_before = before.serving if old.serving else None
    gate_after = after.serving if new.serving else None
    expected: list[Effect] = []
    if gate_before is not None and gate_after is None:
        expected.append(CloseGate())
    if moved and old.activity is not None:
        expected.append(Cancel(before.epoch))
    if after != before:
        expected.append(Persist())
    if gate_after is not None and gate_after != gate_before:
        expected.append(OpenGate(gate_after))
    if moved and new.activity is not None:
        expected.append(Invoke(Activity(new.activity), after.epoch))
    expected += [one for one in effects if isinstance(one, Notify)]
    expected += [
        Emit(CircuitChanged.between(was, now))
        for was, now in _pairs(before, after)
        if was.state is not now.state
    ]
    return tuple(expected)


def _pairs(before: Snapshot, after: Snapshot) -> list[tuple[Circuit, Circuit]]:
    """The circuits that there still are, as they were and as they are."""
    old = {one.name: one for one in before.circuits}
    return [(old[one.name], one) for one in after.circuits if one.name in old]
