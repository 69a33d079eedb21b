"""Trees whose members do what they can to get away, in every tier that this host allows."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from pool_lifecycle.interfaces import LaunchRequest, StopReport
from pool_lifecycle_drivers import subreaper
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.engine import Details, LocalEngine
from pool_lifecycle_drivers.process import LocalLauncher
from tests.drivers.real_processes import LASTING, Bench, carriers, is_living, until
from tests.real_cgroups import TIERS, Cgroup, needs

pytestmark = pytest.mark.slow

Use = Callable[[LocalEngine], Awaitable[Any]]
In = Callable[[str, LaunchRequest, Use], Any]

FOR_EVER = 3600.0

ESCAPING = """
exec 3<>fifo
echo up
read line <&3
( {how} sh -c 'echo $$ > escaped; exec sleep 1000' {output} 3<&- & )
exec sleep 1000
"""
"""Has a child get away when the FIFO is written to: by then the engine has been put where it belongs."""

AWAY = "exec env -i PATH=/bin:/usr/bin setsid"
"""Out of the session, with a dead parent, and nothing in the environment."""


@pytest.fixture
def tier(run_real: Any, bench: Bench) -> In:
    """Launch an engine in a tier, use it, and see that a stop leaves neither processes nor cgroups."""

    async def main(tier: str, request: LaunchRequest, doing: Use) -> Any:
        engine = await LocalLauncher(containment=(tier,)).launch(request=request)
        try:
            await engine.output(after=0)
            result = await doing(engine)
        finally:
            await engine.stop(kill_after=0)
        assert carriers(request.token) == set()
        folder = Details.load(engine.handle.details).cgroup
        await until(lambda: not (folder and there(folder)))
        return result

    def launched(name: str, request: LaunchRequest, doing: Use) -> Any:
        if name != "session":
            needs(name)
        return run_real(main(name, request, doing))

    return launched


@pytest.fixture
def escaping(bench: Bench) -> Callable[..., LaunchRequest]:
    """A request for an engine that lets a child get away when it is told to."""

    def request(how: str = AWAY, output: str = "") -> LaunchRequest:
        os.mkfifo(bench.folder / "fifo")
        return bench.sh(ESCAPING.format(how=how, output=output), cwd=str(bench.folder))

    return request


async def escapee(engine: LocalEngine, folder: Path) -> int:
    """Let one get away; its pid, once it is on its own."""
    await engine.inspect()
    (folder / "fifo").write_text("go\n")
    return int(await until(lambda: _read(folder / "escaped")))


def there(path: str) -> bool:
    """Whether such a file or folder exists."""
    return os.path.exists(path)


def _read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    return ""


@pytest.mark.parametrize("name", [*TIERS, "session"])
def test_handle_and_inspection_name_the_tier(tier: In, bench: Bench, name: str) -> None:
    """The handle before anything can be sure, the inspection once it is."""

    async def look(engine: LocalEngine) -> None:
        kept = Details.load(engine.handle.details)
        assert (await engine.inspect()).containment == kept.containment == name
        assert bool(kept.cgroup) == (name != "session")
        assert not kept.cgroup or Cgroup(Path(kept.cgroup)).pids() == [engine.handle.pid]

    tier(name, bench.sh(LASTING), look)


@pytest.mark.parametrize("name", TIERS)
def test_an_escapee_is_found_and_ended(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench, name: str
) -> None:
    """B-PROC-x2: whatever it changed of its session, its parent and its environment."""

    async def stop(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        assert pid in {who.pid for who in engine._tree.glance()}  # it is asked in the first instant of a stop
        assert pid in (await engine.inspect()).pids
        report = await engine.stop(kill_after=FOR_EVER)
        assert pid in report.ended
        assert not report.killed
        assert not report.suspects
        assert not is_living(pid)

    tier(name, escaping(output=">/dev/null 2>&1"), stop)


@pytest.mark.parametrize("name", TIERS)
def test_an_escapee_outlives_neither_engine_nor_manager(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench, name: str
) -> None:
    """S5, S6: a new manager finds it by the cgroup in the handle, also when the engine itself has died."""

    async def recover(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        await engine.wait()
        found = await LocalLauncher(containment=()).recover(handle=engine.handle)
        assert found is not None
        seen = await found.inspect()
        assert not seen.alive
        assert seen.pids == (pid,)
        report = await found.stop(kill_after=FOR_EVER)
        assert report.ended == (pid,)
        assert not is_living(pid)

    tier(name, escaping(output=">/dev/null 2>&1"), recover)


@pytest.mark.parametrize("name", TIERS)
def test_an_engine_found_again_is_in_its_cgroup_still(tier: In, bench: Bench, name: str) -> None:
    """And put back there, if somebody has taken it out meanwhile."""

    async def recover(engine: LocalEngine) -> None:
        await engine.inspect()
        made = Cgroup(Path(Details.load(engine.handle.details).cgroup))
        Cgroup(made.folder.parent).add(engine.handle.pid or 0)
        assert made.pids() == []
        found = await LocalLauncher(containment=()).recover(handle=engine.handle)
        assert found is not None
        seen = await found.inspect()
        assert (seen.alive, seen.containment) == (True, name)
        assert made.pids() == [engine.handle.pid]
        await found.stop(kill_after=FOR_EVER)

    tier(name, bench.sh(LASTING), recover)


@pytest.mark.parametrize("name", TIERS)
def test_the_cgroup_of_an_engine_that_is_gone_is_removed(tier: In, bench: Bench, name: str) -> None:
    """Its manager was killed; the next one finds nothing but that."""

    async def recover(engine: LocalEngine) -> None:
        await engine.inspect()
        folder = Details.load(engine.handle.details).cgroup
        os.kill(engine.handle.pid or 0, signal.SIGKILL)
        await engine.wait()
        assert there(folder)
        assert await LocalLauncher().recover(handle=engine.handle) is None
        await until(lambda: not os.path.exists(folder))

    tier(name, bench.sh(LASTING), recover)


@pytest.mark.parametrize("name", TIERS)
def test_who_was_taken_out_of_the_cgroup_is_a_member_still(tier: In, bench: Bench, name: str) -> None:
    """By a system manager that sorts processes its own way: the other signs count as before."""

    async def move(engine: LocalEngine) -> None:
        before: tuple[int, ...] = ()
        while len(before) != 2 or {_read(Path(f"/proc/{pid}/comm")) for pid in before} != {"sleep"}:
            before = (await engine.inspect()).pids
        outside = Cgroup(Path(Details.load(engine.handle.details).cgroup).parent)
        for pid in before:
            outside.add(pid)
        assert (await engine.inspect()).pids == before
        assert set((await engine.stop(kill_after=FOR_EVER)).ended) == set(before)

    tier(name, bench.sh("(setsid sleep 1000 &) ; echo up; exec sleep 1000"), move)


CHAIN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"up\\n")
sys.stdin = open("fifo")
sys.stdin.readline()
for link in range(300):
    if os.fork():
        time.sleep(0.002)
        os._exit(0)
    os.setsid()
    os.write(1, b".")
time.sleep(1000)
"""
"""Forks three hundred times, each parent dying at once: nobody lives as long as a look takes."""


