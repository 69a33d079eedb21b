"""Real processes hurt for real, under a real manager: each death is noticed, explained, and made good."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, Confidence, FailureClass
from pool_lifecycle.lease import LeaseState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import EngineEnded, EngineUnhealthy, Moved, Record
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.spec import EngineSpec, HealthSpec, Limits, PoolSpec
from pool_lifecycle.status import PoolStatus
from tests.engine_fixtures import FakeEngine
from tests.real_cgroups import Cgroup, freezer, memory_cgroup

pytestmark = pytest.mark.slow

S, F = PoolState, FailureClass

PATIENCE = 90.0
"""Seconds in which anything is over, on however busy a machine."""

DELAY = 0.3
"""The back-off of these pools, in seconds: it is seen to have been waited for."""

SELDOM = HealthSpec(interval=3600.0)
"""For whoever dies by himself: no check has a say."""

SOON = HealthSpec(interval=0.25, timeout=1.0, failures=2)
"""For whoever lives but does not answer."""


class Ward:
    """A pool, what was recorded of it, and what can be done to its engine."""

    def __init__(self, pool: Pool, records: list[Record]) -> None:
        self.pool = pool
        self.records = records

    @property
    def pid(self) -> int:
        """Of the engine that serves."""
        pid = self.pool.status().pid
        assert pid is not None
        return pid

    async def after(self, hurt: Callable[[], Awaitable[None] | None]) -> Cause:
        """Hurt the engine of a ready pool; see that the pool leaves ready, waits, and serves again.

        Returns why the engine ended.
        """
        pid, generation = self.pid, self.pool.status().generation
        down = asyncio.ensure_future(self.pool.reached("recovering"))
        await asyncio.sleep(0)
        if (hurting := hurt()) is not None:
            await hurting
        await down
        await self.pool.reached("ready")
        self._came_back(generation or 0)
        assert not is_living(pid)
        return self.cause(generation or 0)

    def cause(self, generation: int) -> Cause:
        """Why the engine of a generation counted as crashed: what was seen first."""
        ends = (one for one in self.records if isinstance(one, EngineEnded | EngineUnhealthy))
        return next(one.cause for one in ends if one.generation == generation)

    def ways(self) -> list[PoolState]:
        """The states entered so far."""
        return [one.notice.target for one in self.moves()]

    def moves(self) -> list[Moved]:
        """The changes of state so far."""
        return [one for one in self.records if isinstance(one, Moved)]

    def _came_back(self, generation: int) -> None:
        """By way of a back-off of the right length, as the next generation."""
        crash = next(at for at, one in enumerate(self.moves()) if one.notice.target is S.RECOVERING)
        back = self.moves()[crash : crash + 5]
        assert [one.notice.target for one in back] == [
            S.RECOVERING,
            S.BACKING_OFF,
            S.STAGING,
            S.STARTING,
            S.READY,
        ]
        assert back[2].lasted >= DELAY - 0.001  # a timer may fire a tick of the clock early
        assert back[4].generation == generation + 1


def is_living(pid: int) -> bool:
    """Not gone, and not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def ward(folder: Path, engine: EngineSpec, **spec: Any) -> AsyncIterator[Ward]:
    """A ready pool of a real engine under a real manager, and so much time for everything."""
    records: list[Record] = []
    numbers: dict[str, Any] = {
        "health": SELDOM,
        "limits": Limits(start=PATIENCE, stop_grace=0.2),
        "backoff": Backoff(initial=DELAY, jitter=0.0),
    }
    async with (
        asyncio.timeout(PATIENCE),
        PoolManager(folder / "state", observers=[records.append]) as manager,
    ):
        pool = await manager.add(PoolSpec("chat", engine, **(numbers | spec)))
        await pool.start()
        yield Ward(pool, records)


def fake(engine: FakeEngine, *flags: str) -> EngineSpec:
    """The fake engine with these flags."""
    return EngineSpec(engine.binary, args=engine.args(*flags))


