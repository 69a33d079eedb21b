"""How a step changes the facts of a pool: what the event brings, what the row means, what entry sets.

Every function here takes a snapshot and returns one. Which function runs is looked up by event, by mark,
or by state; the tables decide everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from pool_lifecycle.causes import Cause
from pool_lifecycle.events import (
    Drain,
    Event,
    Exited,
    Failed,
    Halt,
    Postponed,
    RanStably,
    Reload,
    Stop,
    Strategy,
    Unhealthy,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Limit, Mark, Model, PoolEvent, PoolState
from pool_lifecycle.snapshot import Instance, Intent, Plan, Snapshot, evolved
from pool_lifecycle.table import Row
from pool_lifecycle.waits import Awaits

Note = Callable[[Snapshot, Any, float], Snapshot]

# --- what an event brings: noted before the guards are asked --------------------------------------------


def note(snapshot: Snapshot, kind: PoolEvent, event: Event, now: float) -> Snapshot:
    """The snapshot with the facts that `event`, read as `kind`, brings whatever row it takes."""
    noted = _NOTES.get(kind)
    return noted(snapshot, event, now) if noted else snapshot


def _wants(intent: Intent) -> Note:
    def wants(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
        return snapshot if snapshot.intent is intent else evolved(snapshot, intent=intent)

    return wants


def _halts(snapshot: Snapshot, _event: Halt, _now: float) -> Snapshot:
    wanted = snapshot.intent is Intent.RUN
    return evolved(snapshot, intent=Intent.RUN_WHEN_LOADED) if wanted else snapshot


def _failed(snapshot: Snapshot, event: Failed, _now: float) -> Snapshot:
    """A failure in a change of model is the plan's, until the old model fails as well."""
    plan = snapshot.plan
    if plan is None:
        return evolved(snapshot, cause=_treated(snapshot, event.cause))
    if snapshot.state is not PoolState.RELOADING_RESTORING:
        newest = snapshot.newest if LIFECYCLE.states[snapshot.state].launches else None
        return _given_up(evolved(snapshot, plan=evolve(plan, cause=event.cause)), newest, event.cause)
    return evolved(snapshot, cause=_treated(snapshot, _both(event.cause, plan.cause)))


def _treated(snapshot: Snapshot, cause: Cause) -> Cause:
    """The cause with what the pool's policies say about its class: whether to try again, what would help."""
    rule = snapshot.rules.treatment(cause.kind)
    heals = cause.heals if rule.retry is None else rule.retry
    remedy = rule.remedy or cause.remedy
    if (heals, remedy) == (cause.heals, cause.remedy):
        return cause
    return evolve(cause, heals=heals, remedy=remedy)


def _both(restoring: Cause, changing: Cause | None) -> Cause:
    if changing is None:
        return restoring
    message = f"{restoring.message} (while going back to the old model; the new one: {changing})"
    return evolve(restoring, message=message, evidence=(*restoring.evidence, *changing.evidence))


def _crashed(snapshot: Snapshot, event: Exited | Unhealthy, _now: float) -> Snapshot:
    """The failure of a new model that has not proven itself is not the pool's; the old one's is."""
    if not snapshot.unproven:
        return evolved(snapshot, cause=_treated(snapshot, event.cause))
    plan, old = snapshot.plan, snapshot.crashed_beside
    if plan is not None:
        snapshot = evolved(snapshot, plan=evolve(plan, cause=event.cause))
    if old is not None and old.failure is not None:
        snapshot = evolved(snapshot, cause=_treated(snapshot, _beside(old.failure, event.cause)))
    return _given_up(snapshot, snapshot.server, event.cause)


def _beside(old: Cause, new: Cause) -> Cause:
    message = f"{old.message} (beside a new model that then failed as well: {new})"
    return evolve(old, message=message, evidence=(*old.evidence, *new.evidence))


def _given_up(snapshot: Snapshot, instance: Instance | None, cause: Cause) -> Snapshot:
    """Whoever ends that engine, and for whatever wish, it ends of its failure."""
    return snapshot if instance is None else snapshot.with_engine(evolved(instance, failure=cause))


