"""Labels of marks: readable, however close the marks are."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.simulation.labels import TIMES, Mark, labels

LEFT, RIGHT = 100.0, 1100.0


def placed(*marks: tuple[float, str]) -> list[tuple[float, str]]:
    """The labels of marks."""
    return [(label.x, label.said) for label in labels((Mark(x, what, "") for x, what in marks), LEFT, RIGHT)]


def test_marks_with_room_have_a_label_each() -> None:
    """Above them."""
    assert placed((300, "exit"), (400, "cuda")) == [(300, "exit"), (400, "cuda")]


def test_close_marks_have_one_together() -> None:
    """That says how many there are of each kind, in their middle; of many kinds only how many there are."""
    assert placed((300, "exit"), (310, "exit"), (320, "cuda")) == [(310, f"exit {TIMES}2, cuda")]
    assert placed((300, "exit"), (301, "cuda"), (302, "hang")) == [(301, "3 in all")]


def test_labels_stay_within_the_picture() -> None:
    """Also those of marks at its edges."""
    (first, _), (last, _) = placed((LEFT, "out_of_memory"), (RIGHT, "out_of_memory"))
    half = 13 * 6.7 / 2
    assert [first, last] == pytest.approx([LEFT + half, RIGHT - half])


MARKS = st.lists(
    st.tuples(st.floats(LEFT, RIGHT), st.sampled_from(["exit", "cuda", "out_of_memory", "hang"]))
)


@given(MARKS)
def test_labels_never_overlap_and_count_every_mark(marks: list[tuple[float, str]]) -> None:
    """Whatever the marks are."""
    found = labels((Mark(x, what, "") for x, what in sorted(marks)), LEFT, RIGHT)
    assert all(one.x + one.half < other.x - other.half for one, other in pairwise(found))
    assert sum(_counted(label.said) for label in found) == len(marks)


def _counted(said: str) -> int:
    """How many marks a label stands for."""
    if said.endswith(" in all"):
        return int(said.removesuffix(" in all"))
    parts = Counter(part.partition(f" {TIMES}")[2] or "1" for part in said.split(", "))
    return sum(int(count) * times for count, times in parts.items())
