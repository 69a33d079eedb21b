"""Restarts at run time: their time, their window, their turn on the host."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import PoolLifecycleError, StartFailed
from pool_lifecycle.interfaces import Device
from pool_lifecycle.lifecycle import PoolEvent, PoolState
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import Moved, Record, RestartScheduled
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.window import Window
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, MemoryGpuProbe
from pool_lifecycle.waits import Awaits
from tests.worlds import BROKEN, WORKS, World, a_spec, a_world, virtually

GIB = 2**30

PATIENT = Breaker(threshold=1000)
"""So that the window has its say."""

AT_ONCE = Backoff(initial=0.0, jitter=0.0)


def restarts(records: Iterable[Record], pool_id: str | None = None) -> list[float]:
    """When pools were started after a failure."""
    return [
        one.at
        for one in records
        if isinstance(one, Moved)
        and one.notice.source is PoolState.BACKING_OFF
        and one.notice.event is PoolEvent.DUE
        and pool_id in (None, one.pool_id)
    ]


def never_more(times: list[float], most: float, period: float) -> bool:
    """Whether no window of that length has more of them."""
    return all(sum(at <= one < at + period for one in times) <= most for at in times)


# --- the window ------------------------------------------------------------------------------------------


@virtually
async def test_the_eleventh_restart_in_a_minute_waits_for_room() -> None:
    """B-SUPER-033, 034: ten at once, the next when the first of them has left the window."""
    window = Window(storm_period=0.001)
    dies = EngineScript(exits_after=1.0, exit=ExitStatus(code=1))
    async with a_world(dies, backoff=AT_ONCE, breaker=PATIENT, window=window) as world:
        began = world.now
        await world.pool.start()
        await asyncio.sleep(59)
        assert world.pool.snapshot.restart_count == 10
        assert world.pool.state == "backing_off"
        assert world.pool.snapshot.not_before == began + 1 + 60
        await asyncio.sleep(59)
        assert world.pool.snapshot.restart_count == 20


@virtually
async def test_an_operator_cannot_ask_past_the_window() -> None:
    """S13: the start is not refused, it waits for its turn, and is answered when the engine is ready."""
    window = Window(limit=2, warning=1, storm=2, storm_period=0.001)
    scripts = (*(EngineScript(exits_after=1.0, exit=ExitStatus(code=1)),) * 3, WORKS)
    async with a_world(*scripts, backoff=AT_ONCE, breaker=PATIENT, window=window) as world:
        await world.pool.start()
        await asyncio.sleep(10)
        began, room = world.now, world.pool.snapshot.not_before
        await asyncio.gather(*(world.pool.start() for _ in range(5)))
        assert world.now == room
        assert room > began + 40
        assert world.pool.state == "ready"


@virtually
async def test_an_operators_start_skips_the_delay() -> None:
    """S14: no restart before its time, except by an operator's command."""
    async with a_world(BROKEN, WORKS, backoff=Backoff(initial=50.0, jitter=0.0)) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        began = world.now
        await world.pool.start()
        assert (world.now, world.pool.state) == (began, "ready")


@virtually
async def test_a_start_after_a_stop_is_a_restart_all_the_same() -> None:
    """S13: stopping in between does not empty the window."""
    window = Window(limit=2, warning=1, storm=2, storm_period=0.001)
    async with a_world(BROKEN, backoff=AT_ONCE, breaker=PATIENT, window=window) as world:
        for _ in range(20):
            starting = await world.began(world.pool.start())
            await world.pool.stop()
            await asyncio.wait((starting,))
        assert len(world.launcher.launched) <= 3


@virtually
async def test_what_never_failed_is_no_restart() -> None:
    """B-SUPER-x4: an operator may stop and start as often as he likes."""
    async with a_world(WORKS) as world:
        for _ in range(30):
            await world.pool.start()
            await world.pool.stop()
        assert world.pool.snapshot.restart_count == 0


