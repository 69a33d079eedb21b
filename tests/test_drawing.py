"""Drawings keep to their page, their lines to their lanes, whatever stands on the grid."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.drawing import GAP, HEIGHT, LANE, WIDTH, Arrow, Node, Plan, draw

PLACES = list(itertools.product(range(4), range(3)))


def node(name: str, column: int, row: int) -> Node:
    """A box of no importance."""
    return Node(name, column, row, "rest", "", lasting=False)


@st.composite
def plans(draw_: st.DrawFn) -> Plan:
    """Up to seven boxes anywhere on a grid of four by three, and up to ten arrows between them."""
    places = draw_(st.lists(st.sampled_from(PLACES), min_size=2, max_size=7, unique=True))
    boxes = {f"s{number}": node(f"s{number}", *place) for number, place in enumerate(places)}
    pairs = [(one, two) for one in boxes for two in boxes if one != two]
    chosen = draw_(st.lists(st.sampled_from(pairs), max_size=10, unique=True))
    return Plan(boxes, tuple(Arrow(one, two, ("go",), "why") for one, two in chosen))


def drawn(plan: Plan) -> str:
    """The text of the drawing."""
    return draw("it", list(plan.boxes.values()), plan.arrows, "s0", ())


@given(plans())
def test_boxes_stand_apart_and_on_the_page(plan: Plan) -> None:
    """No two overlap, and all are within the size the plan says."""
    width, height = plan.size
    corners = [plan.corner(box) for box in plan.boxes.values()]
    assert all(0 < x < width - WIDTH and 0 < y < height - HEIGHT for x, y in corners)
    for (x1, y1), (x2, y2) in itertools.combinations(corners, 2):
        assert abs(x1 - x2) >= WIDTH + GAP or abs(y1 - y2) >= HEIGHT


@given(plans())
def test_lines_begin_and_end_at_their_boxes(plan: Plan) -> None:
    """On the border of the box they leave and of the one they enter, and inside the page."""
    width, height = plan.size
    for arrow in plan.arrows:
        points = plan.track(arrow) if arrow in plan.detours else plan.straight(arrow)
        for box, point in zip(plan.ends(arrow), (points[0], points[-1]), strict=True):
            x, y = plan.corner(box)
            assert point[0] in (x, x + WIDTH) or point[1] in (y, y + HEIGHT)
            assert x <= point[0] <= x + WIDTH
            assert y <= point[1] <= y + HEIGHT
        assert all(0 < x < width and 0 < y < height for x, y in points)


@given(plans())
def test_detours_are_square_and_keep_off_the_rows(plan: Plan) -> None:
    """A lane lies between two rows of boxes, never on one."""
    for arrow in plan.detours:
        (x1, _), (x2, lane), (x3, end), (x4, _) = plan.track(arrow)
        assert (x1, lane, x3) == (x2, end, x4)
        for box in plan.boxes.values():
            top = plan.corner(box)[1]
            assert not top <= lane <= top + HEIGHT


@given(plans())
def test_lines_to_different_boxes_have_different_lanes(plan: Plan) -> None:
    """Only what leads to the same box runs together."""
    lanes = {
        (plan.channel(one), one.target): plan.lane(plan.channel(one), one.target) for one in plan.detours
    }
    assert len(set(lanes.values())) == len(lanes)


@given(plans())
def test_the_drawing_is_well_formed_and_always_the_same(plan: Plan) -> None:
    """It is compared with a checked-in one, so nothing may depend on chance."""
    assert ET.fromstring(drawn(plan)).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawn(plan) == drawn(plan)


def test_the_lanes_are_put_where_they_cross_least() -> None:
    """Two arrows that need not cross do not."""
    boxes = {name: node(name, column, 0) for column, name in enumerate("abcde")}
    arrows = (Arrow("a", "e", ("far",), ""), Arrow("b", "d", ("near",), ""))
    assert Plan(boxes, arrows, {0: ("d", "e")}).crossings(0) == 2
    assert Plan(boxes, arrows, {0: ("e", "d")}).crossings(0) == 0
    for ordered in (arrows, arrows[::-1]):
        text = draw("it", list(boxes.values()), ordered, "a", ())
        assert _height_of_lane(text, "far") == _height_of_lane(text, "near") - LANE


def _height_of_lane(text: str, label: str) -> float:
    return next(float(one.attrib["y"]) for one in ET.fromstring(text).iter() if one.text == label)


def test_what_is_said_is_escaped() -> None:
    """A name can be anything."""
    box = evolve(node("s0", 0, 0), name="<s0>")
    text = draw("<&>", [box, node("s1", 1, 0)], [Arrow("<s0>", "s1", ("<x>",), "a & b")], "<s0>", ["c < d"])
    said = {one.text for one in ET.fromstring(text).iter()}
    assert {"<&>", "<s0>", "<x>", "a & b", "c < d"} <= said
