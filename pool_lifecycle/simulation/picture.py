"""Draws a timeline as SVG: a lane for each pool, below it one for each circuit that moved. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar
from xml.sax.saxutils import escape

from attrs import define, field, frozen

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.drawing import FONT, GREY, PALETTE, Point
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.simulation.axis import Axis, cut_label, short
from pool_lifecycle.simulation.labels import Mark, labels
from pool_lifecycle.simulation.report import clock
from pool_lifecycle.simulation.timeline import Attempt, CircuitLife, CircuitSpan, PoolLife, Span, Timeline
from pool_lifecycle.wording import plural, seconds

S, B = PoolState, BreakerState
AnySpan = TypeVar("AnySpan", Span, CircuitSpan)

WIDTH, LEFT, RIGHT, MARGIN = 1180.0, 132.0, 26.0, 18.0
PLOT = WIDTH - LEFT - RIGHT
TOP, HEAD, BAR, THIN, STEP, BETWEEN, FOOT = 76.0, 18.0, 26.0, 9.0, 15.0, 20.0, 24.0
MARKS = 25.0
"""Height of a row of marks above a lane."""

SLASH = 16.0
"""Width, at the end of a span that is cut short, that belongs to the mark of the cut."""

ITALIC = {"font-style": "italic"}
DARK, LINES, PALE, RED, BLUE = "#1c2430", "#e3e8ee", "#f3f5f8", PALETTE[6], PALETTE[1]

LOOKS: dict[PoolState, tuple[str, str, str]] = {
    S.STAGING: ("starting", BLUE, "#ffffff"),
    S.STARTING: ("starting", BLUE, "#ffffff"),
    S.READY: ("ready", PALETTE[3], "#ffffff"),
    S.DRAINING: ("draining", PALETTE[2], "#ffffff"),
    S.STOPPING: ("ending", PALETTE[9], "#ffffff"),
    S.RECOVERING: ("ending", PALETTE[9], "#ffffff"),
    S.BACKING_OFF: ("back-off", "#eab54c", DARK),
    S.FAILED: ("failed", RED, "#ffffff"),
    S.STUCK: ("failed", RED, "#ffffff"),
    S.STOPPED: ("stopped", "#c3cad3", DARK),
}
"""What a state is called, and its colours: of the bar, of the words on it."""

CIRCUIT_LOOKS: dict[BreakerState, tuple[str, str]] = {
    B.CLOSED: ("closed", "#bfe3c8"),
    B.OPEN: ("open", RED),
    B.HALF_OPEN: ("half-open", "#eab54c"),
    B.TRIAL: ("half-open", "#eab54c"),
}


@frozen
class Sign:
    """What stands at a time above a lane: a path around its middle."""

    what: str
    path: str
    colour: str

    def drawn(self, x: float, y: float, told: str) -> str:
        """With its middle at (x, y)."""
        title = f"<title>{escape(told)}</title>" if told else ""
        look = f'fill="none" stroke="{self.colour}" stroke-width="2"'
        return f'<path transform="translate({x:.2f} {y:g})" d="{self.path}" {look}>{title}</path>'

    def sample(self, x: float, y: float) -> str:
        """As it is in the legend, where other samples are wider."""
        return self.drawn(x + 8, y, "")


CRASH = Sign("failure", "M-3.5 -3.5L3.5 3.5M3.5 -3.5L-3.5 3.5", RED)
ACT = Sign("operator or storm", "M-4 -3H4L0 3Z", BLUE)


def picture(timeline: Timeline, title: str = "simulation") -> str:
    """The drawing, as the text of an SVG file."""
    sketch = Sketch(timeline)
    y = TOP
    for pool in timeline.pools:
        y = sketch.pool(pool, y) + BETWEEN
    if timeline.shared:
        y = sketch.circuits(timeline.shared, y, mark_pools=True) + BETWEEN
    height = sketch.legend(y + 26) + FOOT
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" {FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH:g}" height="{height:g}" rx="10" fill="#ffffff"/>',
        _text(title, MARGIN, 28, size=15, weight=600, colour=DARK),
        *sketch.scale(y - BETWEEN / 2),
    ]
    return "\n".join([*head, *sketch.lines, "</svg>"]) + "\n"


@define(eq=False)
class Sketch:
    """A drawing under way."""

    timeline: Timeline
    lines: list[str] = field(factory=list)
    axis: Axis = field(init=False)
    _seen: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.axis = Axis.of(_times(self.timeline), left=LEFT, width=PLOT)

    # --- the scale -----------------------------------------------------------------------------------------

    def scale(self, bottom: float) -> Iterator[str]:
        """The axis at the top, and what of it goes down to `bottom` behind the lanes."""
        y = TOP - 10
        for cut in self.axis.cuts:
            wide = cut.right - cut.left
            yield _rect((cut.left, y), (wide, bottom - y), PALE)
            middle = cut.left + wide / 2
            yield _text(cut_label(cut), middle, y - 8, anchor="middle", colour=GREY, **ITALIC)
        for tick in self.axis.ticks():
            yield _line((tick.x, y), (tick.x, bottom), LINES)
            yield _text(tick.label, tick.x, y - 8, anchor="middle", colour=DARK)
        for piece in self.axis.pieces:
            dashes = ' stroke-dasharray="2 3"' if piece.cut else ""
            yield _line((piece.left, y), (piece.right, y), GREY, dashes)

    # --- lanes ---------------------------------------------------------------------------------------------

    def pool(self, pool: PoolLife, y: float) -> float:
        """A pool's lane and those of its circuits, from `y` on; returns where they end."""
        rim = {"stroke": "#ffffff", "stroke-width": 4, "stroke-linejoin": "round"}
        self.lines.append(_text(_sums(pool), LEFT, y + 12, colour="#ffffff", **rim))
        self.lines.append(_text(_sums(pool), LEFT, y + 12, colour=GREY))
        acts, crashes = self._acts(pool), self._crashes(pool)
        y += HEAD + MARKS * bool(acts) + MARKS * bool(crashes)
        self.lines.append(
            _text(pool.pool_id, MARGIN, y + 17, size=13, weight=600, colour=DARK, fit=LEFT - 28)
        )
        for span in _longest_first(pool.spans):
            name, colour, _ = LOOKS[span.state]
            self._bar(span, y, BAR, colour, f"{name}: {span.why}")
        for span in pool.spans:
            self._words(span, y)
        self._slashes(y, BAR)
        self._marks(crashes, y, CRASH)
        self._marks(acts, y - MARKS * bool(crashes), ACT)
        return self.circuits(pool.circuits, y + BAR + 7) if pool.circuits else y + BAR

    def circuits(self, circuits: Sequence[CircuitLife], y: float, *, mark_pools: bool = False) -> float:
        """The lanes of some circuits; with `mark_pools` it is said which pools they concern."""
        for circuit in circuits:
            self.lines.append(_text(circuit.name, 28, y + 8.5, colour=GREY, fit=LEFT - 38))
            pools = f", shared by {', '.join(circuit.pools)}" if mark_pools else ""
            for span in _longest_first(circuit.spans):
                name, colour = CIRCUIT_LOOKS[span.state]
                self._seen.add(f"circuit {name}")
                failures = f" after {plural(span.failures, 'failure')}" if span.failures else ""
                self._bar(span, y, THIN, colour, f"{circuit.name} {name}{failures}{pools}")
            self._slashes(y, THIN)
            y += STEP
        return y - STEP + THIN

    def _words(self, span: Span, y: float) -> None:
        name, _, ink = LOOKS[span.state]
        self._seen.add(name)
        left, right = self._room(self.axis.x(span.begin), self.axis.x(span.end))
        lasts = short(span.end - span.begin)
        for said in (f"{name} {lasts}", name, lasts) if span.state is not S.READY else (name,):
            if len(said) * 6.2 + 8 <= right - left:
                self.lines.append(_text(said, (left + right) / 2, y + 17, anchor="middle", colour=ink))
                return

    def _bar(self, span: Span | CircuitSpan, y: float, high: float, colour: str, told: str) -> None:
        left = self.axis.x(span.begin)
        wide = max(self.axis.x(span.end) - left, 0.75)
        if span.end > span.begin:
            when = f"{clock(span.begin)} - {clock(span.end)} ({seconds(span.end - span.begin)})"
            self.lines.append(_rect((left, y), (wide, high), colour, f"{told}, {when}"))

    def _room(self, left: float, right: float) -> tuple[float, float]:
        """The widest part between two places that no cut is marked in."""
        edges = [left]
        for cut in self.axis.cuts:
            if left < cut.right <= right:
                edges += [cut.right - SLASH, cut.right]
        edges.append(right)
        return max(zip(edges[::2], edges[1::2], strict=True), key=lambda part: part[1] - part[0])

    def _slashes(self, y: float, high: float) -> None:
        """The marks of the cuts across a lane."""
        for cut in self.axis.cuts:
            for x in (cut.right - 11, cut.right - 6):
                ends = (x - 2.5, y + high + 2), (x + 2.5, y - 2)
                self.lines.append(_line(*ends, "#ffffff", ' stroke-width="2"'))

    # --- marks ---------------------------------------------------------------------------------------------

    def _crashes(self, pool: PoolLife) -> list[Mark]:
        return [
            Mark(self.axis.x(one.end), one.ended_as, f"{clock(one.end)} {_ending(one)}")
            for one in pool.attempts
            if one.failed and one.end is not None
        ]

    def _acts(self, pool: PoolLife) -> list[Mark]:
        acts = [
            Mark(
                self.axis.x(one.at), one.wish, f"{clock(one.at)} operator: {one.wish} {one.refused}".rstrip()
            )
            for one in pool.acts
        ]
        storms = [
            Mark(self.axis.x(one.at), one.kind, f"{clock(one.at)} {one.kind}: {one.remedy}")
            for one in pool.storms
        ]
        return sorted(acts + storms, key=lambda mark: mark.x)

    def _marks(self, marks: list[Mark], y: float, sign: Sign) -> None:
        """Signs just above `y`, and above these as many labels as there is room for."""
        self._seen.update(sign.what for _ in marks[:1])
        for mark in marks:
            self.lines.append(sign.drawn(mark.x, y - 5, mark.told))
        for label in labels(marks, LEFT, LEFT + PLOT):
            self.lines.append(
                _text(label.said, label.x, y - 14, anchor="middle", colour=sign.colour, weight=600)
            )

    # --- the legend ----------------------------------------------------------------------------------------

    def legend(self, y: float) -> float:
        """What the colours and signs mean that are in the drawing; returns where it ends."""
        x = MARGIN
        for said, sample in self._samples():
            wide = 36 + 6.2 * len(said)
            if x + wide > WIDTH and x > MARGIN:
                x, y = MARGIN, y + 20
            self.lines += [sample(x, y - 4), _text(said, x + 22, y, colour=GREY)]
            x += wide
        return y

    def _samples(self) -> Iterator[tuple[str, Callable[[float, float], str]]]:
        for said, colour in _COLOURS.items():
            if said in self._seen:
                yield said, partial(_sample, colour)
        for sign in (CRASH, ACT):
            if sign.what in self._seen:
                yield sign.what, sign.sample
        if self.axis.cuts:
            yield "cut short: nothing happens", partial(_sample, PALE)


