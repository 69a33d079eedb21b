"""What /proc says, compared with what psutil says and with damaged copies of its files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from pool_lifecycle_drivers import procfs
from pool_lifecycle_drivers.procfs import (
    Identity,
    boot_id,
    children,
    identify,
    instances,
    read_entry,
    read_token,
)

ODD = ") S 1 (\n"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A child whose name tries to look like other fields, with a token."""
    script = (
        f"import ctypes, time; ctypes.CDLL(None).prctl(15, {ODD.encode()!r});"
        "print('up', flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={"A": "1", "POOL_LIFECYCLE_TOKEN": "a=b"}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.slow
def test_a_row_says_who_a_process_is(child: subprocess.Popen[bytes]) -> None:
    """Whatever its name is made of; its start is when psutil says it was."""
    row = read_entry(child.pid)
    assert row is not None
    assert (row.who.pid, row.parent, row.session, row.gone) == (child.pid, os.getpid(), os.getsid(0), False)
    started = psutil.boot_time() + row.who.start_ticks / procfs.TICKS_PER_SECOND
    assert abs(started - psutil.Process(child.pid).create_time()) < 1.5
    assert identify(child.pid) == row.who
    assert procfs.program_name(child.pid) == ODD.strip()
    assert read_token(child.pid) == "a=b"
    assert child.pid in children(os.getpid())


@pytest.mark.slow
def test_a_zombie_is_gone_though_it_has_its_number(child: subprocess.Popen[bytes]) -> None:
    """PID 1 may reap late."""
    before = identify(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    row = read_entry(child.pid)
    assert row is not None
    assert row.gone
    assert row.who == before
    assert read_token(child.pid) is None


@pytest.mark.slow
def test_a_process_whose_first_thread_ended_lives_on() -> None:
    """It looks like a zombie, and its other threads serve."""
    script = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(1000,)).start();"
        "print('up', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 20
            while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline
            row = read_entry(process.pid)
            assert row is not None
            assert not row.gone
        finally:
            process.kill()


def test_a_process_stays_the_same_instance() -> None:
    """So what was read of it once need not be read again."""
    before, after = (next(one for one in instances() if one.pid == os.getpid()) for _ in range(2))
    assert before == after


def test_nobody_is_nobody() -> None:
    """A number without a process."""
    nobody = 2**22 + 1
    assert read_entry(nobody) is None
    assert identify(nobody) is None
    assert read_token(nobody) is None
    assert children(nobody) == []
    assert procfs.program_name(nobody) == ""


def test_to_be_out_of_descriptors_does_not_look_like_an_empty_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a tree would count as ended because nobody could look."""

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    looks: list[Callable[[], object]] = [
        lambda: read_entry(os.getpid()),
        lambda: read_token(os.getpid()),
        lambda: children(os.getpid()),
    ]
    monkeypatch.setattr(os, "open", refuse)
    for look in looks:
        with pytest.raises(OSError, match="Too many open files"):
            look()


def test_the_boot_has_a_name_that_stays() -> None:
    """It makes a pid and a start time unique for all time."""
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36


def test_each_of_our_threads_is_the_same_process() -> None:
    """A child is found whichever thread made it."""
    found: list[Identity | None] = []
    thread = threading.Thread(target=lambda: found.append(identify(os.getpid())))
    thread.start()
    thread.join()
    assert found == [identify(os.getpid())]