# --- the host --------------------------------------------------------------------------------------------


@virtually
async def test_the_restarts_of_all_pools_share_one_budget() -> None:
    """S13, V6: they come one after the other, each pool gets its turn, and each knows when it is."""
    budget = Budget(burst=3, rate=2.0)
    async with a_world(manager={"restarts": budget}) as world:
        pools = [await world.manager.add(a_spec(f"p{number}")) for number in range(20)]
        await asyncio.gather(*(pool.start() for pool in pools))
        for engine in list(world.launcher.engines):
            engine.crash()
        await asyncio.sleep(1.0)
        await virtual_time.settle()
        waiting = {pool.snapshot.not_before for pool in pools if pool.state == "backing_off"}
        assert sorted(filter(None, waiting)) == [pytest.approx(world.now + turn / 2) for turn in range(1, 18)]
        await asyncio.gather(*(pool.reached("ready") for pool in pools))
        times = restarts(world.records)
        assert len(times) == 20
        assert never_more(times, 3 + 2.0 * 1.0 + 1e-6, 1.0)


@virtually
async def test_who_is_stopped_while_he_waits_for_his_turn_is_stopped() -> None:
    """V2: and nothing starts later."""
    async with a_world(BROKEN, manager={"restarts": Budget(burst=1, rate=0.1)}) as world:
        other = await world.manager.add(a_spec("other"))
        await world.began(world.pool.start())
        await world.began(other.start())
        await asyncio.sleep(1.5)
        assert other.state == "backing_off"
        await other.stop()
        await asyncio.sleep(60)
        assert other.state == "stopped"


# --- classes ---------------------------------------------------------------------------------------------


def fails(kind: FailureClass) -> EngineScript:
    return EngineScript(launch_error=Cause(kind, Stage.LAUNCH, f"failed by {kind}"))


@virtually
async def test_a_port_clash_is_tried_again_at_once_on_another_port() -> None:
    """B-SUPER-x2: without delay, and it counts for nothing but the window."""
    async with a_world(fails(FailureClass.PORT_IN_USE), WORKS) as world:
        began = world.now
        await world.began(world.pool.start())
        await world.pool.reached("ready")
        assert world.now == began
        first, second = (request.port for request in world.launcher.launched)
        assert first != second
        assert (world.pool.snapshot.crash_count, world.pool.snapshot.restart_count) == (0, 1)


@virtually
async def test_want_of_device_memory_waits_until_it_is_back() -> None:
    """B-SUPER-x2: no use in trying while somebody else has the memory."""
    gpus = MemoryGpuProbe([Device(0, "GPU-0", "a GPU", 80 * GIB, 70 * GIB)])
    spec: dict[str, Any] = {"engine": {"device_memory": 60 * GIB}, "gpu_probe": "memory"}
    async with a_world(fails(FailureClass.DEVICE_OUT_OF_MEMORY), WORKS, gpus=gpus, **spec) as world:
        await world.began(world.pool.start())
        await world.pool.reached("backing_off")
        gpus.show(devices=[Device(0, "GPU-0", "a GPU", 80 * GIB, 10 * GIB)])
        await asyncio.sleep(30)
        assert world.pool.state == "backing_off"
        assert "device 0 has 10.0 GiB free" in world.pool.explain()
        gpus.show(devices=[Device(0, "GPU-0", "a GPU", 80 * GIB, 70 * GIB)])
        await world.pool.reached("ready")


@virtually
async def test_a_want_that_lasts_is_no_start() -> None:
    """B-GPU-x3: nothing is launched without the memory; each wait for it ends after `limits.memory_wait`."""
    gpus = MemoryGpuProbe([Device(0, "GPU-0", "a GPU", 80 * GIB, 10 * GIB)])
    spec: dict[str, Any] = {"engine": {"device_memory": 60 * GIB}, "gpu_probe": "memory"}
    async with a_world(fails(FailureClass.DEVICE_OUT_OF_MEMORY), WORKS, gpus=gpus, **spec) as world:
        began = world.now
        with pytest.raises(StartFailed, match=r"device 0 has 10\.0 GiB free"):
            await world.pool.start()
        assert world.now - began == 60.0
        assert not world.launcher.launched


