"""A pool that is declared anew while it runs: policies at once, the engine by a change that can be undone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.errors import ConfigError, NoRoomForTwo, ReloadFailed, ReloadRefused
from pool_lifecycle.events import Strategy
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.classes import ClassPolicies
from pool_lifecycle.spec import HealthSpec, Limits, PoolSpec, ReloadSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import (
    BROKEN,
    INSTANT,
    NEVER_READY,
    NEW,
    OLD,
    SLOW_STAGING,
    UNKILLABLE,
    WORKS,
    World,
    a_spec,
    a_world,
    virtually,
)

every_way = pytest.mark.parametrize("strategy", Strategy)

ONE: dict[str, Any] = {"args": ("--one",), "version": "1.0"}
TWO: dict[str, Any] = {"args": ("--two",), "version": "2.0"}
THREE: dict[str, Any] = {"args": ("--three",), "version": "3.0"}

SOON = Limits(proving=1.0)


def flags(request: LaunchRequest) -> tuple[str, ...]:
    return request.command.argv[1:]


def document(world: World) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((world.folder / "engines/chat.json").read_text())
    return read


@every_way
@virtually
async def test_other_arguments_are_a_change_of_engine(strategy: Strategy) -> None:
    """B-RELOAD-003, 004, 008: the new one has them; readers of either kind see its version."""
    async with a_world(engine=ONE, device_mask="0,1") as world:
        await world.ready()
        await world.pool.redeclared(a_spec(engine=TWO, device_mask="0,1"), strategy=strategy)
        await world.pool.reached("ready")
        assert [flags(request) for request in world.launcher.launched] == [("--one",), ("--two",)]
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert entry.engine_version == document(world)["engine_version"] == "2.0"
        assert document(world)["flags"] == ["--two"]
        assert world.stager.requests == [OLD]


@every_way
@virtually
async def test_pool_id_and_device_mask_stay(strategy: Strategy) -> None:
    """B-RELOAD-009: of the entry, of the document, and of the environment of the engine."""
    async with a_world(device_mask="0,1") as world:
        await world.ready()
        await world.pool.reload(NEW, strategy=strategy)
        entry, first, second = world.manager.registry.get("chat"), *world.launcher.launched
        assert entry is not None
        assert (entry.pool_id, entry.device_mask) == ("chat", "0,1")
        assert (document(world)["pool_id"], document(world)["device_mask"]) == ("chat", "0,1")
        assert second.pool_id == first.pool_id
        assert second.command == evolve(first.command, argv=second.command.argv)


@every_way
@pytest.mark.parametrize("script", [BROKEN, EngineScript(exits_after=0.5)])
@virtually
async def test_a_new_engine_that_fails_brings_the_old_arguments_back(
    strategy: Strategy, script: EngineScript
) -> None:
    """B-RELOAD-007, 008, 011: registry, document and engine are as they were."""
    script = evolve(script, exit=evolve(script.exit, code=3))
    async with a_world(WORKS, script, WORKS, engine=ONE) as world:
        await world.ready()
        with pytest.raises(ReloadFailed):
            await world.pool.redeclared(a_spec(engine=TWO, slots=7), strategy=strategy)
        await world.pool.reached("ready")
        (living,) = world.living
        assert flags(living.request) == ("--one",)
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert (entry.engine_version, entry.slots_total) == ("1.0", 2)
        assert document(world)["engine_version"] == "1.0"
        assert world.pool.status().slots == 2
        assert world.pool.spec.engine.version == "1.0"


@virtually
async def test_an_engine_that_crashes_later_is_launched_as_it_was() -> None:
    """V1: a declaration that failed is not tried by a restart; one that was committed to is."""
    async with a_world(WORKS, BROKEN, WORKS, engine=ONE) as world:
        await world.ready()
        with pytest.raises(ReloadFailed):
            await world.pool.redeclared(a_spec(engine=TWO))
        world.engine.crash()
        await world.pool.reached("backing_off")
        await world.pool.reached("ready")
        assert flags(world.engine.request) == ("--one",)
        await world.pool.redeclared(a_spec(engine=TWO))
        world.engine.crash()
        await world.pool.reached("backing_off")
        await world.pool.reached("ready")
        assert flags(world.engine.request) == ("--two",)


@virtually
async def test_slots_change_with_the_engine() -> None:
    """S9: those of the engine that serves count, in the book and for readers."""
    async with a_world(slots=1, limits=SOON) as world:
        await world.ready()
        old = world.pool.acquire("old")
        waiting = [world.begin(world.pool.book.acquire_within(f"waiter {n}")) for n in range(4)]
        await world.began(world.pool.redeclared(a_spec(slots=3, limits=SOON), strategy="surge"))
        await asyncio.sleep(0.5)
        assert [one.done() for one in waiting] == [True, True, True, False]
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert (entry.slots_total, entry.slots_free) == (3, 0)
        waiting[0].result().release()
        await virtual_time.settle()
        assert waiting[3].done()
        old.release()
        await world.pool.reached("ready")
        assert world.pool.status().slots == 3


@virtually
async def test_policies_alone_touch_no_engine() -> None:
    """They hold at once, in whatever state it is; whoever holds a lease does not notice."""
    async with a_world() as world:
        engine = await world.ready()
        lease = world.pool.acquire("me")
        limits, reload = Limits(drain=3.0, proving=0.0), ReloadSpec("surge")
        await world.pool.redeclared(a_spec(limits=limits, reload=reload, engine={"memory": 7}))
        assert world.living == [engine]
        assert world.way[-1] == "ready"
        assert world.pool.snapshot.rules.limits == limits
        assert (
            world.pool.spec
            == world.pool.declared
            == a_spec(limits=limits, reload=reload, engine={"memory": 7})
        )
        began = world.now
        await world.pool.drain()
        assert world.now - began == 3.0
        assert not lease.release()


@virtually
async def test_limits_hold_at_once_for_the_old_engine_too() -> None:
    """docs/configuration.md: for what begins after them; what is under way keeps its deadline."""
    limits = Limits(staging=150.0, drain=50.0)
    async with a_world(staging=(INSTANT, SLOW_STAGING), limits=limits) as world:
        await world.ready()
        lease = world.pool.acquire("me")
        began = world.now
        asked = await world.began(world.pool.reload(NEW, strategy="stage_first"))
        await asyncio.sleep(10)
        world.pool.redeclare(a_spec(limits=Limits(staging=1.0, drain=2.0)))
        assert world.pool.status().deadline_in == 140.0
        with pytest.raises(ReloadFailed):
            await asked
        assert world.now - began == 102.0  # 100 until it is in place; 2 to drain, by the new limit
        assert world.pool.snapshot.rules.limits.drain == 2.0
        assert lease.release()


@virtually
async def test_limits_stay_where_the_engine_of_their_declaration_fails() -> None:
    """They are no part of what is undone."""
    async with a_world(WORKS, BROKEN, WORKS, engine=ONE) as world:
        await world.ready()
        with pytest.raises(ReloadFailed):
            await world.pool.redeclared(a_spec(engine=TWO, limits=SOON))
        assert world.pool.spec == a_spec(engine=ONE, limits=SOON)
        assert world.pool.snapshot.rules.limits == SOON


@virtually
async def test_circuits_follow_the_policies() -> None:
    """Those that there are still, go on as they were."""
    async with a_world(BROKEN, WORKS) as world:
        await world.began(world.pool.start())
        before = {one.name: one for one in world.pool.snapshot.circuits}
        world.pool.redeclare(a_spec(classes=ClassPolicies()))
        assert {one.name: one for one in world.pool.snapshot.circuits} == before


@pytest.mark.parametrize(
    "changed",
    [
        {"pool_id": "other"},
        {"device_mask": "1"},
        {"replica_id": "1"},
        {"gpu_probe": "memory"},
        {"on_manager_exit": "keep"},
    ],
    ids=lambda changed: next(iter(changed)),
)
@virtually
async def test_what_only_a_new_pool_can_have_is_refused(changed: dict[str, Any]) -> None:
    """The error names it, and nothing has been changed."""
    async with a_world() as world:
        await world.ready()
        before = (world.pool.spec, world.pool.declared, world.pool.snapshot)
        with pytest.raises(ConfigError, match=next(iter(changed))):
            await world.pool.redeclared(a_spec(**changed, limits=SOON))
        assert (world.pool.spec, world.pool.declared, world.pool.snapshot) == before


@virtually
async def test_a_driver_that_is_not_there_is_refused() -> None:
    """Before anything is changed, and by a name that says which there are."""
    async with a_world() as world:
        before = world.pool.spec
        with pytest.raises(ConfigError, match="no such probe"):
            await world.pool.redeclared(a_spec(health=HealthSpec(probe="no such probe")))
        assert world.pool.spec == world.pool.declared == before


@virtually
async def test_a_declaration_during_a_change_does_not_disturb_it() -> None:
    """B-RELOAD-x5: it is refused as busy; the engine under way is the one that was asked for first."""
    async with a_world(WORKS, NEVER_READY, WORKS, engine=ONE) as world:
        await world.ready()
        first = await world.began(world.pool.redeclared(a_spec(engine=TWO)))
        with pytest.raises(ReloadRefused, match="one change at a time"):
            await world.pool.redeclared(a_spec(engine=THREE, limits=SOON))
        world.engine.heal()
        began = world.now
        await first
        assert flags(world.engine.request) == ("--two",)
        assert world.now - began < 2.0  # its policies hold at once
        assert world.pool.spec == a_spec(engine=TWO, limits=SOON)
        assert world.pool.declared == a_spec(engine=THREE, limits=SOON)
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert entry.engine_version == "2.0"
        await world.pool.redeclared(a_spec(engine=THREE, limits=SOON))
        assert flags(world.engine.request) == ("--three",)
        assert world.pool.spec == world.pool.declared == a_spec(engine=THREE, limits=SOON)


@virtually
async def test_a_declaration_during_a_change_outlives_its_failure() -> None:
    """The old engine comes back with its own arguments, not with those declared last."""
    async with a_world(WORKS, NEVER_READY, WORKS, engine=ONE) as world:
        await world.ready()
        first = await world.began(world.pool.redeclared(a_spec(engine=TWO)))
        with pytest.raises(ReloadRefused):
            await world.pool.redeclared(a_spec(engine=THREE))
        world.engine.crash()
        with pytest.raises(ReloadFailed):
            await first
        assert [flags(one) for one in world.launcher.launched] == [("--one",), ("--two",), ("--one",)]


@pytest.mark.parametrize("running", [False, True])
@virtually
async def test_how_a_change_is_done_is_declared_with_it(running: bool) -> None:
    """The new declaration says how to come to it. Without an engine it is for the next start."""
    async with a_world(engine=ONE) as world:
        if running:
            await world.ready()
        spec = a_spec(engine=TWO, reload=ReloadSpec("surge"))
        await world.pool.redeclared(spec)
        assert ("surging.starting" in world.way) == running
        await world.pool.start()
        assert flags(world.engine.request) == ("--two",)
        assert world.pool.spec == spec


@virtually
async def test_a_fixed_port_is_in_the_way_only_of_an_engine_on_it() -> None:
    """B-RELOAD-x2: both listen, on ports of their own."""
    async with a_world() as world:
        await world.ready()
        await world.pool.redeclared(a_spec(engine={"port": 12345}), strategy="surge")
        assert world.launcher.launched[-1].port == 12345
        await world.pool.reached("ready")
        with pytest.raises(NoRoomForTwo, match="12345"):
            await world.pool.reload(NEW, strategy="surge")
        await world.pool.redeclared(a_spec(model=NEW), strategy="surge")
        assert world.launcher.launched[-1].port != 12345


@virtually
async def test_a_pool_that_is_stuck_is_not_changed() -> None:
    """V1: what it is declared as is for later."""
    async with a_world(UNKILLABLE, WORKS, engine=ONE) as world:
        engine = await world.ready()
        await world.began(world.pool.stop())
        await world.pool.reached(PoolState.STUCK)
        world.pool.redeclare(a_spec(engine=TWO))
        assert world.pool.spec.engine.version == "1.0"
        engine.release()
        await world.pool.reached("stopped")


def test_secrets_of_an_engine_are_not_in_its_variant() -> None:
    """It is stored, and told."""
    spec = a_spec(engine={"env": {"TOKEN": "hunter2"}})
    assert "hunter2" not in repr(spec.target)
    assert spec.variant != a_spec().variant
    assert isinstance(spec, PoolSpec)


@virtually
async def test_a_declaration_of_what_runs_does_not_disturb_a_change_either() -> None:
    """Whoever takes a declaration back while it is being carried out: that goes on as it was declared."""
    async with a_world(WORKS, NEVER_READY, WORKS, engine=ONE) as world:
        await world.ready()
        first = await world.began(world.pool.redeclared(a_spec(engine=TWO)))
        with pytest.raises(ReloadRefused, match="one change at a time"):
            await world.pool.redeclared(a_spec(engine=ONE))
        world.engine.heal()
        await first
        assert flags(world.engine.request) == ("--two",)
        assert world.pool.spec.engine.version == "2.0"
        assert world.pool.declared.engine.version == "1.0"
        await world.pool.redeclared(a_spec(engine=ONE))
        assert flags(world.engine.request) == ("--one",)
        assert world.pool.spec == world.pool.declared == a_spec(engine=ONE)
