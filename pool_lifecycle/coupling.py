"""The joint rules of a pool and its circuits, as a third short table.

*Verdict.* Some events of a pool are news for its circuits. They are fed first; the guards of the pool's own
row are asked afterwards, so that a failure which opens a circuit already sees it open. An opening circuit
has no arrow of its own. A failure is news for the circuit of its class, if the class counts, and for those on
which the pool has a trial, whatever the class; in a storm the general circuit opens at once.

*Permit.* Entering some states takes the permit of every circuit concerned: all of them or none (the rows
that lead there ask for it). An operator's one start is granted by all of them or none, too.

*Return.* Entering a state where nothing will be launched gives a trial's permit back.

*Blame.* Only the committed model's endings are fed: a new model that fails in a reload passes through
`reloading.undoing` or `retiring`, which feed nothing; a restoration that fails passes through
`recovering`, which does.

*Wake.* When circuits have changed so that a start is possible, a pool that waits in `failed` is told
`permitted`.
"""

from __future__ import annotations

import enum

from attrs import frozen

from pool_lifecycle.breaker import BreakerEvent
from pool_lifecycle.lifecycle import PoolEvent, PoolState


class Whose(enum.StrEnum):
    """Which of a pool's circuits hear of something."""

    ALL = "all"
    ITS_CLASS = "the circuit of the failure's class, and the pool's own trials"
    UNSHARED = "those that no other pool has"
    LONG_ENOUGH = "those that the run was long enough for"


@frozen
class Feed:
    """In `state` (None: any), `event` is fed to some of the circuits as `news`.

    `verdict`: it is a failure, which may not count, and may be one of a storm. `together`: none of them hears
    it unless a start is possible then.
    """

    state: PoolState | None
    event: PoolEvent
    news: BreakerEvent
    whose: Whose
    why: str
    verdict: bool = False
    together: bool = False


P, B, W = PoolEvent, BreakerEvent, Whose

FEEDS = (
    Feed(PoolState.RECOVERING, P.GONE, B.FAILURE, W.ITS_CLASS, "the verdict on a failed run", verdict=True),
    Feed(PoolState.RECOVERING, P.STUCK, B.FAILURE, W.ITS_CLASS, "the verdict on a failed run", verdict=True),
    Feed(PoolState.STAGING, P.FAILED, B.FAILURE, W.ITS_CLASS, "the verdict on a staging", verdict=True),
    Feed(PoolState.FAILED, P.ALLOW_ONE, B.ALLOW_ONE, W.ALL, "an operator's one start", together=True),
    Feed(None, P.RESET, B.RESET, W.UNSHARED, "an operator's reset"),
    Feed(None, P.STABLE, B.STABLE, W.LONG_ENOUGH, "a run that lasted"),
)  # fmt: skip

TAKES_PERMIT = frozenset(
    {
        PoolState.STAGING,
        PoolState.STARTING,
        PoolState.RELOADING_STARTING,
        PoolState.RELOADING_RESTORING,
        PoolState.SURGING_STARTING,
    }
)
"""Entering these takes the permit: whatever launches, and the staging that leads to a launch."""

RETURNS_PERMIT = frozenset({PoolState.STOPPED, PoolState.STUCK, PoolState.FAILED})
"""Entering these abandons a trial of one's own."""

WAITS_FOR_PERMIT = PoolState.FAILED
"""The state that is told `permitted`."""
