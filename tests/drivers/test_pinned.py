"""A process that is pinned is the only one that a signal reaches, and tells its end once."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pool_lifecycle.causes import LOST, ExitStatus
from pool_lifecycle_drivers import pidfd_info, pinned, procfs
from pool_lifecycle_drivers.pidfd_info import is_told
from pool_lifecycle_drivers.pinned import Pinned, pin
from pool_lifecycle_drivers.procfs import Identity, identify
from tests.drivers.real_processes import until

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.slow

KILLED = ExitStatus(signal=signal.SIGKILL)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A child that leads a group of its own."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture(params=["pidfd", "no pidfd"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the kernel's help, and without."""
    if request.param == "no pidfd":
        monkeypatch.setattr(os, "pidfd_open", refuse)
        monkeypatch.setattr(pinned, "POLL", 0.005)
    return str(request.param)


def refuse(pid: int, flags: int = 0) -> int:
    raise OSError(errno.ENOSYS, "not implemented")


def who(process: subprocess.Popen[bytes]) -> Identity:
    found = identify(process.pid)
    assert found is not None
    return found


def pinned_child(process: subprocess.Popen[bytes], *, ours: bool = True) -> Pinned:
    held = pin(who(process), ours=ours)
    assert held is not None
    return held


async def end_of(held: Pinned) -> None:
    ended = asyncio.Event()
    held.on_end(ended.set)
    await asyncio.wait_for(ended.wait(), 20)


def test_the_end_and_its_status_are_told(run_real: Run, child: subprocess.Popen[bytes], kind: str) -> None:
    """To everybody, also to those who ask late; the status stays to be read until it is released."""

    async def main() -> None:
        held = pinned_child(child)
        assert held.exit_status() is None
        waiting = [asyncio.ensure_future(end_of(held)) for _ in range(2)]
        await asyncio.sleep(0)
        assert held.alive()
        assert held.send(signal.SIGUSR1)
        await asyncio.gather(*waiting)
        assert not held.alive()
        await end_of(held)
        for _ in range(2):
            assert held.exit_status() == ExitStatus(signal=signal.SIGUSR1)
        held.release()

    run_real(main())
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)


def test_the_ended_are_not_signalled(run_real: Run, child: subprocess.Popen[bytes], kind: str) -> None:
    """A zombie takes signals without complaint, which would look like a kill that was needed."""

    async def main() -> None:
        held = pinned_child(child)
        child.kill()
        await end_of(held)
        assert not held.send(signal.SIGKILL)
        held.release()
        assert not held.send_to_group(signal.SIGKILL)

    run_real(main())


def test_what_is_not_our_child_has_the_status_that_the_kernel_tells(
    run_real: Run, child: subprocess.Popen[bytes], kind: str
) -> None:
    """If any. It is only signalled through a pidfd, and its group never (S4)."""

    async def main() -> None:
        held = pinned_child(child, ours=False)
        assert held.can_be_signalled == (kind == "pidfd")
        assert held.send(0) == (kind == "pidfd")
        assert not held.send_to_group(0)
        child.kill()
        await end_of(held)
        assert held.exit_status() == (KILLED if kind == "pidfd" and is_told() else LOST)
        held.release()

    run_real(main())


def test_a_status_that_the_kernel_keeps_to_itself_is_lost_in_the_end(
    run_real: Run, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's process that nobody reaps: asked again for a moment, and then never a success (S16)."""
    monkeypatch.setattr(pidfd_info, "is_told", lambda: True)
    monkeypatch.setattr(pidfd_info, "exit_status", lambda *_: None)

    async def main() -> None:
        held = pinned_child(child, ours=False)
        assert held.exit_status() is None
        monkeypatch.setattr(pinned, "PATIENCE", 3600.0)
        child.kill()
        await end_of(held)
        assert held.exit_status() is None
        held._lost_at = asyncio.get_running_loop().time()
        assert held.exit_status() == LOST
        held.release()

    run_real(main())


def test_a_group_is_signalled_while_its_number_is_held(
    run_real: Run, child: subprocess.Popen[bytes], kind: str
) -> None:
    """Our own unreaped child, living or not; once somebody reaped it, never again (S4)."""

    async def main() -> None:
        held = pinned_child(child)
        assert held.send_to_group(0)
        child.kill()
        await end_of(held)
        assert held.send_to_group(0)
        child.wait()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "killpg", lambda *_: pytest.fail("a stranger's group was signalled"))
            assert not held.send_to_group(0)
        assert held.exit_status() == (KILLED if kind == "pidfd" and is_told() else LOST)
        held.release()

    run_real(main())


def test_a_number_that_was_given_away_is_not_pinned(
    run_real: Run, child: subprocess.Popen[bytes], kind: str
) -> None:
    """The start time differs (B-PROC-x1)."""

    async def main() -> None:
        right = who(child)
        assert pin(Identity(right.pid, right.start_ticks - 1)) is None
        assert pin(Identity(2**22 + 1, 1)) is None
        gone = Pinned(Identity(right.pid, right.start_ticks - 1), None)
        assert not gone.alive()
        await end_of(gone)

    run_real(main())


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_dead(
    run_real: Run, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pidfd and out of descriptors."""

    def out_of_descriptors(pid: int) -> procfs.Entry:
        raise OSError(errno.EMFILE, "too many")

    async def main() -> None:
        held = Pinned(who(child), None, ours=True)
        monkeypatch.setattr(pinned, "read_entry", out_of_descriptors)
        assert held.alive()

    run_real(main())


def test_a_signal_that_is_forbidden_was_not_sent(run_real: Run, child: subprocess.Popen[bytes]) -> None:
    """A process that changed its user; the other outcome would be a lie in the report."""

    def forbid(*_: object) -> None:
        raise PermissionError

    async def main() -> None:
        held = pinned_child(child)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(signal, "pidfd_send_signal", forbid)
            patch.setattr(os, "killpg", forbid)
            assert not held.send(signal.SIGKILL)
            assert not held.send_to_group(signal.SIGKILL)
        child.kill()
        await end_of(held)
        held.release()

    run_real(main())


def test_an_end_whose_news_got_lost_is_noticed(
    run_real: Run, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """V3: should the kernel's word never arrive, a slow look finds the end."""
    monkeypatch.setattr(pinned, "SAFETY", 0.005)

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", lambda *_: None)
        held = pinned_child(child)
        ended = asyncio.ensure_future(end_of(held))
        await asyncio.sleep(0)
        child.kill()
        await ended
        held.release()

    run_real(main())


def test_while_it_lives_the_slow_look_tells_nothing(
    run_real: Run, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again and again, and no more once it is released."""
    monkeypatch.setattr(pinned, "SAFETY", 0.0)
    looks: list[Pinned] = []
    real = Pinned.alive

    def counted(self: Pinned) -> bool:
        looks.append(self)
        return real(self)

    monkeypatch.setattr(Pinned, "alive", counted)

    async def main() -> None:
        held = pinned_child(child)
        held.on_end(lambda: pytest.fail("it lives"))
        await until(lambda: len(looks) > 2)
        held.release()
        looks.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        assert looks == []

    run_real(main())
