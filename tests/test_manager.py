"""The manager: many pools, one state directory, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from pathlib import Path

import pytest

from pool_lifecycle.errors import (
    ConfigError,
    ManagerClosed,
    PoolExists,
    PoolLifecycleError,
    PoolNotFound,
    StateDirError,
    Superseded,
)
from pool_lifecycle.events import Start
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.records import Moved
from pool_lifecycle.spec import EngineSpec, PoolSpec
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, MemoryHealthProbe, MemoryLauncher, MemoryStager
from tests.worlds import (
    BROKEN,
    NEVER_READY,
    NEW,
    OLD,
    STUBBORN,
    UNKILLABLE,
    a_spec,
    a_world,
    drivers_of,
    virtually,
)

DIGEST = f"sha256:{0:064x}"


def a_manager(folder: Path, script: EngineScript | None = None) -> tuple[PoolManager, MemoryLauncher]:
    launcher = MemoryLauncher(script or EngineScript())
    return PoolManager(
        folder, drivers=drivers_of(launcher, MemoryHealthProbe(launcher), MemoryStager())
    ), launcher


@virtually
async def test_pools_are_found_by_name_and_in_order() -> None:
    """Like a mapping; an unknown name says which there are."""
    async with a_world() as world:
        other = await world.manager.add(a_spec("b"))
        assert world.manager["b"] is other
        assert "b" in world.manager
        assert "c" not in world.manager
        assert len(world.manager) == 2
        assert [pool.pool_id for pool in world.manager] == ["chat", "b"]
        assert [status.pool_id for status in world.manager.status()] == ["b", "chat"]
        with pytest.raises(PoolNotFound, match="pool 'c' not found; known pools: b, chat"):
            world.manager["c"]


@virtually
async def test_models_in_use_are_those_of_engines_and_of_what_comes_next() -> None:
    """B-PRELOAD-x1: what serves, what a change is to bring, and what a stopped pool would start with."""
    async with a_world() as world:
        await world.manager.add(a_spec("other", model="file:/other.gguf"))
        await world.manager.add(a_spec("without", model=None))
        in_use = world.pool.host.models_in_use
        assert in_use() == {(OLD, None), ("file:/other.gguf", None)}
        await world.ready()
        world.pool.acquire("me")
        changing = await world.began(world.pool.reload(NEW, digest=DIGEST, strategy="surge"))
        assert {(OLD, None), (NEW, DIGEST)} < in_use()
        await changing
        assert world.pool.state is PoolState.RETIRING
        assert {(OLD, None), (NEW, DIGEST)} < in_use()
        await world.pool.reached("ready")
        assert in_use() == {(NEW, DIGEST), ("file:/other.gguf", None)}
        await world.pool.stop()
        assert (NEW, DIGEST) in in_use()


@virtually
async def test_a_name_is_given_once() -> None:
    """And the first pool is untouched."""
    async with a_world() as world:
        with pytest.raises(PoolExists):
            await world.manager.add(a_spec())
        assert world.manager["chat"] is world.pool


@pytest.mark.parametrize("key", ["launcher", "stager"])
@virtually
async def test_a_driver_that_is_not_there_is_told_when_the_pool_is_added(key: str) -> None:
    """Not at the first start; the error lists the names there are, and nothing was added."""
    async with a_world() as world:
        with pytest.raises(ConfigError, match=rf"{key} = 'nowhere': must be one of .*'memory'"):
            await world.manager.add(a_spec("b", **{key: "nowhere"}))
        assert "b" not in world.manager
        assert world.manager.registry.get("b") is None


@virtually
async def test_pools_do_not_disturb_each_other() -> None:
    """B-API-016: one crashes, the other serves; they share no port."""
    async with a_world() as world:
        other = await world.manager.add(a_spec("b"))
        await asyncio.gather(world.pool.start(), other.start())
        first, second = world.launcher.engines
        assert first.request.port != second.request.port
        lease = other.acquire("me")
        first.crash()
        await world.pool.reached("backing_off")
        assert lease.release()
        assert other.state is PoolState.READY


@virtually
async def test_only_a_stopped_pool_can_be_removed() -> None:
    """Then nothing knows of it any more."""
    store = MemoryStore()
    async with a_world(manager={"store": store}) as world:
        other = await world.manager.add(a_spec("b"))
        await other.start()
        with pytest.raises(PoolLifecycleError, match=r"pool 'b' \(ready\): can only be removed when stopped"):
            await world.manager.remove("b")
        await other.stop()
        assert "b" in store.pools
        await world.manager.remove("b")
        assert "b" not in world.manager
        assert "b" not in store.pools
        assert world.manager.registry.get("b") is None
        with pytest.raises(ManagerClosed, match="has been removed from its manager; add it again"):
            await other.start()
        await world.manager.add(a_spec("b"))


# --- opening --------------------------------------------------------------------------------------------


@virtually
async def test_two_managers_on_one_state_directory(tmp_path: Path) -> None:
    """FAULTS: the second fails fast, names the first one's pid, and takes nothing of it away."""
    first, _ = a_manager(tmp_path)
    second, _ = a_manager(tmp_path)
    async with first:
        with pytest.raises(StateDirError, match=f"in use by another manager \\(pid {os.getpid()}\\)"):
            await second.__aenter__()
        await first.add(a_spec())
    async with second:
        await second.add(a_spec())


