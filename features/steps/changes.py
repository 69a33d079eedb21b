"""Steps about readers that follow the changes of the registry."""

from __future__ import annotations

from features.vocabulary import given, then, when
from features.world import CHAT, World
from pool_lifecycle.changes import Change, Changes
from pool_lifecycle.errors import EventsLost
from pool_lifecycle.registry import Registry


async def next_change(world: World, after: int | None) -> Change:
    return await anext(aiter(world.registry.changes.follow(after)))


@given("a reader that has seen every change so far")
def has_seen(world: World) -> None:
    world.registry.register("code")
    world.notes["seen"] = world.registry.changes.last


@given("a reader that waits for the next change")
def waits(world: World) -> None:
    world.begin("reader", next_change(world, None))


@given("only the last {count:d} changes are kept")
def keeps(world: World, count: int) -> None:
    world.registry = Registry(lambda: 0, Changes(count, start=world.notes["seen"]))


@when('"{pool}" comes, serves, and goes')
def comes_and_goes(world: World, pool: str) -> None:
    world.registry.register(pool)
    world.registry.set_health(pool, live=True, ready=True)
    world.registry.deregister(pool)


@when('"{pool}" changes {times:Times}')
def changes(world: World, pool: str, times: int) -> None:
    for number in range(times):
        world.registry.update(pool, version=str(number))


@then("the reader gets these changes, numbered without a gap:")
def gets(world: World) -> None:
    seen = world.notes["seen"]
    missed = world.registry.changes.since(seen)
    wanted = [world.table.headings[0], *(row[0] for row in world.table.rows)]
    assert [change.kind for change in missed] == wanted, missed
    assert [change.number for change in missed] == [seen + 1 + i for i in range(len(wanted))]


@then('the reader has been told that "{pool}" was registered')
async def told(world: World, pool: str) -> None:
    assert world.under_way["reader"].done(), "the reader still waits"
    await world.finish("reader")
    assert (world.answer.kind, world.answer.pool_id) == ("registered", pool)


@then("the reader is told that it has missed some")
async def lost(world: World) -> None:
    await world.attempt(next_change(world, world.notes["seen"]))
    assert isinstance(world.error, EventsLost), world.answer


@then("it can go on from a snapshot")
async def goes_on(world: World) -> None:
    snapshot = world.registry.snapshot()
    world.registry.deregister(CHAT)
    assert (await next_change(world, snapshot.number)).kind == "deregistered"
