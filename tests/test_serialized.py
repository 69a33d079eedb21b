"""What is kept of pools survives as text, exactly; and no other text is taken for it."""

from __future__ import annotations

import contextlib
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, Clue, ClueKind, Confidence, ExitStatus, FailureClass, Stage
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Crash, Storm
from pool_lifecycle.serialized import (
    PARTS,
    POOLS,
    Dumper,
    Malformed,
    dump,
    dump_host,
    dump_lease,
    dump_passage,
    load,
    load_host,
    load_lease,
    load_passage,
)
from pool_lifecycle.snapshot import Instance, Intent, Plan, Rules, Snapshot
from pool_lifecycle.waits import Awaits
from tests.explored import explored
from tests.kept_values import PATIENT, kept, values, walk, well_typed

OLD, NEW = Target("file:/old.gguf"), Target("file:/new.gguf", "sha256:6e")

CAUSE = Cause(
    FailureClass.OUT_OF_MEMORY,
    Stage.WARM_UP,
    'it was "killed" \u2620',
    heals=False,
    remedy="more memory",
    exit=ExitStatus(signal=9, clues=(Clue(ClueKind.OOM_KILL, "the kernel says so", proof=True),)),
    evidence=("first", "second"),
    confidence=Confidence.LIKELY,
)

EVERYTHING = Kept(
    Snapshot(
        "chat",
        OLD,
        Rules(),
        "a1b2",
        state=PoolState.SURGING_STARTING,
        epoch=17,
        since=1000.0,
        deadline=1120.5,
        not_before=1060.25,
        awaits=Awaits.WINDOW,
        intent=Intent.RUN_WHEN_LOADED,
        engines=(
            Instance(
                3,
                "chat.3.a1b2",
                OLD,
                EngineHandle("local", "chat.3.a1b2", "127.0.0.1", 8080, 4711, "b00t", 123456, "more", 2),
                launched_at=900.0,
                log_begin=4096,
                healthy_at=910.125,
                kill_at=1010.0,
                exit=ExitStatus(code=1),
            ),
            Instance(4, "chat.4.a1b2", NEW),
        ),
        serving=3,
        generation=4,
        plan=Plan(NEW, Strategy.SURGE, drain_deadline=30.0, cause=CAUSE),
        circuits=(
            Circuit("general", failures=2),
            Circuit("GPU-0", BreakerState.TRIAL, 5, 2, 600.0, 1700.1, "chat", shared=True),
        ),
        cause=CAUSE,
        crash_count=2,
        crashes=(Crash(880.0, FailureClass.CUDA), Crash(890.0, FailureClass.EXIT)),
        restart_count=1,
        restarts=(881.0,),
        storm=Storm(890.0, "cuda_storm", 10, 60.0, "look at the device"),
        quarantine=(Instance(2, "chat.2.a1b2", OLD),),
    ),
    Moment("b00t", 1000.5, 1.7e9),
    "local",
    declared="file:/old.gguf",
    next_token=2**33,
)
"""Every class that is stored, and every field of it with another value than its default."""

