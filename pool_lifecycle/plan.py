"""What applying a declaration would change, pool by pool, before anything of it is done. Pure.

Declarations are compared as what may be shown of them, key by key as they stand in a file. A secret is never
shown; a keyed hash beside what is shown in its place tells one secret from another. So a plan can be made by
another process too, from what the one that runs the pools has written down.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from attrs import evolve, frozen

from pool_lifecycle.redaction import HIDDEN, hide_secrets
from pool_lifecycle.spec import NEEDS, EngineSpec, PoolSpec
from pool_lifecycle.wording import plural


class Way(enum.StrEnum):
    """How a pool comes to be as it is declared."""

    UNCHANGED = "unchanged"
    ADD = "add"
    ADJUST = "adjust"
    RELOAD = "reload"
    REPLACE = "replace"
    REMOVE = "remove"


WAYS: dict[str, Way] = {
    "model": Way.RELOAD,
    "digest": Way.RELOAD,
    "engine": Way.RELOAD,
    "slots": Way.RELOAD,
    "device_mask": Way.REPLACE,
    "replica_id": Way.REPLACE,
    "launcher": Way.REPLACE,
    "gpu_probe": Way.REPLACE,
    "gpu_only": Way.REPLACE,
    "on_manager_exit": Way.REPLACE,
    "health": Way.ADJUST,
    "limits": Way.ADJUST,
    "backoff": Way.ADJUST,
    "breaker": Way.ADJUST,
    "window": Way.ADJUST,
    "classes": Way.ADJUST,
    "reload": Way.ADJUST,
    "stager": Way.ADJUST,
}
"""What has to be done for each field of a declaration, but for the pool's name.

`adjust`: from now on it is gone by; the engine is not touched. `reload`: another engine, in the way that the
pool declares. `replace`: the pool itself is another one: it is drained and removed, and a new one started.
"""

_ORDER = (Way.UNCHANGED, Way.ADJUST, Way.RELOAD, Way.REPLACE)
"""From what is done for few changes to what is done for many: the last one needed is the one taken."""


def way_of(key: str) -> Way:
    """What has to be done when this key has another value."""
    top, _, rest = key.partition(".")
    return Way.ADJUST if top == "engine" and rest in NEEDS else WAYS[top]


# --- what is shown of a declaration -------------------------------------------------------------------------


@frozen
class Shown:
    """A value as it may be shown, written as in a file. `mark` tells it from others that look the same."""

    text: str
    mark: str = ""


@frozen
class Described:
    """A declaration as it may be shown: a value for each key of it that is set."""

    pool_id: str
    values: Mapping[str, Shown]


def described(spec: PoolSpec, key: bytes = b"") -> Described:
    """What may be shown of a pool's declaration; `key` (64 bytes at most) is that of secrets' hashes."""
    return Described(spec.pool_id, settings(spec, key, leave="pool_id"))


def settings(value: attrs.AttrsInstance, key: bytes = b"", *, leave: str = "") -> dict[str, Shown]:
    """What may be shown of any declared value, but for the field to `leave` out."""
    return {name: one for name, one in _flat(value, "", key) if name != leave}


def _flat(value: attrs.AttrsInstance, prefix: str, key: bytes) -> Iterator[tuple[str, Shown]]:
    for one in attrs.fields(type(value)):
        name, inner = f"{prefix}{one.name}", getattr(value, one.name)
        if attrs.has(type(inner)):
            yield from _flat(inner, f"{name}.", key)
        elif isinstance(value, EngineSpec) and one.name == "env":
            yield from _environment(name, inner, key)
        elif inner is not None:
            yield name, _shown(inner, key)


def _environment(name: str, env: Sequence[tuple[str, str]], key: bytes) -> Iterator[tuple[str, Shown]]:
    """A key for each variable; one for all of them where the order says more than the names."""
    if list(env) != sorted(dict(env).items()):
        yield name, Shown(HIDDEN, _mark(_written(env), key))
    for variable, value in env:
        yield f"{name}.{variable}", Shown(HIDDEN, _mark(value, key))


def _shown(value: object, key: bytes) -> Shown:
    hidden = value
    if isinstance(value, str):
        hidden = hide_secrets((value,))[0]
    elif isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        hidden = hide_secrets(value)
    text = _written(hidden)
    return Shown(text) if hidden == value else Shown(text, _mark(_written(value), key))


def _written(value: object) -> str:
    """As in a file; equal values alike, be they whole numbers or not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _mark(text: str, key: bytes) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=key, digest_size=16).hexdigest()


