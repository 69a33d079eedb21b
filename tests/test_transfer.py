"""How far a transfer is, how fast, and how long yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.transfer import APART, EVERY, OFTEN, SELDOM, WINDOW, Meter, Transfer

MB = 2**20


def met(*looks: tuple[float, int], total: int | None = 100 * MB) -> Meter:
    """A meter that has seen so many bytes at these times."""
    meter = Meter("file:a", 0.0)
    for now, done in looks:
        meter.look(now, done, total)
    return meter


def test_one_look_says_nothing_of_the_rate() -> None:
    """Also when it goes on from where an earlier one stopped: what was there already is no rate."""
    assert Meter("file:a", 0.0).at(3.0) == Transfer("file:a")
    assert met((1.0, 90 * MB)).at(1.0) == Transfer("file:a", 90 * MB, 100 * MB)


def test_two_looks_make_a_rate_and_a_time_left() -> None:
    """Bytes a second; the rest at that rate."""
    assert met((0.0, 20 * MB), (2.0, 40 * MB)).at(2.0) == Transfer(
        "file:a", 40 * MB, 100 * MB, 10.0 * MB, 6.0
    )


def test_without_a_total_nobody_knows_how_long_it_takes() -> None:
    """The rate is known all the same."""
    seen = met((0.0, 0), (1.0, MB), total=None).at(1.0)
    assert (seen.rate, seen.left, seen.share) == (MB, None, None)
    assert str(seen) == "1.0 MiB, 1.0 MiB/s"


def test_what_was_fast_once_is_soon_forgotten() -> None:
    """The rate is that of the last seconds."""
    fast = [(float(now), now * 10 * MB) for now in range(4)]
    slow = [(3.0 + now, (30 + now) * MB) for now in range(1, 11)]
    rate = met(*fast, *slow).at(13.0).rate
    assert rate == pytest.approx(MB)


def test_silence_lets_the_rate_fall() -> None:
    """A second of it is nothing; a stalled transfer is not said to end soon."""
    meter = met((0.0, 0), (2.0, 20 * MB))
    assert meter.at(3.0).rate == 10 * MB
    assert meter.at(21.0).rate == MB
    assert meter.at(21.0).left == 80.0


def test_a_standstill_has_no_end() -> None:
    """No division by nothing."""
    seen = met((0.0, MB), (2.0, MB)).at(2.0)
    assert (seen.rate, seen.left) == (0.0, None)
    assert met((2.0, MB), (2.0, 2 * MB)).at(2.0).rate is None


def test_what_begins_anew_is_measured_anew() -> None:
    """A source that cannot go on sends everything again: no negative rate."""
    meter = met((0.0, 50 * MB), (1.0, 60 * MB), (2.0, 0))
    assert meter.at(2.0) == Transfer("file:a", 0, 100 * MB)
    meter.look(3.0, MB, 100 * MB)
    assert meter.at(3.0).rate == MB


def test_it_is_said_as_people_say_it() -> None:
    """What nobody knows is left out."""
    gb = 2**30
    assert str(Transfer("m", int(1.2 * gb), int(4.7 * gb), 310.0 * MB, 11.3)) == (
        "1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left"
    )
    assert str(Transfer("m", 310 * MB, int(4.7 * gb))) == "310 MiB of 4.7 GiB"
    assert str(Transfer("m")) == "0 bytes"


def test_a_share_is_never_more_than_the_whole() -> None:
    """Whatever a source says of its length."""
    assert Transfer("m", 3, 2).share == 1.0
    assert Transfer("m", 0, 0).share is None


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(-1, 2**30)), min_size=1, max_size=300))
def test_no_number_is_negative_whatever_it_sees(steps: list[tuple[float, int]]) -> None:
    """A source may begin anew as often as it likes."""
    meter, now, done = Meter("file:a", 0.0), 0.0, 0
    for wait, more in steps:
        now, done = now + wait / 1000, max(0, done + more)
        meter.look(now, done, 2**40)
        seen = meter.at(now)
        assert seen.rate is None or seen.rate >= 0
        assert seen.left is None or seen.left >= 0


def test_it_stays_small_however_often_it_looks() -> None:
    """Some twenty looks at most, which still make the right rate."""
    meter = met(*((number / 1000, number) for number in range(20_000)))
    assert len(meter._looks) <= WINDOW / APART + 3
    assert meter.at(20.0).rate == pytest.approx(1000, rel=0.01)


def test_programs_are_told_once_a_second_at_most() -> None:
    """However often somebody looks."""
    meter = met((0.0, 0))
    told = [now for now in range(0, 10_000, 100) if meter.news(now / 1000)]
    assert told == [1000 * number for number in range(1, 10)]
    assert EVERY == 1.0


def test_people_are_told_at_milestones() -> None:
    """Each tenth, or half a minute; never two within five seconds, nothing of what is soon done."""

    def milestones(takes: float) -> list[float]:
        meter, found = Meter("m", 0.0), []
        for now in range(int(takes) + 1):
            meter.look(float(now), int(100 * MB * now / takes), 100 * MB)
            if meter.milestone(float(now)):
                found.append(float(now))
        return found

    assert milestones(4.0) == []
    assert milestones(20.0) == [OFTEN, 2 * OFTEN, 3 * OFTEN, 4 * OFTEN]
    assert milestones(100.0)[:3] == [10.0, 20.0, 30.0]
    assert milestones(3600.0)[:3] == [SELDOM, 2 * SELDOM, 3 * SELDOM]
