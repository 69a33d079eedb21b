"""Checks on declared values: one sentence on what would be valid, and every problem at once.

A frozen value declares its checks in the metadata of its fields and calls `check_all(self)` when it has
been made. Built by hand or read from a file, a wrong value meets the same sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import attrs

from pool_lifecycle.errors import ConfigError, Problem
from pool_lifecycle.redaction import HIDDEN

Check = Callable[[object], str | None]
"""Takes a value; returns None when it is valid, else a sentence that says what would be."""

CHECK = "pool_lifecycle.check"
"""The metadata key under which a field keeps its check."""

POOL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def checked(check: Check) -> dict[str, Any]:
    """Metadata for an attrs field whose value has to satisfy `check`."""
    return {CHECK: check}


def check_all(instance: attrs.AttrsInstance) -> None:
    """Raise one ConfigError with every wrong field of an attrs `instance`."""
    problems = [
        Problem(field.name, value if field.repr is True else HIDDEN, sentence)
        for field, check in _checked_fields(type(instance))
        if (sentence := check(value := getattr(instance, field.name))) is not None
    ]
    if problems:
        raise ConfigError(problems)


@cache
def _checked_fields(kind: type[attrs.AttrsInstance]) -> tuple[tuple[attrs.Attribute[Any], Check], ...]:
    return tuple((one, one.metadata[CHECK]) for one in attrs.fields(kind) if CHECK in one.metadata)


def check_order(instance: object, *smaller: str, larger: str) -> None:
    """Raise one ConfigError with every field of `smaller` that is more than the field `larger`."""
    high = getattr(instance, larger)
    problems = [
        Problem(name, low, f"must not exceed {larger} ({high:g})")
        for name in smaller
        if (low := getattr(instance, name)) > high
    ]
    if problems:
        raise ConfigError(problems)


def optional(check: Check) -> Check:
    """None is valid too."""
    return lambda value: None if value is None else check(value)


def number(minimum: float, maximum: float, unit: str) -> Check:
    """A finite number within the bounds, both included; `unit` is used in the sentence."""
    sentence = f"must be a number of {unit} from {minimum:g} to {maximum:g}"

    def check(value: object) -> str | None:
        good = isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= maximum
        return None if good else sentence  # also for NaN, which no comparison holds for

    return check


def seconds(minimum: float = 0.0, maximum: float = 7 * 86400.0) -> Check:
    """A duration in seconds, at most a week: longer ones are typing errors."""
    return number(minimum, maximum, "seconds")


def whole(minimum: int, maximum: int) -> Check:
    """A whole number within the bounds, both included."""

    def check(value: object) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
        return None if good else f"must be a whole number from {minimum} to {maximum}"

    return check


def text(what: str = "text") -> Check:
    """A non-empty string without NUL bytes."""

    def check(value: object) -> str | None:
        good = isinstance(value, str) and value != "" and "\0" not in value
        return None if good else f"must be {what}, not empty and without NUL bytes"

    return check


def url_path(value: object) -> str | None:
    """What can stand in the first line of a request: no space or control character ends it early."""
    good = isinstance(value, str) and value.startswith("/") and value.isprintable() and " " not in value
    return None if good else "must be a path that begins with / and holds no spaces or control characters"


def texts(what: str) -> Check:
    """A tuple of strings without NUL bytes; an empty string is a valid element."""

    def check(value: object) -> str | None:
        good = isinstance(value, tuple) and all(isinstance(one, str) and "\0" not in one for one in value)
        return None if good else f"must be a list of {what}, each a string without NUL bytes"

    return check


def text_pairs(what: str) -> Check:
    """A tuple of (name, value) pairs of strings; names are not empty and hold no `=`."""

    def good_pair(pair: object) -> bool:
        return (
            isinstance(pair, tuple)
            and len(pair) == 2
            and all(isinstance(one, str) and "\0" not in one for one in pair)
            and pair[0] != ""
            and "=" not in pair[0]
        )

    def check(value: object) -> str | None:
        good = isinstance(value, tuple) and all(map(good_pair, value))
        return None if good else f"must be a table of {what}, names and values strings without NUL bytes"

    return check


def flag(value: object) -> str | None:
    """True or False."""
    return None if isinstance(value, bool) else "must be true or false"


def one_of(names: Collection[str]) -> Check:
    """One of the given strings."""
    valid = "must be one of " + ", ".join(map(repr, names))
    return lambda value: None if isinstance(value, str) and value in names else valid


def a(kind: type) -> Check:
    """An instance of `kind`."""
    return lambda value: None if isinstance(value, kind) else f"must be a {kind.__name__}"


def pool_id(value: object) -> str | None:
    """A name that is safe as a file name and as a metric label."""
    if isinstance(value, str) and POOL_ID.fullmatch(value):
        return None
    return "must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit"
