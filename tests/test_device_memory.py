"""A pool starts on its devices when its turn has come and memory suffices, and gives the memory back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.device_memory import admit, never_fits, reclaimed, shortage, until_enough
from pool_lifecycle.gpus import LOOK
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import Device, DeviceProcess, Inspection, ModelDetails, ModelInfo
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import Record, Trouble
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.testing.memory import MemoryGpuProbe
from tests.worlds import a_host, a_spec, virtually

GIB = 2**30
BROKEN = Cause(FailureClass.UNKNOWN, Stage.PREFLIGHT, "the driver hangs")


def device(index: int, free: int, total: int = 80 * GIB) -> Device:
    return Device(index, f"GPU-{index}", "a GPU", total, free)


def a_host_with(probe: MemoryGpuProbe, records: list[Record] | None = None, reserve: int = 0) -> Host:
    host = a_host([records.append] if records is not None else [], devices=DevicePolicy(reserve=reserve))
    host.drivers = host.gpus.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    return host


def spec(needs: int | None = 10 * GIB, mask: str | None = None, **more: Any) -> PoolSpec:
    engine = {"device_memory": needs, **more.pop("engine", {})}
    return a_spec(more.pop("pool_id", "chat"), engine=engine, gpu_probe="memory", device_mask=mask, **more)


def nobody(_: str) -> None:
    """Sees nothing."""


def an_engine(*, pid: int) -> Any:
    """One whose tree has that process."""

    class Engine:
        async def inspect(self) -> Inspection:
            return Inspection(alive=True, pids=(pid,))

    return Engine()


async def admitted(one: PoolSpec, host: Host, **more: Any) -> tuple[float, ...] | Cause:
    told: dict[str, Any] = {"model": None, "replaces": False, "see": nobody} | more
    return await admit(one, host, **told)


@virtually
async def test_it_waits_until_there_is_enough() -> None:
    """B-SUPER-x2: device out-of-memory waits for memory, and says for how much."""
    probe, seen = MemoryGpuProbe([device(0, GIB)]), list[str]()
    host = a_host_with(probe)
    began = host.clock()
    waiting = asyncio.ensure_future(until_enough(spec(), host, seen.append))
    await asyncio.sleep(20)
    assert not waiting.done()
    assert seen[0] == f"device 0 has 1.0 GiB free: 9.0 GiB ({9 * GIB} bytes) too few of 10.0 GiB"
    probe.show(devices=[device(0, 10 * GIB)])
    await waiting
    assert host.clock() - began <= 20 + LOOK


@virtually
async def test_only_its_own_devices_matter() -> None:
    """What is not in the mask may be as full as it likes."""
    probe = MemoryGpuProbe([device(0, GIB), device(1, 20 * GIB)])
    assert await admitted(spec(mask="1"), a_host_with(probe)) == ()


@pytest.mark.parametrize("needs", [None, 10 * GIB])
@virtually
async def test_where_nothing_is_known_nothing_is_waited_for(needs: int | None) -> None:
    """No need declared, or no device seen, or a probe that fails, which is trouble."""
    records = list[Record]()
    host = a_host_with(probe := MemoryGpuProbe(), records)
    await until_enough(spec(needs), host, nobody)
    assert await admitted(spec(needs), host) == ()
    assert await shortage(spec(needs), host, None) is None
    assert records == []
    probe.fail(BROKEN)
    assert await admitted(spec(needs), host) == ()
    assert isinstance(records[-1], Trouble)
    assert "the driver hangs" in records[-1].what


@virtually
async def test_a_shortage_says_where_and_by_how_much() -> None:
    """B-RELOAD-x2: at once, as it is now; of the pool's own devices only."""
    host = a_host_with(MemoryGpuProbe([device(0, 7 * GIB), device(1, 20 * GIB)]))
    cause = await shortage(spec(mask="0"), host, None)
    assert cause is not None
    assert cause.message == f"device 0 has 7.0 GiB free: 3.0 GiB ({3 * GIB} bytes) too few of 10.0 GiB"
    assert cause.stage is Stage.PREFLIGHT
    assert "strategy" in cause.remedy
    assert await shortage(spec(mask="1"), host, None) is None
    assert await shortage(spec(7 * GIB), host, None) is None


