"""Steps about the registry: what is reported to it, and what it says."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle.errors import HandoffError
from pool_lifecycle.registry import Entry, EntryFields

FIELDS = {
    "live": "live",
    "ready": "ready",
    "draining": "draining",
    "last error": "last_error",
    "heartbeat": "heartbeat_ms",
    "version": "version",
    "engine version": "engine_version",
    "engine digest": "engine_digest",
    "engine catalog id": "engine_catalog_id",
    "device mask": "device_mask",
    "slots": "slots_total",
    "free slots": "slots_free",
}
WHOLE = {"heartbeat_ms", "slots_total", "slots_free"}
YES_NO = {"yes": True, "no": False}


def fields(world: World) -> dict[str, Any]:
    """The fields that a table of words tells. Its first row is no heading."""
    rows = [world.table.headings, *(row.cells for row in world.table.rows)]
    return {FIELDS[name]: _value(FIELDS[name], value) for name, value in rows}


def _value(name: str, words: str) -> object:
    return int(words) if name in WHOLE else YES_NO.get(words, words)


def report(world: World, pool: str, told: dict[str, Any]) -> None:
    world.registry.update(pool, **cast("EntryFields", told))


def entry(world: World, pool: str) -> Entry:
    found = world.registry.get(pool)
    assert found is not None, f"the registry does not know {pool!r}"
    return found


# --- pools come and go ---------------------------------------------------------------------------------


@given('"{pool}" is registered')
@when('"{pool}" is registered')
def register(world: World, pool: str) -> None:
    world.answer = world.registry.register(pool)


@given('"{pool}" was deregistered')
@when('"{pool}" is deregistered')
def deregister(world: World, pool: str) -> None:
    world.answer = world.registry.deregister(pool)


@then("the registry confirms it")
def confirms(world: World) -> None:
    assert world.answer is True


@then("the registry says that this was nothing new")
def nothing_new(world: World) -> None:
    assert world.answer is False


@when('somebody asks for "{pool}"')
def ask(world: World, pool: str) -> None:
    world.answer = world.registry.get(pool)


@then("the registry knows nothing of it")
def knows_nothing(world: World) -> None:
    assert world.answer is None


@then('the registry knows "{pool}"')
def knows(world: World, pool: str) -> None:
    assert world.registry.get(pool) is not None


@then('the registry does not know "{pool}"')
def does_not_know(world: World, pool: str) -> None:
    assert world.registry.get(pool) is None


# --- health and drains ---------------------------------------------------------------------------------


@given('"{pool}" is known as {health:Health}')
@when('"{pool}" is reported {health:Health}')
def report_health(world: World, pool: str, health: tuple[bool, bool]) -> None:
    live, ready = health
    world.registry.set_health(pool, live=live, ready=ready)


@then('the registry says that "{pool}" is {health:Health}')
def says_health(world: World, pool: str, health: tuple[bool, bool]) -> None:
    known = entry(world, pool)
    assert (known.live, known.ready) == health, known


@given('"{pool}" was reported draining')
@when('"{pool}" is reported draining')
def report_draining(world: World, pool: str) -> None:
    report(world, pool, {"draining": True})


@when('"{pool}" is reported not draining')
def report_not_draining(world: World, pool: str) -> None:
    report(world, pool, {"draining": False})


@then('the registry says that "{pool}" is draining')
def says_draining(world: World, pool: str) -> None:
    assert world.registry.is_draining(pool)


@then('the registry says that "{pool}" is not draining')
def says_not_draining(world: World, pool: str) -> None:
    assert not world.registry.is_draining(pool)


# --- fields --------------------------------------------------------------------------------------------


@given('these are known of "{pool}":')
def know_fields(world: World, pool: str) -> None:
    world.notes["known"] = fields(world)
    report(world, pool, fields(world))


@when('these are reported of "{pool}":')
def report_fields(world: World, pool: str) -> None:
    report(world, pool, fields(world))


@when('the {field:Field} of "{pool}" becomes "{value}"')
def report_field(world: World, pool: str, field: str, value: str) -> None:
    report(world, pool, {FIELDS[field]: value})


@then('the registry says of "{pool}":')
def says_fields(world: World, pool: str) -> None:
    for name, value in fields(world).items():
        assert getattr(entry(world, pool), name) == value, entry(world, pool)


@then('the {field:Field} of "{pool}" is "{value}"')
def says_field(world: World, pool: str, field: str, value: str) -> None:
    assert getattr(entry(world, pool), FIELDS[field]) == value, entry(world, pool)


@then('the {field:Field} and the {other:Field} of "{pool}" are as before')
def as_before(world: World, pool: str, field: str, other: str) -> None:
    for name in (FIELDS[field], FIELDS[other]):
        assert getattr(entry(world, pool), name) == world.notes["known"][name], entry(world, pool)


@then('"{pool}" has no {field:Field}')
def says_nothing(world: World, pool: str, field: str) -> None:
    assert getattr(entry(world, pool), FIELDS[field]) is None, entry(world, pool)


# --- errors and heartbeats -----------------------------------------------------------------------------


@given('the error "{message}" of "{pool}" was recorded')
@when('the error "{message}" of "{pool}" is recorded')
def record_error(world: World, pool: str, message: str) -> None:
    world.registry.set_last_error(pool, message)


@then('the last error of "{pool}" begins with "{words}"')
def error_begins(world: World, pool: str, words: str) -> None:
    assert (entry(world, pool).last_error or "").startswith(words), entry(world, pool)


@when('the last error of "{pool}" is cleared')
def clear_error(world: World, pool: str) -> None:
    world.registry.clear_last_error(pool)


@given("it is {time} on {day}")
def set_clock(world: World, time: str, day: str) -> None:
    world.wall = datetime.fromisoformat(f"{day}T{time}+00:00").timestamp()


@given('"{pool}" was heard of')
@when('"{pool}" is heard of')
def hear_of(world: World, pool: str) -> None:
    world.registry.beat(pool)


@when('"{pool}" is heard of {later:Duration} later')
def hear_of_later(world: World, pool: str, later: float) -> None:
    world.wall += later
    world.registry.beat(pool)


@then('the heartbeat of "{pool}" is {milliseconds:d} milliseconds')
def says_heartbeat(world: World, pool: str, milliseconds: int) -> None:
    heartbeat = entry(world, pool).heartbeat_ms
    assert type(heartbeat) is int
    assert heartbeat == milliseconds, heartbeat


# --- slots and leases ----------------------------------------------------------------------------------


@given('"{pool}" has {free:d} of {total:d} slots free')
@when('"{pool}" is reported to have {free:d} of {total:d} slots free')
def report_slots(world: World, pool: str, free: int, total: int) -> None:
    world.registry.set_slots(pool, total, free)


@when('"{pool}" is reported to have a total of {total:Slots}')
def report_total(world: World, pool: str, total: int) -> None:
    report(world, pool, {"slots_total": total})


@then('"{pool}" has {free:d} of {total:d} slots free')
def says_slots(world: World, pool: str, free: int, total: int) -> None:
    known = entry(world, pool)
    assert (known.slots_free, known.slots_total) == (free, total), known


@given('{count:Leases} are counted on "{pool}"')
def count_leases(world: World, pool: str, count: int) -> None:
    world.registry.register(pool)
    for _ in range(count):
        world.registry.allocate_lease(pool)


@when('a lease is allocated on "{pool}"')
def allocate(world: World, pool: str) -> None:
    world.answer = world.registry.allocate_lease(pool)


@when('a lease is released on "{pool}"')
def release(world: World, pool: str) -> None:
    world.answer = world.registry.release_lease(pool)


@then("the registry answers {count:Leases}")
def answers_leases(world: World, count: int) -> None:
    assert world.answer == count


@then('the registry counts {count:Leases} on "{pool}"')
def counts_leases(world: World, pool: str, count: int) -> None:
    assert world.registry.active_leases(pool) == entry(world, pool).active_leases == count


# --- handoffs and snapshots ----------------------------------------------------------------------------

MISTAKES: dict[str, dict[str, Any]] = {
    "a word where slots are counted": {"slots": "four"},
    "half a slot": {"slots": 1.5},
    "a number as engine version": {"engine_version": 7},
    "a list as device mask": {"device_mask": [0, 1]},
}


@when('"{pool}" is handed off')
def hand_off(world: World, pool: str) -> None:
    world.registry.register_ready_from_handoff(pool, {})


@when('"{pool}" is handed off with:')
def hand_off_with(world: World, pool: str) -> None:
    rows = [world.table.headings, *(row.cells for row in world.table.rows)]
    document = {name: int(value) if name == "slots" else value for name, value in rows}
    world.registry.register_ready_from_handoff(pool, document)


@when('"{pool}" is handed off with {mistake}')
def hand_off_wrongly(world: World, pool: str, mistake: str) -> None:
    try:
        world.registry.register_ready_from_handoff(pool, MISTAKES[mistake])
    except HandoffError as error:
        world.error = error


@then("the handoff is refused because of its {field}")
def refused(world: World, field: str) -> None:
    assert isinstance(world.error, HandoffError), "the handoff was accepted"
    assert world.error.field == field
    assert field in str(world.error)


@when("a snapshot is taken")
def take_snapshot(world: World) -> None:
    world.answer = world.registry.snapshot().entries


@then("it lists {names}")
def lists(world: World, names: str) -> None:
    wanted = [] if names == "nothing" else [name.strip('"') for name in names.split(", ")]
    assert [one.pool_id for one in world.answer] == wanted


@then('it has all of that about "{pool}"')
def has_everything(world: World, pool: str) -> None:
    (known,) = world.answer
    assert known == Entry(pool, **world.notes["known"]), known
