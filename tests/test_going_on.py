"""A pool under the manager that comes after one that died: it goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.boot import Boot
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.kept import Kept, KeptHost, Loaded, Moment
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.loading import is_as_kept, tokens_from
from pool_lifecycle.records import EngineEnded
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.snapshot import Plan, Rules, Snapshot
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.table import Kind
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.waits import Awaits
from tests.reaching import LIMITS, WAYS, a_pool_in
from tests.reborn import BOOT, a_mortal_world, after_death, die, reborn
from tests.twisted import Passing
from tests.worlds import BROKEN, UNKILLABLE, WORKS, World, a_spec, a_world, virtually

KEEP: dict[str, Any] = {"on_manager_exit": "keep", "limits": LIMITS}
STOP: dict[str, Any] = {"on_manager_exit": "stop", "limits": LIMITS}

MOMENT = Moment("a clock", 0.0, 0.0)
S = PoolState
WITHOUT_AN_OLD_ENGINE = (S.STOPPED, S.FAILED, S.BACKING_OFF, S.STAGING, S.STARTING, S.READY)


def mortal() -> dict[str, Any]:
    return {"store": MemoryStore(), "boot": BOOT}


def launched_on(boot: Boot, kept: Kept) -> Kept:
    """The same of an engine that is a process of this host."""
    (one,) = kept.snapshot.engines
    assert one.handle is not None
    here = evolve(one, handle=evolve(one.handle, boot_id=boot.id))
    return evolve(kept, snapshot=evolve(kept.snapshot, engines=(here,)))


class Mute(Passing):
    """A launcher that, looks for engines without an end while it does not speak."""

    def __init__(self, driver: Any) -> None:
        super().__init__(driver)
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def recover(self, **asked: Any) -> Any:
        await self.speaks.wait()
        return await self.driver.recover(**asked)


def mute_launchers() -> tuple[list[Mute], Callable[[Any], Any]]:
    """The launchers that a world will have, and what makes it have them."""
    launchers: list[Mute] = []

    def twist(driver: Any) -> Any:
        if not hasattr(driver, "recover"):
            return driver
        launchers.append(Mute(driver))
        return launchers[-1]

    return launchers, twist


def stored(world: World) -> MemoryStore:
    """What the world's managers keep."""
    assert isinstance(world.manager._store, MemoryStore)
    return world.manager._store


async def settled(world: World) -> None:
    """Until nothing is under way any more."""
    resting = [state for state, one in LIFECYCLE.states.items() if one.kind is Kind.STABLE]
    async with asyncio.timeout(1000):
        await world.pool.reached(*resting)


@pytest.mark.parametrize("state", WAYS, ids=str)
@virtually
async def test_a_pool_goes_on_where_it_was(state: PoolState) -> None:
    """S17, V1: whatever its state was when its manager was killed; its engine has not noticed."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        before, living = world.pool.snapshot, list(world.living)
        await reborn(world, **KEEP)
        after = world.pool.snapshot
        assert after.state is state
        assert after.epoch > before.epoch or state is PoolState.STOPPED
        assert after.deadline == before.deadline
        assert after.intent is before.intent
        assert after.circuits == before.circuits
        assert world.living == living
        assert [one.token for one in after.engines] == [one.token for one in before.engines]


@pytest.mark.parametrize("state", WAYS, ids=str)
@virtually
async def test_it_comes_to_rest_again_with_never_two_for_one(state: PoolState) -> None:
    """V1, S3: what was begun is finished; two engines live only while a surge or its spare lasts."""
    async with a_pool_in(state, manager=mortal(), **KEEP) as world:
        await reborn(world, **KEEP)
        two_at_most = 2 if state.startswith(("surging", "retiring")) else 1
        assert len(world.living) <= two_at_most
        for engine in world.launcher.engines:
            engine.release()
        await settled(world)
        assert len(world.living) <= two_at_most


@pytest.mark.parametrize("state", WAYS, ids=str)
@virtually
async def test_what_was_to_end_with_its_manager_is_ended_and_started_anew(state: PoolState) -> None:
    """`on_manager_exit = "stop"` holds for SIGKILL, too; that is no failure of the engine (B-SUPER-x4)."""
    async with a_pool_in(state, manager=mortal(), **STOP) as world:
        before, lived = world.pool.snapshot, list(world.living)
        await reborn(world, **STOP)
        for engine in world.launcher.engines:
            engine.release()
        await world.pool.reached(*WITHOUT_AN_OLD_ENGINE)
        assert not [engine for engine in lived if engine.alive]
        expected = before.crash_count + (state is PoolState.RECOVERING)
        assert world.pool.snapshot.crash_count == expected


@virtually
async def test_what_ended_while_nobody_looked_takes_the_way_of_a_failure() -> None:
    """S16, V3: its status is lost, and so it is of the class unknown; it is started again in its time."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        engine = await world.ready()
        store = world.manager._store
        assert isinstance(store, MemoryStore)
        kept = dict(store.pools)
        engine.crash()
        await virtual_time.settle()
        store.pools = kept
        world.records.clear()
        await reborn(world, **KEEP)
        (ended,) = world.of(EngineEnded)
        assert ended.cause.kind is FailureClass.UNKNOWN
        assert world.pool.state is PoolState.BACKING_OFF
        await world.pool.reached("ready")


