"""Where a time stands in a picture: on one scale, but for long spans in which nothing happens. Pure.

A crash loop has seconds in which everything happens and half an hour in which nothing does. On one scale the
seconds could not be read. So a few of the longest quiet spans are cut short, each with a mark that says how
much time it stands for; everywhere else equal lengths are equal times.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from statistics import median

from attrs import frozen

MOST_CUTS = 6
"""More would make the picture a comb."""

CUT_WIDTH = 64.0
"""How wide a span that is cut short is drawn: its mark has to be readable."""

GAIN = 4.0
"""A span is cut only if it would be so many times as wide on the scale of the others."""

READABLE = 24.0
"""As wide as this half of the spans, at least, have to be."""

STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0),
)
"""Distances of ticks that people count in, in seconds."""

CHARACTER = 6.4
"""How wide a character of the labels is, about."""

APART = 14.0
"""Space between two labels, at least."""


@frozen
class Piece:
    """The times from `begin` to `end` are drawn from `left` to `right`; `cut`: on another scale."""

    begin: float
    end: float
    left: float
    right: float
    cut: bool

    def x(self, at: float) -> float:
        """Where a time of this piece stands."""
        lasts = self.end - self.begin
        return self.left + (self.right - self.left) * ((at - self.begin) / lasts if lasts else 0.0)


@frozen
class Tick:
    """A time that is named on the axis."""

    at: float
    x: float
    label: str


@frozen
class Axis:
    """The pieces, from left to right without a gap."""

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, times: Iterable[float], *, left: float, width: float) -> Axis:
        """An axis on which things happen at `times`, from the earliest to the last."""
        known = sorted({round(at, 6) for at in times})  # else the scale of what is nearly nothing is endless
        gaps = list(pairwise(known)) or [(known[0], known[0])]
        cut = _cuts(gaps, width)
        scale = _scale(gaps, cut, width)
        pieces = []
        for begin, end in gaps:
            right = left + (CUT_WIDTH if (begin, end) in cut else (end - begin) * scale)
            pieces.append(Piece(begin, end, left, right, (begin, end) in cut))
            left = right
        return cls(tuple(pieces))

    def x(self, at: float) -> float:
        """Where a time stands."""
        place = bisect_right(self.pieces, at, key=lambda piece: piece.begin) - 1
        return self.pieces[max(place, 0)].x(at)

    @property
    def cuts(self) -> tuple[Piece, ...]:
        """The spans that are cut short."""
        return tuple(piece for piece in self.pieces if piece.cut)

    @property
    def step(self) -> float:
        """The time from one tick to the next."""
        straight = [piece for piece in self.pieces if not piece.cut]
        lasts = sum(piece.end - piece.begin for piece in straight)
        wide = sum(piece.right - piece.left for piece in straight)
        return next((step for step in STEPS if step * wide >= self._widest(step) * lasts), STEPS[-1])

    def _widest(self, step: float) -> float:
        """What a label may take at most, and the space after it. The last one is long, unless it is round."""
        last = self.pieces[-1].end // step * step
        return max(_width(label(last)), _width(label(max(last - step, 0.0)))) + APART

    def ticks(self) -> Iterator[Tick]:
        """The times to be named: round ones, where there is room for them; none in a span that is cut."""
        free = -math.inf
        for cut, pieces in groupby(self.pieces, key=lambda piece: piece.cut):
            for tick in () if cut else self._named(tuple(pieces), free):
                free = tick.x + _width(tick.label) / 2 + APART
                yield tick

    def _named(self, pieces: tuple[Piece, ...], free: float) -> Iterator[Tick]:
        """The times to be named in pieces without a cut between: round ones, else one that is less so."""
        step, finer = self.step, [step for step in STEPS if step < self.step]
        ticks = self._fitting(pieces, step, free)
        rougher = (self._fitting(pieces, one, free)[:1] for one in reversed(finer))
        yield from ticks or next(filter(None, rougher), [])

    def _fitting(self, pieces: tuple[Piece, ...], step: float, free: float) -> list[Tick]:
        first, last = math.ceil(pieces[0].begin / step), math.floor(pieces[-1].end / step)
        ticks, edge = [], self.pieces[-1].right + APART
        for number in range(first, last + 1):
            at = number * step
            tick = Tick(at, self.x(at), label(at))
            half = _width(tick.label) / 2
            beside = not any(self._runs_into(tick.x, half, cut) for cut in self.cuts)
            if beside and free <= tick.x - half and tick.x + half <= edge:
                free = tick.x + half + APART
                ticks.append(tick)
        return ticks

    def _runs_into(self, x: float, half: float, cut: Piece) -> bool:
        """Whether a label there would touch that of a cut."""
        return abs(x - (cut.left + cut.right) / 2) < half + _width(cut_label(cut)) / 2 + APART / 2


def _width(said: str) -> float:
    return len(said) * CHARACTER


def _cuts(gaps: list[tuple[float, float]], width: float) -> set[tuple[float, float]]:
    """The spans to cut short: as many as gain by it, if the others cannot be read without."""
    if median(end - begin for begin, end in gaps) * _scale(gaps, set(), width) >= READABLE:
        return set()
    longest = sorted(gaps, key=lambda gap: gap[0] - gap[1])
    for count in range(min(MOST_CUTS, len(gaps) - 1), 0, -1):
        cut = set(longest[:count])
        last = longest[count - 1]
        if (last[1] - last[0]) * _scale(gaps, cut, width) >= GAIN * CUT_WIDTH:
            return cut
    return set()


def _scale(gaps: list[tuple[float, float]], cut: set[tuple[float, float]], width: float) -> float:
    """How wide a second is."""
    lasts = sum(end - begin for begin, end in gaps if (begin, end) not in cut)
    return (width - CUT_WIDTH * len(cut)) / lasts if lasts else 0.0


def label(at: float) -> str:
    """A time on an axis: `0:35`, `1:05:36`, `6 h`, `2 d 3:20:00`, `2 d 12 h`."""
    minutes, rest = divmod(round(at), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fine = f"{hours}:{minutes:02}:{rest:02}" if minutes or rest else f"{hours} h" if hours else ""
    return " ".join(filter(None, (f"{days} d" if days else "", fine)))


def short(value: float) -> str:
    """A duration in as few characters as will do: `12 s`, `4.5 min`, `20 min`, `3.2 h`, `2 d`."""
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= unit:
            return f"{value / unit:.2g} {name}" if value < 99.5 * unit else f"{value / unit:.0f} {name}"
    return f"{value:.2g} s" if value >= 1 else f"{value * 1000:.0f} ms"


def cut_label(cut: Piece) -> str:
    """How much time a span that is cut short stands for."""
    return short(cut.end - cut.begin)
