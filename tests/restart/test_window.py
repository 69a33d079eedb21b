"""The window of restarts: what it allows, what it warns of, what is a storm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.restart.window import Times, Window

DEFAULTS = Window()

GAPS = st.lists(st.floats(0.0, 100.0), max_size=60)
WINDOWS = st.builds(
    lambda period, limit: Window(period=period, limit=limit, warning=1, storm=2, storm_period=period / 2),
    st.floats(0.1, 600.0),
    st.integers(2, 12),
)


def times(*gaps: float, begin: float = 1000.0) -> Times:
    """Restarts with these gaps between them."""
    found = [begin]
    for gap in gaps:
        found.append(found[-1] + gap)
    return tuple(found)


def test_defaults() -> None:
    """B-SUPER-031 to B-SUPER-035: 5 are fine, 10 a minute allowed, 10 in half a minute a storm."""
    assert Window(60.0, 5, 10, 10, 30.0, 600.0) == DEFAULTS


@given(WINDOWS, GAPS)
def test_no_window_ever_holds_more_than_the_limit(window: Window, gaps: list[float]) -> None:
    """S13 RestartBudget, B-SUPER-033: whoever waits until it opens is within the limit at every moment."""
    now, all_restarts, kept = 1000.0, list[float](), Times()
    for gap in gaps:
        now = window.opens(kept, now + gap)
        kept = (*window.recent(kept, now), now)
        all_restarts.append(now)
    for end in all_restarts:
        within = [at for at in all_restarts if at <= end < at + window.period]
        assert len(within) <= window.limit


@given(WINDOWS, GAPS)
def test_it_opens_no_later_than_it_must(window: Window, gaps: list[float]) -> None:
    """B-SUPER-034: it slides; with room in it nobody waits, and else only until there is room."""
    restarts = times(*gaps)
    now = restarts[-1] + 1.0
    kept = window.recent(restarts, now)
    opens = window.opens(kept, now)
    if len(kept) < window.limit:
        assert opens == now
    else:
        assert opens == max(now, kept[-window.limit] + window.period)


def test_what_has_left_the_window_is_forgotten() -> None:
    """B-SUPER-034: exactly a period ago is no longer within it."""
    assert DEFAULTS.recent((100.0, 100.5, 160.0), 160.0) == (100.5, 160.0)


@pytest.mark.parametrize(("restarts", "warned"), [(5, False), (6, True)])
def test_more_than_five_in_a_minute_are_frequent(restarts: int, warned: bool) -> None:
    """B-SUPER-032."""
    found = times(*[10.0] * (restarts - 1))
    assert DEFAULTS.frequent(found, found[-1]) is warned


@pytest.mark.parametrize(
    ("gaps", "later", "storm"),
    [
        ([3.0] * 9, 2.0, True),
        ([30.0 / 9 - 1e-9] * 9, 0.0, True),
        ([3.5] * 9, 0.0, False),  # ten, but in more than half a minute
        ([3.0] * 8, 0.0, False),  # nine
        ([3.0] * 9, 31.0, False),  # the tenth run lasted
        ([20.0, *[3.0] * 9], 0.0, True),  # the last ten count
    ],
)
def test_ten_within_half_a_minute_are_a_storm(gaps: list[float], later: float, storm: bool) -> None:
    """B-SUPER-035: and the last of them failed soon, too."""
    found = times(*gaps)
    assert DEFAULTS.storming(found, found[-1] + later) is storm


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"warning": 11}, "warning"),
        ({"storm": 11}, "storm"),
        ({"storm_period": 61.0}, "storm_period"),
        ({"period": 601.0}, "period"),
        ({"storm": 1}, "storm"),
        ({"limit": 0}, "limit"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, float], key: str) -> None:
    """B-CONFIG-x1: a warning or a storm that can never come, a window longer than what it remembers."""
    with pytest.raises(ConfigError) as raised:
        Window(**changes)  # type: ignore[arg-type]
    assert key in [problem.key for problem in raised.value.problems]