@virtually
async def test_a_reboot_is_recognised_and_no_failure() -> None:
    """The engine is gone with its host; the pool, which was to run, runs again at once."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        engine = await world.ready()
        store = world.manager._store
        assert isinstance(store, MemoryStore)
        kept = store.pools["chat"]
        engine.crash()
        await virtual_time.settle()
        store.pools["chat"] = launched_on(BOOT, kept)
        await reborn(world, boot=Boot("another boot", "another boot"), **KEEP)
        await world.pool.reached("ready")
        assert world.pool.snapshot.crash_count == 0


@virtually
async def test_a_lease_for_somebody_outside_outlives_the_manager() -> None:
    """S9: it is still counted, still blocks a drain, and ends by its token; later ones have higher tokens."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        await world.ready()
        lease = await world.pool.grant("a client", ttl=100.0)
        world.pool.acquire("somebody in this program")
        await reborn(world, **KEEP)
        assert [one.holder for one in world.pool.book.active()] == ["a client"]
        assert world.pool.acquire("later").token > lease.token + 1
        drain = await world.began(world.pool.drain(60))
        assert world.pool.state is PoolState.DRAINING
        assert world.pool.release(lease.token)
        assert not world.pool.release(lease.token)
        drain.cancel()


@virtually
async def test_back_off_goes_on_with_what_was_left_of_it() -> None:
    """B-SUPER-x6: not a second earlier, and no later."""
    async with a_mortal_world(BROKEN, WORKS, **KEEP) as world:
        await world.began(world.pool.start())
        due = world.pool.snapshot.not_before
        assert due is not None
        await asyncio.sleep(0.25)
        await reborn(world, **KEEP)
        await world.pool.reached("staging", "starting", "ready")
        assert world.now == pytest.approx(due, abs=1e-6)


@virtually
async def test_an_engine_that_cannot_be_looked_for_holds_up_nothing_but_its_own_pool() -> None:
    """S7, V7: nothing is launched in its place before it is known to be gone."""
    launchers, twist = mute_launchers()
    async with a_mortal_world(WORKS, twist=twist, **KEEP) as world:
        engine = await world.ready()
        launchers[0].speaks.clear()
        began = world.now
        await reborn(world, **KEEP)
        assert world.now - began <= 5.0
        assert world.pool.state is PoolState.RECOVERING
        await asyncio.sleep(20.0)
        assert world.living == [engine]
        launchers[0].speaks.set()
        await world.pool.reached("ready", "failed")
        assert not engine.alive


@virtually
async def test_pools_that_are_declared_no_more_are_ended_on_request() -> None:
    """S5: nothing is forgotten."""
    async with a_mortal_world(WORKS, **KEEP) as world:
        engine = await world.ready()
        await reborn(world, pool_id="another", **KEEP)
        assert list(world.manager.unclaimed) == ["chat"]
        assert world.living == [engine]
        await world.manager.end_unclaimed()
        assert list(world.manager.unclaimed) == []
        assert not world.living
        assert "chat" not in world.manager


@virtually
async def test_what_cannot_be_killed_stays_a_pool_that_is_stuck() -> None:
    """FAULTS: reported, never dropped."""
    async with a_mortal_world(UNKILLABLE, **KEEP) as world:
        engine = await world.ready()
        await reborn(world, pool_id="another", **KEEP)
        await world.manager.end_unclaimed()
        assert world.manager["chat"].state is PoolState.STUCK
        engine.release()
        await world.manager["chat"].reached("stopped")


@virtually
async def test_whoever_finds_an_engine_second_is_glad_of_it() -> None:
    """V1: two who look for one engine at once, as after a cancelled activity, do not trip each other up."""
    launchers, twist = mute_launchers()
    async with a_mortal_world(WORKS, twist=twist, **KEEP) as world:
        engine = await world.ready()
        launchers[0].speaks.clear()
        await reborn(world, **KEEP)
        (instance,) = world.pool.snapshot.engines
        looks = [world.begin(world.pool.launching.stop(instance, 1.0)) for _ in range(2)]
        launchers[0].speaks.set()
        assert await asyncio.gather(*looks) == [True, True]
        assert not engine.alive
        await world.pool.reached("ready")


@virtually
async def test_a_turn_that_was_given_out_is_not_waited_for_twice() -> None:
    """V6: a pool whose turn on the host is known starts then, under whichever manager."""
    async with a_mortal_world(
        BROKEN, WORKS, manager={"restarts": Budget(burst=1, rate=0.1)}, **KEEP
    ) as world:
        world.pool.host.turn("somebody else")
        await world.began(world.pool.start())
        await asyncio.sleep(2.0)
        snapshot = world.pool.snapshot
        assert (snapshot.state, snapshot.awaits) == (PoolState.BACKING_OFF, Awaits.TURN)
        await reborn(world, **KEEP)
        await world.pool.reached("ready")
        assert world.now == snapshot.not_before


