"""Every snapshot one pool can get into, with three circuits, by everything that could happen to it.

The space is walked once, breadth first; every step is held against the laws. The tests then ask questions
about the graph: can it always end, does it always settle, is every row of the table there for a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from attrs import define, field

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import Event, Gone, Healthy, Start, Stop, Wish
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.snapshot import Dropped, Effect, Emit, Intent, Notify, Snapshot
from pool_lifecycle.step import step
from tests.laws import step_is_sound
from tests.space import FIRST, GENERAL, NOW, WISHES, canonical, elsewhere, happenings, tripped

S, E = PoolState, PoolEvent

Edge = tuple[Event | None, int]
"""What happened and the number of the snapshot that led to; None: a circuit was changed from outside."""


@define
class Space:
    """The graph of all snapshots, and what was met on the way."""

    pools: list[Snapshot] = field(factory=list)
    edges: list[list[Edge]] = field(factory=list)
    refused: int = 0
    taken: set[tuple[str, str, str]] = field(factory=set)
    _number: dict[Snapshot, int] = field(factory=dict)

    def explore(self, first: Snapshot) -> Space:
        """Walk everything that can be reached from `first`, breadth first."""
        self._known(first)
        for pool in self.pools:  # which grows meanwhile
            self.edges.append([(event, self._known(after)) for event, after in self._moves(pool)])
        return self

    def _known(self, pool: Snapshot) -> int:
        pool = canonical(pool)
        number = self._number.setdefault(pool, len(self.pools))
        if number == len(self.pools):
            self.pools.append(pool)
        return number

    def _moves(self, pool: Snapshot) -> Iterator[tuple[Event | None, Snapshot]]:
        for event in (*WISHES, *happenings(pool)):
            after = self._try(pool, event)
            if after is not None:
                yield event, after
        yield None, tripped(pool, GENERAL)
        for shared in elsewhere(pool):
            after = self._try(pool, shared)
            assert after is not None
            yield None, after

    def _try(self, pool: Snapshot, event: Event) -> Snapshot | None:
        try:
            after, effects = step(pool, event, NOW)
        except IllegalEvent:
            assert isinstance(event, Wish), f"{event} may happen in {pool.state}, but has no row there"
            self.refused += 1
            return None
        step_is_sound(pool, event, after, effects)
        self.taken.update(_rows(effects))
        return after

    def steps(self) -> Iterator[tuple[Snapshot, Event | None, Snapshot]]:
        """Every edge with both its ends."""
        for pool, edges in zip(self.pools, self.edges, strict=True):
            for event, after in edges:
                yield pool, event, self.pools[after]

    def beyond(self, goal: Callable[[Snapshot], bool], via: Callable[[Event | None], bool]) -> list[Snapshot]:
        """The snapshots from which `via` leads to none that satisfies `goal`."""
        back: list[list[int]] = [[] for _ in self.pools]
        for pool, edges in enumerate(self.edges):
            for event, after in edges:
                if via(event):
                    back[after].append(pool)
        found = {number for number, pool in enumerate(self.pools) if goal(pool)}
        ahead = list(found)
        while ahead:
            fresh = set(back[ahead.pop()]) - found
            found |= fresh
            ahead += fresh
        return [pool for number, pool in enumerate(self.pools) if number not in found]


def _rows(effects: tuple[Effect, ...]) -> Iterable[tuple[str, str, str]]:
    return [(one.source, one.event, one.why) for one in effects if isinstance(one, Notify)]


def happens(event: Event | None) -> bool:
    """Nobody asks for it: an outcome, a fact, or news of time."""
    return event is not None and not isinstance(event, Wish)


@pytest.fixture(scope="module")
def space() -> Space:
    """The whole space, every step of it held against the laws."""
    return Space().explore(FIRST)


def test_every_step_is_sound(space: Space) -> None:
    """S1, S3, S8, S15: the laws hold of every step; what may happen is never illegal, only wishes are."""
    steps = sum(map(len, space.edges))
    print(f"\n{len(space.pools)} snapshots, {steps} steps, {space.refused} wishes refused")
    assert len(space.pools) > 10_000
    assert steps > 200_000


def test_every_state_is_reached(space: Space) -> None:
    """No state of the table is there for nothing."""
    assert {pool.state for pool in space.pools} == set(PoolState)


def test_every_row_is_taken(space: Space) -> None:
    """No row of the table is there for nothing."""
    assert space.taken == {
        (state.name, row.event, row.why) for state in LIFECYCLE.states.values() for row in state.rows
    }


def test_a_pool_can_always_be_stopped(space: Space) -> None:
    """No trap: from every snapshot `stopped` is reached with no other wish than stop."""

    def via(event: Event | None) -> bool:
        return happens(event) or isinstance(event, Stop)

    assert space.beyond(lambda pool: pool.state is S.STOPPED, via) == []


RANK = {S.DRAINING: 4, S.RECOVERING: 3, S.STOPPING: 3, S.STUCK: 2, S.STOPPED: 1}
"""How far a pool that is to stop has to go."""


def test_a_stop_is_never_lost(space: Space) -> None:
    """V2 StopTerminates: once it is to stop every change of state brings a pool nearer to its end."""
    for before, event, after in space.steps():
        if happens(event) and before.intent is not Intent.RUN:
            assert after.intent is not Intent.RUN
            assert after.state is before.state or RANK[after.state] < RANK[before.state]


def test_a_stop_ends_whatever_is_under_way(space: Space) -> None:
    """Every snapshot accepts stop, and it leads at once to where there is nothing left to do but end."""
    stopped = [after.state for _, event, after in space.steps() if isinstance(event, Stop)]
    assert len(stopped) == len(space.pools)
    assert set(stopped) == {S.STOPPED, S.STOPPING, S.RECOVERING, S.STUCK}


def test_a_start_is_never_lost(space: Space) -> None:
    """A start is on its way, or kept for later, or answered with an open circuit: never forgotten."""
    for _, event, after in space.steps():
        if isinstance(event, Start):
            assert after.intent is Intent.RUN
            assert after.state not in (S.STOPPED, S.DRAINING)


def test_what_is_to_run_may_yet_be_ready(space: Space) -> None:
    """V1 Settles: wishes at rest, what is to run can become ready, or has a cause not to."""
    for pool in space.beyond(lambda pool: pool.state is S.READY, happens):
        if pool.intent is Intent.RUN:
            assert pool.cause is not None
            assert not pool.cause.heals


def test_what_is_to_run_comes_to_rest(space: Space) -> None:
    """V1 Settles: from wherever it is to run, ready, failed or stuck can be reached without a wish."""
    restless = space.beyond(lambda pool: pool.state in (S.READY, S.FAILED, S.STUCK), happens)
    assert [pool for pool in restless if pool.intent is Intent.RUN] == []


def _tries(pool: Snapshot) -> bool:
    return any(one.state is BreakerState.TRIAL for one in pool.circuits)


def test_every_trial_ends(space: Space) -> None:
    """V5 PermitReturns: a trial under way ends without anybody's wish, in a verdict or by giving it up."""
    assert any(map(_tries, space.pools))
    assert space.beyond(lambda pool: not _tries(pool), happens) == []


def test_late_outcomes_change_nothing(space: Space) -> None:
    """What an activity reports after its state has ended is dropped, everywhere, and counted."""
    for pool in space.pools:
        for late in (Healthy(pool.epoch - 1), Gone(pool.epoch - 1)):
            assert step(pool, late, NOW) == (pool, (Emit(Dropped(late.kind, late.epoch)),))
