"""Every snapshot one pool can get into, with three circuits, by everything that could happen to it.

The space is walked once, breadth first, and every step is held against the laws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from attrs import define, field

from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import Declared, Event, Wish
from pool_lifecycle.lifecycle import LIFECYCLE, Model
from pool_lifecycle.snapshot import Effect, Notify, Snapshot, evolved
from pool_lifecycle.step import step
from tests.laws import step_is_sound
from tests.space import (
    FIRST,
    GENERAL,
    NOW,
    TRUSTING,
    WISHES,
    canonical,
    elsewhere,
    happenings,
    outcomes,
    tripped,
)

Edge = tuple[Event | None, int]
"""What happened and the number of the snapshot that led to; None: something was changed from outside."""


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
        for event in outcomes(pool) if LIFECYCLE.states[pool.state].launches == Model.CANDIDATE else ():
            trusted = self._try(evolved(pool, rules=TRUSTING), event)
            assert trusted is not None
            yield event, trusted
        yield None, tripped(pool, GENERAL)
        after = self._try(pool, Declared(TRUSTING))
        assert after is not None
        yield None, after
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


@cache
def explored() -> Space:
    """The whole space. It takes a while: tests that ask for it belong to the xdist group `exploration`."""
    return Space().explore(FIRST)