USED = Kept(Snapshot.new(a_spec(), lineage="x", now=0.0), MOMENT, "memory", next_token=2**61)


@pytest.mark.parametrize(
    ("loaded", "first"),
    [
        (Loaded(), 1),
        (Loaded(host=KeptHost(MOMENT, tokens_from=2**60)), 2**60 + 2**32),
        (Loaded(host=KeptHost(MOMENT, tokens_from=1)), 2**32 + 1),
        (Loaded(troubles=("its database was damaged",)), 1000 * 2**12),
        (Loaded(pools=(USED,)), 2**61),
    ],
)
def test_fencing_tokens_never_begin_anew(loaded: Loaded, first: int) -> None:
    """S9: neither a disk that kept nothing nor a clock that was set back makes a later lease look older."""
    assert tokens_from(loaded, 1.0) == first


@virtually
async def test_nobody_asked_for_the_end_of_what_ended_with_its_manager() -> None:
    """B-SUPER-x4: whether its guardian or the next manager ended it, that was on account of the manager."""
    for crash in (True, False):
        async with a_mortal_world(WORKS, **STOP) as world:
            engine = await world.ready()
            kept = dict(stored(world).pools)
            if crash:
                engine.crash()
                await virtual_time.settle()
            stored(world).pools = kept
            world.records.clear()
            await reborn(world, **STOP)
            await world.pool.reached("ready")
            assert [one.cause.kind for one in world.of(EngineEnded)] == [FailureClass.MANAGER_EXIT]


@virtually
async def test_a_pool_that_is_added_again_goes_on_with_its_tokens() -> None:
    """S9: of two leases on pools of one name the later one has the higher token."""
    async with a_world() as world:
        await world.ready()
        first = world.pool.acquire("somebody")
        first.release()
        await world.pool.stop()
        await world.manager.remove("chat")
        world.pool = await world.manager.add(a_spec())
        await world.ready()
        assert world.pool.acquire("somebody else").token > first.token


@virtually
async def test_a_shared_circuit_that_was_due_meanwhile_wakes_who_waits_for_it() -> None:
    """V1, V5: while no manager lived nobody could tell the pool."""
    device = Circuit("device 0", BreakerState.OPEN, 5, 1, 50.0, 1050.0, shared=True)
    spec = {"pool_id": "second", "device_mask": "0", **KEEP}
    async with a_mortal_world(WORKS, **KEEP) as world:
        world.pool.host.shared.restore(KeptHost(MOMENT, circuits=(device,)), (), {})
        second = await world.manager.add(a_spec(**spec))
        with pytest.raises(StartFailed, match="circuit is open"):
            await second.start()
        await die(world.manager)
        await asyncio.sleep(100.0)
        await after_death(world, **spec)
        await world.pool.reached("ready")


@virtually
async def test_a_pool_that_is_as_it_was_is_not_stored_anew() -> None:
    """Thousands may be taken over at once; what is another than it was is stored with its first passage."""
    async with a_mortal_world(WORKS, on_manager_exit="keep") as world:
        await world.ready()
        before = stored(world).pools["chat"]
        await reborn(world, on_manager_exit="keep")
        assert stored(world).pools["chat"] is before
        assert [one.event for one in stored(world).passages["chat"]][-1] == "adopted"
        await reborn(world, on_manager_exit="keep", slots=3)
        after = stored(world).pools["chat"]
        assert after is not before
        assert (after.snapshot.epoch, after.snapshot.engines) == (
            before.snapshot.epoch + 1,
            before.snapshot.engines,
        )


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"next_token": 7}, True),
        ({"moment": Moment("a boot", 99.0, 99.0)}, True),
        ({"moment": Moment("another boot", 10.0, 10.0)}, False),
        ({"launcher": "another"}, False),
        ({"declared": Target(variant="another")}, False),
        ({"snapshot": {"epoch": 8, "rules": Rules(fixed_port=True)}}, True),
        ({"snapshot": {"circuits": (Circuit("general"), Circuit("cuda"))}}, False),
        ({"snapshot": {"target": Target("file:/b")}}, False),
        ({"snapshot": {"plan": Plan(Target("file:/b"), Strategy.STAGE_FIRST)}}, False),
    ],
)
def test_only_what_the_next_manager_would_not_miss_is_not_stored(
    changed: dict[str, Any], *, same: bool
) -> None:
    """Epoch, tokens and rules begin anew with each; on the clock of another boot times are to be counted."""
    kept = Kept(Snapshot("chat", Target(), Rules(), "x"), Moment("a boot", 10.0, 10.0), "memory")
    changes = {**changed, "snapshot": evolve(kept.snapshot, **changed.get("snapshot", {}))}
    assert is_as_kept(kept, evolve(kept, **changes)) is same
