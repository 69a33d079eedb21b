"""The circuits that pools share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import EngineStuck, PoolLifecycleError, StartFailed
from pool_lifecycle.events import Shared
from pool_lifecycle.kept import KeptHost, Moment
from pool_lifecycle.pool import Pool
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.shared_circuits import SharedCircuits, name_of
from pool_lifecycle.spec import Limits
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import UNKILLABLE, WORKS, World, a_spec, a_world, virtually

CUDA = EngineScript(launch_error=Cause(FailureClass.CUDA, Stage.LAUNCH, "CUDA error: unknown error"))
CLOSED = Circuit(name_of("0"), shared=True)


def shared(now: float = 1000.0) -> SharedCircuits:
    return SharedCircuits(Blame(), lambda: now)


def states(pools: Iterable[Pool]) -> list[str]:
    """Those of device 0's circuit, as each pool has it."""
    return [str(one.state) for pool in pools for one in pool.snapshot.circuits if one.shared]


# --- alone -----------------------------------------------------------------------------------------------


def test_everybody_on_a_device_has_the_same_circuit() -> None:
    """B-SUPER-x7: whoever joins later gets it as it is."""
    circuits, woken = shared(), list[str]()
    mine = circuits.join("a", ["0"], lambda: woken.append("a"))
    assert mine == (CLOSED,)
    circuits.join("b", ["0", "1"], lambda: None)
    circuits.failed("a")
    assert (circuits.news(mine), woken) == (None, [])
    circuits.failed("b")
    news = circuits.news(mine)
    assert news is not None
    assert (news.circuit.state, woken) == (BreakerState.OPEN, ["a"])
    assert circuits.join("c", ["0"], lambda: None) == (news.circuit,)


def test_what_everybody_knows_is_no_news() -> None:
    """Else two pools would tell each other for ever."""
    circuits, woken = shared(), list[str]()
    circuits.join("a", ["0"], lambda: woken.append("a"))
    circuits.follow([CLOSED], "b")
    moved = evolve(CLOSED, state=BreakerState.HALF_OPEN)
    circuits.follow([moved, Circuit("general")], "b")
    circuits.follow([moved], "b")
    assert woken == ["a"]
    assert circuits.news([Circuit("general"), CLOSED]) == Shared(moved)
    assert circuits.news([Circuit("general"), moved]) is None


def test_who_left_hears_nothing_and_counts_for_nothing() -> None:
    """Its failures neither."""
    circuits, woken = shared(), list[str]()
    circuits.join("a", ["0"], lambda: woken.append("a"))
    (mine,) = circuits.join("b", ["0"], lambda: None)
    circuits.failed("a")
    circuits.leave("a")
    circuits.failed("b")
    assert (woken, circuits.news([mine])) == ([], None)


def test_an_open_circuit_outlives_the_pools_on_its_device() -> None:
    """A device does not heal by removing pools; one that is well is forgotten."""
    circuits = shared()
    for name in "ab":
        circuits.join(name, ["0"], lambda: None)
    for name in "ab":
        circuits.failed(name)
    for name in "ab":
        circuits.leave(name)
    (circuit,) = circuits.join("c", ["0"], lambda: None)
    assert circuit.state is BreakerState.OPEN


def test_what_cannot_be_killed_keeps_others_off_its_device() -> None:
    """S7: without an end; once nothing of that kind is left there, one trial is allowed."""
    circuits = shared()
    (mine,) = circuits.join("a", ["0"], lambda: None)
    circuits.join("b", ["0"], lambda: None)
    circuits.hold("a", stuck=True)
    circuits.hold("b", stuck=True)
    circuits.hold("a", stuck=False)
    news = circuits.news([mine])
    assert news is not None
    assert (news.circuit.state, news.circuit.until) == (BreakerState.OPEN, None)
    circuits.hold("b", stuck=False)
    news = circuits.news([mine])
    assert news is not None
    assert news.circuit.state is BreakerState.HALF_OPEN