@pytest.mark.parametrize("name", TIERS)
def test_who_forks_faster_than_he_can_be_looked_for_is_ended(tier: In, bench: Bench, name: str) -> None:
    """All at once where the kernel can, else because he cannot fork any more; a session would lose him."""

    async def stop(engine: LocalEngine) -> StopReport:
        await engine.inspect()
        (bench.folder / "fifo").write_text("go\n")
        await until(lambda: "." in bench.log())
        return await engine.stop(kill_after=0.02)

    os.mkfifo(bench.folder / "fifo")
    request = bench.python(CHAIN, cwd=str(bench.folder))
    assert tier(name, request, stop).killed


@pytest.mark.parametrize("name", TIERS)
def test_cgroups_that_an_engine_made_are_removed_with_its_own(tier: In, bench: Bench, name: str) -> None:
    """And whoever is in them is ended."""

    async def nest(engine: LocalEngine) -> None:
        (pid,) = (await engine.inspect()).pids
        made = Cgroup(Path(Details.load(engine.handle.details).cgroup))
        below = Cgroup(made.folder / "a" / "b")
        below.folder.mkdir(parents=True)
        below.add(pid)
        assert (await engine.inspect()).pids == (pid,)
        assert (await engine.stop(kill_after=FOR_EVER)).ended == (pid,)
        await until(lambda: not made.folder.exists())

    tier(name, bench.sh(LASTING), nest)


def test_a_frozen_engine_is_killed(tier: In, bench: Bench) -> None:
    """Of version 2 whoever is frozen can be killed, whoever froze him."""

    async def freeze(engine: LocalEngine) -> StopReport:
        await engine.inspect()
        made = Cgroup(Path(Details.load(engine.handle.details).cgroup))
        made.write("cgroup.freeze", 1)
        await until(lambda: "frozen 1" in _read(made.folder / "cgroup.events"))
        return await engine.stop(kill_after=0.1)

    script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
    assert tier("cgroup v2", bench.sh(script), freeze).killed


