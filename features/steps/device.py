"""Steps about devices: their memory, and the pools that share them."""

from __future__ import annotations

import contextlib

from features.rehearsed import GB, a_gpu
from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle.errors import EngineStuck, StartFailed


def show(world: World, *, total: int, free: int) -> None:
    world.cast.gpus.show(devices=(a_gpu(0, total=total, free=free),))


@given("an engine that needs {needed:d} GB of a device with {total:d} GB")
def needs(world: World, needed: int, total: int) -> None:
    show(world, total=total, free=total)
    world.notes["total"] = total
    world.declare(gpu_probe="memory", device_mask="0")
    world.declare_engine(device_memory=needed * GB)


@given("another program takes {taken:d} GB of the device")
def taken(world: World, taken: int) -> None:
    total, ours = world.notes["total"], (world.spec.engine.device_memory or 0) // GB
    show(world, total=total, free=total - ours - taken)


@when("the engine runs out of device memory while another program takes {taken:d} GB for {time:Duration}")
def no_room(world: World, taken: int, time: float) -> None:
    total = world.notes["total"]
    show(world, total=total, free=total - taken)
    world.loop.call_later(time, lambda: show(world, total=total, free=total))
    engine = world.cast.newest()
    engine.say("cudaMalloc failed: out of memory")
    engine.crash()


# --- pools that share one --------------------------------------------------------------------------------


@given("the pools {pools:Pools} serve on device {device:d}")
@given("the pool {pools:Pools} serves on device {device:d}")
async def serve_on(world: World, pools: list[str], device: int) -> None:
    world.declare(device_mask=str(device))
    for name in pools:
        await (await world.pool(name)).start()


@given("{pools:Pools} crash with a CUDA error")
@when("{pools:Pools} crash with a CUDA error")
async def crash_with_cuda(world: World, pools: list[str]) -> None:
    await crash(world, pools, "CUDA error: an illegal memory access was encountered")


@when("{pools:Pools} crash")
async def crash(world: World, pools: list[str], words: str = "") -> None:
    for name in pools:
        engine = world.cast.newest(name)
        if words:
            engine.say(words)
        engine.crash()
    for name in pools:
        await (await world.pool(name)).reached("backing_off", "failed")
    await world.settle()


@given("{pools:Pools} on device {device:d} has an engine that nothing can end")
async def cannot_end_on(world: World, pools: list[str], device: int) -> None:
    world.imagine(unkillable=True)
    await serve_on(world, pools, device)
    world.imagine(unkillable=False)
    for name in pools:
        with contextlib.suppress(EngineStuck):
            await world.manager[name].stop()


@given("{pools:Pools} waits to start on device {device:d}")
@when("{pools:Pools} is to start on device {device:d}")
async def to_start_on(world: World, pools: list[str], device: int) -> None:
    world.declare(device_mask=str(device))
    for name in pools:
        await world.attempt((await world.pool(name)).start())


@then("{pools:Pools} serves")
async def serves(world: World, pools: list[str]) -> None:
    for name in pools:
        await world.manager[name].reached("ready")


@then("it is told that the device is in quarantine")
def told_of_quarantine(world: World) -> None:
    assert isinstance(world.error, StartFailed)
    assert "is in quarantine" in str(world.error)


@when("the engine of {pools:Pools} goes at last")
async def goes_at_last(world: World, pools: list[str]) -> None:
    for name in pools:
        world.cast.newest(name).release()
    await world.settle()


@then("{pools:Pools} are failed")
async def are_failed(world: World, pools: list[str]) -> None:
    found = [str(world.manager[name].state) for name in pools]
    assert set(found) == {"failed"}, found


@then("one of the pools serves, and the others are failed")
def one_serves(world: World) -> None:
    found = sorted(str(pool.state) for pool in world.manager)
    assert found == ["failed"] * (len(found) - 1) + ["ready"], found


@then("one of the pools serves, and the others are stopped or failed")
async def another_serves(world: World) -> None:
    await world.settle()
    found = sorted(str(pool.state) for pool in world.manager)
    assert found == ["failed", "ready", "stopped"], found
