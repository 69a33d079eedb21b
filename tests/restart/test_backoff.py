"""The law of the back-off, over every policy and every number of failures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.testing.strategies import backoffs

FAILURES = st.integers(0, 10**9)
CHANCES = st.floats(-1.0, 1.0)

DEFAULTS = Backoff()


def base(policy: Backoff, failures: int) -> float:
    """The delay without jitter and bounds, in logarithms so that nothing overflows."""
    if policy.initial == 0:
        return 0.0
    exponent = math.log(policy.initial) + (max(failures, 1) - 1) * math.log(policy.factor)
    return math.exp(min(exponent, 700.0))


def test_a_slow_growth_reaches_the_maximum_too() -> None:
    """B-SUPER-012: one per cent more each time is a minute after some hundred failures."""
    assert Backoff(factor=1.01).delay(1000, 0.0) == 60.0
    assert Backoff(factor=2).delay(10**9, 0.0) == 60.0


def test_no_delay_stays_no_delay() -> None:
    """However often nothing is doubled."""
    assert Backoff(initial=0.0).delay(10**9, 1.0) == 0.0


def test_defaults() -> None:
    """B-SUPER-010 to B-SUPER-016: 1 s doubling to 60 s, a tenth of jitter, forgotten after 300 s."""
    assert Backoff(initial=1.0, factor=2.0, maximum=60.0, minimum=0.0, jitter=0.1, stable=300.0) == DEFAULTS


def test_the_first_restart_waits_the_initial_delay() -> None:
    """B-SUPER-010: one second."""
    assert DEFAULTS.delay(1, 0.0) == 1.0
    assert DEFAULTS.delay(0, 0.0) == 1.0


def test_each_failure_doubles_the_delay() -> None:
    """B-SUPER-011, B-SUPER-012: up to a minute, and no more."""
    delays = [DEFAULTS.delay(failures, 0.0) for failures in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("chance", "delay"), [(-1.0, 7.2), (1.0, 8.8)])
def test_the_default_jitter_is_a_tenth(chance: float, delay: float) -> None:
    """B-SUPER-013: at the ends of chance the delay is a tenth away."""
    assert DEFAULTS.delay(4, chance) == pytest.approx(delay)


@given(backoffs(), FAILURES, CHANCES)
def test_within_bounds_with_jitter(policy: Backoff, failures: int, chance: float) -> None:
    """B-SUPER-012, B-SUPER-016: never below the minimum nor above the maximum, jitter included."""
    assert policy.minimum <= policy.delay(failures, chance) <= policy.maximum


@given(backoffs(), FAILURES, CHANCES)
def test_exponential_within_jitter(policy: Backoff, failures: int, chance: float) -> None:
    """B-SUPER-011, B-SUPER-013: the law, moved by at most `jitter` of itself, then cut to the bounds."""
    law = min(base(policy, failures), policy.maximum)
    low = min(max(law * (1 - policy.jitter), policy.minimum), policy.maximum)
    high = min(max(law * (1 + policy.jitter), policy.minimum), policy.maximum)
    delay = policy.delay(failures, chance)
    assert low * (1 - 1e-6) <= delay <= high * (1 + 1e-6)


@given(backoffs(), st.integers(0, 200), CHANCES)
def test_never_shorter_after_more_failures(policy: Backoff, failures: int, chance: float) -> None:
    """B-SUPER-011: with the same chance one failure more never waits less."""
    assert policy.delay(failures, chance) <= policy.delay(failures + 1, chance)


@given(backoffs(), FAILURES, CHANCES, CHANCES)
def test_chance_only_places_the_jitter(policy: Backoff, failures: int, low: float, high: float) -> None:
    """B-SUPER-013: more chance never waits less, and the same chance always waits the same."""
    low, high = sorted((low, high))
    assert policy.delay(failures, low) <= policy.delay(failures, high)
    assert policy.delay(failures, low) == policy.delay(failures, low)


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -1.0, 10**400, True, "1", None])
@pytest.mark.parametrize("key", ["initial", "factor", "maximum", "minimum", "jitter", "stable"])
def test_hostile_numbers_are_refused(key: str, hostile: object) -> None:
    """A policy that exists keeps its law."""
    with pytest.raises(ConfigError) as raised:
        Backoff(**{key: hostile})  # type: ignore[arg-type]
    assert [problem.key for problem in raised.value.problems] == [key]


@pytest.mark.parametrize(("key", "value"), [("factor", 0.99), ("factor", 100.5), ("jitter", 1.01)])
def test_what_would_break_the_law_is_refused(key: str, value: float) -> None:
    """Delays never shrink with failures, and jitter never turns them negative."""
    with pytest.raises(ConfigError, match=f"{key} = {value}: must be a number"):
        Backoff(**{key: value})


def test_contradictory_times_are_refused_all_at_once() -> None:
    """B-CONFIG-x1: both bounds that the maximum contradicts are named."""
    with pytest.raises(ConfigError) as raised:
        Backoff(initial=5.0, minimum=4.0, maximum=3.0)
    assert str(raised.value) == (
        "minimum = 4.0: must not exceed maximum (3)\ninitial = 5.0: must not exceed maximum (3)"
    )
