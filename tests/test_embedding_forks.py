"""A program that embeds a manager forks: the child has copies of everything, and none of them acts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool_lifecycle.errors import StateDirError
from pool_lifecycle.statedir import StateDir
from tests.engine_fixtures import FakeEngine
from tests.programs import conversing, outcome, said, say

pytestmark = pytest.mark.slow

BEGIN = """
import asyncio, gc, json, os, signal, sys, threading
from pool_lifecycle import EngineSpec, PoolManager, PoolSpec
from pool_lifecycle.blocking import BlockingManager
from pool_lifecycle.errors import PoolLifecycleError

folder, binary, *args = sys.argv[1:]
CHAT = PoolSpec("chat", EngineSpec(binary, args=args))

def in_child(look):
    sys.stdout.flush()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(look()).encode())
        os._exit(0)
    os.close(writing)
    told = os.read(reading, 10_000)
    os.close(reading)
    return json.loads(told)

def refusal(call):
    try:
        call()
    except PoolLifecycleError as error:
        return f"{type(error).__name__}: {error.what}"
    return None
"""


def test_nothing_can_be_asked_of_the_copies_in_a_forked_child(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """FAULTS, forks; S9: no lease that the parent knows nothing of, no wish, no pool; each says why.

    Nothing waits for a lock that a thread held which is not there.
    """
    source = """
async def main():
    async with PoolManager(folder) as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        lease = pool.acquire("before")
        def asks():
            lease.release()
            return [
                refusal(lambda: pool.acquire("in the child")),
                refusal(lambda: asyncio.run(pool.stop())),
                refusal(lambda: asyncio.run(pool.grant("in the child"))),
                refusal(lambda: asyncio.run(manager.add(PoolSpec("other", CHAT.engine)))),
                refusal(lambda: asyncio.run(manager.close())),
            ]
        held, leave = threading.Event(), threading.Event()
        def hold():
            with pool.book._lock:
                held.set()
                leave.wait()
        threading.Thread(target=hold).start()
        held.wait()
        there = in_child(asks)
        leave.set()
        print(json.dumps([there, pool.state, lease.state, lease.release(), os.path.exists(f"{folder}/lock")]))
asyncio.run(main())
"""
    there, state, lease, released, locked = outcome(
        BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args()
    )
    kinds, whys = zip(*(one.split(": ") for one in there[:4]), strict=True)
    assert kinds == ("PoolNotReady", "ManagerClosed", "ManagerClosed", "ManagerClosed")
    assert set(whys) == {"its manager lives in the process that this one was forked from"}
    assert (there[4], state, lease, released, locked) == (None, "ready", "active", True, True)


def test_a_forked_child_that_unwinds_ends_nothing(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """S4: SystemExit in the child goes through `async with` and asyncio.run; engine, files and lock stay."""
    source = """
def look():
    return sorted(f"{where}/{one}" for where, _, files in os.walk(folder) for one in files)

async def main():
    async with PoolManager(folder) as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        files, pid = look(), pool.status().pid
        child = os.fork()
        if child == 0:
            sys.exit(7)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        alive = (await pool.launching.engines[pool.snapshot.server.token].inspect()).alive
        here = [code, alive, pool.state, look() == files]
        await pool.stop()
        print(json.dumps([*here, pool.state]))
asyncio.run(main())
"""
    found = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert found == [7, True, "ready", True, "stopped"]


def test_a_forked_child_that_lives_on_keeps_no_later_manager_out(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """FAULTS, forks: the parent is killed, its child lives; the state directory can be had at once."""
    source = """
async def main():
    async with PoolManager(folder) as manager:
        await manager.add(CHAT)
        if os.fork() == 0:
            gc.collect()
            print("child", flush=True)
            print(sys.stdin.readline(), flush=True)
            os._exit(0)
        await asyncio.sleep(1000)
asyncio.run(main())
"""
    with conversing(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args()) as program:
        assert said(program) == "child"
        with pytest.raises(StateDirError, match="in use by another manager"):
            StateDir(tmp_path).lock()
        program.kill()
        program.wait()
        StateDir(tmp_path).lock().release()
        say(program, "still here")
        assert said(program) == "still here"


def test_a_forked_child_may_have_a_manager_of_its_own(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """Under another state directory, with an event loop of its own, drivers and all."""
    source = """
async def run(where):
    async with PoolManager(where) as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        return pool.state

async def main():
    async with PoolManager(folder) as manager:
        pool = await manager.add(CHAT)
        await pool.start()
        there = in_child(lambda: asyncio.run(run(f"{folder}/child")))
        taken = in_child(lambda: refusal(lambda: asyncio.run(run(folder))))
        print(json.dumps([there, taken, pool.state]))
asyncio.run(main())
"""
    there, taken, here = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    assert (there, here) == ("ready", "ready")
    assert "in use by another manager" in taken


def test_in_a_forked_child_no_call_waits_for_a_thread_that_is_not_there(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """V4: a BlockingManager's loop has no thread in the child; every call says so, to close does nothing."""
    source = """
with BlockingManager(folder) as manager:
    pool = manager.add(CHAT)
    pool.start()
    loop = manager._loop
    with loop._lock, manager._closing:  # as if other threads had been in the middle of something
        there = in_child(lambda: [refusal(pool.stop), refusal(manager.status), refusal(manager.close)])
    print(json.dumps([there, pool.state]))
"""
    there, here = outcome(BEGIN + source, tmp_path, fake_engine.binary, *fake_engine.args())
    why = "ManagerClosed: its manager lives in the process that this one was forked from"
    assert (there, here) == ([why, why, None], "ready")
