"""The façade for programs without asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle import errors
from pool_lifecycle.blocking import BlockingManager, BlockingPool
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import DrainEnd
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
)

NEVER_READY = EngineScript(ready_after=None)
OBSTINATE = EngineScript(ready_after=None, ignores_term=True)


def spec(name: str = "chat", *, slots: int = 2, stop_grace: float = 5.0) -> PoolSpec:
    """A pool of memory drivers."""
    limits = Limits(stop_grace=stop_grace, proving=0.0)
    return PoolSpec(name, EngineSpec("engine"), model="file:/a", slots=slots, limits=limits)


def manager(folder: Path, *scripts: EngineScript) -> BlockingManager:
    """A manager whose engines follow `scripts`."""
    launcher = MemoryLauncher(scripts or (EngineScript(),))
    given: dict[Interface, dict[str, Any]] = {
        Interface.LAUNCHER: {"local": launcher},
        Interface.HEALTH_PROBE: {"http": MemoryHealthProbe(launcher)},
        Interface.MODEL_STAGER: {"file": MemoryStager()},
        Interface.ENGINE_PROFILE: {"generic": MemoryProfile()},
    }
    return BlockingManager(folder, drivers=Drivers(given), seed=1)


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """Whoever starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Within it, Ctrl-C arrives at this thread as soon as the condition holds."""
    here = threading.get_ident()

    def press() -> None:
        until = time.monotonic() + 20
        while not condition() and time.monotonic() < until:
            time.sleep(0.002)
        signal.pthread_kill(here, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_pool_lives_without_a_line_of_asyncio(tmp_path: Path) -> None:
    """Start, lease, reload, drain, stop: the same names and values as the asynchronous API."""
    with manager(tmp_path) as blocking:
        pool = blocking.add(spec())
        pool.start()
        with pool.lease("one", wait=2) as lease:
            assert lease.url == pool.status().url
            assert blocking.registry.active_leases("chat") == 1
        pool.reload("file:/b")
        assert pool.status().model == "file:/b"
        assert "has been ready" in pool.explain()
        assert pool.drain(deadline=5).end is DrainEnd.DRAINED
        pool.start()
        pool.stop(grace=0.1)
        assert blocking["chat"].state is PoolState.STOPPED
        blocking.remove("chat")
        assert "chat" not in blocking


@pytest.mark.parametrize(("ours", "theirs"), [(BlockingManager, PoolManager), (BlockingPool, Pool)])
def test_nothing_public_is_left_out(ours: type, theirs: type) -> None:
    """Each public method of the asynchronous API is here, but what only its own parts need."""
    inner = {"book", "close", "engines", "go_on", "halt", "host", "hurry", "kill", "launching", "see", "spec"}
    inner |= {"forked", "stays", "tell"}
    public = {name for name in vars(theirs) if not name.startswith("_")}
    assert public - inner <= set(vars(ours))


def test_declarations_are_applied_without_asyncio(tmp_path: Path) -> None:
    """A plan first; then every pool is as declared, and how that went is told, one by one."""
    told: list[str] = []
    with manager(tmp_path) as blocking:
        specs = [spec("a"), spec("b")]
        blocking.check(specs[0])
        assert len(blocking.plan(specs).changes) == 2
        outcomes = blocking.apply(specs, each=lambda one: told.append(one.pool_id))
        assert [one.state for one in outcomes] == [PoolState.READY] * 2
        assert sorted(told) == ["a", "b"]
        pool = blocking.get("a")
        assert pool is not None
        pool.redeclared(spec("a", slots=5), strategy="surge")
        assert pool.status().slots == 5
        pool.reached(PoolState.READY)
        pool.reload("file:/c", strategy="surge", otherwise="stage_first", drain_deadline=1.0)
        pool.reached(PoolState.READY)
        blocking.withdraw()
        blocking.apply([])
        assert blocking.get("a") is None


def test_errors_are_those_of_the_asynchronous_api(tmp_path: Path) -> None:
    """Raised in the thread that called."""
    with manager(tmp_path) as blocking:
        pool = blocking.add(spec())
        with pytest.raises(errors.PoolNotReady):
            pool.acquire("a")
        with pytest.raises(errors.PoolExists):
            blocking.add(spec())
        with pytest.raises(errors.PoolNotFound):
            blocking["other"]
        with pytest.raises(errors.IllegalEvent):
            pool.resume()
        with pytest.raises(errors.ConfigError, match="wait"), pool.lease("a", wait=-1):
            pass
        with pytest.raises(TimeoutError):
            pool.reached(PoolState.READY, timeout=0.01)
        pool.start()
        with pytest.raises(errors.NoFreeSlot), pool.lease("a"), pool.lease("b"), pool.lease("c", wait=0.01):
            pass
        assert pool.status().leases == ()


def test_many_threads_share_a_pool(tmp_path: Path) -> None:
    """V4, S9: each gets its slot in the end, and never more than there are at once."""
    most, now, lock = 0, 0, threading.Lock()

    def work(pool: BlockingPool, number: int) -> None:
        nonlocal most, now
        with pool.lease(f"thread {number}", wait=None):
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1

    with manager(tmp_path) as blocking, ThreadPoolExecutor(8) as threads:
        pool = blocking.add(spec())
        started = [threads.submit(pool.start) for _ in range(4)]
        assert [one.result() for one in started] == [None] * 4
        assert [one.result() for one in [threads.submit(work, pool, n) for n in range(200)]] == [None] * 200
        assert 1 <= most <= 2
        assert pool.status().leases == ()


def test_changes_can_be_followed_from_a_thread(tmp_path: Path) -> None:
    """Until the manager closes."""
    with ThreadPoolExecutor(1) as threads, manager(tmp_path) as blocking:
        blocking.add(spec()).start()
        changes = blocking.events(0)
        assert (first := next(changes)).pool_id == "chat"
        rest = threads.submit(list, changes)
        blocking["chat"].stop()
    assert [change.number for change in rest.result()] == list(range(2, 2 + len(rest.result())))
    assert first.number == 1


def test_a_closed_manager_says_so(tmp_path: Path) -> None:
    """Before it is opened, too; and closing again does nothing."""
    blocking = manager(tmp_path)
    with pytest.raises(errors.ManagerClosed, match="with BlockingManager"):
        blocking.add(spec())
    with blocking:
        pool = blocking.add(spec())
        pool.start()
    blocking.close()
    with pytest.raises(errors.ManagerClosed):
        pool.start()
    with pytest.raises(errors.PoolNotReady):
        pool.acquire("a")


def test_whoever_waits_when_it_closes_is_answered(tmp_path: Path) -> None:
    """V4: a thread that waits for a start or for a slot."""
    with ThreadPoolExecutor(2) as threads:
        with manager(tmp_path, EngineScript(), NEVER_READY) as blocking:
            served, other = blocking.add(spec(slots=1)), blocking.add(spec("other"))
            served.start()
            lease = served.acquire("a")
            slot = threads.submit(served.lease("b", wait=None).__enter__)
            start = threads.submit(other.start)
            other.reached(PoolState.STARTING)
            while not served.status().waiting:
                time.sleep(0.001)
        assert isinstance(slot.exception(), errors.PoolNotReady)
        assert isinstance(start.exception(), errors.Superseded | errors.ManagerClosed)
        assert not lease.release()


def test_a_wait_that_was_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """V4: neither work on the manager's loop, nor, when it is closed, its thread."""
    with manager(tmp_path) as blocking:
        pool = blocking.add(spec())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                pool.reached(PoolState.READY, timeout=0.001)

        async def tasks() -> int:
            await asyncio.sleep(0.0)
            return len(asyncio.all_tasks())

        assert blocking._call(tasks()) == 1
    assert "pool-lifecycle" not in {thread.name for thread in threading.enumerate()}


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """And the thread that was begun ends."""
    with manager(tmp_path), pytest.raises(errors.StateDirError, match=str(os.getpid())):
        manager(tmp_path).__enter__()


