"""What a driver returned, held against what it promised."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def expected(kind: type[T], value: object, verb: str) -> T:
    """`value`, if it is what that verb of a driver promises. Raises TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"{verb!r} returned {value!r}, not a {kind.__name__}")
    return value
