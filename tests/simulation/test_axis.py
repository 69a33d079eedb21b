"""Where times stand in a picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.simulation.axis import (
    CHARACTER,
    CUT_WIDTH,
    MOST_CUTS,
    STEPS,
    Axis,
    cut_label,
    label,
    short,
)

WIDTH = 1000.0
LOOP = (0.0, 0.5, 4, 5, 5.5, 9, 11, 11.5, 15, 19, 19.5, 23, 31, 31.5, 35, 335, 339, 939, 943, 1003, 1543)
"""When things happen in a crash loop."""

AT = st.floats(0, 7 * 86400).map(lambda at: round(at, 6))
TIMES = st.lists(AT, max_size=40).map(lambda times: [0.0, *times])


def an_axis(*times: float) -> Axis:
    """One that begins at 100."""
    return Axis.of(times, left=100.0, width=WIDTH)


def test_without_long_quiet_spans_there_is_one_scale() -> None:
    """Nothing is cut where it would not gain much."""
    axis = an_axis(0, 10, 20, 40)
    assert axis.cuts == ()
    assert [axis.x(at) for at in (0, 10, 20, 40)] == [100, 350, 600, 1100]


def test_long_quiet_spans_are_cut_short() -> None:
    """The half hour of waiting takes no more than its marks, and the seconds can be read."""
    axis = an_axis(*LOOP)
    assert [(cut.begin, cut.end) for cut in axis.cuts] == [(35, 335), (339, 939), (943, 1003), (1003, 1543)]
    assert all(cut.right - cut.left == pytest.approx(CUT_WIDTH) for cut in axis.cuts)
    assert axis.x(1) - axis.x(0) > 15
    assert axis.x(1) - axis.x(0) == pytest.approx(axis.x(336) - axis.x(335))


def test_times_that_are_nearly_the_same_are_one() -> None:
    """Else they would be all that there is to see, and the rest cut short."""
    assert an_axis(0, 1e-9, 2e-9, 3e-9, 100).cuts == ()


@given(TIMES)
def test_times_keep_their_order_and_fill_the_axis(times: list[float]) -> None:
    """Whatever happens when."""
    axis = an_axis(*times)
    places = [axis.x(at) for at in sorted(times)]
    assert places[0] == 100
    assert places[-1] == pytest.approx(1100 if max(times) else 100)
    assert all(one <= other + 1e-6 for one, other in pairwise(places))
    assert len(axis.cuts) <= MOST_CUTS


@given(TIMES)
def test_labels_do_not_run_into_each_other(times: list[float]) -> None:
    """Neither those of ticks nor those of cuts; none leaves the picture."""
    axis = an_axis(*times)
    ticks = [(tick.x, len(tick.label) * CHARACTER) for tick in axis.ticks()]
    cuts = [((cut.left + cut.right) / 2, len(cut_label(cut)) * CHARACTER) for cut in axis.cuts]
    placed = sorted(ticks + cuts)
    assert all(x - wide / 2 >= before + was / 2 for (before, was), (x, wide) in pairwise(placed))
    assert all(x + wide / 2 <= 1100 + 20 for x, wide in placed)


@pytest.mark.parametrize("lasts", [10, 60, 600, 3600, 86400, 7 * 86400])
def test_an_axis_of_any_length_has_some_round_times(lasts: float) -> None:
    """Enough to read by, not so many as to be a comb."""
    ticks = list(an_axis(0, lasts).ticks())
    assert 5 <= len(ticks) <= 25
    steps = {round(other.at - one.at) for one, other in pairwise(ticks)}
    assert len(steps) == 1
    assert steps <= set(map(int, STEPS))


def test_between_two_cuts_a_less_round_time_is_better_than_none() -> None:
    """The trial after five minutes has its time, although it is no multiple of the others' step."""
    assert any(335 <= tick.at <= 339 for tick in an_axis(*LOOP).ticks())


@pytest.mark.parametrize(
    ("at", "said"),
    [
        *[(0, "0:00"), (59, "0:59"), (3599, "59:59"), (3600, "1 h"), (3661, "1:01:01")],
        *[(86400, "1 d"), (129600, "1 d 12 h"), (90061, "1 d 1:01:01")],
    ],
)
def test_times_on_the_axis(at: float, said: str) -> None:
    """No two of them can be taken for each other."""
    assert label(at) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *[(0.25, "250 ms"), (1, "1 s"), (8.5, "8.5 s"), (59, "59 s"), (60, "1 min"), (270, "4.5 min")],
        *[(3600, "1 h"), (86400, "1 d"), (99.4 * 86400, "99 d"), (365 * 86400, "365 d")],
    ],
)
def test_short_durations(value: float, said: str) -> None:
    """In as few characters as will do."""
    assert short(value) == said


@given(st.floats(0, 1e8))
def test_a_short_duration_is_short_and_near(value: float) -> None:
    """Two digits, so within a twentieth of itself (and half a millisecond)."""
    said = short(value)
    number, unit = said.split()
    assert len(said) <= 8
    units = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
    assert float(number) * units[unit] == pytest.approx(value, rel=0.055, abs=0.0006)
