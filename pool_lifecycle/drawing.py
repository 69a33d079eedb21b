"""Draws boxes on a grid with arrows between them, as SVG. Deterministic: no clock, no chance, no fonts.

An arrow between neighbours is straight. Any other leaves its box by the top or bottom and runs along a lane
between two rows of boxes; arrows to the same box share a lane, like lines of a railway map, and have the
colour of that box. The lanes are put in the order that crosses least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import permutations
from xml.sax.saxutils import escape

from attrs import evolve, field, frozen

WIDTH, HEIGHT, GAP = 150.0, 48.0, 92.0
MARGIN, LANE, BAND = 34.0, 22.0, 24.0
LINE, CORNER, PAIR = 13.0, 7.0, 11.0
LONGEST = 40
MOST_LANES = 6

PALETTE = (
    "#59636f", "#1f6fb4", "#0b8384", "#2a8c4a", "#a87400", "#cf5a17",
    "#c0303a", "#66700a", "#8b3fa8", "#7a4a2b",
)  # fmt: skip
FILLS = {"serving": "#d9f2df", "live": "#fff0c9", "rest": "#eef1f6"}
LEGEND = (
    ("serving", "leases are granted"),
    ("live", "the engine lives, no lease is granted"),
    ("rest", "no engine serves"),
)
GREY = "#59636f"
FONT = 'font-family="system-ui, DejaVu Sans, sans-serif" font-size="11"'
BORDERS = "thick border: may last"
COLOURS = "an arrow has the colour of where it leads"

Point = tuple[float, float]


@frozen
class Node:
    """A box at a place of the grid; `look` names its fill, `lasting` gives it a strong border."""

    name: str
    column: int
    row: int
    look: str
    work: str
    lasting: bool


@frozen
class Arrow:
    """From box to box; `labels` are drawn, `why` is shown where a pointer rests."""

    source: str
    target: str
    labels: tuple[str, ...]
    why: str


def draw(
    title: str, nodes: Sequence[Node], arrows: Sequence[Arrow], initial: str, captions: Sequence[str]
) -> str:
    """The drawing, as the text of an SVG file."""
    plan = Plan({node.name: node for node in nodes}, tuple(arrows))
    for channel, targets in plan.channels.items():
        plan = min(_orders(plan, channel, targets), key=lambda one: one.crossings(channel))
    return _written(plan, title, initial, captions)


def _orders(plan: Plan, channel: int, targets: Sequence[str]) -> Iterator[Plan]:
    """The plan with the lanes of a channel in every order, or in the given one if there are too many."""
    for order in permutations(targets) if len(targets) <= MOST_LANES else [tuple(targets)]:
        yield evolve(plan, lanes={**plan.lanes, channel: order})


@frozen(slots=False, eq=False)
class Plan:
    """Where everything is, given the order of the lanes in each channel. Channel n is above row n."""

    boxes: dict[str, Node]
    arrows: tuple[Arrow, ...]
    lanes: dict[int, tuple[str, ...]] = field(factory=dict)

    # --- what kind of way each arrow takes ---------------------------------------------------------------

    @cached_property
    def rows(self) -> int:
        """How many rows of boxes there are."""
        return 1 + max(box.row for box in self.boxes.values())

    @cached_property
    def detours(self) -> list[Arrow]:
        """The arrows that run along a lane."""
        return [arrow for arrow in self.arrows if not self.level(arrow) and not self.upright(arrow)]

    def ends(self, arrow: Arrow) -> tuple[Node, Node]:
        """The boxes at both ends."""
        return self.boxes[arrow.source], self.boxes[arrow.target]

    def level(self, arrow: Arrow) -> bool:
        """Straight along a row, with no box in between."""
        one, two = self.ends(arrow)
        left, right = sorted((one.column, two.column))
        between = [box for box in self.boxes.values() if box.row == one.row and left < box.column < right]
        return one.row == two.row and not between

    def upright(self, arrow: Arrow) -> bool:
        """Straight up or down to the next row."""
        one, two = self.ends(arrow)
        return one.column == two.column and abs(one.row - two.row) == 1

    def channel(self, arrow: Arrow) -> int:
        """Which channel a detour runs through."""
        one, two = self.ends(arrow)
        below = one.row == two.row > 0 and one.row == self.rows - 1
        return max(one.row, two.row) + below

    @cached_property
    def channels(self) -> dict[int, list[str]]:
        """For each channel the boxes that arrows in it lead to."""
        found: dict[int, list[str]] = {}
        for arrow in self.detours:
            targets = found.setdefault(self.channel(arrow), [])
            if arrow.target not in targets:
                targets.append(arrow.target)
        return dict(sorted(found.items()))

    # --- coordinates -------------------------------------------------------------------------------------

    def depth(self, channel: int) -> float:
        """How high a channel is."""
        lanes = len(self.channels.get(channel, ()))
        inner = 0 < channel < self.rows
        return LANE * lanes + BAND * (2 if inner else 1)

    def ceiling(self, channel: int) -> float:
        """Where a channel begins."""
        return MARGIN + sum(self.depth(one) + HEIGHT for one in range(channel))

    def corner(self, box: Node) -> Point:
        """The upper left corner of a box."""
        return 2 * MARGIN + box.column * (WIDTH + GAP), self.ceiling(box.row) + self.depth(box.row)

    def lane(self, channel: int, target: str) -> float:
        """The height of a lane."""
        order = self.lanes.get(channel) or tuple(self.channels[channel])
        return self.ceiling(channel) + BAND * (channel > 0) + LANE * (order.index(target) + 0.5)

    @cached_property
    def size(self) -> Point:
        """How large the drawing is, captions aside."""
        columns = 1 + max(box.column for box in self.boxes.values())
        return 3 * MARGIN + columns * (WIDTH + GAP) - GAP, self.ceiling(self.rows) + self.depth(self.rows)

    # --- where arrows leave and enter --------------------------------------------------------------------

    def port(self, box: Node, arrow: Arrow) -> Point:
        """Where a detour leaves or enters `box`. All that enter by the same channel enter together."""
        channel = self.channel(arrow)
        below = channel > box.row
        left, top = self.corner(box)
        side, keys = self.side(box, below=below), self._port_key(box, arrow)
        alike = [key for key in side if key[0] == keys[0]]
        step = (WIDTH / 2 - (PAIR + 10)) / (len(alike) + 1)
        place = alike.index(keys) + 1
        start = left + (WIDTH / 2 + PAIR + 6 if keys[0] > 0 else 6)
        return start + step * place + (0 if below else 4), top + (HEIGHT if below else 0)

    def side(self, box: Node, *, below: bool) -> list[tuple[int, float, str]]:
        """What leaves or enters on one side of a box, from left to right."""
        found = {
            self._port_key(box, arrow)
            for arrow in self.detours
            if box.name in (arrow.source, arrow.target) and (self.channel(arrow) > box.row) == below
        }
        return sorted(found)

    def _port_key(self, box: Node, arrow: Arrow) -> tuple[int, float, str]:
        """Left-goers on the left, the nearest lane outermost; right-goers the other way round."""
        channel = self.channel(arrow)
        enters = box.name == arrow.target
        others = self._sources(channel, box.name) if enters else [self.boxes[arrow.target]]
        way = 1 if sum(other.column - box.column for other in others) > 0 else -1
        far = abs(self.lane(channel, arrow.target) - self.corner(box)[1])
        return way, -way * far, "" if enters else arrow.target

    def _sources(self, channel: int, target: str) -> list[Node]:
        return [
            self.boxes[one.source]
            for one in self.detours
            if (self.channel(one), one.target) == (channel, target)
        ]

    def track(self, arrow: Arrow) -> list[Point]:
        """The corners of a detour."""
        source, target = self.ends(arrow)
        (x1, y1), (x2, y2) = self.port(source, arrow), self.port(target, arrow)
        y = self.lane(self.channel(arrow), arrow.target)
        return [(x1, y1), (x1, y), (x2, y), (x2, y2)]

    def straight(self, arrow: Arrow) -> list[Point]:
        """Both ends of a straight arrow; beside it there is room for the one that comes back."""
        source, target = self.ends(arrow)
        (x1, y1), (x2, y2) = self.corner(source), self.corner(target)
        returns = any((one.source, one.target) == (arrow.target, arrow.source) for one in self.arrows)
        shift = PAIR if returns else 0.0
        if self.level(arrow):
            right = x2 > x1
            y = y1 + HEIGHT / 2 + (-shift if right else shift)
            return [(x1 + WIDTH * right, y), (x2 + WIDTH * (not right), y)]
        down = y2 > y1
        x = x1 + WIDTH / 2 + (shift if down else -shift)
        return [(x, y1 + HEIGHT * down), (x, y2 + HEIGHT * (not down))]

    def crossings(self, channel: int) -> int:
        """How often lines that lead to different boxes cross in a channel."""
        tracks = [(one.target, self.track(one)) for one in self.detours if self.channel(one) == channel]
        return sum(
            _cross(level, upright)
            for target, (_, left, right, _) in tracks
            for other, corners in tracks
            if other != target
            for level in [(left, right)]
            for upright in (corners[:2], corners[2:])
        )


def _cross(level: tuple[Point, Point], upright: Sequence[Point]) -> bool:
    (x1, y), (x2, _) = level
    (x, y1), (_, y2) = upright
    return min(x1, x2) < x < max(x1, x2) and min(y1, y2) < y < max(y1, y2)


# --- the text of the file --------------------------------------------------------------------------------


def _written(plan: Plan, title: str, initial: str, captions: Sequence[str]) -> str:
    colours = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(plan.boxes)}
    width, height = plan.size
    notes = list(_notes(captions, width))
    height += 30 + 18 * len(notes) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#ffffff"/>',
    ]
    for arrow in plan.arrows:
        lines += _arrow(plan, arrow, colours[arrow.target])
    for box in plan.boxes.values():
        lines += _box(plan, box, colours[box.name])
    lines += _start(plan, initial) if initial in plan.boxes else []
    for arrow in plan.arrows:
        lines += _labels(plan, arrow, colours[arrow.target])
    lines += _legend(plan, plan.size[1] + 26)
    for number, note in enumerate(notes):
        lines.append(_text(note, MARGIN, plan.size[1] + 30 + 18 * (number + 1), "start", GREY))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(plan: Plan, box: Node, colour: str) -> Iterator[str]:
    x, y = plan.corner(box)
    middle = x + WIDTH / 2
    yield (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH:g}" height="{HEIGHT:g}" rx="{10 if box.lasting else 4}" '
        f'fill="{FILLS[box.look]}" stroke="{colour}" stroke-width="{3 if box.lasting else 1.4:g}"/>'
    )
    baseline = y + HEIGHT / 2 + (-2 if box.work else 4.5)
    yield (
        f'<text x="{middle:g}" y="{baseline:g}" text-anchor="middle" font-size="12.5" font-weight="600" '
        f'fill="#1c2430">{escape(box.name)}</text>'
    )
    if box.work:
        yield _text(box.work, middle, baseline + 16, "middle", GREY)


def _start(plan: Plan, initial: str) -> Iterator[str]:
    x, y = plan.corner(plan.boxes[initial])
    y += HEIGHT / 2
    yield f'<circle cx="{x - 32:g}" cy="{y:g}" r="6" fill="#1c2430"/>'
    yield from _line([(x - 26, y), (x, y)], "#1c2430", "")


def _arrow(plan: Plan, arrow: Arrow, colour: str) -> Iterator[str]:
    points = plan.track(arrow) if arrow in plan.detours else plan.straight(arrow)
    yield from _line(points, colour, arrow.why)


def _line(points: Sequence[Point], colour: str, why: str) -> Iterator[str]:
    title = f"<title>{escape(why)}</title>" if why else ""
    yield f'<path d="{_rounded(points)}" fill="none" stroke="{colour}" stroke-width="1.6">{title}</path>'
    (x1, y1), (x2, y2) = points[-2:]
    dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    back, wide = (x2 - 8 * dx, y2 - 8 * dy), (4 * dy, 4 * dx)
    corners = [(x2, y2), (back[0] + wide[0], back[1] + wide[1]), (back[0] - wide[0], back[1] - wide[1])]
    yield f'<polygon points="{" ".join(f"{x:g},{y:g}" for x, y in corners)}" fill="{colour}"/>'


def _rounded(points: Sequence[Point]) -> str:
    """A path along the points, its corners cut round."""
    said = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by) = _towards(corner, before), _towards(corner, after)
        said.append(f"L{ax:g} {ay:g}Q{corner[0]:g} {corner[1]:g} {bx:g} {by:g}")
    return "".join([*said, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(here: Point, there: Point) -> Point:
    dx, dy = there[0] - here[0], there[1] - here[1]
    part = min(CORNER, (abs(dx) + abs(dy)) / 2) / ((abs(dx) + abs(dy)) or 1)
    return here[0] + dx * part, here[1] + dy * part


def _labels(plan: Plan, arrow: Arrow, colour: str) -> Iterator[str]:
    if arrow in plan.detours:
        (x1, _), (_, y), (x2, _), _ = plan.track(arrow)
        anchor, shift = ("start", 8) if x2 > x1 else ("end", -8)
        yield from _label(_in_line(arrow.labels), x1 + shift, y - 4, anchor, colour)
        return
    (x1, y1), (x2, y2) = plan.straight(arrow)
    if plan.level(arrow):
        lines = [part for label in arrow.labels for part in _folded(label)]
        first = y1 - 6 - LINE * (len(lines) - 1) if x2 > x1 else y1 + 15
        for number, line in enumerate(lines):
            yield from _label(line, (x1 + x2) / 2, first + LINE * number, "middle", colour)
        return
    anchor, shift = ("end", -6) if _left_is_free(plan, arrow, x1) else ("start", 6)
    yield from _label(_in_line(arrow.labels), x1 + shift, y1 + 15 if y2 > y1 else y1 - 8, anchor, colour)


def _left_is_free(plan: Plan, arrow: Arrow, x: float) -> bool:
    """Whether there is more room for the label of an upright arrow on its left."""
    source, target = plan.ends(arrow)
    middle = plan.corner(source)[0] + WIDTH / 2
    crowd = sum(key[0] for key in plan.side(source, below=target.row > source.row))
    return x < middle or (x == middle and crowd > 0)


def _in_line(labels: Sequence[str]) -> str:
    """The labels one after the other; without their guards if that gets too long."""
    said = ", ".join(labels)
    return said if len(said) <= LONGEST else ", ".join(_folded(label)[0] for label in labels)


def _folded(label: str) -> list[str]:
    """A guard stands below its event where there is little room."""
    event, _, guard = label.partition(" [")
    return [event, f"[{guard}"] if guard else [event]


def _text(said: str, x: float, y: float, anchor: str, colour: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(said)}</text>'


def _label(said: str, x: float, y: float, anchor: str, colour: str) -> Iterator[str]:
    """Text that is read across lines: it has a rim of white. (`paint-order` is not known everywhere.)"""
    rim = 'stroke="#ffffff" stroke-width="3.5" stroke-linejoin="round"'
    yield _text(said, x, y, anchor, "#ffffff").replace("<text ", f"<text {rim} ")
    yield _text(said, x, y, anchor, colour)


def _legend(plan: Plan, y: float) -> Iterator[str]:
    x, looks = MARGIN, {box.look for box in plan.boxes.values()}
    for look, said in LEGEND:
        if look in looks and len(looks) > 1:
            place = f'x="{x:g}" y="{y - 10:g}" width="18" height="12" rx="3"'
            yield f'<rect {place} fill="{FILLS[look]}" stroke="{GREY}"/>'
            yield _text(said, x + 24, y, "start", GREY)
            x += 40 + 6.2 * len(said)
    yield _text(f"{BORDERS} · {COLOURS}" if len(looks) > 1 else COLOURS, x, y, "start", GREY)


def _notes(captions: Sequence[str], width: float) -> Iterator[str]:
    """The captions, in lines as long as the drawing is wide."""
    line = ""
    for caption in captions:
        if line and len(line) + len(caption) > width / 6.5:
            yield line
            line = ""
        line = f"{line} · {caption}" if line else caption
    if line:
        yield line
