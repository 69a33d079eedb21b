"""Frozen values as JSON text and back, each class as its type hints say. Pure.

A document has one key for every field, named as the field is, whatever the value. Reading is strict: a key
that lacks, or one too many, is a defect like a value of another type, and the first is named. Numbers are
exact, and so is text, but that two halves of a surrogate pair come back as the one character they stand for.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping, Set
from itertools import compress
from json.encoder import encode_basestring_ascii
from math import isfinite
from operator import attrgetter, is_not
from typing import Any, NoReturn, TypeAlias

from attrs import AttrsInstance, field, frozen

from pool_lifecycle.shapes import Many, Maybe, Plain, Record, Row, Shape, fields_of
from pool_lifecycle.wording import shown


class Malformed(ValueError):
    """A value that cannot be written, or a text that was not written here.

    `key` is where, with dots between the names on the way, and empty for the whole; `valid` says what would
    be valid there. Nothing of what was found is repeated: it may be long, and somebody's secret.
    """

    def __init__(self, valid: str, key: str = "") -> None:
        self.valid = valid
        self.key = key
        super().__init__(f"{key or 'the document'} {valid}")

    def within(self, name: str | int) -> Malformed:
        """The same, seen from the value around."""
        return Malformed(self.valid, f"{name}.{self.key}" if self.key else str(name))


# --- text and plain JSON values -------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of two equal keys would win, silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("must have every key only once")
    return found


def _constant(_name: str) -> NoReturn:
    raise Malformed("must have finite numbers only")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def parsed(text: object) -> Any:
    """Text as plain dicts and lists; what an older layout had otherwise can be changed in these.

    Raises Malformed.
    """
    if not isinstance(text, str):
        raise Malformed("must be text")
    try:
        return _DECODER.decode(text)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("must be JSON, as it was written here") from error


# --- how a value of each shape is written and read ------------------------------------------------------


@frozen
class Memory:
    """What was written, for what has not changed when it is written again.

    `parts` has records with their texts, by their identity: as they are kept, nothing else can have that.
    `last` has, by its class, the fields of the one written last, and its text in pieces.
    """

    parts: dict[int, tuple[object, str]] = field(factory=dict)
    last: dict[type, tuple[tuple[object, ...], list[str]]] = field(factory=dict)


Write: TypeAlias = Callable[[Any, Memory], str]
Read: TypeAlias = Callable[[Any], Any]

WRONG = (KeyError, OverflowError, TypeError, ValueError)
"""What comes of writing a value of another type than declared; Malformed is one of them."""


@frozen
class Codec:
    """How values of one shape are written and read, and what is valid: a sentence without its subject."""

    write: Write
    read: Read
    valid: str

    def wrong(self, name: str | int, error: Exception) -> Malformed:
        """What the value around, that has one of these under `name`, says of an error in it."""
        return (error if isinstance(error, Malformed) else Malformed(self.valid)).within(name)


def _exactly(kind: type, valid: str, write: Write) -> Codec:
    def read(value: Any) -> Any:
        if type(value) is kind:  # to isinstance, true and false are whole numbers
            return value
        raise Malformed(valid)

    return Codec(write, read, valid)


_NUMBER = "must be a finite number"
_OBJECT = "must be an object"


def _write_number(value: float, _memory: Memory) -> str:
    if not isfinite(value):
        raise Malformed(_NUMBER)
    return repr(float(value))  # the shortest text that is read as this very number


def _read_number(value: Any) -> float:
    if type(value) is float and isfinite(value):
        return value
    if type(value) is int and abs(value) <= 2**53:  # what many programs make of 5.0
        return float(value)
    raise Malformed(_NUMBER)


_PLAIN = {
    str: _exactly(str, "must be a string", lambda value, _memory: encode_basestring_ascii(value)),
    int: _exactly(int, "must be a whole number", lambda value, _memory: int.__repr__(value)),
    bool: _exactly(bool, "must be true or false", lambda value, _memory: "true" if value else "false"),
    float: Codec(_write_number, _read_number, _NUMBER),
}


def _member(kind: type[enum.Enum]) -> Codec:
    """A member of an enumeration, by its value, which is a string."""
    members: dict[str, enum.Enum] = {one.value: one for one in kind}
    texts = {one: encode_basestring_ascii(one.value) for one in kind}
    valid = "must be one of " + ", ".join(texts.values())

    def read(value: Any) -> enum.Enum:
        if type(value) is str and value in members:
            return members[value]
        raise Malformed(valid)

    return Codec(lambda value, _memory: texts[value], read, valid)


def _maybe(of: Codec) -> Codec:
    write, read = of.write, of.read
    return Codec(
        lambda value, memory: "null" if value is None else write(value, memory),
        lambda value: None if value is None else read(value),
        f"{of.valid}, or null",
    )


def _many(of: Codec) -> Codec:
    valid = f"must be a list, of which each {of.valid}"

    def write(values: tuple[Any, ...], memory: Memory) -> str:
        texts: list[str] = []
        each = iter(values)
        try:
            for value in each:
                texts.append(of.write(value, memory))  # noqa: PERF401 - their number says which was wrong
        except WRONG as error:
            raise of.wrong(len(texts), error) from error
        return f"[{','.join(texts)}]"

    def read(values: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise Malformed(valid)
        parts: list[Any] = []
        try:
            for value in values:
                parts.append(of.read(value))  # noqa: PERF401 - their number says which was wrong
        except Malformed as error:
            raise of.wrong(len(parts), error) from error
        return tuple(parts)

    return Codec(write, read, valid)


def _row(places: list[Codec]) -> Codec:
    valid = f"must be a list of {len(places)}: the first {', the next '.join(one.valid for one in places)}"

    def write(values: tuple[Any, ...], memory: Memory) -> str:
        texts = [place.write(value, memory) for place, value in zip(places, values, strict=True)]
        return f"[{','.join(texts)}]"

    def read(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) != len(places):
            raise Malformed(valid)
        return tuple([place.read(value) for place, value in zip(places, values, strict=True)])

    return Codec(write, read, valid)


# --- records --------------------------------------------------------------------------------------------


@frozen
class Law:
    """What holds of every value of a class; `key` is the field to blame when it does not."""

    key: str
    valid: str
    holds: Callable[[Any], bool]


Apart: TypeAlias = Mapping[type[AttrsInstance], Mapping[str, Any]]
Laws: TypeAlias = Mapping[type[AttrsInstance], tuple[Law, ...]]


def record(
    kind: type[AttrsInstance], *, apart: Apart, laws: Laws, fleeting: Set[type[AttrsInstance]]
) -> Codec:
    """How values of an attrs class, and of those that it is made of, are written and read.

    `apart` has the fields that are not written, with what they are when they have been read; `laws` what has
    to hold of what is read. Of `fleeting` classes a document has one value, each time another: of them the
    fields are remembered, of others the whole. Raises TypeError for a field that cannot be stored.
    """

    def codec(shape: Shape) -> Codec:
        match shape:
            case Plain(plain):
                return _member(plain) if issubclass(plain, enum.Enum) else _PLAIN[plain]
            case Maybe(of):
                return _maybe(codec(of))
            case Many(of):
                return _many(codec(of))
            case Row(places):
                return _row(list(map(codec, places)))
            case Record(inner):
                return record(inner, apart=apart, laws=laws, fleeting=fleeting)

    left = apart.get(kind, {})
    codecs = {name: codec(shape) for name, shape in fields_of(kind).items() if name not in left}
    write = _by_field(kind, codecs) if kind in fleeting else _as_a_whole(codecs)
    return Codec(write, _record_reader(kind, codecs, left, laws.get(kind, ())), _OBJECT)


def _as_a_whole(codecs: Mapping[str, Codec]) -> Write:
    """Remembers records by their identity: for those that stay the same for a while."""
    template = "{" + ",".join(f'"{name}":%s' for name in codecs) + "}"
    writers = [(name, codec.write) for name, codec in codecs.items()]

    def write(value: Any, memory: Memory) -> str:
        known = memory.parts.get(id(value))
        if known is not None:
            return known[1]
        texts: list[str] = []
        try:
            for name, write_field in writers:
                texts.append(write_field(getattr(value, name), memory))
        except AttributeError as error:
            raise Malformed(_OBJECT) from error
        except WRONG as error:
            raise codecs[name].wrong(name, error) from error
        text = template % tuple(texts)
        memory.parts[id(value)] = (value, text)
        return text

    return write


def _by_field(kind: type, codecs: Mapping[str, Codec]) -> Write:
    """Remembers the fields of the last record: for those that are another every time, in a few fields."""
    labels = [piece for name in codecs for piece in (f',"{name}":', "")]
    blank = ["{" + labels[0][1:], *labels[1:], "}"]
    unknown = (blank,) * len(codecs)
    numbers = range(len(codecs))
    values_of = attrgetter(*codecs, "__class__")  # which of a single name would not make a tuple
    writers = [(name, 2 * number + 1, codec.write) for number, (name, codec) in enumerate(codecs.items())]

    def write(value: Any, memory: Memory) -> str:
        try:
            news = values_of(value)
        except AttributeError as error:
            raise Malformed(_OBJECT) from error
        # taken out, so that a failure on the way leaves nothing that is half old, half new
        olds, pieces = memory.last.pop(kind) if kind in memory.last else (unknown, blank.copy())
        try:
            for number in compress(numbers, map(is_not, news, olds)):  # most are the same, most of the time
                name, place, write_field = writers[number]
                pieces[place] = write_field(news[number], memory)
        except WRONG as error:
            raise codecs[name].wrong(name, error) from error
        memory.last[kind] = news, pieces
        return "".join(pieces)

    return write


def _record_reader(
    kind: type[AttrsInstance], codecs: Mapping[str, Codec], left: Mapping[str, Any], laws: tuple[Law, ...]
) -> Read:
    readers = [(name, codec.read) for name, codec in codecs.items()]

    def read(value: Any) -> Any:
        if type(value) is not dict or len(value) != len(readers):
            raise _other_keys(value, codecs)
        fields = dict(left)
        try:
            for name, read_field in readers:
                fields[name] = read_field(value[name])
        except KeyError:
            raise _other_keys(value, codecs) from None
        except Malformed as error:
            raise codecs[name].wrong(name, error) from error
        made = kind(**fields)
        for law in laws:
            if not law.holds(made):
                raise Malformed(law.valid, law.key)
        return made

    return read


def _other_keys(value: Any, codecs: Mapping[str, Codec]) -> Malformed:
    if type(value) is not dict:
        return Malformed(_OBJECT)
    for name in codecs:
        if name not in value:
            return Malformed("must be there", name)
    return Malformed("is no key that is known", shown(next(name for name in value if name not in codecs)))