@virtually
async def test_a_manager_works_only_while_it_is_open(tmp_path: Path) -> None:
    """Before and after: ManagerClosed, which says how to use it."""
    manager, _ = a_manager(tmp_path)
    with pytest.raises(ManagerClosed, match="is not open; use it within"):
        await manager.add(a_spec())
    await manager.close()
    async with manager:
        await manager.add(a_spec())
    with pytest.raises(ManagerClosed, match="has been closed"):
        await manager.add(a_spec("b"))
    with pytest.raises(ManagerClosed, match="make a new one"):
        await manager.__aenter__()


# --- leaving --------------------------------------------------------------------------------------------


@virtually
async def test_leaving_stops_every_pool_at_once(tmp_path: Path) -> None:
    """In parallel: ten pools that need 5 s take 5 s."""
    manager, launcher = a_manager(tmp_path, STUBBORN)
    async with manager:
        pools = [await manager.add(a_spec(f"p{number}")) for number in range(10)]
        await asyncio.gather(*(pool.start() for pool in pools))
        _, seconds = await virtual_time.timed(manager.close())
        assert seconds == 5.0
    assert not [engine for engine in launcher.engines if engine.alive]
    assert not (tmp_path / "lock").exists()


@virtually
async def test_leaving_keeps_the_wish_to_run() -> None:
    """B-SUPER-x4: the intent becomes: run at the next load."""
    async with a_world() as world:
        await world.ready()
        await world.manager.close()
        assert world.pool.status().intent == "run_when_loaded"


@virtually
async def test_an_error_in_the_block_ends_everything_and_goes_on(tmp_path: Path) -> None:
    """Whatever it was."""
    manager, launcher = a_manager(tmp_path)

    async def fail() -> None:
        async with manager:
            await (await manager.add(a_spec())).start()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert not launcher.engines[0].alive
    assert not (tmp_path / "lock").exists()


@virtually
async def test_a_cancelled_block_ends_everything(tmp_path: Path) -> None:
    """As Ctrl-C does: the engines get their grace, the cancellation goes on afterwards."""
    manager, launcher = a_manager(tmp_path, EngineScript(term_takes=2.0))

    async def serve() -> None:
        async with manager:
            await (await manager.add(a_spec())).start()
            await asyncio.get_running_loop().create_future()

    serving = asyncio.create_task(serve())
    await virtual_time.settle()
    serving.cancel()
    _, seconds = await virtual_time.timed(asyncio.wait((serving,)))
    assert serving.cancelled()
    assert seconds == 2.0
    assert not launcher.engines[0].alive


@pytest.mark.parametrize("times", [1, 2, 5])
@virtually
async def test_who_cancels_the_close_is_in_a_hurry(tmp_path: Path, times: int) -> None:
    """What is left is killed at once; the lock is given back, and then the cancellation goes on."""
    manager, launcher = a_manager(tmp_path, STUBBORN)
    await manager.__aenter__()
    pool = await manager.add(a_spec())
    await pool.start()
    began = asyncio.get_running_loop().time()
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(1)
    for _ in range(times):
        closing.cancel()
        await asyncio.sleep(0)
    await asyncio.wait((closing,))
    assert closing.cancelled()
    assert asyncio.get_running_loop().time() - began == 1.0
    assert not launcher.engines[0].alive
    assert not (tmp_path / "lock").exists()


@virtually
async def test_two_closes_at_once_both_wait() -> None:
    """Whoever closes may rely on it when it returns."""
    async with a_world(STUBBORN) as world:
        await world.ready()
        first, second = world.begin(world.manager.close()), world.begin(world.manager.close())
        await asyncio.sleep(4)
        assert not first.done()
        assert not second.done()
        await asyncio.gather(first, second)
        assert world.pool.state is PoolState.STOPPED


@virtually
async def test_nothing_can_be_started_while_it_closes() -> None:
    """S5: no engine comes up behind its back."""
    async with a_world(STUBBORN) as world:
        other = await world.manager.add(a_spec("b"))
        await world.ready()
        closing = await world.began(world.manager.close())
        with pytest.raises(ManagerClosed):
            await other.start()
        with pytest.raises(ManagerClosed):
            await world.pool.start()
        with pytest.raises(ManagerClosed):
            await world.manager.add(a_spec("c"))
        await closing
        assert len(world.launcher.launched) == 1


@virtually
async def test_a_start_under_way_is_superseded_by_the_close() -> None:
    """V4."""
    async with a_world(NEVER_READY) as world:
        starting = await world.began(world.pool.start())
        await world.manager.close()
        await virtual_time.settle()
        assert isinstance(starting.exception(), Superseded)


