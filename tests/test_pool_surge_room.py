"""Surge where two engines do not fit: refused with the shortfall, or done in another way."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError, NoRoomForTwo, ReloadFailed
from pool_lifecycle.interfaces import Device
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.records import Trouble
from pool_lifecycle.spec import ReloadSpec
from pool_lifecycle.testing.memory import MemoryGpuProbe
from tests.swapping import free_now, scarce
from tests.twisted import Passing
from tests.worlds import INSTANT, NEW, OLD, SLOW_STAGING, a_world, virtually

GIB = 2**30


@virtually
async def test_two_engines_do_not_share_a_fixed_port() -> None:
    """B-RELOAD-x2: refused with what to do, before anything is staged."""
    async with a_world(engine={"port": 12345}) as world:
        await world.ready()
        with pytest.raises(NoRoomForTwo, match="cannot both listen on the declared port 12345") as caught:
            await world.pool.reload(NEW, strategy="surge")
        assert "use strategy stage_first" in str(caught.value)
        assert world.stager.requests == [OLD]
        assert world.pool.state is PoolState.READY


@virtually
async def test_too_little_memory_of_the_host_is_a_shortfall() -> None:
    """B-RELOAD-x2: what is declared counts; the refusal says by how much it is too little."""
    twist, spec = scarce(6 * GIB), {"memory": 10 * GIB}
    async with a_world(twist=twist, engine=spec) as world:
        free_now(world, 20 * GIB)
        await world.ready()
        free_now(world, 6 * GIB)
        with pytest.raises(NoRoomForTwo, match=f"{4 * GIB} bytes of memory too few"):
            await world.pool.reload(NEW, strategy="surge")
        assert world.way[-1] == "ready"
        free_now(world, 10 * GIB)
        await world.pool.reload(NEW, strategy="surge")


@virtually
async def test_where_nothing_is_declared_the_size_of_the_model_counts() -> None:
    """B-RELOAD-x2: a model of a mebibyte does not fit beside another into less."""
    async with a_world(twist=scarce(2**20 - 1)) as world:
        await world.ready()
        with pytest.raises(NoRoomForTwo, match="1 bytes of memory too few"):
            await world.pool.reload(NEW, strategy="surge")


@virtually
async def test_too_little_memory_of_a_device_is_a_shortfall() -> None:
    """B-RELOAD-x2: each of the pool's devices needs room for its share of both."""
    full = [Device(0, "GPU-0", "a GPU", 80 * GIB, 50 * GIB), Device(1, "GPU-1", "a GPU", 80 * GIB, 39 * GIB)]
    gpus = MemoryGpuProbe([evolve(one, memory_free=80 * GIB) for one in full])
    spec: dict[str, Any] = {
        "engine": {"device_memory": 40 * GIB},
        "gpu_probe": "memory",
        "device_mask": "0,1",
    }
    async with a_world(gpus=gpus, manager={"devices": DevicePolicy(reserve=0)}, **spec) as world:
        await world.ready()
        gpus.show(devices=full)
        with pytest.raises(
            NoRoomForTwo, match=rf"device 1 has 39\.0 GiB free: 1\.0 GiB \({GIB} bytes\) too few"
        ):
            await world.pool.reload(NEW, strategy="surge")
        gpus.show(devices=[evolve(one, memory_free=40 * GIB) for one in full])
        await world.pool.reload(NEW, strategy="surge")


@pytest.mark.parametrize("declared", [False, True])
@virtually
async def test_without_room_it_is_done_in_another_way_if_one_is_named(declared: bool) -> None:
    """B-RELOAD-x2: by who asks, or by how the pool is declared."""
    asked: dict[str, Any] = {} if declared else {"strategy": "surge", "otherwise": "stage_first"}
    reload = ReloadSpec("surge", "stage_first") if declared else ReloadSpec()
    async with a_world(engine={"port": 12345}, reload=reload) as world:
        await world.ready()
        await world.pool.reload(NEW, **asked)
        assert world.pool.status().model == NEW
        assert "staging_ahead" in world.way
        assert "surging.staging" not in world.way


@virtually
async def test_who_names_the_strategy_names_the_other_one_too() -> None:
    """A surge that was asked for by name is not replaced by what is declared."""
    async with a_world(engine={"port": 12345}, reload=ReloadSpec("surge", "stage_first")) as world:
        await world.ready()
        with pytest.raises(NoRoomForTwo):
            await world.pool.reload(NEW, strategy="surge")


@pytest.mark.parametrize("otherwise", [None, "drain_first"])
@virtually
async def test_a_shortfall_may_appear_only_when_the_model_is_here(otherwise: str | None) -> None:
    """B-RELOAD-x2, x1: somebody else took the memory meanwhile. The old engine serves as before."""
    async with a_world(twist=scarce(GIB), staging=(INSTANT, SLOW_STAGING)) as world:
        await world.ready()
        asked = await world.began(world.pool.reload(NEW, strategy="surge", otherwise=otherwise))
        assert world.pool.state is PoolState.SURGING_STAGING
        free_now(world, 0)
        if otherwise is None:
            with pytest.raises(NoRoomForTwo, match="bytes of memory too few"):
                await asked
            assert world.pool.acquire("me").generation == 1
            assert world.pool.snapshot.crash_count == 0
        else:
            await asked
            assert world.pool.status().model == NEW
            assert "reloading.draining" in world.way


@virtually
async def test_what_cannot_be_known_beforehand_is_found_out() -> None:
    """A driver that fails at the first look does not answer for the change, which fails by its own cause."""

    class NoSuchModel(Passing):
        async def resolve(self, *, reference: str) -> object:
            if reference == NEW:
                raise DriverError("memory", Cause(FailureClass.STAGING, Stage.STAGING, "no such model"))
            return await self.driver.resolve(reference=reference)

    twist = lambda driver: NoSuchModel(driver) if hasattr(driver, "resolve") else driver  # noqa: E731
    async with a_world(twist=twist) as world:
        await world.ready()
        with pytest.raises(ReloadFailed, match="staging failed: no such model"):
            await world.pool.reload(NEW, strategy="surge")
        assert "no such model" in world.of(Trouble)[0].what
        assert world.pool.state is PoolState.READY


@virtually
async def test_a_refused_surge_leaves_no_port_behind() -> None:
    """What was looked at for it is not what a later change launches on: that may be taken by then."""
    async with a_world(twist=scarce(0)) as world:
        await world.ready()
        with pytest.raises(NoRoomForTwo):
            await world.pool.reload(NEW, strategy="surge")
        free = await world.launcher.reserve_port(host="localhost")
        await world.pool.reload(NEW)
        assert world.launcher.launched[-1].port > free
