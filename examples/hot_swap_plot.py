"""What `hot_swap.py` has seen, drawn: as text for a terminal, and as a picture (SVG)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from attrs import define, field, frozen


@frozen
class Answer:
    """Somebody was served: asked at `at`, answered `took` later, by the engine of this generation."""

    at: float
    took: float
    generation: int


@define
class Run:
    """One change of model under load. All times are in seconds since the load began.

    `moments` has what happened, with its time; `refused` when a lease was refused, `failed` how many answers
    never came.
    """

    strategy: str
    answers: list[Answer] = field(factory=list)
    refused: list[float] = field(factory=list)
    failed: int = 0
    moments: list[tuple[float, str]] = field(factory=list)
    ends: float = 0.0

    @property
    def gap(self) -> float:
        """For how long nobody was let in: from the first refusal to the first answer asked for after it."""
        if not self.refused:
            return 0.0
        first = min(self.refused)
        return min((one.at for one in self.answers if one.at >= first), default=self.ends) - first

    @property
    def summary(self) -> str:
        """How it went, in a line."""
        took = statistics.median(one.took for one in self.answers) if self.answers else 0.0
        gap = f"nobody was let in for {self.gap:.2f} s" if self.refused else "there was no gap"
        counts = f"{len(self.answers)} answers, half of them within {took * 1e3:.0f} ms"
        return f"{counts}; {len(self.refused)} refusals, {self.failed} failures: {gap}"


# --- as text -------------------------------------------------------------------------------------------

BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 90


def as_text(run: Run, highest: float) -> str:
    """A column for each of `COLUMNS` equal parts of the time: latency, who answered, what was refused."""
    part = run.ends / COLUMNS
    columns: list[list[Answer]] = [[] for _ in range(COLUMNS)]
    refused = [0] * COLUMNS
    for one in run.answers:
        columns[_column(one.at, part)].append(one)
    for at in run.refused:
        refused[_column(at, part)] += 1
    marks = [" "] * COLUMNS
    for number, (at, _) in enumerate(run.moments, 1):
        marks[_column(at, part)] = str(number)
    rows = {
        "latency": "".join(_bar(column, highest) for column in columns),
        "engine": "".join(
            str(max(one.generation for one in column)) if column else " " for column in columns
        ),
        "refused": "".join("x" if count else " " for count in refused),
        "": "".join(marks),
    }
    lines = [f"{name:>9} {row}" for name, row in rows.items() if row.strip()]
    told = (f"{'':>9} {number} {at:6.2f} s  {what}" for number, (at, what) in enumerate(run.moments, 1))
    return "\n".join((*lines, *told))


def _column(at: float, part: float) -> int:
    return max(0, min(COLUMNS - 1, int(at / part)))


def _bar(column: list[Answer], highest: float) -> str:
    if not column:
        return " "
    took = statistics.median(one.took for one in column)
    return BARS[min(len(BARS) - 1, int(len(BARS) * took / highest))]


def high(runs: Iterable[Run]) -> float:
    """A latency that nearly all answers stay below: the top of every plot, so that they can be compared."""
    took = sorted(one.took for run in runs for one in run.answers)
    return took[int(0.99 * (len(took) - 1))] * 1.1 if took else 1.0


# --- as a picture --------------------------------------------------------------------------------------

WIDTH, HEIGHT = 960, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 84, 34
ROWS = 3
"""How many lines of words there are above a plot, so that none lies on another."""

HALO = 'stroke="white" stroke-width="4" paint-order="stroke"'
FONT = 'font-family="sans-serif" font-size="12"'
COLOURS = {1: "#3b6fb6", 2: "#2c8f57"}
REFUSED, GAP, INK, FAINT = "#c0392b", "#f6dedb", "#333333", "#dddddd"


def as_svg(runs: list[Run], title: str) -> str:
    """One panel for each run, all to the same scale."""
    highest, longest = high(runs), max(run.ends for run in runs)
    panels = [
        line
        for number, run in enumerate(runs)
        for line in _Panel(run, 40 + number * (TOP + HEIGHT + BOTTOM), longest, highest).lines()
    ]
    height = 40 + len(runs) * (TOP + HEIGHT + BOTTOM) + 30
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            _text(title, LEFT, 26, INK, 'font-size="15" font-weight="bold"'),
            *panels,
            *_legend(height - 14),
            "</svg>\n",
        )
    )


@frozen
class _Panel:
    """The picture of one run, `top` below the upper edge."""

    run: Run
    top: float
    longest: float
    highest: float

    def lines(self) -> Iterator[str]:
        """All of it, from back to front."""
        yield _text(
            f"{self.run.strategy}: {self.run.summary}", LEFT, self.top + 20, INK, 'font-weight="bold"'
        )
        yield from self._gap()
        yield from self._axes()
        yield from self._answers()
        for at in self.run.refused:
            yield _line((self.x(at), self._upper), (self.x(at), self._upper + 9), REFUSED, "1.2")
        yield from self._moments()

    def x(self, at: float) -> float:
        """Where a time is."""
        return LEFT + (WIDTH - LEFT - RIGHT) * at / self.longest

    def y(self, took: float) -> float:
        """Where a latency is; what is higher than all that is shown stands at the top."""
        return self._lower - HEIGHT * min(1.0, took / self.highest)

    @property
    def _upper(self) -> float:
        return self.top + TOP

    @property
    def _lower(self) -> float:
        return self.top + TOP + HEIGHT

    def _gap(self) -> Iterator[str]:
        if self.run.gap:
            first = min(self.run.refused)
            x, width = self.x(first), self.x(first + self.run.gap) - self.x(first)
            place = f'x="{x:.1f}" y="{self._upper:.1f}" width="{width:.1f}" height="{HEIGHT}"'
            yield f'<rect {place} fill="{GAP}"/>'

    def _axes(self) -> Iterator[str]:
        step = _round(self.highest / 3)
        for number in range(4):
            if number * step <= self.highest:
                y = self.y(number * step)
                yield _line((LEFT, y), (WIDTH - RIGHT, y), FAINT)
                yield _text(f"{number * step * 1e3:.0f} ms", LEFT - 8, y + 4, INK, 'text-anchor="end"')
        for second in range(int(self.longest) + 1):
            yield _text(f"{second} s", self.x(second), self._lower + 18, INK, 'text-anchor="middle"')
            yield _line((self.x(second), self._lower), (self.x(second), self._lower + 4), INK)

    def _answers(self) -> Iterator[str]:
        for one in self.run.answers:
            colour = COLOURS.get(one.generation, INK)
            yield f'<circle cx="{self.x(one.at):.1f}" cy="{self.y(one.took):.1f}" r="2" fill="{colour}"/>'

    def _moments(self) -> Iterator[str]:
        """Each at its line; what would lie on the words before it is a line higher."""
        free = [0.0] * ROWS
        words = []
        for at, what in self.run.moments:
            x = self.x(at)
            row = next((row for row in range(ROWS) if free[row] <= x), ROWS - 1)
            free[row] = x + 7.0 * len(what) + 12
            y = self._upper - 8 - 16 * row
            yield _line((x, y - 10), (x, self._lower), INK, "1", 'stroke-dasharray="3 3"')
            words.append(_text(what, x + 4, y, INK, HALO))
        yield from words  # last, so that no line of another one goes through them


def _round(value: float) -> float:
    """Something near it that is easy to read: 1, 2 or 5, with noughts."""
    size = 1e-6
    while size * 10 <= value:
        size *= 10
    return max(step * size for step in (1, 2, 5) if step * size <= value or step == 1)


def _legend(y: float) -> Iterator[str]:
    entries = (("the old engine", COLOURS[1]), ("the new engine", COLOURS[2]), ("a refused lease", REFUSED))
    x = float(LEFT)
    for words, colour in entries:
        yield f'<circle cx="{x:.0f}" cy="{y - 4:.0f}" r="4" fill="{colour}"/>'
        yield _text(words, x + 10, y, INK)
        x += 140


def _text(words: str, x: float, y: float, colour: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" {more}>{escape(words)}</text>'


def _line(
    begin: tuple[float, float], end: tuple[float, float], colour: str, width: str = "1", more: str = ""
) -> str:
    (x1, y1), (x2, y2) = begin, end
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}" {more}/>'