@virtually
async def test_the_unkillable_does_not_keep_the_manager() -> None:
    """V2: it leaves after the bound, its watch of the unkillable ended with it."""
    async with a_world(UNKILLABLE, ends_in=PoolState.STUCK) as world:
        engine = await world.ready()
        _, seconds = await virtual_time.timed(world.manager.close())
        assert seconds == 35.0
        engine.release()


# --- news -----------------------------------------------------------------------------------------------


@virtually
async def test_events_follow_the_registry_and_end_with_the_manager() -> None:
    """B-REG-x3: numbered from the first, none missing, however slow the reader."""
    async with a_world() as world:
        numbers = []

        async def read() -> None:
            async for change in world.manager.events(0):
                numbers.append(change.number)
                await asyncio.sleep(10)

        reading = await world.began(read())
        await world.pool.start()
        await world.pool.stop()
        await world.manager.close()
        await reading
        assert numbers == list(range(1, world.manager.changes.last + 1))


@virtually
async def test_observers_may_come_later() -> None:
    """What observes a manager often needs it first."""
    async with a_world() as world:
        seen: list[object] = []
        world.manager.observe(seen.append)
        await world.pool.start()
        assert [one for one in seen if isinstance(one, Moved)] == world.of(Moved)


@virtually
async def test_a_jumping_wall_clock_changes_nothing_but_heartbeats() -> None:
    """FAULTS, time: a day back; delays go by the loop's clock."""
    times = chain([1_000_000.0], repeat(1_000_000.0 - 86400))
    async with a_world(manager={"wall": lambda: next(times)}) as world:
        engine = await world.ready()
        began = world.now
        engine.crash()
        await world.pool.reached("recovering")
        await world.pool.reached("ready")
        assert world.now - began == 1.0
        entry = world.manager.registry.get("chat")
        assert entry is not None
        assert entry.heartbeat_ms == 913_600_000


@virtually
async def test_the_seed_fixes_the_jitter() -> None:
    """Two managers with one seed draw the same."""
    draws = []
    for _ in range(2):
        async with a_world(manager={"seed": 7}) as world:
            draws.append([world.pool.host.chance() for _ in range(5)])
    assert draws[0] == draws[1]
    assert all(-1 <= one <= 1 for one in draws[0])


@virtually
async def test_many_crashes_in_one_tick() -> None:
    """V6, S13, FAULTS: 300 pools crash at once; after their back-off the host starts 20, then 10 a second."""
    async with a_world() as world:
        pools = [await world.manager.add(a_spec(f"p{number}")) for number in range(300)]
        await asyncio.gather(*(pool.start() for pool in pools))
        for engine in list(world.launcher.engines):
            engine.crash()
        await asyncio.gather(*(pool.reached("recovering") for pool in pools))
        _, seconds = await virtual_time.timed(asyncio.gather(*(pool.reached("ready") for pool in pools)))
        assert seconds == 1.0 + (300 - 20) / 10


def test_a_spec_needs_nothing_but_a_name_and_a_binary() -> None:
    """The plainest declaration is valid."""
    assert PoolSpec("chat", EngineSpec("llama-server")).slots == 1


@virtually
async def test_nothing_of_a_closed_manager_comes_back() -> None:
    """Not by a timer (a circuit was open), and not by what somebody still tells a pool."""
    async with a_world(BROKEN) as world:
        await world.began(world.pool.start())
        await world.pool.reached("failed")
        await world.manager.close()
        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert [one for one in scheduled if not one.cancelled()] == []
        before = world.pool.snapshot
        world.pool.tell(Start())
        assert world.pool.snapshot is before


class Holding(MemoryLauncher):
    """Notes who holds it, and what became of its engines by then; `error` is raised by who lets go."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(EngineScript())
        self.error = error
        self.notes: list[str] = []

    def hold(self) -> Callable[[], Awaitable[None]]:
        self.notes.append("held")
        return self._let_go

    async def _let_go(self) -> None:
        self.notes.append("let go")
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, RuntimeError("cannot")])
@virtually
async def test_a_launcher_is_held_from_the_first_pool_to_the_end_of_the_manager(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    """So that it keeps ready what launches share; what fails there keeps no manager from closing."""
    launcher = Holding(error)
    drivers = drivers_of(launcher, MemoryHealthProbe(launcher), MemoryStager())
    async with PoolManager(tmp_path, drivers=drivers) as manager:
        assert launcher.notes == []
        for name in ("a", "b"):
            await manager.add(a_spec(name))
        await manager["a"].start()
        await manager["a"].stop()
        assert launcher.notes == ["held"]
    assert launcher.notes == ["held", "let go"]
    assert ("could not let go" in caplog.text) == (error is not None)
    async with PoolManager(tmp_path, drivers=drivers):
        pass  # the lock was given back
