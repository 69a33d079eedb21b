"""What is written down while a simulation goes on."""

from __future__ import annotations

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.simulation.history import CircuitHistory, Waiting


def test_a_wait_has_its_reasons_the_longest_first() -> None:
    """And whoever ended it."""
    waiting = Waiting(10.0)
    waiting.now_for("back-off", 10.0)
    waiting.now_for("host's budget", 12.0)
    waiting.now_for("", 17.0)
    assert waiting.lasted == {"back-off": 2.0, "host's budget": 5.0}
    assert waiting.told() == "host's budget + back-off"
    waiting.ended_by = "reset"
    assert waiting.told() == "host's budget + back-off, until reset"


def test_a_wait_for_nothing_is_none() -> None:
    """Neither no time, nor the time for which it was to be stopped."""
    waiting = Waiting(10.0)
    waiting.now_for("back-off", 10.0)
    waiting.now_for("stopped", 10.0)
    waiting.now_for("", 500.0)
    assert (waiting.lasted, waiting.told()) == ({}, "at once")


def test_a_circuit_is_closed_at_first_and_told_twice_of_the_same_moves_once() -> None:
    """Pools that share it may each tell of it."""
    history = CircuitHistory("device 0", ("a", "b"), shared=True)
    history.moved(BreakerState.OPEN, 2, 5.0)
    history.moved(BreakerState.OPEN, 2, 5.0)
    life = history.life(9.0)
    assert [(one.state, one.begin, one.end, one.failures) for one in life.spans] == [
        (BreakerState.CLOSED, 0.0, 5.0, 0),
        (BreakerState.OPEN, 5.0, 9.0, 2),
    ]
