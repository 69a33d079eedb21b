"""What is kept of pools survives as text, exactly, and is written fast."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.kept import Kept, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.serialized import (
    PARTS,
    POOLS,
    Dumper,
    Malformed,
    dump,
    dump_passage,
    load,
    load_passage,
)
from pool_lifecycle.snapshot import Instance, Rules, Snapshot
from tests.explored import explored
from tests.kept_samples import EVERYTHING, FORMS, LEASE, OLD, WRITTEN, every_form
from tests.kept_values import PATIENT, kept, values, walk


def stored(value: Any) -> Any:
    """A value as it is stored: without what is kept apart."""
    return evolve(value, leases=()) if isinstance(value, Kept) else value


# --- what is written is read, exactly -------------------------------------------------------------------


@every_form
@PATIENT
@given(data=st.data())
def test_what_was_written_is_read(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str, data: st.DataObject
) -> None:
    """B-SUPER-x6: every field of everything that is kept comes back, with its type, whatever it holds."""
    kind: Any = type(value)
    drawn = data.draw(values(kind))
    assert repr(read(write(drawn))) == repr(stored(drawn))


@every_form
def test_the_documents_of_today_are_read(
    write: Callable[[Any], str], read: Callable[[str], Any], value: Any, written: str
) -> None:
    """A manager of tomorrow takes over from one of today."""
    assert read(written) == value
    assert json.loads(write(value)) == json.loads(written)


def test_no_field_has_its_default_in_the_document_of_today() -> None:
    """So that this document changes with every field that is added."""

    def records(value: Any) -> Iterator[attrs.AttrsInstance]:
        if isinstance(value, tuple):
            for one in value:
                yield from records(one)
        elif attrs.has(type(value)) and not isinstance(value, Rules):
            yield value
            for field in attrs.fields(type(value)):
                yield from records(getattr(value, field.name))

    everything = [one for form in FORMS for one in records(form[2])]
    for kind in {type(one) for one in everything}:
        for field in attrs.fields(kind):
            others = [
                one for one in everything if type(one) is kind and getattr(one, field.name) != field.default
            ]
            assert others or (kind, field.name) in {(Snapshot, "rules"), (Kept, "leases")}, (kind, field.name)


def test_rules_and_leases_are_kept_elsewhere() -> None:
    """Rules are declared anew, leases stored one by one."""
    assert load(dump(evolve(EVERYTHING, leases=(LEASE,)))).leases == ()
    assert "rules" not in json.loads(dump(EVERYTHING))["snapshot"]
    assert load(WRITTEN).snapshot.rules == Rules()


@pytest.mark.parametrize("seed", range(20))
def test_pools_that_chance_led_somewhere(seed: int) -> None:
    """B-SUPER-008, B-SUPER-030: whatever becomes of a pool is known later; written anew or in part."""
    dumper = Dumper()
    for pool in walk(seed, 200):
        text = dumper.dump(kept(pool))
        assert text == dump(kept(pool))
        assert load(text).snapshot == evolve(pool, rules=Rules())


def test_passages_that_come_after_one_another() -> None:
    """Each is written anew where it differs from the one before, and as it would be by itself."""
    dumper = Dumper()
    first = Passage("chat", 5.0, "start", "stopped", "starting", "asked by an operator")
    second = evolve(first, at=6.0, mark="allowed", generation=3, cause="it crashed")
    for passage in (first, second, second, evolve(first, pool_id="b"), first):
        assert dumper.dump_passage(passage) == dump_passage(passage)
        assert load_passage(dumper.dump_passage(passage)) == passage


def test_chance_leads_everywhere() -> None:
    """So that the test before this one passes over no state."""
    assert {pool.state for seed in range(20) for pool in walk(seed, 200)} == set(PoolState)


@pytest.mark.xdist_group("exploration")
@pytest.mark.timeout(900)
def test_every_pool_there_can_be() -> None:
    """B-SUPER-x6: the whole space of snapshots, which no law of reading turns away."""
    for pool in explored().pools:
        assert load(dump(kept(pool))).snapshot == evolve(pool, rules=Rules())


# --- written again --------------------------------------------------------------------------------------


@PATIENT
@given(st.lists(values(Kept), min_size=2, max_size=5))
def test_writing_again_is_writing(some: list[Kept]) -> None:
    """What a dumper remembers is never what has changed meanwhile, in whichever order pools come."""
    dumper = Dumper()
    one_pool = [evolve(one, snapshot=evolve(one.snapshot, pool_id="p")) for one in some]
    for one in (*some, *one_pool, *reversed(some), *one_pool):
        assert dumper.dump(one) == dump(one)


def test_what_has_not_changed_is_not_looked_at_again() -> None:
    """That is why writing is fast enough to be done at every step."""
    looks = []

    class Watched(EngineHandle):
        def __getattribute__(self, name: str) -> Any:
            looks.append(name)
            return super().__getattribute__(name)

    handle = Watched("local", "t", "127.0.0.1", 8080)
    pool = evolve(EVERYTHING.snapshot, engines=(Instance(1, "t", OLD, handle),), quarantine=())
    dumper = Dumper()
    dumper.dump(kept(pool))
    looks.clear()
    dumper.dump(kept(evolve(pool, epoch=18)))
    dumper.dump(kept(evolve(pool, engines=(evolve(pool.engines[0], kill_at=2.0),))))
    assert not looks


def test_a_dumper_forgets() -> None:
    """However long a pool lives, what it was is not kept in memory for ever."""
    dumper, pool = Dumper(), EVERYTHING.snapshot
    first = Instance(1, "first", OLD)
    gone = weakref.ref(first)
    dumper.dump(kept(evolve(pool, engines=(first,))))
    del first
    for number in range(2, PARTS + 4):
        dumper.dump(kept(evolve(pool, engines=(Instance(1, f"{number}", OLD),))))
    assert gone() is None


def test_a_dumper_remembers_no_more_pools_than_it_may() -> None:
    """Pools that rest cost nothing but for what is stored of them."""
    dumper, pool = Dumper(), EVERYTHING.snapshot
    first = Instance(1, "first", OLD)
    gone = weakref.ref(first)
    dumper.dump(kept(evolve(pool, engines=(first,))))
    del first
    for number in range(POOLS):
        dumper.dump(kept(evolve(pool, pool_id=f"p{number}")))
    assert gone() is None


def test_a_failure_leaves_no_half() -> None:
    """What could not be written does not get into what is written next."""
    dumper, pool = Dumper(), EVERYTHING.snapshot
    broken: dict[str, Any] = {"epoch": 99, "crash_count": "many"}
    dumper.dump(kept(pool))
    with pytest.raises(Malformed):
        dumper.dump(kept(evolve(pool, **broken)))
    later = kept(evolve(pool, since=2000.0))
    assert dumper.dump(later) == dump(later)


# --- what cannot be written -----------------------------------------------------------------------------

NAN, INFINITE = float("nan"), float("inf")

UNWRITABLE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("snapshot.since", "must be a finite number", {"since": NAN}),
    ("snapshot.deadline", "must be a finite number, or null", {"deadline": INFINITE}),
    ("snapshot.deadline", "must be a finite number, or null", {"deadline": "5"}),
    ("snapshot.deadline", "must be a finite number, or null", {"deadline": 10**400}),
    ("snapshot.restarts.1", "must be a finite number", {"restarts": (1.0, -INFINITE)}),
    ("snapshot.epoch", "must be a whole number", {"epoch": 1.0}),
    ("snapshot.pool_id", "must be a string", {"pool_id": None}),
    ("snapshot.intent", 'must be one of "stopped", "run", "run_when_loaded"', {"intent": "walk"}),
    ("snapshot.target", "must be an object", {"target": "file:/a.gguf"}),
    ("snapshot.engines.0.token", "must be a string", {"engines": (Instance(1, 5, OLD),)}),  # type: ignore[arg-type]
    ("snapshot.engines", "must be a list, of which each must be an object", {"engines": 5}),
)


@pytest.mark.parametrize(("key", "valid", "changes"), UNWRITABLE)
def test_what_cannot_be_written_is_named(key: str, valid: str, changes: dict[str, Any]) -> None:
    """A driver may have put anything where a string belongs: that is told at once, not when it is read."""
    with pytest.raises(Malformed) as caught:
        dump(evolve(EVERYTHING, snapshot=evolve(EVERYTHING.snapshot, **changes)))
    assert caught.value.key == key
    assert valid.startswith(caught.value.valid)


def test_whole_numbers_are_numbers() -> None:
    """A deadline of 30 is one of 30.0."""
    pool = evolve(EVERYTHING.snapshot, deadline=30, restarts=(True, 2))
    assert load(dump(kept(pool))).snapshot.deadline == 30.0
    assert repr(load(dump(kept(pool))).snapshot.restarts) == "(1.0, 2.0)"
