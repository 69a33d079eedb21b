"""What can be kept of pools: any at all, for Hypothesis, and such as pools get into, by chance.

Built from the type hints alone, not as the library reads them: a field that is added is drawn, too.
"""

from __future__ import annotations

import contextlib
import itertools
import types
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pool_lifecycle.errors import IllegalEvent
from pool_lifecycle.events import Drained, Due, Gone, Healthy, Launched, Reload, Staged, Start
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.kept import Kept, Moment
from pool_lifecycle.snapshot import Instance, Rules, Snapshot
from pool_lifecycle.step import step
from tests.space import FIRST, WISHES, elsewhere, happenings

BINARY = st.integers(-(2**36), 2**36).map(lambda number: number / 64)
"""Numbers with a fraction that can be added up without rounding, whatever their order."""

FINITE = st.floats(allow_nan=False, allow_infinity=False)

WORDS = st.text(st.characters(), max_size=8).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
"""Every text there is, with lone surrogates, but none that stand in pairs."""


def _lawful(pool: Snapshot) -> Snapshot:
    """With every launch under a token and a generation of its own."""
    numbers = itertools.count(1)

    def named(launches: tuple[Instance, ...]) -> tuple[Instance, ...]:
        numbered = [(one, next(numbers)) for one in launches]
        return tuple(evolve(one, generation=number, token=f"{number}{one.token}") for one, number in numbered)

    return evolve(
        pool,
        engines=named(pool.engines),
        quarantine=named(pool.quarantine),
        generation=10 + abs(pool.generation),
    )


PATIENT = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
"""Large values take a while to be drawn, the more on a machine that has other things to do."""

OVERRIDES: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (Snapshot, "rules"): st.just(Rules()),
    (Snapshot, "epoch"): st.integers(0),
    (EngineHandle, "pid"): st.none() | st.integers(1),
    (Kept, "next_token"): st.integers(1),
}
"""Where not everything of the field's type can be."""


@cache
def values(kind: type[Any], floats: st.SearchStrategy[float] = FINITE) -> st.SearchStrategy[Any]:
    """Any value of an attrs class, every field of it drawn."""
    hints = get_type_hints(kind)
    fields = {
        name: OVERRIDES[kind, name] if (kind, name) in OVERRIDES else _any(hints[name], floats)
        for name in _names(kind)
    }
    made = st.builds(kind, **fields)
    return made.map(_lawful) if kind is Snapshot else made


def _any(hint: Any, floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    inner = get_args(hint)
    if attrs.has(hint):
        made: st.SearchStrategy[Any] = values(hint, floats)
        return made
    if get_origin(hint) is types.UnionType:
        return st.one_of([st.none() if one is types.NoneType else _any(one, floats) for one in inner])
    if get_origin(hint) is tuple and inner[-1] is ...:
        return st.lists(_any(inner[0], floats), max_size=2).map(tuple)
    if get_origin(hint) is tuple:
        return st.tuples(*(_any(one, floats) for one in inner))
    if hint is float:
        return floats
    return WORDS if hint is str else st.from_type(hint)


def well_typed(value: object, hint: Any) -> bool:
    """Whether a value, with all that it is made of, is of the type that is hinted at."""
    inner = get_args(hint)
    if attrs.has(hint):
        hints = get_type_hints(hint)
        return type(value) is hint and all(
            well_typed(getattr(value, name), hints[name]) for name in _names(hint)
        )
    if get_origin(hint) is types.UnionType:
        return any(well_typed(value, one) for one in inner)
    if get_origin(hint) is tuple:
        rest = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is ... else inner
        return (
            isinstance(value, tuple)
            and len(value) == len(rest)
            and all(well_typed(one, kind) for one, kind in zip(value, rest, strict=True))
        )
    return type(value) is hint


def _names(kind: Any) -> list[str]:
    return [field.name for field in attrs.fields(kind)]


def leaves(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """Everything in a value that is not made of others, with the class and the field that it stands in."""
    if attrs.has(type(value)):
        for name in _names(type(value)):
            yield from leaves(getattr(value, name), f"{type(value).__name__}.{name}")
    elif isinstance(value, tuple):
        for one in value:
            yield from leaves(one, where)
    else:
        yield where, value


FORWARD = (Staged, Healthy, Drained, Gone, Due, Launched, Start, Reload)
"""What brings a pool on: without a liking for these, chance hardly lets it become ready."""


def walk(seed: int, steps: int) -> Iterator[Snapshot]:
    """What becomes of a pool to which all kinds of things happen by chance, as time goes by."""
    random, pool, now = Random(seed), FIRST, 1000.0
    for _ in range(steps):
        now += random.choice((0.0, 0.1, 7.3, 60.0))
        events = [*happenings(pool), *elsewhere(pool), *WISHES]
        forward = [event for event in events if isinstance(event, FORWARD)]
        with contextlib.suppress(IllegalEvent):
            pool, _ = step(pool, random.choice(forward if random.random() < 0.8 else events), now)
        yield pool


MOMENT = Moment("boot", 1000.0, 1.7e9)


def kept(pool: Snapshot) -> Kept:
    """One of them as it is kept."""
    return Kept(pool, MOMENT, "memory", declared=pool.target)
