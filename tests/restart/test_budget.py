"""The budget of a host: turns in order, never too many, none wasted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.budget import Budget

BUDGETS = st.builds(Budget, burst=st.integers(1, 50), rate=st.floats(0.1, 1000.0))


def turns(budget: Budget, asked: list[float]) -> list[float]:
    """When those who asked at these times have their turns."""
    full_at, found = -math.inf, []
    for now in asked:
        turn, full_at = budget.turn(full_at, now)
        found.append(turn)
    return found


@given(BUDGETS, st.lists(st.floats(0.0, 2.0), min_size=1, max_size=100))
def test_never_more_than_the_budget(budget: Budget, gaps: list[float]) -> None:
    """S13 RestartBudget: within any t seconds at most burst + rate * t."""
    asked = [1000.0 + sum(gaps[: place + 1]) for place in range(len(gaps))]
    found = turns(budget, asked)
    for first in range(len(found)):
        for last in range(first, len(found)):
            lasted = found[last] - found[first]
            assert last - first + 1 <= budget.burst + budget.rate * lasted + 1e-6


@given(BUDGETS, st.lists(st.floats(0.0, 2.0), min_size=1, max_size=100))
def test_turns_come_in_order_and_not_before_they_are_asked_for(budget: Budget, gaps: list[float]) -> None:
    """V6 Fair: first come, first served."""
    asked = [1000.0 + sum(gaps[: place + 1]) for place in range(len(gaps))]
    found = turns(budget, asked)
    assert found == sorted(found)
    assert all(turn >= now for turn, now in zip(found, asked, strict=True))


def test_a_thousand_at_once_come_one_after_the_other() -> None:
    """V6, FAULTS: 20 at once, then 10 a second; the last of a thousand waits 98 s."""
    found = turns(Budget(), [0.0] * 1000)
    assert found[:20] == pytest.approx([0.0] * 20)
    assert found[20:] == pytest.approx([place / 10 for place in range(1, 981)])


def test_a_full_bucket_gives_the_whole_burst_again() -> None:
    """After some quiet the next ones need not wait."""
    assert turns(Budget(burst=3, rate=1.0), [0.0, 0.0, 0.0, 10.0, 10.0, 10.0])[3:] == [10.0] * 3


@pytest.mark.parametrize("changes", [{"burst": 0}, {"rate": 0.0}, {"rate": math.nan}, {"burst": 1.5}])
def test_a_budget_that_starts_nothing_is_refused(changes: dict[str, float]) -> None:
    """B-CONFIG-x1."""
    with pytest.raises(ConfigError):
        Budget(**changes)  # type: ignore[arg-type]