@virtually
async def test_a_start_without_memory_is_refused_after_a_while() -> None:
    """B-GPU-x3: naming what is missing and who has it; and the device is free for others then."""
    stranger = DeviceProcess("GPU-0", 4711, 70 * GIB)
    host = a_host_with(MemoryGpuProbe([device(0, 10 * GIB)], [stranger]), reserve=GIB)
    began, pool = host.clock(), spec(10 * GIB, limits=Limits(memory_wait=30.0))
    cause = await admitted(pool, host)
    assert isinstance(cause, Cause)
    assert host.clock() - began == 30.0
    assert cause.heals
    assert cause.message == (
        "device 0 has 10.0 GiB free, of which 1.0 GiB are kept in reserve: "
        f"1.0 GiB ({GIB} bytes) too few of 10.0 GiB; in use by pid 4711 with 70.0 GiB ({70 * GIB} bytes)"
    )
    assert host.gpus.turns.holders(["GPU-0"]) == ()


@virtually
async def test_starts_on_one_device_happen_one_at_a_time() -> None:
    """B-GPU-x3: the second counts what the first has taken; it says whom it waits for."""
    probe, seen = MemoryGpuProbe([device(0, 15 * GIB)]), list[str]()
    host = a_host_with(probe)
    assert await admitted(spec(), host) == ()
    second = asyncio.ensure_future(admitted(spec(pool_id="embed"), host, see=seen.append))
    await asyncio.sleep(10)
    assert not second.done()
    assert seen[-1] == "waiting for its devices, on which it comes after: chat"
    probe.show(devices=[device(0, 5 * GIB)])
    host.gpus.turns.give_back("chat")
    assert isinstance(await second, Cause)


@virtually
async def test_whoever_gives_up_waiting_is_in_nobodys_way() -> None:
    """V4: a stop in the queue."""
    host = a_host_with(MemoryGpuProbe([device(0, 15 * GIB)]))
    await admitted(spec(), host)
    second, third = (asyncio.ensure_future(admitted(spec(pool_id=name), host)) for name in ("b", "c"))
    await asyncio.sleep(1)
    second.cancel()
    host.gpus.turns.give_back("chat")
    assert await third == ()


@pytest.mark.parametrize("told", [False, True])
@virtually
async def test_what_its_own_engine_holds_is_counted_as_free(told: bool) -> None:
    """A change of model on a full device: also in a container, where nobody is told whose memory it is."""
    probe = MemoryGpuProbe([device(0, 45 * GIB)])
    host, pool = a_host_with(probe), spec(40 * GIB, limits=Limits(memory_wait=5.0))
    await host.gpus.before(pool, "t")
    probe.show(devices=[device(0, 5 * GIB)])
    if told:
        probe.show(processes=[DeviceProcess("GPU-0", 7, 40 * GIB)])
        await host.gpus.know(pool, "t", an_engine(pid=7))
    assert await admitted(pool, host, replaces=True) == ()
    assert isinstance(await admitted(pool, host), Cause)


@virtually
async def test_what_a_stranger_holds_is_not_its_own() -> None:
    """Although it has come since the pool's own launch."""
    probe = MemoryGpuProbe([device(0, 45 * GIB)])
    host, pool = a_host_with(probe), spec(40 * GIB, limits=Limits(memory_wait=5.0))
    await host.gpus.before(pool, "t")
    probe.show(devices=[device(0, 5 * GIB)], processes=[DeviceProcess("GPU-0", 9, 40 * GIB)])
    assert isinstance(await admitted(pool, host, replaces=True), Cause)


@virtually
async def test_a_split_fits_where_equal_shares_would_not() -> None:
    """B-HETERO-002: each device gets what it has room for, and the engine is told in these shares."""
    probe = MemoryGpuProbe([device(0, 30 * GIB), device(1, 10 * GIB)])
    model = ModelInfo("file:/m", "m", details=ModelDetails("gguf", memory=36 * GIB))
    pool = spec(None, "0,1", engine={"split": (0.5, 0.5)})
    shares = await admitted(pool, a_host_with(probe), model=model)
    assert shares == pytest.approx((26 / 36, 10 / 36))


@virtually
async def test_an_engine_that_splits_evenly_needs_its_share_everywhere() -> None:
    """B-HETERO-002: capped by the smallest device, as more on the others would not help it."""
    probe = MemoryGpuProbe([device(0, 30 * GIB), device(1, 10 * GIB)])
    host = a_host_with(probe)
    host.drivers = host.gpus.drivers = Drivers({Interface.GPU_PROBE: {"memory": probe}})
    pool = evolve(spec(), engine=EngineSpec("vllm", profile="vllm", split=(0.5, 0.5), device_memory=18 * GIB))
    assert isinstance(cause := await admitted(pool, host), Cause)
    assert cause.message.startswith("device 1 has 10.0 GiB free: 8.0 GiB")
    probe.show(devices=[device(0, 30 * GIB), device(1, 18 * GIB)])
    assert await admitted(pool, host) == (0.5, 0.5)