def test_it_will_not_block_a_running_loop(tmp_path: Path) -> None:
    """Neither the caller's nor its own; the error says what to use there."""
    refused: list[str] = []

    def refuses(call: Callable[[], object]) -> None:
        with pytest.raises(errors.PoolLifecycleError, match=r"asyncio\.to_thread"):
            call()
        refused.append("yes")

    async def misuse() -> None:
        refuses(lambda: manager(tmp_path / "other").__enter__())
        refuses(lambda: blocking.add(spec("other")))
        refuses(blocking.status)
        refuses(blocking.close)
        refuses(pool.lease("b", wait=1).__enter__)
        assert await asyncio.to_thread(pool.status)
        with pool.lease("a"):  # this one waits for nothing
            pass

    with manager(tmp_path) as blocking:
        pool = blocking.add(spec(slots=1))
        pool.start()
        asyncio.run(misuse())
        blocking.observe(lambda _: refuses(pool.status))
        pool.stop()
    assert len(refused) > 5


def test_it_cannot_be_entered_twice(tmp_path: Path) -> None:
    """The first stays as it is."""
    with manager(tmp_path) as blocking:
        with pytest.raises(errors.PoolLifecycleError, match="already open"):
            blocking.__enter__()
        blocking.add(spec()).start()


class Interrupted:
    """A program that starts a pool whose engine never gets ready; Ctrl-C comes as soon as it is starting."""

    def __init__(self, blocking: BlockingManager, pool: PoolSpec) -> None:
        self.blocking, self.spec = blocking, pool
        self.pool: BlockingPool | None = None

    def is_in(self, state: PoolState) -> bool:
        return self.pool is not None and self.pool.state is state

    def run(self) -> None:
        with interrupted_when(lambda: self.is_in(PoolState.STARTING)), self.blocking:
            self.pool = self.blocking.add(self.spec)
            self.pool.start()


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_ends_the_call_and_leaves_everything_stopped(tmp_path: Path) -> None:
    """The wait is cancelled, the block left, the pool stopped, the lock given back."""
    program = Interrupted(manager(tmp_path, NEVER_READY), spec())
    with pytest.raises(KeyboardInterrupt):
        program.run()
    assert program.is_in(PoolState.STOPPED)
    with manager(tmp_path):
        pass


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    """An engine that does not listen to SIGTERM does not hold up somebody who presses it again."""
    program = Interrupted(manager(tmp_path, OBSTINATE), spec(stop_grace=600.0))
    again = interrupted_when(lambda: program.is_in(PoolState.STOPPING))
    with again, pytest.raises(KeyboardInterrupt):
        program.run()
    assert program.is_in(PoolState.STOPPED)
