"""What looks at a counter of work say, without any clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.progress import Progress, Reading

STILL, UNREAD, IDLE, GREW = Reading(5.0), Reading(None), Reading(5.0, idle=True), Reading(6.0)


def test_without_a_number_there_is_nothing_to_follow() -> None:
    """A counter that was never read may not exist: it convicts nobody."""
    assert Progress.begun(None) is None
    assert Progress.begun(UNREAD) is None
    assert Progress.begun(STILL) == Progress(5.0)


def test_standing_still_is_counted_from_when_work_was_first_seen() -> None:
    """The first look finds the work; only later ones can see that it does not get on."""
    progress = Progress(5.0).after(STILL, 100.0)
    assert (progress.stood_still(100.0), progress.looks) == (0.0, 0)
    progress = progress.after(STILL, 110.0).after(UNREAD, 120.0)
    assert (progress.stood_still(120.0), progress.looks) == (20.0, 2)


def test_who_got_on_stood_still_no_longer() -> None:
    """And is counted from there."""
    progress = Progress(5.0, since=100.0, looks=7)
    assert progress.grown(GREW)
    progress = progress.after(GREW, 200.0)
    assert progress == Progress(6.0, since=200.0)
    assert progress.after(GREW, 210.0).stood_still(210.0) == 10.0


def test_who_has_nothing_to_do_need_not_get_on() -> None:
    """Nobody waits, or could ask; or the engine itself says that nothing is pending."""
    progress = Progress(5.0, since=100.0, looks=7)
    assert progress.after(IDLE, 200.0) == Progress(5.0)
    assert progress.after(None, 200.0) == Progress(5.0)


def test_a_counter_that_began_anew_has_moved() -> None:
    """A worker behind it was replaced: that is no standstill."""
    assert Progress(5.0).grown(Reading(0.0))
    assert not Progress(5.0).grown(UNREAD)
    assert not Progress(5.0).grown(None)


READINGS = st.one_of(st.none(), st.builds(Reading, st.none() | st.sampled_from([1.0, 2.0]), st.booleans()))


@given(st.lists(READINGS, max_size=30))
def test_standing_still_needs_looks_that_all_saw_it(readings: list[Reading | None]) -> None:
    """Law: seconds of standstill span exactly the last looks that saw work, and none that saw it get on."""
    progress, last = Progress(1.0), 1.0
    standing: list[int] = []
    for second, reading in enumerate(readings):
        progress = progress.after(reading, float(second))
        moved = reading is not None and reading.count not in {None, last}
        resting = reading is None or (reading.idle and not moved)
        standing = [] if resting else [second] if moved else [*standing, second]
        last = reading.count if reading is not None and reading.count is not None else last
        assert progress.looks == max(0, len(standing) - 1)
        expected = float(second - standing[0]) if len(standing) > 1 else 0.0
        assert progress.stood_still(float(second)) == expected
