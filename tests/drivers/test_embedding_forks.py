"""A program that launched engines forks: the child has nothing of them and does nothing to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import outcome

pytestmark = pytest.mark.slow

BEGIN = """
import asyncio, gc, json, os, signal, sys
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.pinned import Pinned
from pool_lifecycle_drivers.process import LocalLauncher
from pool_lifecycle_drivers.procfs import Identity

folder = sys.argv[1]

async def an_engine():
    script = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done"
    command, token = Command(("/bin/sh", "-c", script)), f"forks-{os.getpid()}"
    files = f"{folder}/log", f"{folder}/pid"
    request = LaunchRequest("p", 1, token, command, "127.0.0.1", 1, *files)
    engine = await LocalLauncher().launch(request=request)
    await engine.output(after=0)
    return engine

def opened():
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return sorted(one for one in links if "pidfd" in one or "inotify" in one or one.startswith(folder))

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
"""


def test_a_forked_child_holds_nothing_of_an_engine(tmp_path: Path) -> None:
    """FAULTS, forks: no pidfd, no inotify, no log that would keep its disk space for as long as the child."""
    source = """
async def main():
    engine = await an_engine()
    more = asyncio.ensure_future(engine.output(after=10_000))
    await asyncio.sleep(0)
    before, there = opened(), in_child(opened)
    more.cancel()
    await engine.stop(kill_after=0)
    print(json.dumps([len(before), there]))
asyncio.run(main())
"""
    assert outcome(BEGIN + source, tmp_path) == [3, []]


def test_in_a_forked_child_an_engine_cannot_be_ended(tmp_path: Path) -> None:
    """S4: asked there it is refused; an ending that was under way goes on in the parent alone."""
    source = """
async def refused(engine):
    try:
        await engine.stop(kill_after=0)
    except DriverError as error:
        return error.cause.message

async def main():
    engine = await an_engine()
    why = in_child(lambda: asyncio.run(refused(engine)))
    alive = (await engine.inspect()).alive
    report = await engine.stop(kill_after=60)
    print(json.dumps([why, alive, report.exit.code]))
asyncio.run(main())
"""
    why, alive, code = outcome(BEGIN + source, tmp_path)
    assert "belongs to the process that launched it" in why
    assert (alive, code) == (True, 7)


def test_an_ending_under_way_is_not_gone_on_with_in_a_forked_child(tmp_path: Path) -> None:
    """S4: the child that goes on with its parent's loop signals nobody, now or at the deadline."""
    source = """
async def main():
    engine = await an_engine()
    os.kill(engine.handle.pid, signal.SIGSTOP)  # so that it dies of a SIGKILL only
    stopping = asyncio.ensure_future(engine.stop(kill_after=1000))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    def killing():
        asyncio.events._set_running_loop(loop)  # as it does where it unwinds through asyncio.run
        ending = engine._ending
        ending._members.clear()  # as if nobody had been found yet
        ending._kill()
        ending._leader = Pinned(Identity(1, 1), None)  # so that it is found like anybody else of the tree
        ending._signal([who])
        return [ending.killed, engine._leader.send_to_group(0)]
    who = engine._leader.who
    there = in_child(killing)
    alive = (await engine.inspect()).alive
    report = await engine.stop(kill_after=0)
    print(json.dumps([*there, alive, report.exit.signal]))
    await stopping
asyncio.run(main())
"""
    assert outcome(BEGIN + source, tmp_path) == [False, False, True, 9]


def test_what_a_forked_child_forgets_is_not_lost_for_the_parent(tmp_path: Path) -> None:
    """V3: copies that are thrown away call off no news: output and end come as before."""
    source = """
async def main():
    engine = await an_engine()
    more = asyncio.ensure_future(engine.output(after=3))
    ended = asyncio.ensure_future(engine.wait())
    await asyncio.sleep(0)
    def forget():
        engine._leader.release()
        engine._output.close()
        return True
    in_child(forget)
    os.kill(engine.handle.pid, signal.SIGTERM)
    async with asyncio.timeout(30):  # the safety nets take a minute
        written, status = await more, await ended
    await engine.stop(kill_after=0)
    print(json.dumps([written, status.code]))
asyncio.run(main())
"""
    assert outcome(BEGIN + source, tmp_path) == [len("up\nasked\n"), 7]
