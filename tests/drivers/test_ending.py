"""The end of real process trees that behave badly."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle.interfaces import StopReport
from pool_lifecycle_drivers.ending import Ending
from pool_lifecycle_drivers.engine import LocalEngine
from pool_lifecycle_drivers.pinned import Pinned
from pool_lifecycle_drivers.procfs import Identity, identify
from tests.drivers.real_processes import LASTING, STUBBORN, Bench, carriers, is_living, stopping, until

pytestmark = pytest.mark.slow

FOR_EVER = 3600.0


def test_a_graceful_end_is_noticed_at_once(use: Any, bench: Bench) -> None:
    """By the kernel's word: the grace, here an hour, is not waited for (B-PROC-010)."""

    report = use(
        bench.sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"),
        lambda engine: engine.stop(kill_after=FOR_EVER),
    )
    assert report.exit == ExitStatus(code=7)
    assert not report.killed


def test_the_first_sigterm_is_sent_before_a_stop_first_waits(use: Any, bench: Bench) -> None:
    """A stop that is cancelled at once has begun all the same."""

    async def stop(engine: LocalEngine) -> None:
        task = asyncio.ensure_future(engine.stop(kill_after=FOR_EVER))
        await asyncio.sleep(0)
        task.cancel()
        assert (await engine.wait()).signal == signal.SIGTERM

    use(bench.sh(LASTING), stop)


def test_each_process_is_asked_once(use: Any, bench: Bench) -> None:
    """A second SIGTERM makes llama.cpp drop the streams it is finishing."""
    script = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\\n"))
os.write(1, b"up\\n")
while True:
    time.sleep(1)
