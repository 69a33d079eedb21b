"""What the fields of frozen values can hold, read from their type hints. Pure.

Whoever has to go through values of many classes, field by field, is written once for each shape here: then a
new field is met without anybody thinking of it, and one of a shape that is not known is refused at import.
"""

from __future__ import annotations

import enum
import types
from functools import cache
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen


@frozen
class Plain:
    """A string, a number, true or false, or a member of an enumeration."""

    kind: type


@frozen
class Maybe:
    """A value or None."""

    of: Shape


@frozen
class Many:
    """A tuple of any length."""

    of: Shape


@frozen
class Row:
    """A tuple with these places."""

    places: tuple[Shape, ...]


@frozen
class Record:
    """A value of an attrs class; `fields_of` has its fields."""

    kind: type[attrs.AttrsInstance]


Shape: TypeAlias = Plain | Maybe | Many | Row | Record

_PLAIN = (str, int, float, bool)


@cache
def fields_of(kind: type[attrs.AttrsInstance]) -> dict[str, Shape]:
    """The shape of every field of an attrs class, in order. Raises TypeError for a hint that has none."""
    hints = get_type_hints(kind)
    return {field.name: shape_of(hints[field.name]) for field in attrs.fields(kind)}


def shape_of(hint: Any) -> Shape:
    """The shape of a type hint. Raises TypeError when it has none."""
    if hint in _PLAIN or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return Plain(hint)
    if attrs.has(hint):
        return Record(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union) and len(inner) == 2 and inner[1] is types.NoneType:
        return Maybe(shape_of(inner[0]))
    if origin is tuple and len(inner) == 2 and inner[1] is ...:
        return Many(shape_of(inner[0]))
    if origin is tuple and inner:
        return Row(tuple(map(shape_of, inner)))
    raise TypeError(f"{hint!r} has no shape that is known: see shapes.py")
