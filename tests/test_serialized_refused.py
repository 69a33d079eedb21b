"""No text but a stored one is taken for it: others are refused, with a word on where and what is valid."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.serialized import (
    Malformed,
    dump,
    load,
    load_host,
)
from pool_lifecycle.snapshot import Instance
from tests.kept_samples import CAUSE, EVERYTHING, HOST_WRITTEN, OLD, WRITTEN, every_form
from tests.kept_values import PATIENT, kept, well_typed

# --- what was not written -------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x" * 10**6, 10**4000, -1, 2**63, 1e308, "ready", "exit"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what it is in, and its key there."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


@every_form
@PATIENT
@given(data=st.data())
def test_an_altered_document_is_refused_or_right(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str, data: st.DataObject
) -> None:
    """Whatever was done to a document: it is Malformed, or a value of the right types that can be stored."""
    document = json.loads(written)
    inside, key = data.draw(st.sampled_from(list(places(document))))
    match data.draw(st.sampled_from(("replace", "remove", "add"))):
        case "replace":
            inside[key] = data.draw(ANY_JSON)
        case "remove":
            del inside[key]
        case "add" if isinstance(inside, dict):
            inside[data.draw(st.text(max_size=3))] = data.draw(ANY_JSON)
        case "add":
            inside.append(data.draw(ANY_JSON | st.just(inside[0])))
    _refused_or_right(json.dumps(document), write, read, type(value))


@every_form
@PATIENT
@given(text=st.text() | ANY_JSON.map(json.dumps))
def test_any_text_is_refused(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str, text: str
) -> None:
    """No text is such a document by chance."""
    with pytest.raises(Malformed):
        read(text)


@every_form
@PATIENT
@given(data=st.data())
def test_a_damaged_text_is_refused_or_right(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str, data: st.DataObject
) -> None:
    """A piece was cut out, or something else was written over it."""
    begin = data.draw(st.integers(0, len(written)))
    end = data.draw(st.integers(begin, min(begin + 20, len(written))))
    damaged = (
        written[:begin]
        + data.draw(st.text(max_size=3) | st.text('{}[]",:0123456789.e-', max_size=3))
        + written[end:]
    )
    _refused_or_right(damaged, write, read, type(value))


def _refused_or_right(text: str, write: Callable[[Any], str], read: Callable[[str], Any], kind: type) -> None:
    value = None
    with contextlib.suppress(Malformed):
        value = read(text)
    if value is not None:
        assert well_typed(value, kind)
        assert read(write(value)) == value


WRONG: tuple[tuple[str, str, str], ...] = (
    ('"epoch": 17', '"epoch": true', "snapshot.epoch must be a whole number"),
    ('"epoch": 17', '"epoch": 17.0', "snapshot.epoch must be a whole number"),
    ('"epoch": 17', '"epoch": null', "snapshot.epoch must be a whole number"),
    ('"epoch": 17, ', "", "snapshot.epoch must be there"),
    ('"epoch": 17', '"epoch": 17, "epoch": 17', "the document must have every key only once"),
    ('"epoch": 17', '"epoch": 17, "rules": {}', "snapshot.rules is no key that is known"),
    ('"epoch": 17', '"ep\\u0000ch": 17, "epoch": 17', "snapshot.ep\\x00ch is no key that is known"),
    ('"epoch": 17', f'"epoch": {"9" * 5000}', "the document must be JSON, as it was written here"),
    ('"epoch": 17', f'"epoch": 17, "{"x" * 10**6}": 1', f"snapshot.{'x' * 57}... is no key that is known"),
    ('"since": 1000.0', '"since": true', "snapshot.since must be a finite number"),
    ('"since": 1000.0', '"since": "1000.0"', "snapshot.since must be a finite number"),
    ('"since": 1000.0', '"since": 1e999', "snapshot.since must be a finite number"),
    ('"since": 1000.0', '"since": NaN', "the document must have finite numbers only"),
    ('"since": 1000.0', '"since": -Infinity', "the document must have finite numbers only"),
    ('"since": 1000.0', f'"since": {10**400}', "snapshot.since must be a finite number"),
    ('"intent": "run_when_loaded"', '"intent": "RUN"', "snapshot.intent must be one of"),
    ('"intent": "run_when_loaded"', '"intent": []', "snapshot.intent must be one of"),
    ('"launcher": "local"', '"launcher": 5', "launcher must be a string"),
    ('"proof": true', '"proof": 1', "snapshot.engines.1.failure.exit.clues.0.proof must be true or false"),
    ('"restarts": [881.0]', '"restarts": {}', "snapshot.restarts must be a list"),
    ('"restarts": [881.0]', '"restarts": [1.0, {}]', "snapshot.restarts.1 must be a finite number"),
    ('"handle": null', '"handle": []', "snapshot.engines.1.handle must be an object"),
)


@pytest.mark.parametrize(("right", "wrong", "sentence"), WRONG, ids=[wrong[1][:40] for wrong in WRONG])
def test_what_is_wrong_is_named(right: str, wrong: str, sentence: str) -> None:
    """Whoever looks after a damaged record is told where it is damaged, and what belongs there."""
    assert WRITTEN.count(right) >= 1
    with pytest.raises(ValueError, match=r"must|is no key") as caught:
        load(WRITTEN.replace(right, wrong, 1))
    assert str(caught.value).startswith(sentence)


@every_form
@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"',
        "[" * 10**6,
        '{"a":' * 10**6,
        "1" * 10**6,
        '"' + "x" * 10**6 + '"',
        "\ufeff{}",
    ],
    ids=lambda text: text[:5] or "nothing",
)
def test_hostile_texts(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str, text: str
) -> None:
    """Neither depth nor length gets anything but a refusal."""
    with pytest.raises(Malformed):
        read(text)


@pytest.mark.parametrize("what", [None, 5, WRITTEN.encode()])
def test_other_than_text(what: Any) -> None:
    """A database has other types, too."""
    with pytest.raises(Malformed, match="must be text"):
        load(what)


def test_a_failed_pair_has_three_places() -> None:
    """Also where a list is not of one kind, what is wrong is named."""
    for wrong in ('["GPU-0", "chat"]', '["GPU-0", "chat", 1.0, 2.0]', '["GPU-0", 5, 1.0]', '"GPU"'):
        with pytest.raises(Malformed) as caught:
            load_host(HOST_WRITTEN.replace('["GPU-0", "chat", 990.5]', wrong))
        assert caught.value.key.startswith("failed_at.0")


def test_long_texts_are_texts() -> None:
    """What an engine wrote is as long as it is."""
    long = evolve(CAUSE, message="x" * 10**6)
    assert load(dump(kept(evolve(EVERYTHING.snapshot, cause=long)))).snapshot.cause == long


# --- what cannot be true --------------------------------------------------------------------------------


def _engines(*tokens: str) -> tuple[Instance, ...]:
    return tuple(Instance(number, token, OLD) for number, token in enumerate(tokens, start=1))


IMPOSSIBLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("epoch", {"epoch": -1}),
    ("generation", {"generation": -1, "engines": (), "quarantine": ()}),
    ("generation", {"generation": 3}),
    ("generation", {"quarantine": (Instance(5, "t", OLD),)}),
    ("generation", {"engines": (Instance(0, "t", OLD),)}),
    ("engines", {"engines": _engines("a", "b", "c")}),
    ("engines", {"engines": _engines("a", "a")}),
    ("engines", {"engines": _engines("a"), "quarantine": _engines("a")}),
)


@pytest.mark.parametrize(("key", "changes"), IMPOSSIBLE)
def test_what_cannot_be_is_refused(key: str, changes: dict[str, Any]) -> None:
    """S3: no record makes a third engine, or two of one name."""
    text = dump(evolve(EVERYTHING, snapshot=evolve(EVERYTHING.snapshot, **changes)))
    with pytest.raises(Malformed) as caught:
        load(text)
    assert caught.value.key == f"snapshot.{key}"


@pytest.mark.parametrize("pid", [0, -1])
def test_no_record_names_a_group_of_processes(pid: int) -> None:
    """To the kernel, pid 0 and below are groups: nothing may ever be ended by such a number."""
    with pytest.raises(Malformed, match=r"snapshot\.engines\.0\.handle\.pid must be above 0"):
        load(WRITTEN.replace('"pid": 4711', f'"pid": {pid}'))


def test_tokens_begin_at_one() -> None:
    """No fencing token was ever 0."""
    with pytest.raises(Malformed, match="next_token must be at least 1"):
        load(dump(evolve(EVERYTHING, next_token=0)))


def test_reading_needs_little_of_the_stack() -> None:
    """The depth of a document is that of its classes, whatever it holds."""
    depth = sys.getrecursionlimit()
    with pytest.raises(Malformed):
        load("[" * depth + "]" * depth)