def test_a_quarantine_goes_on_under_the_next_manager_while_somebody_is_stuck() -> None:
    """S7: it is derived from what is kept of the pools, so that nobody can forget to end it."""
    held = evolve(CLOSED, state=BreakerState.OPEN, openings=1)
    kept = KeptHost(Moment("boot", 1000.0, 0.0), circuits=(held,))
    for stuck, state in ((["a"], BreakerState.OPEN), ([], BreakerState.HALF_OPEN)):
        circuits = shared()
        circuits.restore(kept, {"a"}, {CLOSED.name: stuck} if stuck else {})
        (circuit,) = circuits.join("a", ["0"], lambda: None)
        assert (circuit.state, circuit.until) == (state, None)
        circuits.hold("a", stuck=False)
        assert circuits.news([circuit]) == (
            Shared(evolve(circuit, state=BreakerState.HALF_OPEN)) if stuck else None
        )


# --- with pools ------------------------------------------------------------------------------------------


async def two_failing(world: World) -> tuple[Pool, Pool]:
    """Two pools on device 0 whose engines fail by CUDA errors, until both have failed."""
    pools = [await world.manager.add(a_spec(name, device_mask="0")) for name in ("one", "two")]
    await world.began(pools[0].start())
    await world.began(pools[1].start())
    await asyncio.gather(*(pool.reached("failed") for pool in pools))
    return pools[0], pools[1]


@virtually
async def test_pools_failing_on_one_device_open_its_circuit() -> None:
    """B-SUPER-x7: nobody is started on it any more, also who has not failed; their own stay closed."""
    async with a_world(CUDA) as world:
        third = await world.manager.add(a_spec("third", device_mask="GPU0"))
        pools = await two_failing(world)
        assert states((*pools, third)) == ["open"] * 3
        assert {one.state for pool in pools for one in pool.snapshot.circuits if not one.shared} == {
            BreakerState.CLOSED
        }
        await world.began(third.start())
        assert third.state == "failed"


@virtually
async def test_a_pool_on_another_device_is_not_concerned() -> None:
    """Nor one without a mask."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        await two_failing(world)
        other = await world.manager.add(a_spec("other", device_mask="1"))
        await asyncio.gather(other.start(), world.pool.start())
        assert (other.state, world.pool.state) == ("ready", "ready")


@virtually
async def test_one_of_the_pools_makes_the_trial() -> None:
    """S15 BreakerPermit, V5: one trial on the device; if it lasts the others come back as well."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        pools = await two_failing(world)
        await asyncio.sleep(301)
        assert sorted(pool.state for pool in pools) == ["failed", "ready"]
        assert states(pools) == ["trial"] * 2
        await asyncio.sleep(60)
        assert states(pools) == ["closed"] * 2
        await asyncio.gather(*(pool.reached("ready") for pool in pools))


@virtually
async def test_a_trial_that_fails_opens_it_for_twice_as_long() -> None:
    """B-SUPER-025: for all of them."""
    async with a_world(*(CUDA,) * 3, WORKS) as world:
        pools = await two_failing(world)
        await asyncio.sleep(301)
        assert states(pools) == ["open"] * 2
        await asyncio.sleep(590)
        assert [str(pool.state) for pool in pools] == ["failed"] * 2
        await asyncio.sleep(20)
        assert sorted(pool.state for pool in pools) == ["failed", "ready"]


@virtually
async def test_a_trial_that_is_called_off_passes_to_another() -> None:
    """V5 PermitReturns: the permit does not stay with who no longer wants it."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        pools = await two_failing(world)
        await asyncio.sleep(301)
        trying, waiting = sorted(pools, key=lambda pool: pool.state == "failed")
        await trying.stop()
        await waiting.reached("ready")
        assert states(pools) == ["trial"] * 2


@virtually
async def test_one_pool_alone_is_its_own_fault() -> None:
    """B-SUPER-02A, x7: it opens its own circuit for CUDA, never the device's."""
    async with a_world(CUDA) as world:
        pool = await world.manager.add(a_spec("one", device_mask="0"))
        await world.began(pool.start())
        await pool.reached("failed")
        assert pool.status().circuits == {"general": "closed", "cuda": "open", "device 0": "closed"}


