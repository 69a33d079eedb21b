"""What is summed up of a timeline."""

from __future__ import annotations

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.simulation.timeline import Attempt, CircuitLife, CircuitSpan, PoolLife, Span

LIFE = PoolLife(
    "chat",
    (
        Span(PoolState.STARTING, 0, 2, wanted=True, why=""),
        Span(PoolState.READY, 2, 10, wanted=True, why=""),
        Span(PoolState.FAILED, 10, 15, wanted=True, why=""),
        Span(PoolState.STOPPED, 15, 100, wanted=False, why=""),
        Span(PoolState.DRAINING, 100, 103, wanted=False, why=""),
    ),
    (
        Attempt(0, 7, "first start", restart=False),
        Attempt(2, 3, "back-off", restart=True),
        Attempt(4, 1, "back-off", restart=True),
    ),
    acts=(),
    storms=(),
    circuits=(),
)


def test_only_what_was_wanted_and_not_served_is_down() -> None:
    """A pool that somebody stopped is not."""
    assert (LIFE.served, LIFE.down) == (8, 7)


def test_restarts_and_their_waits() -> None:
    """The first start is none, however long it was waited for."""
    assert (LIFE.restarts, LIFE.longest_wait) == (2, 3)
    assert PoolLife("chat", LIFE.spans, LIFE.attempts[:1], (), (), ()).longest_wait == 0


def test_how_it_ended() -> None:
    """As it was last."""
    assert LIFE.state is PoolState.DRAINING


def test_openings_are_counted() -> None:
    """Not the time-outs, nor the trials."""
    states = (BreakerState.CLOSED, BreakerState.OPEN, BreakerState.TRIAL, BreakerState.OPEN)
    spans = tuple(CircuitSpan(state, 0, 1, 0) for state in states)
    assert CircuitLife("general", ("chat",), shared=False, spans=spans).openings == 2
