"""The picture of a timeline."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_lifecycle.simulation import Action, Run, Timeline, picture
from pool_lifecycle.simulation.picture import WIDTH
from pool_lifecycle.simulation.trace import REASONS, WISHES
from tests.replays import a_config, a_pool, played, runs

SVG = "{http://www.w3.org/2000/svg}"


def drawn(timeline: Timeline, title: str = "a title") -> ET.Element:
    """The drawing, parsed."""
    return ET.fromstring(picture(timeline, title))


def texts(drawing: ET.Element) -> list[str]:
    """Every text, in order."""
    return [one.text or "" for one in drawing.iter(f"{SVG}text")]


def titles(drawing: ET.Element) -> list[str]:
    """What is shown where a pointer rests."""
    return [one.text or "" for one in drawing.iter(f"{SVG}title")]


def test_it_says_what_people_look_for() -> None:
    """The pool, what it is in sum, its states, its failures, its circuit, and what the colours mean."""
    said = texts(drawn(played(*runs(3.5, 3.5, 3.5, 3.5, 3.5))))
    for part in ("a title", "chat", "general", "exit", "ready", "back-off 8 s", "failed", "5 min", "0:10"):
        assert part in said
    assert any(one.startswith("served ") and one.endswith("5 restarts · longest wait 5 min") for one in said)
    assert said[-9:] == [
        *("starting", "ready", "back-off", "failed"),
        *("circuit closed", "circuit open", "circuit half-open", "failure", "cut short: nothing happens"),
    ]


def test_the_legend_has_only_what_there_is() -> None:
    """A quiet pool needs no red."""
    said = texts(drawn(played(*runs(100.0), until=50.0)))
    assert {"starting", "ready"} <= set(said)
    assert not {"failed", "failure", "circuit open", "operator or storm"} & set(said)


def test_a_pointer_is_told_why() -> None:
    """The row's reason, times, what the verdict says, and what operators could not do."""
    actions = [Action("chat", 2.0, "allow_one"), Action("chat", 8.0, "drain")]
    said = titles(drawn(played(*runs(5.0, reason="cuda"), actions=actions)))
    for part in (
        "ready: our own process answered that it is ready, 0:00:00.5 - 0:00:05.5 (5.0 s)",
        "0:00:02.0 operator: allow_one not possible while ready",
        "0:00:08.0 operator: drain",
    ):
        assert part in said
    assert any(one.startswith("0:00:05.5 cuda: run failed: ") for one in said)


def test_a_shared_circuit_is_drawn_once() -> None:
    """Below all pools, with their names where a pointer rests."""
    pools = a_pool("a", device_mask="0"), a_pool("b", device_mask="0")
    drawing = drawn(played(Run("a", "cuda", 5), Run("b", "cuda", 5), config=a_config(*pools)))
    assert texts(drawing).count("device 0") == 1
    assert any(one.startswith("device 0 open, shared by a, b, ") for one in titles(drawing))


def test_what_is_short_is_drawn_over_what_is_long() -> None:
    """A back-off of a second in a week is a line across the green."""
    said = titles(drawn(played(*runs(500_000.0))))
    lanes = [one.partition(":")[0] for one in said if one.startswith(("ready", "back-off", "starting"))]
    assert lanes == ["ready", "ready", "back-off", "starting", "starting"]


def test_names_cannot_break_the_drawing() -> None:
    """A title is a file's name, and that may be anything."""
    timeline = played(*runs(1.0))
    assert texts(drawn(timeline, '<a> & "b"'))[0] == '<a> & "b"'
    assert titles(drawn(timeline, "</svg>"))[0] == "</svg>"


def test_a_long_name_is_cut() -> None:
    """It must not run into its lane."""
    name = "x" * 63
    said = texts(drawn(played(Run(name, "exit", 1.0), config=a_config(a_pool(name)))))
    assert [one for one in said if one.startswith("xxx")] == ["x" * 14 + "…"]


RUNS = st.builds(
    Run,
    st.sampled_from("ab"),
    st.sampled_from([one for one in REASONS if one not in {"hang", "health"}]),
    st.sampled_from([0.0, 0.3, 2.0, 40.0, 4000.0]),
)
ACTIONS = st.builds(
    Action, st.sampled_from("ab"), st.sampled_from([0.0, 0.5, 1.0, 30.0, 400.0]), st.sampled_from(WISHES)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(RUNS, max_size=12), st.lists(ACTIONS, max_size=4))
def test_whatever_happens_can_be_drawn(given: list[Run], actions: list[Action]) -> None:
    """Any trace, within the picture's width, the same twice; the states of a pool fill its lane."""
    actions.sort(key=lambda one: one.at)
    config = a_config(a_pool("a", device_mask="0"), a_pool("b", device_mask="0"))
    timeline = played(*given, config=config, actions=actions, until=20_000.0)
    assert timeline == played(*given, config=config, actions=actions, until=20_000.0)
    drawing = drawn(timeline)
    for rect in drawing.iter(f"{SVG}rect"):
        left, wide = float(rect.get("x", 0)), float(rect.get("width", 0))
        assert left >= 0
        assert left + wide <= WIDTH
    for pool in timeline.pools:
        assert sum(span.end - span.begin for span in pool.spans) == pytest.approx(timeline.end)