"""

    async def stop(engine: LocalEngine) -> StopReport:
        first = asyncio.ensure_future(engine.stop(kill_after=FOR_EVER))
        await until(lambda: "asked" in bench.log())
        await engine.inspect()
        return (await asyncio.gather(first, engine.stop(kill_after=0.2)))[0]

    assert use(bench.python(script), stop).killed
    assert bench.log() == "up\nasked\n"


def test_an_engine_that_ignores_sigterm_is_killed(use: Any, bench: Bench) -> None:
    """With its children, after the grace and not before (B-PROC-011)."""

    async def stop(engine: LocalEngine) -> StopReport:
        await until(lambda: len(carriers(engine.handle.token)) == 3)
        started = asyncio.get_running_loop().time()
        report = await engine.stop(kill_after=0.3)
        assert asyncio.get_running_loop().time() - started >= 0.3
        return report

    report = use(bench.sh(STUBBORN), stop)
    assert report.exit == ExitStatus(signal=signal.SIGKILL)
    assert report.killed
    assert len(report.ended) == 3


def test_a_stopped_process_is_killed(use: Any, bench: Bench) -> None:
    """SIGSTOP keeps SIGTERM waiting, not SIGKILL."""

    async def stop(engine: LocalEngine) -> StopReport:
        os.kill(engine.handle.pid or 0, signal.SIGSTOP)
        return await engine.stop(kill_after=0.2)

    script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
    assert use(bench.sh(script), stop).exit == ExitStatus(signal=signal.SIGKILL)


TREES = {
    "children": "sleep 1000 & sleep 1000 & echo up; wait",
    "another session": "setsid sleep 1000 & echo up; wait",
    "another session and environment": "setsid env -i sleep 1000 & echo up; wait",
    "daemon": "(setsid sleep 1000 & ) ; echo up; exec sleep 1000",
    "daemon that ignores SIGTERM": "(trap '' TERM; setsid sleep 1000 & ) ; echo up; exec sleep 1000",
    "orphan in the session, without environment": "(env -i sleep 1000 & ) ; echo up; exec sleep 1000",
}


@pytest.mark.parametrize("kind", TREES)
def test_a_stop_ends_the_whole_tree(use: Any, bench: Bench, kind: str) -> None:
    """Whatever changed its group, its session, its parent or its environment (B-PROC-x2)."""

    async def stop(engine: LocalEngine) -> StopReport:
        processes = 3 if kind == "children" else 2
        pids = await see(engine, processes)
        report = await engine.stop(kill_after=FOR_EVER if "ignores" not in kind else 0.2)
        assert set(report.ended) == pids
        assert not any(map(is_living, pids))
        return report

    assert use(bench.sh(TREES[kind]), stop).killed == ("ignores" in kind)


async def see(engine: LocalEngine, processes: int) -> set[int]:
    """Wait until the engine has that many processes, all executing what they were made for."""
    while True:
        pids = set((await engine.inspect()).pids)
        names = {Path(f"/proc/{pid}/comm").read_text() for pid in pids}  # noqa: ASYNC240
        if len(pids) == processes and names <= {"sh\n", "sleep\n"}:
            return pids
        await asyncio.sleep(0.01)


def test_what_was_once_seen_is_not_lost(use: Any, bench: Bench) -> None:
    """A process without token, session and parent is known from the look that saw it with its parent."""
    script = "sh -c 'env -i setsid sleep 1000 & echo up; read line < fifo' & wait; exec sleep 1000"
    os.mkfifo(bench.folder / "fifo")

    async def stop(engine: LocalEngine) -> StopReport:
        pids = await see(engine, 3)
        (bench.folder / "fifo").write_text("go\n")  # the parent in between ends
        await until(lambda: sum(map(is_living, pids)) == 2)
        report = await engine.stop(kill_after=FOR_EVER)
        assert not any(map(is_living, pids))
        return report

    assert len(use(bench.sh(script, cwd=str(bench.folder)), stop).ended) == 2


def test_a_tree_that_goes_on_forking_is_ended(use: Any, bench: Bench) -> None:
    """Looks are repeated until nobody is left."""
    script = "trap '' TERM; echo up; while :; do sh -c 'setsid sleep 0.1 & sleep 0.05'; done"
    assert use(bench.sh(script), stopping(0.2)).killed


def test_a_process_that_forks_when_it_is_asked_to_end_is_ended(use: Any, bench: Bench) -> None:
    """What began after the first look is found by a later one.

    It is asked in its turn; but it may be the shell's copy still, which takes the signal to its grave.
    """
    script = "trap 'setsid sleep 1000 & exit 0' TERM; echo up; while :; do sleep 0.02; done"
    report = use(bench.sh(script), stopping(1.0))
    assert report.exit.success
    assert len(report.ended) >= 2


def test_nobody_else_is_touched(use: Any, bench: Bench) -> None:
    """Not even a process of the same program with another token (S4)."""
    with subprocess.Popen(["sleep", "1000"], env={"POOL_LIFECYCLE_TOKEN": "another"}) as stranger:
        use(bench.sh(LASTING), stopping(0))
        assert stranger.poll() is None
        stranger.kill()


def test_without_pidfds_the_group_of_a_dead_leader_is_killed(
    use: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one safe way that is left: our own unreaped child keeps the number of its group."""

    def hidden(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", hidden)

    async def stop(engine: LocalEngine) -> StopReport:
        await engine.wait()
        (left,) = (await engine.inspect()).pids
        report = await engine.stop(kill_after=0.1)
        assert not is_living(left)
        return report

    use(bench.sh("trap '' TERM; sleep 1000 & echo up"), stop)


class Told:
    """A tree that is seen as it is told to be."""

    def __init__(self, *looks: Iterable[Identity]) -> None:
        self.looks = [frozenset(look) for look in looks]
        self.is_settled = False

    async def settled(self) -> None:
        """Only then nobody is on his way into the cgroup any more."""
        self.is_settled = True

    def glance(self) -> frozenset[Identity]:
        return frozenset()

    async def look(self) -> frozenset[Identity]:
        assert self.is_settled
        return self.looks.pop(0)


def test_one_empty_look_does_not_prove_that_nobody_is_left(run_real: Any) -> None:
    """While it was taken a member forked and ended: missed together with its child (S5)."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        who = identify(child.pid)
        assert who is not None
        tree = Told((), (who,), (), ())

        async def main() -> None:
            ending = Ending(Pinned(Identity(2**22 + 1, 1), None), tree)  # type: ignore[arg-type]
            ending.kill_after(FOR_EVER)
            ending.ask()
            await asyncio.wait_for(ending.run(), 20)
            assert ending.ended == {who.pid}

        try:
            run_real(main())
            assert child.wait(20) == -signal.SIGTERM
        finally:
            child.kill()
    assert tree.looks == []