WRITTEN = r"""
{"snapshot": {
   "pool_id": "chat", "target": {"model": "file:/old.gguf", "digest": null}, "lineage": "a1b2",
   "state": "surging.starting", "epoch": 17, "since": 1000.0, "deadline": 1120.5, "not_before": 1060.25,
   "awaits": "window", "intent": "run_when_loaded",
   "engines": [
     {"generation": 3, "token": "chat.3.a1b2", "target": {"model": "file:/old.gguf", "digest": null},
      "handle": {"driver": "local", "token": "chat.3.a1b2", "host": "127.0.0.1", "port": 8080, "pid": 4711,
                 "boot_id": "b00t", "start_ticks": 123456, "details": "more", "version": 2},
      "launched_at": 900.0, "log_begin": 4096, "healthy_at": 910.125, "kill_at": 1010.0,
      "exit": {"code": 1, "signal": null, "clues": []}},
     {"generation": 4, "token": "chat.4.a1b2", "target": {"model": "file:/new.gguf", "digest": "sha256:6e"},
      "handle": null, "launched_at": null, "log_begin": 0, "healthy_at": null, "kill_at": null,
      "exit": null}],
   "serving": 3, "generation": 4,
   "plan": {"target": {"model": "file:/new.gguf", "digest": "sha256:6e"}, "strategy": "surge",
            "drain_deadline": 30.0, "cause": CAUSE},
   "circuits": [
     {"name": "general", "state": "closed", "failures": 2, "openings": 0, "timeout": 0.0, "until": null,
      "holder": null, "shared": false},
     {"name": "GPU-0", "state": "trial", "failures": 5, "openings": 2, "timeout": 600.0, "until": 1700.1,
      "holder": "chat", "shared": true}],
   "cause": CAUSE,
   "crash_count": 2, "crashes": [{"at": 880.0, "kind": "cuda"}, {"at": 890.0, "kind": "exit"}],
   "restart_count": 1, "restarts": [881.0],
   "storm": {"at": 890.0, "kind": "cuda_storm", "restarts": 10, "period": 60.0,
             "remedy": "look at the device"},
   "quarantine": [
     {"generation": 2, "token": "chat.2.a1b2", "target": {"model": "file:/old.gguf", "digest": null},
      "handle": null, "launched_at": null, "log_begin": 0, "healthy_at": null, "kill_at": null,
      "exit": null}]},
 "moment": {"clock": "b00t", "at": 1000.5, "wall": 1700000000.0},
 "launcher": "local", "declared": "file:/old.gguf", "next_token": 8589934592}
""".replace(
    "CAUSE",
    r"""{"kind": "out_of_memory", "stage": "warm-up", "message": "it was \"killed\" \u2620", "heals": false,
         "remedy": "more memory", "evidence": ["first", "second"], "confidence": "likely",
         "exit": {"code": null, "signal": 9,
                  "clues": [{"kind": "oom_kill", "detail": "the kernel says so", "proof": true}]}}""",
)
"""What a store may have since today. If this has to change, stored documents need a migration."""

HOST = KeptHost(
    Moment("b00t", 1000.5, 1.7e9),
    full_at=1001.5,
    circuits=(Circuit("GPU-0", shared=True),),
    failed_at=(("GPU-0", "chat", 990.5),),
    tokens_from=3,
)
HOST_WRITTEN = """
{"moment": {"clock": "b00t", "at": 1000.5, "wall": 1700000000.0}, "full_at": 1001.5,
 "circuits": [{"name": "GPU-0", "state": "closed", "failures": 0, "openings": 0, "timeout": 0.0,
               "until": null, "holder": null, "shared": true}],
 "failed_at": [["GPU-0", "chat", 990.5]], "tokens_from": 3}
"""

LEASE = KeptLease(7, 3, "http://127.0.0.1:8080", "req-17", "inference", 1000.0, 1300.0)
LEASE_WRITTEN = """
{"token": 7, "generation": 3, "url": "http://127.0.0.1:8080", "holder": "req-17", "kind": "inference",
 "since": 1000.0, "expires_at": 1300.0}
"""

PASSAGE = Passage(
    "chat", 1.7e9, "failed", "starting", "recovering", "it ended", "mark", 3, "run failed: it ended"
)
PASSAGE_WRITTEN = """
{"pool_id": "chat", "at": 1700000000.0, "event": "failed", "source": "starting", "target": "recovering",
 "why": "it ended", "mark": "mark", "generation": 3, "cause": "run failed: it ended"}
"""

FORMS: tuple[tuple[Callable[[Any], str], Callable[[str], Any], Any, str], ...] = (
    (dump, load, EVERYTHING, WRITTEN),
    (dump_host, load_host, HOST, HOST_WRITTEN),
    (dump_lease, load_lease, LEASE, LEASE_WRITTEN),
    (dump_passage, load_passage, PASSAGE, PASSAGE_WRITTEN),
)
every_form = pytest.mark.parametrize(
    ("write", "read", "value", "written"), FORMS, ids=[type(form[2]).__name__ for form in FORMS]
)


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
    ('"proof": true', '"proof": 1', "snapshot.plan.cause.exit.clues.0.proof must be true or false"),
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
