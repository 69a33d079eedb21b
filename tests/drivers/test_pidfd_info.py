"""How a process ended that is not our child: what the kernel says, and what is not believed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle_drivers import pidfd_info, procfs
from pool_lifecycle_drivers.pidfd_info import exit_status, is_told
from pool_lifecycle_drivers.procfs import Identity, identify

pytestmark = pytest.mark.slow

needs_a_recent_kernel = pytest.mark.skipif(not is_told(), reason="needs Linux 6.15")

FIRST_THREAD_GONE = """
import ctypes, os, threading
def end():
    while "Z" not in open(f"/proc/self/task/{os.getpid()}/stat").read(): pass
    os._exit(3)
threading.Thread(target=end).start()
libc = ctypes.CDLL(None)
libc.pthread_exit(None)
"""

ENDINGS = {
    "exit 0": ("exit 0", ExitStatus(code=0)),
    "exit 7": ("exit 7", ExitStatus(code=7)),
    "exit 255": ("exit 255", ExitStatus(code=255)),
    "killed": ("kill -KILL $$", ExitStatus(signal=signal.SIGKILL)),
    "crashed, with a core": ("ulimit -c unlimited; kill -SEGV $$", ExitStatus(signal=signal.SIGSEGV)),
}


@contextmanager
def ended(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that has ended and that nobody has reaped yet, with a pidfd."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/tmp") as process:
        fd = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            assert process.stdin is not None
            assert exit_status(fd, who(process)) is None, "it has not ended"
            process.stdin.close()
            poll.poll()
            yield process, fd
        finally:
            os.close(fd)


def who(process: subprocess.Popen[bytes]) -> Identity:
    found = identify(process.pid)
    assert found is not None
    return found


@needs_a_recent_kernel
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_ending_is_told_before_and_after_it_was_reaped(ending: str) -> None:
    """At once, whenever its parent gets round to it."""
    script, status = ENDINGS[ending]
    with ended("/bin/sh", "-c", f"read line; {script}") as (process, fd):
        it = who(process)
        assert exit_status(fd, it) == status
        process.wait()
        assert exit_status(fd, it) == status


@needs_a_recent_kernel
def test_the_ending_is_the_programs_and_not_its_first_threads() -> None:
    """A first thread that ended before the others has the status 0 of its own, which is no success (S16)."""
    script = f"import sys; sys.stdin.read()\n{FIRST_THREAD_GONE}"
    with ended(sys.executable, "-c", script) as (process, fd):
        it = who(process)
        assert exit_status(fd, it) == ExitStatus(code=3)
        process.wait()
        assert exit_status(fd, it) == ExitStatus(code=3)


@needs_a_recent_kernel
def test_a_zero_that_stands_for_not_for_your_eyes_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's zombie shows 0 however it ended; once it is reaped, everybody may know."""

    def forbid(path: str, flags: int) -> int:
        raise PermissionError(path)

    with ended("/bin/sh", "-c", "read line; exit 7") as (process, fd):
        it = who(process)
        hidden = procfs.read_stat(process.pid)
        hidden[49] = b"0"
        monkeypatch.setattr(pidfd_info, "read_stat", lambda _: hidden)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", forbid)
            assert exit_status(fd, it) is None
            process.wait()
            assert exit_status(fd, it) == ExitStatus(code=7)


@needs_a_recent_kernel
def test_the_row_of_whoever_has_the_number_now_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaped while we looked, and its number given away: the kernel's memory counts (S4)."""
    with ended("/bin/sh", "-c", "read line; exit 7") as (process, fd):
        it = who(process)
        stranger = procfs.read_stat(process.pid)
        stranger[49] = b"0"

        def late(pid: int) -> list[bytes]:
            process.wait()
            return stranger

        monkeypatch.setattr(pidfd_info, "read_stat", late)
        assert exit_status(fd, it) == ExitStatus(code=7)
        stranger[19] = b"1"
        monkeypatch.setattr(pidfd_info, "_remembered", lambda _: None)
        assert exit_status(fd, it) is None


def test_a_row_with_another_start_is_a_strangers() -> None:
    """The number is right, the start time is not (S4)."""
    with ended("/bin/sh", "-c", "read line; exit 7") as (process, fd):
        it = who(process)
        assert exit_status(fd, Identity(it.pid, it.start_ticks - 1)) is None


@pytest.mark.parametrize("release", ["6.14.9", "5.15.0-generic", "4.4.0", "unheard of"])
def test_an_older_kernel_is_not_believed(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    """What its files show is something else."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", release, "", "")))
    is_told.cache_clear()
    try:
        with ended("/bin/sh", "-c", "read line; exit 0") as (process, fd):
            assert exit_status(fd, who(process)) is None
    finally:
        is_told.cache_clear()