@virtually
async def test_a_pool_decides_what_its_classes_mean() -> None:
    """B-SUPER-x2: another multiplier, no retry."""
    said = ClassPolicies(signal=ClassPolicy(multiplier=7.0), hang=ClassPolicy(retry=False))
    async with a_world(fails(FailureClass.SIGNAL), fails(FailureClass.HANG), WORKS, classes=said) as world:
        began = world.now
        await world.began(world.pool.start())
        await world.pool.reached("failed")
        assert world.now - began == 7.0
        await asyncio.sleep(86400)
        assert world.pool.state == "failed"


# --- whatever happens ------------------------------------------------------------------------------------


@frozen
class Blow:
    """After so many seconds something happens to a pool."""

    after: float
    pool: int
    what: str


BLOWS = st.builds(
    Blow,
    st.floats(0.0, 20.0),
    st.integers(0, 2),
    st.sampled_from(("crash", "crash", "crash", "start", "stop", "reset", "allow_one")),
)
WINDOW = Window(period=30.0, warning=2, limit=4, storm=4, storm_period=5.0, stable=60.0)
BUDGET = Budget(burst=2, rate=0.5)
DELAYS = Backoff(initial=0.5, maximum=8.0, minimum=0.25, jitter=0.3, stable=40.0)


async def strike(world: World, pools: list[Pool], blow: Blow) -> None:
    pool = pools[blow.pool]
    if blow.what == "crash":
        server = pool.snapshot.server
        for engine in world.living:
            if server is not None and engine.handle.token == server.token:
                engine.crash()
        return
    with contextlib.suppress(PoolLifecycleError):
        world.begin(getattr(pool, blow.what)())
    await virtual_time.settle()


@settings(max_examples=40, deadline=None)
@given(st.lists(BLOWS, max_size=40), st.lists(st.sampled_from((WORKS, BROKEN)), max_size=10))
def test_whoever_asks_restarts_stay_within_their_limits(
    blows: list[Blow], scripts: list[EngineScript]
) -> None:
    """S13 RestartBudget, S14 BackoffLaw: over random crashes and commands, per pool and per host."""

    async def history() -> None:
        rules: dict[str, Any] = {
            "window": WINDOW,
            "backoff": DELAYS,
            "breaker": Breaker(threshold=3, timeout=20.0),
        }
        async with a_world(*scripts, WORKS, manager={"restarts": BUDGET}, **rules) as world:
            pools = [world.pool, *[await world.manager.add(a_spec(name, **rules)) for name in ("b", "c")]]
            for pool in pools:
                await world.began(pool.start())
            for blow in blows:
                await asyncio.sleep(blow.after)
                await strike(world, pools, blow)
            await asyncio.sleep(300)
            for pool in pools:
                assert never_more(restarts(world.records, pool.pool_id), WINDOW.limit, WINDOW.period)
            everybody = restarts(world.records)
            assert never_more(everybody, BUDGET.burst + BUDGET.rate * 10 + 1e-6, 10.0)
            assert_no_restart_came_too_early(world.records)

    virtual_time.run(history())


JUDGED_IN = (PoolState.RECOVERING, PoolState.STAGING)
JUDGED_TO = (PoolState.BACKING_OFF, PoolState.FAILED)
"""Between them there is a verdict on a failure."""


