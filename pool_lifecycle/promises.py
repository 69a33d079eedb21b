"""What a driver returned, held against what it promised."""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve

from pool_lifecycle.causes import Clue, ExitStatus
from pool_lifecycle.interfaces import Health
from pool_lifecycle.wording import cut

T = TypeVar("T")

SHOWN = 300
"""How much of a driver's words is kept, in characters: they go into causes, records and snapshots."""


def expected(kind: type[T], value: object, verb: str) -> T:
    """`value`, if it is what that verb of a driver promises. Raises TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"{verb!r} returned {cut(repr(value), SHOWN)}, not a {kind.__name__}")
    return value


def expected_status(value: object, verb: str) -> ExitStatus:
    """The same for how an engine ended, with everything in it. Raises TypeError."""
    status = expected(ExitStatus, value, verb)
    for number in (status.code, status.signal):
        if number is not None:
            expected(int, number, verb)
    for clue in expected(tuple, status.clues, verb):
        expected(Clue, clue, verb)
    return status


def expected_health(value: object, verb: str) -> Health:
    """The same for the answer of a probe, whose words are cut and made printable. Raises TypeError."""
    health = expected(Health, value, verb)
    for flag in (health.ok, health.silent):
        expected(bool, flag, verb)
    detail = expected(str, health.detail, verb)
    words = cut(cut(detail, SHOWN), SHOWN)  # escaped, it is longer
    return health if words == detail else evolve(health, detail=words)
