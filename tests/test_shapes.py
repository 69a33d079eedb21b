"""What the fields of frozen values can hold is read from their type hints, or refused."""

from __future__ import annotations

import enum
from typing import Any, Optional

import attrs
import pytest
from attrs import frozen

from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Passage
from pool_lifecycle.shapes import Many, Maybe, Plain, Record, Row, fields_of, shape_of


class Colour(enum.StrEnum):
    RED = "red"


@frozen
class Pair:
    colour: Colour
    numbers: tuple[float, ...] = ()
    name: str | None = None


@pytest.mark.parametrize(
    ("hint", "shape"),
    [
        (str, Plain(str)),
        (bool, Plain(bool)),
        (Colour, Plain(Colour)),
        (Pair, Record(Pair)),
        (int | None, Maybe(Plain(int))),
        (Optional[int], Maybe(Plain(int))),  # noqa: UP045 - as others may write it
        (tuple[Pair, ...], Many(Record(Pair))),
        (tuple[tuple[str, float], ...], Many(Row((Plain(str), Plain(float))))),
        (tuple[Pair, ...] | None, Maybe(Many(Record(Pair)))),
    ],
)
def test_hints_have_shapes(hint: Any, shape: object) -> None:
    """Each hint of the classes that are stored has one."""
    assert shape_of(hint) == shape


@pytest.mark.parametrize(
    "hint", [list[int], dict[str, int], Any, int | str, int | str | None, tuple, bytes, complex, object, None]
)
def test_other_hints_are_refused(hint: Any) -> None:
    """Whoever declares such a field is told at import, not when something is to be stored."""
    with pytest.raises(TypeError, match="has no shape that is known"):
        shape_of(hint)


def test_fields_in_their_order() -> None:
    """Every field of a class, as declared."""
    assert list(fields_of(Pair).items()) == [
        ("colour", Plain(Colour)),
        ("numbers", Many(Plain(float))),
        ("name", Maybe(Plain(str))),
    ]


@pytest.mark.parametrize("kind", [Kept, KeptHost, KeptLease, Passage])
def test_everything_that_is_kept_has_shapes(kind: type[attrs.AttrsInstance]) -> None:
    """All the way down."""
    left, met = [Record(kind)], set()
    while left:
        record = left.pop()
        met.add(record)
        shapes = list(fields_of(record.kind).values())
        while shapes:
            match shapes.pop():
                case Maybe(of) | Many(of):
                    shapes.append(of)
                case Row(places):
                    shapes.extend(places)
                case Record() as inner if inner not in met:
                    left.append(inner)
    assert Record(kind) in met