def ended(snapshot: Snapshot, instance: Instance, event: Exited) -> Snapshot:
    """An engine has ended. The old one that crashes beside a new model can only be blamed later."""
    done = evolved(instance, exit=event.status)
    finished = event.graceful and event.status.success
    beside = snapshot.state is PoolState.SURGING_PROVING and instance.generation != snapshot.serving
    if beside and instance.kill_at is None and not finished:
        done = evolved(done, failure=event.cause)
    return snapshot.with_engine(done)


def _healthy(snapshot: Snapshot, _event: Event, now: float) -> Snapshot:
    newest = snapshot.newest
    assert newest is not None  # a launch activity reports on the engine that entering its state made
    engines = (*snapshot.engines[:-1], evolved(newest, healthy_at=now))
    return evolved(snapshot, engines=engines, serving=newest.generation, cause=None)


def _gone(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
    """Retiring ends the spares; every other ending ends all."""
    kept = tuple(
        one
        for one in snapshot.engines
        if snapshot.state is PoolState.RETIRING and one.generation == snapshot.serving
    )
    return evolved(snapshot, engines=kept)


def _stable(snapshot: Snapshot, event: RanStably, _now: float) -> Snapshot:
    """A long run clears the count of crashes, a longer one that of restarts too."""
    rules = snapshot.rules
    if event.period >= rules.backoff.stable and snapshot.crash_count:
        snapshot = evolved(snapshot, crash_count=0)
    if event.period >= rules.window.stable and snapshot.restart_count:
        snapshot = evolved(snapshot, restart_count=0, restarts=(), crashes=(), storm=None)
    return snapshot


def _reset(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
    """The ordinary policy from its beginning. What the window knows stays true."""
    if not snapshot.crash_count and snapshot.storm is None:
        return snapshot
    return evolved(snapshot, crash_count=0, storm=None)


def _postponed(snapshot: Snapshot, event: Postponed, _now: float) -> Snapshot:
    return _due(snapshot, event.until, Awaits.TURN)


def patience(snapshot: Snapshot) -> float:
    """How long progress keeps its state going, in seconds: never longer than it was given at first."""
    limits = snapshot.rules.limits
    staging = LIFECYCLE.states[snapshot.state].limit == Limit.STAGING
    return min(limits.stall, limits.staging if staging else limits.start)


def _progressed(snapshot: Snapshot, _event: Event, now: float) -> Snapshot:
    hard = snapshot.since + snapshot.rules.limits.start_hard
    deadline = snapshot.deadline or hard
    later = max(deadline, min(now + patience(snapshot), hard))
    return evolved(snapshot, deadline=later) if later != deadline else snapshot


_NOTES: dict[PoolEvent, Note] = {
    PoolEvent.START: _wants(Intent.RUN),
    PoolEvent.RESUME: _wants(Intent.RUN),
    PoolEvent.STOP: _wants(Intent.STOPPED),
    PoolEvent.DRAIN: _wants(Intent.STOPPED),
    PoolEvent.FINISHED: _wants(Intent.STOPPED),
    PoolEvent.HALT: _halts,
    PoolEvent.FAILED: _failed,
    PoolEvent.CRASHED: _crashed,
    PoolEvent.HEALTHY: _healthy,
    PoolEvent.GONE: _gone,
    PoolEvent.STABLE: _stable,
    PoolEvent.PROGRESSED: _progressed,
    PoolEvent.POSTPONED: _postponed,
    PoolEvent.RESET: _reset,
}

# --- what a row means: noted once it is chosen ----------------------------------------------------------


def noted_row(snapshot: Snapshot, row: Row, event: Event, now: float) -> Snapshot:
    """The snapshot with what the chosen row's mark means for its facts."""
    noted = _MARKS.get(row.mark)
    return noted(snapshot, event, now) if noted else snapshot


def _committed(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
    assert snapshot.plan is not None  # only a change of model is committed
    return evolved(snapshot, target=snapshot.plan.target)


def _reverted(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
    (spare,) = snapshot.spares
    return evolved(snapshot, serving=spare.generation)


def _configured(snapshot: Snapshot, event: Reload, _now: float) -> Snapshot:
    return evolved(snapshot, target=event.target)


def _shortened(snapshot: Snapshot, event: Drain, now: float) -> Snapshot:
    if event.deadline is None or snapshot.deadline is None:
        return snapshot
    return evolved(snapshot, deadline=min(snapshot.deadline, now + event.deadline))


def _quarantined(snapshot: Snapshot, _event: Event, _now: float) -> Snapshot:
    server = snapshot.server
    return evolved(
        snapshot,
        engines=(server,) if server else (),
        quarantine=(*snapshot.quarantine, *snapshot.spares),
    )


def _joined(snapshot: Snapshot, event: Event, now: float) -> Snapshot:
    """A second stop with a shorter grace makes the kill come earlier."""
    if not isinstance(event, Stop | Halt) or event.grace is None or snapshot.deadline is None:
        return snapshot  # also when stuck: there everything has been killed already
    return _ending(snapshot, None, None, event, now)


def _restarted(snapshot: Snapshot, _event: Event, now: float) -> Snapshot:
    restarts = (*snapshot.rules.window.recent(snapshot.restarts, now), now)
    return evolved(snapshot, restarts=restarts, restart_count=snapshot.restart_count + 1)


_MARKS: dict[str | None, Note] = {
    Mark.COMMITTED: _committed,
    Mark.REVERTED: _reverted,
    Mark.CONFIGURED: _configured,
    Mark.SHORTENED: _shortened,
    Mark.QUARANTINED: _quarantined,
    Mark.JOINED: _joined,
    Mark.RESTART: _restarted,
}

# --- what entering a state sets -------------------------------------------------------------------------


def enter(snapshot: Snapshot, state: PoolState, row: Row, event: Event, now: float) -> Snapshot:
    """The snapshot just after it entered `state` by `row`."""
    plan = _plan(snapshot, state, event)
    entered = evolved(
        snapshot,
        state=state,
        epoch=snapshot.epoch + 1,
        since=now,
        deadline=None,
        not_before=None,
        awaits=Awaits.NOTHING,
        plan=plan,
    )
    declared = LIFECYCLE.states[state]
    if declared.launches:
        entered = _launching(entered, Model(declared.launches))
    if declared.limit is not None:
        entered = _LIMITS[declared.limit](entered, snapshot.plan, row, event, now)
    return entered


def _plan(snapshot: Snapshot, state: PoolState, event: Event) -> Plan | None:
    """A change of model begins with its wish and lasts through the states that belong to it."""
    if state not in CHANGING:
        return None
    if isinstance(event, Reload):
        return Plan(event.target, event.strategy, event.drain_deadline)
    if snapshot.plan is None and snapshot.server is not None:  # a drain in the middle of it was called off
        strategy = Strategy.SURGE if state is PoolState.SURGING_PROVING else Strategy.DRAIN_FIRST
        return Plan(snapshot.server.target, strategy)
    return snapshot.plan


CHANGING = frozenset(
    state for state in PoolState if state.startswith(("reloading.", "surging.", "staging_ahead"))
)
"""The states of a change of model."""


def _launching(snapshot: Snapshot, model: Model) -> Snapshot:
    if model is Model.CANDIDATE and snapshot.plan is not None:
        target = snapshot.plan.target
    else:
        snapshot = _as_declared(snapshot)
        target = snapshot.target
    generation = snapshot.generation + 1
    token = f"{snapshot.pool_id}.{generation}.{snapshot.lineage}"
    aside = any(not one.aside for one in snapshot.engines)
    instance = Instance(generation, token, target, aside=aside)
    return evolved(snapshot, generation=generation, engines=(*snapshot.engines, instance))


def _as_declared(snapshot: Snapshot) -> Snapshot:
    """Of what an earlier manager launched only the variant's name may be known: it becomes another one."""
    variant = snapshot.rules.variant
    if variant in ("", snapshot.target.variant):
        return snapshot
    return evolved(snapshot, target=evolve(snapshot.target, variant=variant))


def _staging(snapshot: Snapshot, _left: Plan | None, _row: Row, _event: Event, now: float) -> Snapshot:
    return evolved(snapshot, deadline=now + snapshot.rules.limits.staging)


def _starting(snapshot: Snapshot, _left: Plan | None, _row: Row, _event: Event, now: float) -> Snapshot:
    return evolved(snapshot, deadline=now + snapshot.rules.limits.start)


def _proving(snapshot: Snapshot, _left: Plan | None, _row: Row, _event: Event, now: float) -> Snapshot:
    return evolved(snapshot, deadline=now + snapshot.rules.limits.proving)


def _draining(snapshot: Snapshot, _left: Plan | None, _row: Row, event: Event, now: float) -> Snapshot:
    """Who serves may finish its work; a spare goes as soon as it has none."""
    asked = event.deadline if isinstance(event, Drain) else None
    if snapshot.plan is not None:
        asked = snapshot.plan.drain_deadline
    limits = snapshot.rules.limits
    deadline = now + (limits.drain if asked is None else asked)
    return evolved(snapshot, deadline=deadline, engines=_spares_end(snapshot, deadline + limits.stop_grace))


def _ending(snapshot: Snapshot, _left: Plan | None, _row: Row | None, event: Event, now: float) -> Snapshot:
    """Every engine gets a time at which it is killed; one it has already only moves earlier."""
    limits = snapshot.rules.limits
    asked = event.grace if isinstance(event, Stop | Halt) else None
    kill_at = now + (limits.stop_grace if asked is None else asked)
    engines = tuple(_killed_by(one, kill_at) for one in snapshot.engines)
    last = max((one.kill_at for one in engines if one.kill_at is not None), default=now)
    return evolved(snapshot, engines=engines, deadline=last + limits.reclaim)


def _retiring(snapshot: Snapshot, left: Plan | None, row: Row, _event: Event, now: float) -> Snapshot:
    """The spare may finish its leases, unless it has failed; then it has the usual grace."""
    limits = snapshot.rules.limits
    asked = None if left is None else left.drain_deadline
    lasts = limits.drain if asked is None else asked
    kill_at = now + limits.stop_grace + (0.0 if row.event in _FAILURES else lasts)
    return evolved(snapshot, engines=_spares_end(snapshot, kill_at), deadline=kill_at + limits.reclaim)


def _spares_end(snapshot: Snapshot, kill_at: float) -> tuple[Instance, ...]:
    """The engines, of which those that do not serve are to end: no more of them may be hoped for."""
    return tuple(
        one if one.generation == snapshot.serving else _killed_by(one, kill_at) for one in snapshot.engines
    )


_FAILURES = (PoolEvent.FAILED, PoolEvent.CRASHED)


def _killed_by(instance: Instance, kill_at: float) -> Instance:
    if instance.kill_at is not None and instance.kill_at <= kill_at:
        return instance
    return evolved(instance, kill_at=kill_at)


def _backing_off(snapshot: Snapshot, _left: Plan | None, row: Row, event: Event, now: float) -> Snapshot:
    """The delay is for failures that count, from the verdict on, not for operators; the window is for all."""
    rules, cause = snapshot.rules, snapshot.cause
    wanted, asked = now, row.mark == Mark.IN_TURN and not getattr(event, "loaded", False)
    if not asked and cause is not None and (rule := rules.treatment(cause.kind)).counted:
        chance: float = getattr(event, "chance", 0.0)
        convicted = snapshot.crashes[-1].at if snapshot.crashes else now
        wanted = max(now, convicted + rules.backoff.delay(snapshot.crash_count, chance, rule.multiplier))
    opens = rules.window.opens(snapshot.restarts, wanted)
    if opens > wanted:
        return _due(snapshot, opens, Awaits.WINDOW)
    return _due(snapshot, wanted, Awaits.DELAY if wanted > now else Awaits.NOTHING)


def _due(snapshot: Snapshot, when: float, awaits: Awaits) -> Snapshot:
    deadline = when + snapshot.rules.limits.memory_wait + LATE
    return evolved(snapshot, not_before=when, awaits=awaits, deadline=deadline)


LATE = 5.0
"""Seconds after everything that may keep a due start waiting at which it is tried, whatever a driver does."""


_LIMITS: dict[str, Callable[[Snapshot, Plan | None, Row, Any, float], Snapshot]] = {
    Limit.STAGING: _staging,
    Limit.START: _starting,
    Limit.DRAIN: _draining,
    Limit.STOP: _ending,
    Limit.RETIRE: _retiring,
    Limit.PROVING: _proving,
    Limit.BACK_OFF: _backing_off,
}