@virtually
async def test_pools_on_several_devices_come_to_rest() -> None:
    """V1: each change of a circuit is told once, also where pools share more than one."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        pools = [await world.manager.add(a_spec(name, device_mask="0,1")) for name in ("one", "two")]
        for pool in pools:
            await world.began(pool.start())
        await asyncio.gather(*(pool.reached("failed") for pool in pools))
        assert states(pools) == ["open"] * 4
        await asyncio.gather(*(pool.reached("ready") for pool in pools))
        assert states(pools) == ["closed"] * 4


@virtually
async def test_every_pool_gets_its_turn_to_try() -> None:
    """V6 Fair: while the device stays ill, the trials go round."""
    async with a_world(CUDA) as world:
        pools = [await world.manager.add(a_spec(name, device_mask="0")) for name in "abcd"]
        for pool in pools:
            await world.began(pool.start())
        await asyncio.gather(*(pool.reached("failed") for pool in pools))
        await asyncio.sleep(12 * 1800)
        tries = Counter(request.pool_id for request in world.launcher.launched)
        assert min(tries[pool.pool_id] for pool in pools) >= 3


@virtually
async def test_a_circuit_ages_while_nobody_has_it() -> None:
    """B-SUPER-x7: who joins after its time-out finds it half-open, and may try."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        for pool in await two_failing(world):
            await pool.stop()
            await world.manager.remove(pool.pool_id)
        early = await world.manager.add(a_spec("early", device_mask="0"))
        assert states([early]) == ["open"]
        await asyncio.sleep(301)
        assert states([early]) == ["half_open"]
        await world.manager.remove("early")
        late = await world.manager.add(a_spec("late", device_mask="0"))
        await late.start()
        assert states([late]) == ["trial"]


@virtually
async def test_a_pool_that_joins_late_finds_what_has_come_due() -> None:
    """The time-out ended while no pool had the circuit."""
    async with a_world(*(CUDA,) * 2, WORKS) as world:
        for pool in await two_failing(world):
            await pool.stop()
            await world.manager.remove(pool.pool_id)
        await asyncio.sleep(10_000)
        late = await world.manager.add(a_spec("late", device_mask="0"))
        assert states([late]) == ["half_open"]


@virtually
async def test_a_device_with_something_unkillable_is_in_quarantine_until_that_is_gone() -> None:
    """S7, FAULTS: a start there is refused with the reason; a pool on another device starts."""
    async with a_world(UNKILLABLE, WORKS, limits=Limits(reclaim=5.0), device_mask="0") as world:
        await world.ready()
        neighbour = await world.manager.add(a_spec("neighbour", device_mask="0"))
        with pytest.raises(EngineStuck):
            await world.pool.stop()
        with pytest.raises(StartFailed, match="in quarantine, as something on that device cannot be killed"):
            await neighbour.start()
        other = await world.manager.add(a_spec("other", device_mask="1"))
        await other.start()
        world.launcher.engines[0].release()
        await neighbour.reached("ready")
        assert world.pool.state == "stopped"


@virtually
async def test_a_pool_with_something_unkillable_is_not_forgotten() -> None:
    """S5: also where the pool itself went on, and has stopped since."""
    async with a_world(UNKILLABLE, WORKS, limits=Limits(drain=1.0, reclaim=5.0, proving=0.0)) as world:
        await world.ready()
        await world.pool.reload("file:/new.gguf", strategy="surge")
        await world.pool.reached("ready")
        await world.pool.stop()
        with pytest.raises(PoolLifecycleError, match=r"once generation 1 \(pid \d+\) is gone"):
            await world.manager.remove("chat")
        world.launcher.engines[0].release()
        await asyncio.sleep(1.0)
        await world.manager.remove("chat")
