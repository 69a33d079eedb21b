"""A pool as people ask for it: one frozen value, free of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from pool_lifecycle.addressing import url_of
from pool_lifecycle.lease import Blocker
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState

if TYPE_CHECKING:
    from pool_lifecycle.pool import Pool


@frozen
class PoolStatus:
    """`since` is how long it has been in this state, `deadline_in` when that is too long (None: it may last),
    `next_attempt_in` when it starts again (None: not by itself), all in seconds. `observed` is what was last
    seen of the work under way. `pid`, `url` and `generation` are those of the engine that serves, if any.
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
    model: str | None
    slots: int
    leases: tuple[Blocker, ...]
    waiting: int
    circuits: dict[str, str]
    last_error: str | None
    next_attempt_in: float | None
    deadline_in: float | None
    observed: str
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
            draining=snapshot.state in (PoolState.DRAINING, PoolState.RELOADING_DRAINING),
            intent=snapshot.intent,
            generation=server.generation if server else None,
            pid=handle.pid if handle else None,
            url=url_of(handle) if handle else None,
            model=snapshot.target.model,
            slots=pool.spec.slots,
            leases=pool.book.blockers(now),
            waiting=pool.book.waiting,
            circuits={one.name: str(one.state) for one in snapshot.circuits},
            last_error=str(snapshot.cause) if snapshot.cause else None,
            next_attempt_in=None if not_before is None else max(0.0, not_before - now),
            deadline_in=None if snapshot.deadline is None else max(0.0, snapshot.deadline - now),
            observed=pool.observed,
            explanation=pool.explain(),
        )
