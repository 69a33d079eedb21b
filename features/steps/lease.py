"""Steps about leases: who takes, holds, gives back and loses them."""

from __future__ import annotations

import asyncio

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle.errors import LeaseRefused, NoFreeSlot, PoolDraining
from pool_lifecycle.lease import LeaseState


async def take(world: World, who: str, kind: str = "request", ttl: float | None = None) -> None:
    pool = await world.pool()
    world.leases[who] = pool.acquire(who, kind=kind, ttl=ttl)


@given('"{who}" holds a lease')
@when('"{who}" takes a lease')
@then('"{who}" can take a lease')
async def takes(world: World, who: str) -> None:
    await take(world, who)


@given('the client "{who}" holds a lease')
async def is_granted(world: World, who: str) -> None:
    """A client is another program: its lease is no object of this one."""
    world.leases[who] = await (await world.pool()).grant(who)


@given('"{who}" holds a lease for at most {ttl:Duration}')
async def takes_for(world: World, who: str, ttl: float) -> None:
    await take(world, who, ttl=ttl)


@when('"{who}" takes a lease for "{kind}", for at most {ttl:Duration}')
async def takes_of_kind(world: World, who: str, kind: str, ttl: float) -> None:
    await take(world, who, kind, ttl)


@given('"{who}" has had a lease')
async def had(world: World, who: str) -> None:
    await take(world, who)
    world.leases[who].release()


@given('"{who}" has held a lease for {time:Duration}')
async def held(world: World, who: str, time: float) -> None:
    await take(world, who)
    await asyncio.sleep(time)


@when('"{who}" gives her lease back')
def gives_back(world: World, who: str) -> None:
    assert world.leases[who].release()


@when('"{who}" gives her lease back twice')
def gives_back_twice(world: World, who: str) -> None:
    world.leases[who].release()
    world.leases[who].release()


@when('"{who}" gives her lease back after {time:Duration}')
async def gives_back_later(world: World, who: str, time: float) -> None:
    await asyncio.sleep(time)
    world.leases[who].release()


@when('the client "{who}" gives her lease back')
async def releases(world: World, who: str) -> None:
    assert (await world.pool()).release(world.leases[who].token)


@when('"{who}" asks for a lease')
async def asks(world: World, who: str) -> None:
    await world.attempt(take(world, who))


@then('"{who}" is refused because the pool is draining')
def refused(world: World, who: str) -> None:
    assert who not in world.leases
    assert isinstance(world.error, PoolDraining), repr(world.error)
    assert "draining" in str(world.error)


@given("clients come ten times a second")
async def come(world: World) -> None:
    """Each works for a twentieth of a second. They come for some minutes, unless the scenario ends before."""
    world.notes["served"], world.notes["refused"] = [], []

    async def client(number: int) -> None:
        try:
            async with (await world.pool()).lease(f"client {number}") as lease:
                world.notes["served"].append(lease.generation)
                await asyncio.sleep(0.05)
        except LeaseRefused as refusal:
            world.notes["refused"].append(refusal)

    async def crowd() -> None:
        for number in range(2000):
            await client(number)
            await asyncio.sleep(0.05)

    world.begin("clients", crowd())


@then("no client was refused")
def none_refused(world: World) -> None:
    assert world.notes["served"]
    assert not world.notes["refused"], world.notes["refused"][0]


@then("clients were served by the old engine, and then by the new one")
async def by_both(world: World) -> None:
    await asyncio.sleep(1.0)
    served = world.notes["served"]
    assert served == sorted(served)
    assert set(served) == {1, 2}


@then('the lease of "{who}" is on another engine than that of "{other}"')
def elsewhere(world: World, who: str, other: str) -> None:
    assert world.leases[who].url != world.leases[other].url


@then('"{who}" finds no free slot')
async def no_slot(world: World, who: str) -> None:
    await world.attempt(take(world, who))
    assert isinstance(world.error, NoFreeSlot), repr(world.error)


@then('the client "{who}" still holds a lease')
async def still_holds(world: World, who: str) -> None:
    found = [(one.holder, one.token) for one in (await world.pool()).status().leases]
    assert found == [(who, world.leases[who].token)], found


@then("no client holds a lease")
async def nobody_holds(world: World) -> None:
    assert not (await world.pool()).status().leases


@then('her lease names "{who}" and "{kind}"')
def names(world: World, who: str, kind: str) -> None:
    lease = world.leases[who]
    assert (lease.holder, lease.kind) == (who, kind)


@then("it was taken now and ends in {time:Duration}")
def times(world: World, time: float) -> None:
    (lease,) = world.leases.values()
    assert lease.acquired_at == world.loop.time()
    assert lease.expires_at == world.loop.time() + time


@then('the lease of "{who}" has a higher number than that of "{other}"')
def higher(world: World, who: str, other: str) -> None:
    assert world.leases[who].token > world.leases[other].token


def _expect(world: World, who: str, state: LeaseState) -> None:
    assert world.leases[who].state is state, world.leases[who]


@then('the lease of "{who}" goes on')
def goes_on(world: World, who: str) -> None:
    _expect(world, who, LeaseState.ACTIVE)


@then('the lease of "{who}" is lost')
def lost(world: World, who: str) -> None:
    _expect(world, who, LeaseState.LOST)


@then('the lease of "{who}" has expired')
def expired(world: World, who: str) -> None:
    _expect(world, who, LeaseState.EXPIRED)


@then('it is reported that the lease of "{who}" expired')
def reported(world: World, who: str) -> None:
    told = [(fields["how"], fields["holders"]) for _, fields in world.log.about("LeasesEnded")]
    assert told == [("expired", [who])], told