def inside(cgroup: Cgroup, engine: EngineSpec) -> EngineSpec:
    """The same engine, which moves to a cgroup before it becomes what it is."""
    move = 'echo $$ > "$0" && exec "$@"'
    return evolve(engine, binary="/bin/sh", args=("-c", move, cgroup.procs, engine.binary, *engine.args))


def kill(pid: int, number: int) -> Callable[[], None]:
    """Signal a process."""
    return lambda: os.kill(pid, number)


def asking(ward: Ward, path: str) -> Callable[[], Awaitable[None]]:
    """Ask the engine for a path that is its death: the answer does not matter."""

    async def ask() -> None:
        async with connected(ward.pool, f"GET {path} HTTP/1.1\r\n\r\n") as answer:
            with suppress(ConnectionError):
                await answer.read()

    return ask


@asynccontextmanager
async def connected(pool: Pool, request: str) -> AsyncIterator[asyncio.StreamReader]:
    """The answer of the engine that serves to `request`."""
    address, _, port = (pool.status().url or "").removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    try:
        writer.write(request.encode())
        yield reader
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


# --- it ends by itself -----------------------------------------------------------------------------------


def test_sigsegv_names_the_signal(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """B-SUPER-001, B-SUPER-005, FAULTS crash: noticed by the kernel's word, named, made good."""

    async def main() -> Cause:
        async with ward(tmp_path, fake(fake_engine, "--crash-on", "/crash")) as one:
            return await one.after(asking(one, "/crash"))

    cause = asyncio.run(main())
    assert cause.kind is F.SIGNAL
    assert cause.exit is not None
    assert cause.exit.signal == signal.SIGSEGV
    assert "SIGSEGV" in cause.message


@pytest.mark.parametrize("code", [1, 3, 137, 255])
def test_an_exit_code_is_kept_as_it_was(tmp_path: Path, fake_engine: FakeEngine, code: int) -> None:
    """B-SUPER-001, S16, FAULTS exit code 137: a number that somebody returned is no proof of a kill."""
    engine = fake(fake_engine, "--exit-on", "/end", "--exit-code", str(code))

    async def main() -> Cause:
        async with ward(tmp_path, engine) as one:
            return await one.after(asking(one, "/end"))

    cause = asyncio.run(main())
    assert cause.kind is F.EXIT
    assert cause.exit is not None
    assert cause.exit.code == code
    assert f"exit code {code}" in cause.message


def test_exit_code_0_of_an_engine_that_should_run_on_is_a_crash(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """B-SUPER-006: where the pool says so."""
    engine = evolve(fake(fake_engine, "--exit-on", "/end"), exit_zero="crash")

    async def main() -> Cause:
        async with ward(tmp_path, engine) as one:
            return await one.after(asking(one, "/end"))

    cause = asyncio.run(main())
    assert cause.exit is not None
    assert cause.exit.success


# --- it is killed ----------------------------------------------------------------------------------------


def test_a_strangers_sigkill_is_not_out_of_memory(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """S16, B-SUPER-x1, FAULTS an administrator's SIGKILL: class signal, and restarted after the back-off."""

    async def main() -> Cause:
        async with ward(tmp_path, fake(fake_engine)) as one:
            return await one.after(kill(one.pid, signal.SIGKILL))

    cause = asyncio.run(main())
    assert cause.kind is F.SIGNAL
    assert "SIGKILL" in cause.message


def test_a_real_oom_kill_is_out_of_memory(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """B-SUPER-009, S16, FAULTS real OOM kill: the same SIGKILL, but the kernel counted it in its cgroup."""
    engine = fake(fake_engine, "--eat-on", "/eat")

    async def main(cgroup: Cgroup) -> Cause:
        async with ward(tmp_path, inside(cgroup, engine)) as one:
            return await one.after(asking(one, "/eat"))

    with memory_cgroup(64 * 2**20) as cgroup:
        cause = asyncio.run(main(cgroup))
        name = cgroup.folder.name
    assert cause.kind is F.OUT_OF_MEMORY
    assert cause.confidence is Confidence.CERTAIN
    assert any(name in line for line in cause.evidence)


def test_a_dead_leaders_children_are_ended_before_it_starts_again(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """V3, S3, S7, FAULTS leader killed: its workers, one in a session of its own, still hold its port."""
    flags = ("--spawn-child", "--spawn-setsid-child", "--leak-port")
    workers: set[int] = set()

    async def main() -> Cause:
        async with ward(tmp_path, fake(fake_engine, *flags)) as one:
            workers.update(child.pid for child in psutil.Process(one.pid).children(recursive=True))
            cause = await one.after(kill(one.pid, signal.SIGKILL))
            assert not any(map(is_living, workers))
            return cause

    assert asyncio.run(main()).kind is F.SIGNAL
    assert len(workers) == 2


# --- it lives, but ---------------------------------------------------------------------------------------


def test_a_frozen_process_hangs(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """B-SUPER-002, V3, FAULTS SIGSTOP: silence is a hang; SIGKILL ends what SIGTERM cannot."""

    async def main() -> Cause:
        async with ward(tmp_path, fake(fake_engine), health=SOON) as one:
            return await one.after(kill(one.pid, signal.SIGSTOP))

    cause = asyncio.run(main())
    assert cause.kind is F.HANG
    assert cause.exit is None


def test_what_cannot_be_killed_is_stuck_until_it_can(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """V2, S5, FAULTS cannot be killed: stuck, with the process named; gone at last, the pool goes on."""
    limits = Limits(start=PATIENCE, stop_grace=0.1, reclaim=0.3)

    async def main(cgroup: Cgroup) -> None:
        async with ward(tmp_path, fake(fake_engine), health=SOON, limits=limits) as one:
            pid = one.pid
            cgroup.add(pid)
            cgroup.freeze()
            try:
                await one.pool.reached("stuck")
                assert is_living(pid)
                assert f"pid {pid}" in one.pool.explain()
                assert one.cause(1).kind is F.HANG
            finally:
                cgroup.thaw()
            await one.pool.reached("ready")
            assert not is_living(pid)
            assert one.ways().index(S.STUCK) < one.ways().index(S.BACKING_OFF)

    with freezer() as cgroup:
        asyncio.run(main(cgroup))


# --- a real engine ---------------------------------------------------------------------------------------

STREAM = '{"prompt": "Hello", "n_predict": 1000000, "stream": true}'
ONCE = '{"prompt": "Hello", "n_predict": 5}'


def post(body: str) -> str:
    """A request for a completion."""
    head = f"POST /completion HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head + body


@pytest.mark.engine
def test_a_real_server_killed_under_load_comes_back(
    tmp_path: Path, llama_server: Path, tiny_model: Path
) -> None:
    """B-SUPER-001, B-SUPER-004, S9, V3: leases are lost, it is not ready at once, and it serves again."""
    engine = EngineSpec(str(llama_server), profile="llama.cpp")

    async def main() -> None:
        async with ward(tmp_path, engine, model=f"file:{tiny_model}", slots=2) as one:
            lease = one.pool.book.acquire("stream")
            seen: list[PoolStatus] = []

            async def kill_it() -> None:
                os.kill(one.pid, signal.SIGKILL)
                await one.pool.reached("recovering")
                seen.append(one.pool.status())

            async with connected(one.pool, post(STREAM)) as stream:
                await stream.readuntil(b"data: ")
                cause = await one.after(kill_it)
            (status,) = seen
            assert lease.state is LeaseState.LOST
            assert (status.live, status.ready) == (False, False)
            assert "SIGKILL" in (status.last_error or "")
            assert cause.kind is F.SIGNAL
            async with one.pool.lease(holder="next") as again, connected(one.pool, post(ONCE)) as answer:
                assert again.generation == lease.generation + 1
                assert b'"content"' in await answer.read()

    asyncio.run(main())