_COLOURS = {
    **{name: colour for name, colour, _ in LOOKS.values()},
    **{f"circuit {name}": colour for name, colour in CIRCUIT_LOOKS.values()},
}


def _sample(colour: str, x: float, y: float) -> str:
    return _rect((x, y - 5), (16, 11), colour)


def _times(timeline: Timeline) -> Iterator[float]:
    """When anything happens."""
    yield from (0.0, timeline.end)
    for pool in timeline.pools:
        yield from (span.end for span in pool.spans)
        yield from (act.at for act in pool.acts)
        yield from (one.begin for circuit in pool.circuits for one in circuit.spans)
    yield from (one.begin for circuit in timeline.shared for one in circuit.spans)


def _longest_first(spans: Iterable[AnySpan]) -> list[AnySpan]:
    """So that short ones, which would be too thin to be seen, are drawn over the others."""
    return sorted(spans, key=lambda span: span.begin - span.end)


def _sums(pool: PoolLife) -> str:
    whole = pool.served + pool.down
    share = f"served {100 * pool.served / whole:.1f} % of {short(whole)}" if whole else "not wanted"
    waits = f" · longest wait {short(pool.longest_wait)}" if pool.restarts else ""
    on = f" · on device {', '.join(pool.devices)}" if pool.devices else ""
    return f"{share} · {plural(pool.restarts, 'restart')}{waits}{on}"


