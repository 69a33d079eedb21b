"""Frozen values are written as JSON and read again as their type hints say."""

from __future__ import annotations

import enum
from typing import Any

import attrs
import pytest
from attrs import frozen

from pool_lifecycle.json_codec import Law, Malformed, Memory, parsed, record


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Point:
    x: float


@frozen
class Picture:
    name: str
    colour: Colour
    points: tuple[Point, ...] = ()
    frame: Point | None = None
    marks: tuple[tuple[str, int], ...] = ()
    seen: bool = False


def codec(kind: type[attrs.AttrsInstance], **options: Any) -> Any:
    """Of a class of which nothing particular is known."""
    return record(kind, **{"apart": {}, "laws": {}, "fleeting": frozenset(), **options})


PICTURE = Picture("a", Colour.BLUE, (Point(1.0), Point(0.1)), Point(-2.5), (("m", 3),), seen=True)
TEXT = (
    '{"name":"a","colour":"blue","points":[{"x":1.0},{"x":0.1}],"frame":{"x":-2.5},"marks":[["m",3]],'
    '"seen":true}'
)


@pytest.mark.parametrize("fleeting", [frozenset(), frozenset({Picture}), frozenset({Picture, Point})])
def test_one_key_for_each_field(fleeting: frozenset[type]) -> None:
    """Named as the field, in its order, however the text is remembered; and nothing else."""
    form = codec(Picture, fleeting=fleeting)
    assert form.write(PICTURE, Memory()) == TEXT
    assert form.read(parsed(TEXT)) == PICTURE


def test_what_is_apart_is_not_written() -> None:
    """It has the value that was given instead, when it is read."""
    form = codec(Picture, apart={Picture: {"points": (), "seen": False}})
    text = form.write(PICTURE, Memory())
    assert text == '{"name":"a","colour":"blue","frame":{"x":-2.5},"marks":[["m",3]]}'
    assert form.read(parsed(text)) == attrs.evolve(PICTURE, points=(), seen=False)


def test_laws_hold_of_what_is_read() -> None:
    """At any depth: the place is named, and what belongs there."""
    law = Law("x", "must not be below 0", lambda point: point.x >= 0)
    form = codec(Picture, laws={Point: (law,)})
    with pytest.raises(Malformed) as caught:
        form.read(parsed(TEXT))
    assert str(caught.value) == "frame.x must not be below 0"
    assert (caught.value.key, caught.value.valid) == ("frame.x", "must not be below 0")


def test_an_older_layout_can_be_made_todays() -> None:
    """Between text and values there are plain dicts, in which a migration may change what it likes."""
    document = parsed(TEXT.replace('"colour"', '"color"'))
    document["colour"] = document.pop("color")
    assert codec(Picture).read(document) == PICTURE


def test_what_is_remembered_is_not_written_again() -> None:
    """The same object has the same text, for as long as it is remembered."""
    memory, form = Memory(), codec(Picture)
    first = form.write(PICTURE, memory)
    assert form.write(PICTURE, memory) is first
    memory.parts.clear()
    assert form.write(PICTURE, memory) == first


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udc80x", "\u2028", '"\\', "\U0001f600", "x" * 10**5])
def test_every_text_comes_back(text: str) -> None:
    """Also what is no valid UTF-8: the written one is plain ASCII."""
    form = codec(Picture)
    written = form.write(Picture(text, Colour.RED), Memory())
    assert written.isascii()
    assert form.read(parsed(written)).name == text


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-308, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, -0.0])
def test_every_number_comes_back(number: float) -> None:
    """To the last bit."""
    form = codec(Point)
    assert repr(form.read(parsed(form.write(Point(number), Memory()))).x) == repr(number)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("5", "the document must be an object"),
        ("[1.0]", "the document must be an object"),
        ("{}", "x must be there"),
        ('{"y": 1.0}', "x must be there"),
        ('{"x": 1.0, "y": 1.0}', "y is no key that is known"),
        ('{"x": null}', "x must be a finite number"),
        ('{"x": 9007199254740993}', "x must be a finite number"),
        ('{"x": 1.0', "the document must be JSON, as it was written here"),
        ('{"x": 1.0, "x": 2.0}', "the document must have every key only once"),
    ],
)
def test_what_is_wrong_is_named(document: str, sentence: str) -> None:
    """The key, and what would be valid; nothing of what was found."""
    with pytest.raises(Malformed) as caught:
        codec(Point).read(parsed(document))
    assert str(caught.value) == sentence


def test_whole_numbers_may_stand_for_others() -> None:
    """Many programs that people use on JSON write 5 for 5.0."""
    found = codec(Point).read(parsed('{"x": 5}')).x
    assert (found, type(found)) == (5.0, float)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": 5}, "name must be a string"),
        ({"colour": "green"}, 'colour must be one of "red", "blue"'),
        ({"colour": []}, 'colour must be one of "red", "blue"'),
        ({"points": None}, "points must be a list, of which each must be an object"),
        ({"points": (Point(1.0), 5)}, "points.1 must be an object"),
        ({"points": (Point("1"),)}, "points.0.x must be a finite number"),  # type: ignore[arg-type]
        ({"frame": Colour.RED}, "frame must be an object"),
        (
            {"marks": (("m",),)},
            "marks.0 must be a list of 2: the first must be a string, the next must be a whole",
        ),
    ],
)
@pytest.mark.parametrize("fleeting", [frozenset(), frozenset({Picture})])
def test_what_cannot_be_written_is_named(
    changes: dict[str, Any], sentence: str, fleeting: frozenset[type]
) -> None:
    """As when it is read."""
    with pytest.raises(Malformed) as caught:
        codec(Picture, fleeting=fleeting).write(attrs.evolve(PICTURE, **changes), Memory())
    assert str(caught.value).startswith(sentence)


def test_what_cannot_be_stored_is_refused_when_it_is_declared() -> None:
    """Not when a pool has it for the first time."""

    @frozen
    class Odd:
        odd: dict[str, int]

    with pytest.raises(TypeError, match="has no shape that is known"):
        codec(Odd)