def assert_no_restart_came_too_early(records: list[Record]) -> None:
    """After a failure that counts, the shortest delay at least, unless an operator asked."""
    left: dict[str, float] = {}
    for one in records:
        if not isinstance(one, Moved):
            continue
        if one.notice.mark == "in turn":
            left[one.pool_id] = one.at
        elif one.notice.source in JUDGED_IN and one.notice.target in JUDGED_TO:
            left[one.pool_id] = one.at + DELAYS.minimum
        elif one.notice.source is PoolState.BACKING_OFF and one.notice.event is PoolEvent.DUE:
            assert one.at >= left[one.pool_id]


@virtually
async def test_the_turn_is_taken_when_the_memory_is_there() -> None:
    """S13: pools that waited for one device's memory do not start all at once when it comes back."""
    gpus = MemoryGpuProbe([Device(0, "GPU-0", "a GPU", 80 * GIB, 10 * GIB)])
    spec: dict[str, Any] = {"engine": {"device_memory": 60 * GIB}, "gpu_probe": "memory"}
    full = fails(FailureClass.DEVICE_OUT_OF_MEMORY)
    async with a_world(*(full,) * 5, WORKS, gpus=gpus, manager={"restarts": Budget(1, 0.5)}, **spec) as world:
        pools = [world.pool, *[await world.manager.add(a_spec(name, **spec)) for name in "bcde"]]
        for pool in pools:
            await world.began(pool.start())
        await asyncio.sleep(30)
        gpus.show(devices=[Device(0, "GPU-0", "a GPU", 80 * GIB, 70 * GIB)])
        await asyncio.gather(*(pool.reached("ready") for pool in pools))
        times = restarts(world.records)
        assert [later - earlier for earlier, later in itertools.pairwise(times)] == [2.0] * 4


@virtually
async def test_asking_again_and_again_does_not_put_the_start_off() -> None:
    """V1, V4: who polls `start` while memory is waited for waits no longer for it."""
    gpus = MemoryGpuProbe([Device(0, "GPU-0", "a GPU", 80 * GIB, 70 * GIB)])
    spec: dict[str, Any] = {"engine": {"device_memory": 60 * GIB}, "gpu_probe": "memory"}
    async with a_world(fails(FailureClass.DEVICE_OUT_OF_MEMORY), WORKS, gpus=gpus, **spec) as world:
        began = world.now
        await world.began(world.pool.start())
        await world.pool.reached("backing_off")
        gpus.show(devices=[Device(0, "GPU-0", "a GPU", 80 * GIB, 10 * GIB)])
        asked = [await world.began(world.pool.start())]
        while world.pool.state != "ready":
            await asyncio.sleep(10)
            asked.append(await world.began(world.pool.start()))
            if world.now - began >= 40:
                gpus.show(devices=[Device(0, "GPU-0", "a GPU", 80 * GIB, 70 * GIB)])
        assert world.now - began <= 60
        await asyncio.gather(*asked)
        assert len([one for one in world.of(RestartScheduled) if one.awaits is not Awaits.TURN]) == 2


@virtually
async def test_whoever_lost_the_trial_uses_up_no_turn() -> None:
    """V6: a hundred pools wait for one device; another pool's restart does not wait for them."""
    cuda, budget = fails(FailureClass.CUDA), Budget(burst=5, rate=1.0)
    async with a_world(*(cuda,) * 2, WORKS, manager={"restarts": budget}) as world:
        on_device = [await world.manager.add(a_spec(f"p{n}", device_mask="0")) for n in range(100)]
        for pool in on_device[:2]:
            await world.began(pool.start())
        await asyncio.gather(*(pool.reached("failed") for pool in on_device[:2]))
        for pool in on_device[2:]:
            await world.began(pool.start())
        await world.pool.start()
        while not any(pool.state == "ready" for pool in on_device):  # noqa: ASYNC110 - whichever it is
            await asyncio.sleep(1)
        began = world.now
        next(one for one in world.living if one.request.pool_id == "chat").crash()
        await world.pool.reached("recovering")
        await world.pool.reached("ready")
        assert world.now - began == 1.0