def _ending(one: Attempt) -> str:
    return f"{one.ended_as}: {one.told}" if one.told else one.ended_as


# --- the text of the file ------------------------------------------------------------------------------


def _rect(corner: Point, size: Point, colour: str, told: str = "") -> str:
    (x, y), (wide, high) = corner, size
    shape = f'<rect x="{x:.2f}" y="{y:g}" width="{wide:.2f}" height="{high:g}" fill="{colour}"'
    return f"{shape}><title>{escape(told)}</title></rect>" if told else f"{shape}/>"


def _line(begin: Point, end: Point, colour: str, more: str = "") -> str:
    (x1, y1), (x2, y2) = begin, end
    return f'<path d="M{x1:.2f} {y1:g}L{x2:.2f} {y2:g}" stroke="{colour}"{more}/>'


def _text(said: str, x: float, y: float, **look: object) -> str:
    """`fit` is how wide it may be."""
    names = {"colour": "fill", "size": "font-size", "weight": "font-weight", "anchor": "text-anchor"}
    fit = look.pop("fit", None)
    assert fit is None or isinstance(fit, float)
    if fit is not None and len(said) * 6.6 > fit:
        said = f"{said[: int(fit / 6.6) - 1]}…"
    attributes = "".join(f' {names.get(name, name)}="{value}"' for name, value in look.items())
    return f'<text x="{x:.2f}" y="{y:g}"{attributes}>{escape(said)}</text>'
