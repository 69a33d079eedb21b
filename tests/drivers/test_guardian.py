"""The process that ends our engines when we are gone: when there is one, and what it is made of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.interfaces import Capability, EngineHandle
from pool_lifecycle_drivers import guardian as guardian_module
from pool_lifecycle_drivers.guardian import DEAF_TO, Guardian
from pool_lifecycle_drivers.ledger import read
from pool_lifecycle_drivers.procfs import read_environment
from tests.drivers.real_processes import descriptors, is_living, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow

FIRST = EngineHandle("local", "no such token: 1", "127.0.0.1", 1)
SECOND = EngineHandle("local", "no such token: 2", "127.0.0.1", 2)


def pid_of(guardian: Guardian) -> int:
    assert guardian._process is not None
    return guardian._process.who.pid


def replaced(guardian: Guardian, losses: int) -> bool:
    return guardian._losses == losses and guardian._process is not None


def in_a_fork(condition: Callable[[], bool]) -> bool:
    """What a forked child of this process finds."""
    child = os.fork()
    if child == 0:
        os._exit(not condition())
    return os.waitpid(child, 0)[1] == 0


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_there_is_one_as_long_as_there_is_somebody_to_be_ended(run_real: Run) -> None:
    """However many they are and however often they are told of; nobody waits for it (S5)."""

    async def main() -> None:
        guardian = Guardian()
        guardian.expect(FIRST, 1.0)
        pid = pid_of(guardian)
        guardian.expect(evolve(FIRST, pid=7), 1.0)
        guardian.expect(SECOND, 2.0)
        assert pid_of(guardian) == pid
        assert guardian._ledger is not None
        told = [(ward.handle, ward.grace) for ward in read(guardian._ledger.fd)]
        assert told == [(evolve(FIRST, pid=7), 1.0), (SECOND, 2.0)]
        await guardian.forget(FIRST.token)
        assert is_living(pid)
        await guardian.forget(SECOND.token)
        assert not is_living(pid)
        await guardian.forget(SECOND.token)
        guardian.expect(FIRST, 1.0)
        assert pid_of(guardian) != pid
        await guardian.forget(FIRST.token)

    run_real(main())


def test_one_that_is_held_waits_for_the_next_launch(run_real: Run) -> None:
    """To dismiss one and to start another takes longer than all else that replaces a crashed engine."""

    async def main() -> None:
        guardian = Guardian()
        guardian.hold()
        guardian.hold()
        guardian.expect(FIRST, 1.0)
        pid = pid_of(guardian)
        await guardian.forget(FIRST.token)
        guardian.expect(SECOND, 1.0)
        await guardian.let_go()
        await guardian.forget(SECOND.token)
        assert pid_of(guardian) == pid
        assert is_living(pid)
        await guardian.let_go()
        assert not is_living(pid)

    run_real(main())


def test_who_lets_go_leaves_what_is_needed(run_real: Run) -> None:
    """An engine that another manager keeps has to be ended after us all the same (S5)."""

    async def main() -> None:
        guardian = Guardian()
        guardian.hold()
        guardian.expect(FIRST, 1.0)
        await guardian.let_go()
        assert is_living(pid_of(guardian))
        await guardian.forget(FIRST.token)
        assert guardian._process is None

    run_real(main())


def test_nobody_who_lives_on_has_one(run_real: Run) -> None:
    """To forget who was never told of starts nothing."""

    async def main() -> None:
        guardian = Guardian()
        await guardian.forget(FIRST.token)
        assert guardian._process is None

    run_real(main())


def test_it_stands_apart(run_real: Run) -> None:
    """What is sent to our group, or closes our terminal, does not reach it; it holds nothing of ours."""
    leaked, other = os.pipe()
    os.set_inheritable(leaked, True)

    async def main() -> None:
        guardian = Guardian()
        guardian.expect(FIRST, 1.0)
        pid = pid_of(guardian)
        assert os.getsid(pid) == pid
        blocked = int(status(pid, "SigBlk"), 16)
        assert all(blocked & 1 << number - 1 for number in DEAF_TO)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        held = descriptors(pid)
        ours = descriptors()
        assert [held[fd] for fd in ("0", "1", "2")] == [ours[str(guardian._life)], "/dev/null", "/dev/null"]
        assert list(held.values()).count(ours[str(guardian._life)]) == 1, "it would never learn of our end"
        assert ours[str(leaked)] not in held.values()
        assert b"PYTEST" not in read_environment(pid)
        await guardian.forget(FIRST.token)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    run_real(main())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    os.close(leaked)
    os.close(other)


def test_one_that_was_killed_is_replaced(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that knows what it knew; again and again, but not in a hurry."""
    monkeypatch.setattr(guardian_module, "FIRST_PAUSE", 0.001)

    async def main() -> None:
        guardian = Guardian()
        guardian.expect(FIRST, 1.0)
        ledger = os.stat(f"/proc/{pid_of(guardian)}/fd/{guardian._ledger.fd if guardian._ledger else -1}")
        for losses in (1, 2, 3):
            pid = pid_of(guardian)
            os.kill(pid, signal.SIGKILL)
            await until(partial(replaced, guardian, losses))
            assert not is_living(pid)
            assert guardian._ledger is not None
            kept = os.stat(f"/proc/{pid_of(guardian)}/fd/{guardian._ledger.fd}")
            assert (kept.st_ino, kept.st_dev) == (ledger.st_ino, ledger.st_dev)
            assert guardian.capability().in_force == "guardian"
        await guardian.forget(FIRST.token)
        assert guardian._losses == 0

    run_real(main())


