"""When to look again whether an engine is ready. Pure."""

from __future__ import annotations

SHARE = 0.01
"""A look costs little against the load it waits for: the next comes after 1 % of the engine's age."""

FASTEST = 0.010
SLOWEST = 0.100
SLOWEST_EVER = 0.500
VERY_LONG = 60.0
"""Bounds on the interval, in seconds: 10 to 100 ms, and up to 500 ms for loads longer than a minute."""


def interval(age: float) -> float:
    """Seconds until the next look at an engine that was launched `age` seconds ago."""
    slowest = SLOWEST if age < VERY_LONG else SLOWEST_EVER
    return min(max(SHARE * age, FASTEST), slowest)


def pause(age: float, took: float) -> float:
    """Seconds to wait after a look that took so long, for the next to come on time.

    At least half the interval: an engine that answers slowly is not asked without a pause.
    """
    whole = interval(age)
    return max(whole - took, whole / 2)
