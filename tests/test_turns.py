"""The turns of a host's pools."""

from __future__ import annotations

from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.turns import Turns


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_after_the_other() -> None:
    """V6 Fair: in the order in which they ask."""
    turns = Turns(Budget(burst=2, rate=1.0), Clock())
    assert [turns.ask(name) for name in "abcd"] == [1000.0, 1000.0, 1001.0, 1002.0]


def test_asking_again_costs_the_others_nothing() -> None:
    """S13: an operator who is impatient keeps the turn there is."""
    turns = Turns(Budget(burst=1, rate=1.0), Clock())
    turns.ask("a")
    assert [turns.ask("b") for _ in range(100)] == [1001.0] * 100
    assert turns.ask("c") == 1002.0


def test_a_turn_is_for_one_restart() -> None:
    """S13: whoever has used his asks for another."""
    turns = Turns(Budget(burst=1, rate=1.0), Clock())
    for expected in (1000.0, 1001.0, 1002.0):
        assert turns.ask("a") == expected
        turns.used("a")


def test_a_turn_that_went_by_is_no_longer_good() -> None:
    """Who was called off meanwhile asks anew: turns cannot be saved up."""
    clock = Clock()
    turns = Turns(Budget(burst=1, rate=1.0), clock)
    turns.ask("a")
    assert turns.ask("b") == 1001.0
    clock.now = 1001.0
    assert turns.ask("b") == 1002.0


def test_what_was_never_asked_for_can_be_given_up() -> None:
    """A pool that is removed has perhaps never asked."""
    Turns(Budget(), Clock()).used("a")
