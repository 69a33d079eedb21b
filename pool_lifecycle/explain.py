"""A pool's state in a few sentences: why it is so, what blocks it, what comes next, what would help. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from pool_lifecycle.barring import storm_of, stormy
from pool_lifecycle.causes import Stage
from pool_lifecycle.conclusions import conclusion, facts
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import DRAINS, LIFECYCLE, PoolState
from pool_lifecycle.outlook import circuits, next_attempt, what_helps
from pool_lifecycle.refusals import WATCHED, new_model, residue
from pool_lifecycle.snapshot import Intent, Snapshot
from pool_lifecycle.wording import plural, seconds, sentence

BLOCKERS_SHOWN = 3
"""How many lease holders are named before the rest is only counted."""

S = PoolState


def explain(
    snapshot: Snapshot,
    book: LeaseBook,
    now: float,
    observed: str = "",
    *,
    doubts: str = "",
    crash_logs: str = "",
) -> str:
    """`observed` is what was last seen of the work under way, `doubts` what speaks against the engine.

    `crash_logs` is where the logs of its crashes are kept.
    """
    told = (
        _state(snapshot, now, observed, doubts),
        _failure(snapshot, crash_logs),
        _leases(snapshot, book, now),
        _next(snapshot, now, observed),
        _HELPS.get(snapshot.state, _nothing)(snapshot),
    )
    return " ".join(filter(None, chain.from_iterable(told)))


def _state(snapshot: Snapshot, now: float, observed: str, doubts: str) -> Iterator[str]:
    lasted = seconds(now - snapshot.since)
    yield f"Pool {snapshot.pool_id!r} has been {snapshot.state} for {lasted}: {_WHAT[snapshot.state]}."
    if snapshot.plan is not None:
        yield f"The new model is {new_model(snapshot)}."
    if observed:
        yield f"Last seen: {observed}."
    if doubts:
        yield f"{doubts}."


def _failure(snapshot: Snapshot, crash_logs: str) -> Iterator[str]:
    """What went wrong last, what that was taken for, from which evidence; and how often it has."""
    cause = snapshot.cause or (snapshot.plan.cause if snapshot.plan is not None else None)
    if cause is not None:
        yield f"Last failure: {cause}."
        going_by = f", going by: {facts(cause)}" if cause.evidence else ""
        yield f"That was {conclusion(cause)}{going_by}."
        if crash_logs and cause.stage in _WITH_AN_ENGINE:
            yield f"Logs of its last crashes are in {crash_logs}."
    if snapshot.storm is not None and not any(storm_of(one, snapshot) for one in snapshot.circuits):
        yield f"There was a restart storm ({stormy(snapshot.storm)})."
    elif snapshot.restart_count:
        failures = plural(snapshot.crash_count, "failure")
        yield f"Since its last long run: {plural(snapshot.restart_count, 'restart')}, {failures} in a row."


_WITH_AN_ENGINE = (Stage.HEALTH, Stage.WARM_UP, Stage.RUN)
"""Failures of other stages leave no engine's log."""


def _leases(snapshot: Snapshot, book: LeaseBook, now: float) -> Iterator[str]:
    if not LIFECYCLE.states[snapshot.state].live:
        return
    held = book.blockers(now)
    if snapshot.state in DRAINS and held:
        named = ", ".join(f"{one.holder} ({seconds(one.age)})" for one in held[:BLOCKERS_SHOWN])
        more = f" and {len(held) - BLOCKERS_SHOWN} more" if len(held) > BLOCKERS_SHOWN else ""
        yield f"It waits for {plural(len(held), 'lease')}: {named}{more}."
    else:
        yield f"{len(held)} of {plural(book.slots, 'slot')} taken."


def _next(snapshot: Snapshot, now: float, observed: str) -> Iterator[str]:
    if snapshot.state is S.BACKING_OFF:
        yield f"Next: {next_attempt(snapshot, now, observed)}."
    elif snapshot.deadline is not None:
        then = _DEADLINES.get(snapshot.state) or _DEADLINES[str(LIFECYCLE.states[snapshot.state].on_deadline)]
        yield f"{_UNLESS.get(snapshot.state, _UNTIL)} {seconds(max(0.0, snapshot.deadline - now))}, {then}."
    yield from circuits(snapshot, now)
    if snapshot.intent is not Intent.RUN and snapshot.state not in (S.STOPPED, S.DRAINING, S.STOPPING):
        yield "It is to stop."


_WHAT: dict[PoolState, str] = {
    S.STOPPED: "nothing runs",
    S.STAGING: "the launch is being checked and the model put in place",
    S.STARTING: "the engine was launched and is not healthy yet",
    S.READY: "the engine serves",
    S.DRAINING: "no new leases; those in flight may finish",
    S.STOPPING: "the engine is being ended, until its tree is empty and its port free",
    S.RECOVERING: "the engine failed, and what is left of it is being cleared up",
    S.BACKING_OFF: "it waits its turn to start again",
    S.FAILED: "it does not start again by itself for now",
    S.STUCK: "something of the engine cannot be killed",
    S.STAGING_AHEAD: "the engine serves while the new model is put in place",
    S.RELOADING_DRAINING: "the model is being changed; leases in flight may finish",
    S.RELOADING_STAGING: "the model is being changed; the new one is being put in place",
    S.RELOADING_STOPPING: "the model is being changed; the old engine is being ended",
    S.RELOADING_STARTING: "the model is being changed; the new engine is not healthy yet",
    S.RELOADING_PROVING: "the new model serves, and has to prove itself",
    S.RELOADING_UNDOING: "the new model failed; its engine is being ended",
    S.RELOADING_RESTORING: "the new model failed; the old one is on its way back",
    S.SURGING_STAGING: "the engine serves while the new model is put in place",
    S.SURGING_STARTING: "the engine serves while the new one starts beside it",
    S.SURGING_PROVING: "the new engine serves, and the old one waits whether it does well",
    S.RETIRING: "the engine serves; the other one may finish and is then ended",
}

_DEADLINES: dict[str, str] = {
    "failed": "it counts as failed",
    S.DRAINING: "the leases left are cut off",
    S.RELOADING_DRAINING: "the change is called off and the old model goes on",
    S.RELOADING_PROVING: "the pool is committed to it; if it does not, the old model comes back",
    S.SURGING_PROVING: "the pool is committed to it and the old one may finish",
    "stuck": "it counts as stuck",
}
"""What becomes of a pool whose state lasts too long; by state, or by the event of its deadline."""

_UNTIL = "If that is not over in"
_UNLESS: dict[PoolState, str] = dict.fromkeys(
    (S.RELOADING_PROVING, S.SURGING_PROVING), "If it still does well in"
)


def _nothing(_snapshot: Snapshot) -> Iterator[str]:
    yield ""


def _help_stopped(_snapshot: Snapshot) -> Iterator[str]:
    yield "Start it to use it."


def _help_stuck(snapshot: Snapshot) -> Iterator[str]:
    yield f"{sentence(residue(snapshot))[:-1]} could not be ended: {WATCHED}."


_HELPS: dict[PoolState, Callable[[Snapshot], Iterator[str]]] = {
    S.STOPPED: _help_stopped,
    S.FAILED: what_helps,
    S.STUCK: _help_stuck,
    S.BACKING_OFF: what_helps,
}