def test_without_pidfds_a_cgroup_is_killed_all_the_same(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel does it for everybody in it; nobody else can be meant (S4)."""

    def hidden(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", hidden)

    async def stop(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        report = await engine.stop(kill_after=0.1)
        assert report.killed
        assert not is_living(pid)

    tier("cgroup v2", escaping(output=">/dev/null 2>&1"), stop)


def test_a_stop_while_the_engine_is_being_put_into_its_cgroup(tier: In, bench: Bench) -> None:
    """At once, and after it has crashed at once."""

    async def nothing(engine: LocalEngine) -> None:
        return

    for _ in range(5):
        tier("cgroup v2", bench.sh(LASTING), nothing)
        tier("cgroup v2", bench.sh("echo up; exit 1"), nothing)


def test_many_launches_leave_no_cgroup(run_real: Any, bench: Bench) -> None:
    """Some crash, some are stopped, all at once."""
    needs("cgroup v2")
    scripts = ["echo up; exit 3", LASTING, "setsid sleep 1000 & echo up; wait", "kill -9 $$"] * 10

    async def main() -> None:
        launcher = LocalLauncher(containment=("cgroup v2",))
        engines = [await launcher.launch(request=bench.sh(script)) for script in scripts]
        folders = [Details.load(engine.handle.details).cgroup for engine in engines]
        await asyncio.gather(*(engine.inspect() for engine in engines[::2]))
        await asyncio.gather(*(engine.stop(kill_after=0.1) for engine in engines))
        assert len(set(folders)) == len(scripts)
        await until(lambda: not any(map(os.path.exists, folders)))

    run_real(main())


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EBUSY, errno.ENOSPC])
def test_an_engine_that_cannot_be_put_into_a_cgroup_runs_all_the_same(
    tier: In, bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It notices nothing; the inspection tells what holds it."""

    async def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Enclosing, "enclose", refuse)

    async def look(engine: LocalEngine) -> None:
        seen = await engine.inspect()
        assert (seen.alive, seen.containment) == (True, "session")
        assert (await engine.stop(kill_after=FOR_EVER)).ended == seen.pids

    tier("cgroup v2", bench.sh("sleep 1000 & echo up; wait"), look)


def test_an_engine_of_an_older_manager_is_found_by_its_session(run_real: Any, bench: Bench) -> None:
    """Its handle says nothing of containment."""
    needs("cgroup v2")

    async def main() -> None:
        engine = await LocalLauncher(containment=()).launch(request=bench.sh(LASTING))
        old = '{"log_path": "/a", "log_offset": 7, "pid_path": ""}'
        handle = attrs.evolve(engine.handle, details=old)
        found = await LocalLauncher().recover(handle=handle)
        assert found is not None
        assert (await found.inspect()).containment == "session"
        await found.stop(kill_after=FOR_EVER)
        await engine.stop(kill_after=FOR_EVER)

    run_real(main())


# --- without a cgroup ---------------------------------------------------------------------------------------


def test_an_escapee_that_cannot_be_proven_is_told_and_left_alone(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench
) -> None:
    """It still writes to the engine's log; but so might a stranger (S4)."""

    async def stop(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        try:
            report = await engine.stop(kill_after=0)
            assert report.suspects == (pid,)
            assert pid not in report.ended
            assert is_living(pid)
        finally:
            os.kill(pid, signal.SIGKILL)

    tier("session", escaping(), stop)


def test_who_has_nothing_of_the_engine_is_no_suspect(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench
) -> None:
    """In its session alone nothing can be known of such an escapee."""

    async def stop(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        try:
            assert (await engine.stop(kill_after=0)).suspects == ()
        finally:
            os.kill(pid, signal.SIGKILL)

    tier("session", escaping(output=">/dev/null 2>&1"), stop)


@pytest.fixture
def ours_again() -> Iterator[None]:
    """We are no subreaper any more afterwards."""
    yield
    ctypes.CDLL(None).prctl(subreaper.SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("ours_again")
def test_a_subreaper_is_given_the_orphan_of_a_daemon(
    tier: In, escaping: Callable[..., LaunchRequest], bench: Bench
) -> None:
    """It is told, although nothing else ties it to the engine; whose it is stays unproven."""

    async def stop(engine: LocalEngine) -> None:
        pid = await escapee(engine, bench.folder)
        try:
            assert (await engine.inspect()).containment == "subreaper"
            assert (await engine.stop(kill_after=0)).suspects == (pid,)
        finally:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: os.waitpid(-1, os.WNOHANG)[0] == pid)

    daemon = f"{AWAY} sh -c '\"$@\" &' daemon"
    tier("subreaper", escaping(how=daemon, output=">/dev/null 2>&1"), stop)


@pytest.mark.usefixtures("ours_again")
def test_a_subreaper_reaps_the_orphans_of_its_engines(tier: In, bench: Bench) -> None:
    """Their zombies would stay as long as we do; another's are left to who wants them."""

    async def look(engine: LocalEngine) -> None:
        await until(lambda: _read(bench.folder / "orphan"))
        pid = int(_read(bench.folder / "orphan"))
        await until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        await engine.inspect()
        assert not there(f"/proc/{pid}")

    script = "( sh -c 'echo $$ > orphan' & ) ; echo up; exec sleep 1000"
    tier("subreaper", bench.sh(script, cwd=str(bench.folder)), look)