@virtually
async def test_what_can_never_fit_is_known_before_anything_is_fetched() -> None:
    """B-HETERO-003: refused with the shortfall; trying again does not help."""
    probe = MemoryGpuProbe([device(0, 1, total=24 * GIB), device(1, 1, total=24 * GIB)])
    host = a_host_with(probe)
    look = await host.gpus.look("memory")
    (split,) = never_fits(spec(30 * GIB, "0,1", engine={"split": (0.5, 0.5)}), host, look, None)
    assert not split.heals
    assert f"12.0 GiB ({12 * GIB} bytes) too few" in split.message
    (whole,) = never_fits(spec(30 * GIB, "0"), host, look, None)
    assert f"6.0 GiB ({6 * GIB} bytes) too few" in whole.message
    assert list(never_fits(spec(20 * GIB, "0"), host, look, None)) == []


# --- memory comes back -----------------------------------------------------------------------------


async def launched(host: Host, pool: PoolSpec, probe: MemoryGpuProbe) -> None:
    """As it was before the launch, and with 40 GiB of the engine's since."""
    await host.gpus.before(pool, "t")
    probe.show(devices=[device(0, 40 * GIB)])


@virtually
async def test_a_stop_waits_until_the_memory_is_back() -> None:
    """B-PROC-x3: the tree is gone before the driver has given back what it held."""
    probe, seen = MemoryGpuProbe([device(0, 80 * GIB)]), list[str]()
    host, pool = a_host_with(probe), spec()
    await launched(host, pool, probe)
    waiting = asyncio.ensure_future(reclaimed(pool, host, "t", deadline=None, see=seen.append))
    await asyncio.sleep(5)
    assert not waiting.done()
    assert seen[-1] == f"waiting for memory to come back: 40.0 GiB ({40 * GIB} bytes) of device 0"
    probe.show(devices=[device(0, 80 * GIB)])
    await waiting
    assert host.gpus.turns.holders(["GPU-0"]) == ()


@virtually
async def test_what_others_take_meanwhile_is_not_waited_for() -> None:
    """B-PROC-x3: memory is attributed to whom it belongs."""
    probe = MemoryGpuProbe([device(0, 80 * GIB)])
    host, pool = a_host_with(probe), spec()
    await launched(host, pool, probe)
    probe.show(devices=[device(0, 20 * GIB)], processes=[DeviceProcess("GPU-0", 9, 60 * GIB)])
    began = host.clock()
    await reclaimed(pool, host, "t", deadline=None, see=nobody)
    assert host.clock() == began


@pytest.mark.parametrize(("deadline", "lasts"), [(None, 30.0), (10.0, 9.5)])
@virtually
async def test_what_does_not_come_back_is_told_and_its_device_kept(
    deadline: float | None, lasts: float
) -> None:
    """B-PROC-x3, S7: after `limits.reclaim` the pool goes on; nobody starts there until it is back."""
    probe, records = MemoryGpuProbe([device(0, 80 * GIB)]), list[Record]()
    host, pool = a_host_with(probe, records), spec()
    await launched(host, pool, probe)
    began = host.clock()
    limit = None if deadline is None else began + deadline
    await reclaimed(pool, host, "t", deadline=limit, see=nobody)
    assert host.clock() - began == pytest.approx(lasts)
    assert isinstance(records[-1], Trouble)
    assert "memory has not come back" in records[-1].what
    next_start = asyncio.ensure_future(admitted(pool, host))
    await asyncio.sleep(100)
    assert not next_start.done()
    probe.show(devices=[evolve(device(0, 80 * GIB))])
    assert await next_start == ()
    await host.gpus.close()


@virtually
async def test_a_launch_that_nobody_saw_begin_is_not_waited_for() -> None:
    """Nothing is known of what was there before it."""
    host = a_host_with(MemoryGpuProbe([device(0, 0)]))
    began = host.clock()
    await reclaimed(spec(), host, "unknown", deadline=None, see=nobody)
    assert host.clock() == began
