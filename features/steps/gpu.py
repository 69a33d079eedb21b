"""Steps about GPUs: which there are, who may use them, how models are spread, and what ails them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from attrs import evolve

from features.rehearsed import GB, GPUS, a_gpu
from features.steps.metrics import sample
from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle.device_preflight import cuda_available
from pool_lifecycle.gpus import Look
from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess, FaultKind

STRANGER = 4711
"""The pid of another program."""

OFF_THE_BUS, PAGE_FAULT = 79, 31


def uuid_of(index: int) -> str:
    return a_gpu(index).uuid


# --- which there are -------------------------------------------------------------------------------


def path_with(world: World, *tools: str) -> None:
    """Whatever else is installed on this host is out of sight for the scenario."""
    folder = world.folder / "bin"
    folder.mkdir()
    for tool in tools:
        (folder / tool).write_text("")
        (folder / tool).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = str(folder)
    world.until_closed.callback(os.environ.__setitem__, "PATH", before)


@given('a host on which "{tool}" is installed, and no GPU is seen')
def with_tool(world: World, tool: str) -> None:
    path_with(world, tool)
    world.cast.gpus.show(devices=())


@given("a host with {count:d} GPU, on which no tool is installed")
def with_gpus(world: World, count: int) -> None:
    path_with(world)
    world.cast.gpus.show(devices=map(a_gpu, range(count)))


@given("a host without a GPU")
def without(world: World) -> None:
    path_with(world)
    world.cast.gpus.show(devices=())


@when("it is asked whether there is a GPU")
async def ask(world: World) -> None:
    world.answer = cuda_available(Look(await world.cast.gpus.devices()))


@then("there is one")
def there_is(world: World) -> None:
    assert world.answer is True


@then("nothing was launched, and no model put in place")
def nothing_done(world: World) -> None:
    nothing_launched(world)
    assert not world.cast.stager.staged, world.cast.stager.staged


@then("nothing was launched")
def nothing_launched(world: World) -> None:
    assert not world.cast.engines


# --- who may use them ------------------------------------------------------------------------------


@given('a pool that may use the devices "{mask}", or runs on the CPU')
def may_use_or_not(world: World, mask: str) -> None:
    world.declare(device_mask=mask, gpu_only=False)


@given('the manager may see the devices "{mask}"')
def manager_sees(world: World, mask: str) -> None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = mask
    world.until_closed.callback(_put_back, before)


def _put_back(before: str | None) -> None:
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    if before is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = before


def seen(world: World) -> dict[str, str]:
    assert world.error is None, world.error
    return dict(world.cast.newest().request.command.env)


@then('the engine sees the devices "{mask}"')
def engine_sees(world: World, mask: str) -> None:
    assert seen(world)["CUDA_VISIBLE_DEVICES"] == mask
    assert "CUDA_VISIBLE_DEVICES" not in world.cast.newest().request.env_passthrough


@then('the engine sees the devices "{mask}", in the order of the bus')
def in_order(world: World, mask: str) -> None:
    engine_sees(world, mask)
    assert seen(world)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


# --- how models are spread -------------------------------------------------------------------------


@given("device {index:d} has {free:d} GB free")
def has_free(world: World, index: int, free: int) -> None:
    change(world, index, a_gpu(index, free=free))


@given('a pool that splits {size:d} GB over the devices "{mask}", {one:d} to {other:d}')
def splits(world: World, size: int, mask: str, one: int, other: int) -> None:
    world.declare(
        device_mask=mask,
        engine=evolve(world.spec.engine, split=(one / 100, other / 100), device_memory=size * GB // 2),
    )


@then("the engine is told to split {one:g} to {other:g}")
def told_to_split(world: World, one: float, other: float) -> None:
    assert world.error is None, world.error
    argv = world.cast.newest().request.command.argv
    assert argv[argv.index("split") :][:3] == ("split", str(one), str(other)), argv


@then("the engine is told of no split")
def told_nothing(world: World) -> None:
    assert "split" not in world.cast.newest().request.command.argv


# --- memory ----------------------------------------------------------------------------------------


@given("another program takes {taken:d} GB of the device for {time:Duration}")
def takes_for(world: World, taken: int, time: float) -> None:
    total = world.notes["total"]
    process = DeviceProcess(uuid_of(0), STRANGER, taken * GB)
    world.cast.gpus.show(devices=[a_gpu(0, total=total, free=total - taken)], processes=[process])
    free = [a_gpu(0, total=total)]
    world.loop.call_later(time, lambda: world.cast.gpus.show(devices=free, processes=()))


@given("the device gives memory back {time:Duration} late")
def late(world: World, time: float) -> None:
    """What an engine takes, it takes when it is launched; nobody else accounts for it."""
    total, needed = world.notes["total"], (world.spec.engine.device_memory or 0) // GB
    world.cast.launcher.when_launched = lambda: world.cast.gpus.show(
        devices=[a_gpu(0, total=total, free=total - needed)]
    )
    world.cast.launcher.when_gone = lambda: world.loop.call_later(
        time, lambda: world.cast.gpus.show(devices=[a_gpu(0, total=total)])
    )


@given("an engine that takes {time:Duration} to become ready")
def slow_engine(world: World, time: float) -> None:
    world.imagine(ready_after=time)


@when("{pools:Pools} are to start on device {device:d}")
async def start_together(world: World, pools: list[str], device: int) -> None:
    world.declare(device_mask=str(device))
    made = [await world.pool(name) for name in pools]
    await asyncio.gather(*(pool.start() for pool in made))


@then("their engines were launched {time:Duration} apart")
def apart(world: World, time: float) -> None:
    first, second = world.cast.diary.when("launch the engine")
    assert time <= second - first <= time + 1, second - first


@then("that took about {time:Duration}")
def took_about(world: World, time: float) -> None:
    assert time <= world.elapsed <= time + 3, world.elapsed


@when("{pools:Pools} is to start on device {device:d} for a while")
async def start_for_a_while(world: World, pools: list[str], device: int) -> None:
    del device
    (name,) = pools
    world.begin("start", (await world.pool(name)).start())
    await asyncio.sleep(60)


@then("{waiting:Pools} waits for the memory of {other:Pools}")
def waits_for(world: World, waiting: list[str], other: list[str]) -> None:
    assert f"memory of {other[0]}" in world.manager[waiting[0]].explain()
    assert world.manager[waiting[0]].state == "staging"


# --- what ails them --------------------------------------------------------------------------------


def change(world: World, index: int, device: Device) -> None:
    others = [a_gpu(one) for one in range(GPUS) if one != index]
    world.cast.gpus.show(devices=[device, *others])


def report(world: World, index: int, code: int, kind: FaultKind = FaultKind.XID) -> None:
    world.notes["launched"] = len(world.cast.engines)
    world.cast.gpus.report(DeviceFault(uuid_of(index), code, "", kind))


@given("device {index:d} has fallen off the bus")
@when("device {index:d} falls off the bus")
async def falls(world: World, index: int) -> None:
    report(world, index, OFF_THE_BUS)
    await world.settle()


@given("device {index:d} is lost")
async def is_lost(world: World, index: int) -> None:
    change(world, index, a_gpu(index, total=0, unwell="GPU is lost"))
    report(world, index, 0, FaultKind.LOST)
    await world.settle()


@when("device {index:d} answers again, and {time:Duration} pass")
async def answers(world: World, index: int, time: float) -> None:
    change(world, index, a_gpu(index))
    report(world, index, 0, FaultKind.WELL)
    await asyncio.sleep(time)


@when("the operator releases device {index:d}")
def releases(world: World, index: int) -> None:
    world.manager.release_device(str(index))


@when("device {index:d} reports a fault that an application has made")
async def application_fault(world: World, index: int) -> None:
    report(world, index, PAGE_FAULT)
    await world.settle()


@when("an hour passes")
async def an_hour(world: World) -> None:
    await asyncio.sleep(3600)


@then("{pools:Pools} are failed, because of the device")
def failed_because(world: World, pools: list[str]) -> None:
    for name in pools:
        pool = world.manager[name]
        assert pool.state == "failed", pool.state
        assert "GPU has fallen off the bus" in pool.explain()


@then("no engine has been launched since")
def none_since(world: World) -> None:
    assert len(world.cast.engines) == world.notes["launched"]


@then("{pools:Pools} serve again, one after the other")
async def serve_again(world: World, pools: list[str]) -> None:
    """The first is the trial: when it has proven itself, the other one may start as well."""
    await asyncio.sleep(120)
    for name in pools:
        await world.manager[name].reached("ready")


@then("that fault is logged")
def fault_is_logged(world: World) -> None:
    ((_, fields),) = world.log.about("DeviceFaulted")
    assert (fields["code"], fields["isolated"]) == (PAGE_FAULT, False)


@then("the metrics count {count:d} reset of a device")
def counts_resets(world: World, count: int) -> None:
    assert sample(world, "driver_reset_total") == count


@then("the metrics say that each device has {size:d} GB, all of them free")
def says_memory(world: World, size: int) -> None:
    for name in ("device_vram_total_bytes", "device_vram_free_bytes"):
        found: Iterable[Any] = [sample(world, name, device=uuid_of(index)) for index in range(GPUS)]
        assert list(found) == [size * GB] * GPUS, found
