"""A pool as people ask for it: one frozen value, free of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from pool_lifecycle.addressing import url_of
from pool_lifecycle.causes import Cause
from pool_lifecycle.interfaces import Contained
from pool_lifecycle.lease import Blocker
from pool_lifecycle.lifecycle import DRAINS, LIFECYCLE, Activity, PoolState
from pool_lifecycle.outlook import what_next
from pool_lifecycle.restart.storm import Storm
from pool_lifecycle.snapshot import Instance
from pool_lifecycle.transfer import Transfer

if TYPE_CHECKING:
    from pool_lifecycle.pool import Pool


@frozen
class PoolStatus:
    """`since` is how long it has been in this state, `deadline_in` when that is too long (None: it may last),
    `next_attempt_in` when it starts again (None: not by itself), all in seconds. `observed` is what was last
    seen of the work under way, `staging` how far a model is that is being put in place, once known. `pid`,
    `url`, `generation` and `model` are those of the engine that serves, if any; without one, `model` is that
    of the next start. `containment` says how strongly its process tree is held together, where its driver
    knows that.

    `failure` is the last one that no healthy start has overcome: its class, how sure that is, the evidence.
    `crash_count` is the number of failures in a row, `restart_count` that of starts after a failure, `storm`
    the last restart storm; a long run clears them all. `trial_in` says in how many seconds each open circuit
    allows a trial; one that is open without an end is not in it. `next` says in words what comes next.
    `crash_logs` is the folder with the logs of its last crashes.
    """

    pool_id: str
    state: PoolState
    since: float
    live: bool
    ready: bool
    draining: bool
    intent: str
    generation: int | None
    pid: int | None
    url: str | None
    containment: str | None
    model: str | None
    slots: int
    leases: tuple[Blocker, ...]
    waiting: int
    circuits: dict[str, str]
    trial_in: dict[str, float]
    crash_count: int
    restart_count: int
    storm: Storm | None
    failure: Cause | None
    crash_logs: str
    last_error: str | None
    next: str
    next_attempt_in: float | None
    deadline_in: float | None
    observed: str
    staging: Transfer | None
    explanation: str

    @classmethod
    def of(cls, pool: Pool) -> PoolStatus:
        """The pool as it is now."""
        snapshot, now = pool.snapshot, pool.host.loop.time()
        state = LIFECYCLE.states[snapshot.state]
        server = snapshot.server if state.live else None
        handle = server.handle if server else None
        not_before = snapshot.not_before
        return cls(
            pool_id=pool.pool_id,
            state=snapshot.state,
            since=now - snapshot.since,
            live=state.live,
            ready=state.serving,
            draining=snapshot.state in DRAINS,
            intent=snapshot.intent,
            generation=server.generation if server else None,
            pid=handle.pid if handle else None,
            url=url_of(handle) if handle else None,
            containment=_containment(pool, server),
            model=(server or snapshot).target.model,
            slots=pool.spec.slots,
            leases=pool.book.blockers(now),
            waiting=pool.book.waiting,
            circuits={one.name: one.state.shown for one in snapshot.circuits},
            trial_in={
                one.name: max(0.0, one.until - now) for one in snapshot.circuits if one.until is not None
            },
            crash_count=snapshot.crash_count,
            restart_count=snapshot.restart_count,
            storm=snapshot.storm,
            failure=snapshot.cause,
            crash_logs=pool.host.paths.crash_logs(pool.pool_id),
            last_error=str(snapshot.cause) if snapshot.cause else None,
            next=what_next(snapshot, now, pool.observed),
            next_attempt_in=None if not_before is None else max(0.0, not_before - now),
            deadline_in=None if snapshot.deadline is None else max(0.0, snapshot.deadline - now),
            observed=pool.observed,
            staging=pool.launching.staging.transfer if state.activity in _STAGE else None,
            explanation=pool.explain(),
        )


_STAGE = (Activity.STAGE, Activity.LAUNCH)
"""The activities that put models in place: a launch under a new manager may have to do that again."""


def _containment(pool: Pool, server: Instance | None) -> str | None:
    engine = None if server is None else pool.launching.engines.get(server.token)
    return engine.containment if isinstance(engine, Contained) else None