def test_one_that_is_lost_again_and_again_is_replaced_later_and_later(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that cannot run it must not keep the host busy."""
    pauses: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        real = loop.call_later

        def call_later(pause: float, call: Any, *arguments: Any) -> asyncio.TimerHandle:
            if call == guardian._start:
                pauses.append(pause)
                pause = 0.0
            return real(pause, call, *arguments)

        guardian = Guardian()
        monkeypatch.setattr(sys, "executable", "/bin/false")
        monkeypatch.setattr(loop, "call_later", call_later)
        guardian.expect(FIRST, 1.0)
        await until(lambda: len(pauses) > 12)
        await guardian.forget(FIRST.token)

    run_real(main())
    assert pauses[:5] == [0.0, 0.2, 0.4, 0.8, 1.6]
    assert max(pauses) == 60.0


def test_without_one_launches_go_on_and_it_is_said(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors, no processes, no interpreter: nothing of that is an engine's fault."""
    monkeypatch.setattr(guardian_module, "FIRST_PAUSE", 0.001)

    async def main() -> None:
        guardian = Guardian()
        assert guardian.capability() == Capability("orphans", "guardian")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/such/interpreter")
            guardian.expect(FIRST, 1.0)
            assert guardian._process is None
            known = guardian.capability()
            assert (known.in_force, known.better) == ("none", "guardian")
            assert "no guardian can be started" in known.why
            assert "interpreter" in known.remedy
        await until(lambda: guardian._process is not None)
        assert guardian.capability() == Capability("orphans", "guardian")
        await guardian.forget(FIRST.token)
        with monkeypatch.context() as patch:
            patch.setattr(os, "memfd_create", _refuse)
            guardian.expect(FIRST, 1.0)
            assert guardian.capability().why == "out of descriptors"

    run_real(main())


def _refuse(*_: Any) -> int:
    raise OSError("out of descriptors")


def test_another_loop_goes_on_with_it(run_real: Run) -> None:
    """The loop was closed with an engine running; the guardian is watched by the next one (S5)."""
    guardian = Guardian()

    async def begin() -> int:
        guardian.expect(FIRST, 1.0)
        return pid_of(guardian)

    pid = run_real(begin())
    assert is_living(pid)

    async def go_on() -> None:
        guardian.expect(SECOND, 1.0)
        assert pid_of(guardian) == pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: guardian._losses == 1 and guardian._process is not None)
        await guardian.forget(FIRST.token)

    run_real(go_on())

    async def end() -> None:
        await guardian.forget(SECOND.token)

    run_real(end())
    assert guardian._process is None


def test_one_that_died_between_two_loops_is_replaced_by_the_next(run_real: Run) -> None:
    """Nobody was there to see it."""
    guardian = Guardian()

    async def begin() -> int:
        guardian.expect(FIRST, 1.0)
        return pid_of(guardian)

    pid = run_real(begin())
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    async def go_on() -> None:
        guardian.expect(FIRST, 1.0)
        await until(lambda: guardian._process is not None and pid_of(guardian) != pid)
        await guardian.forget(FIRST.token)

    run_real(go_on())


def test_a_forked_child_does_not_keep_us_alive(run_real: Run) -> None:
    """It would hold the pipe open, and the engines of a dead program would live as long as its child."""

    async def main() -> None:
        guardian = Guardian()
        guardian.expect(FIRST, 1.0)
        ledger, life = guardian._ledger.fd if guardian._ledger else -1, guardian._life
        assert in_a_fork(
            lambda: (
                not (guardian._process or guardian._ledger or {f"{ledger}", f"{life}"} & descriptors().keys())
            )
        )
        assert is_living(pid_of(guardian))
        await guardian.forget(FIRST.token)

    run_real(main())


def test_one_that_was_stopped_is_dismissed_like_any_other(run_real: Run) -> None:
    """By force: there is nothing that it would leave undone."""

    async def main() -> None:
        guardian = Guardian()
        guardian.expect(FIRST, 1.0)
        pid = pid_of(guardian)
        os.kill(pid, signal.SIGSTOP)
        await guardian.forget(FIRST.token)
        assert not is_living(pid)

    run_real(main())