# --- the plan ---------------------------------------------------------------------------------------------


@frozen
class Difference:
    """A key whose value is to be another one; None where there is none."""

    key: str
    before: str | None
    after: str | None

    @property
    def brief(self) -> tuple[str, str]:
        """The two values for people: of lists only where they differ."""
        if self.before == self.after:
            return self.before or "", "another one"
        if self.before is not None and self.after is not None and self.before[:1] == self.after[:1] == "[":
            return _where_they_differ(json.loads(self.before), json.loads(self.after))
        return self.before or "not set", self.after or "not set"

    def __str__(self) -> str:
        before, after = self.brief
        return f"{self.key}: {before} -> {after}"


def _where_they_differ(before: list[object], after: list[object]) -> tuple[str, str]:
    """Both without what they begin and end with alike."""
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    return _cut(before, head, tail), _cut(after, head, tail)


def _cut(whole: list[object], head: int, tail: int) -> str:
    inner = [_written(one) for one in whole[head : len(whole) - tail]]
    return f"[{', '.join([*(['...'] if head else []), *inner, *(['...'] if tail else [])])}]"


@frozen
class PoolChange:
    """What is to be done with one pool, and for which differences.

    Of a pool to add they say what is declared of it beyond the defaults; of one to remove nothing.
    """

    pool_id: str
    way: Way
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        if self.way is Way.ADD:
            listed = "; ".join(f"{one.key} = {one.after}" for one in self.differences)
        else:
            listed = "; ".join(map(str, self.differences))
        return f"to {self.way}: {listed}".removesuffix(": ")


@frozen
class Plan:
    """What is to be done with every pool: those declared, in their order, then those declared no more."""

    changes: tuple[PoolChange, ...]

    @property
    def pending(self) -> tuple[PoolChange, ...]:
        """Without the pools that are as declared."""
        return tuple(one for one in self.changes if one.way is not Way.UNCHANGED)

    def __str__(self) -> str:
        counts = ((way, sum(one.way is way for one in self.changes)) for way in _TOLD)
        told = ", ".join(f"{count} {_TOLD[way]}" for way, count in counts if count)
        return told or plural(0, "pool")


_TOLD: dict[Way, str] = {
    Way.ADD: "to add",
    Way.ADJUST: "to adjust",
    Way.RELOAD: "to reload",
    Way.REPLACE: "to replace",
    Way.REMOVE: "to remove",
    Way.UNCHANGED: "unchanged",
}


def plan_of(before: Iterable[PoolSpec], after: Iterable[PoolSpec]) -> Plan:
    """What has to be done with pools declared as `before` so that they are as declared in `after`."""
    return plan_between(map(described, before), map(described, after))


def plan_between(before: Iterable[Described], after: Iterable[Described]) -> Plan:
    """The same for what may be shown of declarations; hashes in them must have been made with one key."""
    old = {one.pool_id: one for one in before}
    new = {one.pool_id: one for one in after}
    kept = [change_between(old.get(one.pool_id), one) for one in new.values()]
    gone = [PoolChange(name, Way.REMOVE) for name in old if name not in new]
    return Plan((*kept, *gone))


def change_between(before: Described | None, after: Described) -> PoolChange:
    """What has to be done with one pool; `before` is None where there is none yet."""
    if before is None:
        said = (one for one in differences(_BARE, after.values) if one.after is not None)
        return PoolChange(after.pool_id, Way.ADD, tuple(evolve(one, before=None) for one in said))
    found = differences(before.values, after.values)
    ways = {way_of(one.key) for one in found}
    way = max(ways, key=_ORDER.index, default=Way.UNCHANGED)
    return PoolChange(after.pool_id, way, found)


def differences(before: Mapping[str, Shown], after: Mapping[str, Shown]) -> tuple[Difference, ...]:
    """The keys with other values, in the order of the declaration; those that are set no more come last."""
    keys = dict.fromkeys((*after, *before))
    return tuple(
        Difference(key, _text(before.get(key)), _text(after.get(key)))
        for key in keys
        if before.get(key) != after.get(key)
    )


def _text(shown: Shown | None) -> str | None:
    return None if shown is None else shown.text


_BARE = {
    name: shown
    for name, shown in described(PoolSpec("pool", EngineSpec("program"))).values.items()
    if name != "engine.binary"
}
"""What is set where nothing is declared."""
