"""Labels of marks along a line: those that would run into each other become one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import frozen

CHARACTER = 6.7
"""How wide a character of a label is, about."""

APART = 8.0
"""Space between two labels, at least."""

NAMED = 2
"""So many kinds are named in one label; of more only the number of marks is said."""

TIMES = "\N{MULTIPLICATION SIGN}"


@frozen
class Mark:
    """Something at one place: `what` is its label, `told` what is shown where a pointer rests."""

    x: float
    what: str
    told: str


@frozen
class Label:
    """The label of one mark, or of several, centred at `x`."""

    x: float
    said: str

    @property
    def half(self) -> float:
        """Half its width."""
        return len(self.said) * CHARACTER / 2


@frozen
class _Group:
    """Marks under one label: where the first and the last are, and how many there are of each kind."""

    first: float
    last: float
    kinds: Counter[str]

    def label(self, left: float, right: float) -> Label:
        label = Label((self.first + self.last) / 2, _said(self.kinds))
        return Label(max(min(label.x, right - label.half), left + label.half), label.said)


def labels(marks: Iterable[Mark], left: float, right: float) -> list[Label]:
    """Labels for marks from left to right, none of which overlaps another, all between two places."""
    groups: list[_Group] = []
    for mark in marks:
        group = _Group(mark.x, mark.x, Counter((mark.what,)))
        while groups and _meet(groups[-1].label(left, right), group.label(left, right)):
            before = groups.pop()
            before.kinds.update(group.kinds)
            group = _Group(before.first, group.last, before.kinds)
        groups.append(group)
    return [group.label(left, right) for group in groups]


def _meet(one: Label, other: Label) -> bool:
    return one.x + one.half + APART > other.x - other.half


def _said(kinds: Counter[str]) -> str:
    if len(kinds) > NAMED:
        return f"{kinds.total()} in all"
    return ", ".join(what if count == 1 else f"{what} {TIMES}{count}" for what, count in kinds.most_common())
