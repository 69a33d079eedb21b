"""The kernel's log is asked who was killed for want of memory; only its own word counts, and only news."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers import kernel_log
from pool_lifecycle_drivers.kernel_log import KernelLog, Kill, parse, slack
from tests.drivers.real_processes import until
from tests.host_trees import Host

Run = Callable[[Coroutine[Any, Any, Any]], Any]

BEGUN = (
    b"6,862,11994317219,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    b"oom_memcg=/engines,task_memcg=/engines,task=python,pid=%d,uid=0\n SUBSYSTEM=memory\n"
)
DONE = b"3,863,11994317230,-;Memory cgroup out of memory: Killed process %d (python) total-vm:218812kB\n"
HOST = b"3,9,5000000,c;Out of memory: Killed process %d (llama-server) total-vm:99kB, anon-rss:88kB\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose first pid namespace is ours."""
    host = Host(tmp_path)
    monkeypatch.setattr(kernel_log, "FIRST_NAMESPACE", os.stat(f"{host.proc}/self/ns/pid").st_ino)
    return host


def say(host: Host, *records: bytes) -> None:
    Path(host.log).write_bytes(b"".join(records))


@pytest.mark.parametrize("record", [BEGUN, DONE, HOST])
def test_a_kill_is_read_from_each_of_its_lines(record: bytes) -> None:
    """B-SUPER-009: the line before the kill and the one after, of a cgroup and of the whole host."""
    kill = parse(record % 10575)
    assert kill is not None
    assert kill.pid == 10575
    assert kill.at == pytest.approx(5.0 if record is HOST else 11994.3172, abs=0.001)
    assert "\n" not in kill.line


@pytest.mark.parametrize(
    "record",
    [
        b"12,863,11994317230,-;Memory cgroup out of memory: Killed process 7 (python) total-vm:218812kB\n",
        b"30,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,task=python,pid=7,uid=0\n",
        b"6,862,11994317219,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=x,pid=7\n",
        b"6,1,2,-;python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n",
        b"6,1,2,-;[   7]     0     7  1234   1234   python\n",
        b"no record at all: Killed process 7 (python)\n",
        b"",
    ],
)
def test_nobody_but_the_kernel_tells_of_kills(record: bytes) -> None:
    """S16: programs may write to the log too; the kernel marks what is theirs."""
    assert parse(record) is None


def test_a_programs_name_convicts_nobody() -> None:
    """S16: whoever names his program after such a line names himself."""
    kill = parse(BEGUN.replace(b"task=python", b"task=,pid=9,uid=0") % 10)
    assert kill is not None
    assert kill.pid == 10


def test_the_last_line_about_the_engine_since_then_is_told(
    run_real: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-SUPER-009: neither other processes nor what happened to an older one of the same number."""
    now = time.monotonic()
    old, new = int((now - 10 - slack()) * 1e6), int(now * 1e6)
    line = b"3,1,%d,-;Out of memory: Killed process %d (x) nth:%d\n"
    records = [line % (new, 8, 1), line % (new, 7, 2), line % (new, 7, 3), line % (new, 9, 4)]
    monkeypatch.setattr(kernel_log, "_records", lambda fd: records)
    log = KernelLog(host.proc, host.log)

    async def asked(*pids: int) -> str | None:
        return await log.line(pids, since=now)

    assert run_real(asked(7)) == "Out of memory: Killed process 7 (x) nth:3"
    assert run_real(asked(6, 8)) == "Out of memory: Killed process 8 (x) nth:1"
    assert run_real(asked(6)) is None
    records[:] = [line % (old, 7, 5)]
    assert run_real(asked(7)) is None


def test_in_another_pid_namespace_the_numbers_mean_others(
    run_real: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S16: a container sees the host's log, but not the host's numbers."""
    say(host, HOST % 7)
    log = KernelLog(host.proc, host.log)
    assert run_real(log.line([7], since=0.0)) is not None
    monkeypatch.setattr(kernel_log, "FIRST_NAMESPACE", 1)
    assert run_real(log.line([7], since=0.0)) is None


def test_a_log_that_cannot_be_read_says_nothing(run_real: Run, host: Host) -> None:
    """Missing, or not for us to see; so is a /proc without namespaces."""
    assert run_real(KernelLog(host.proc, host.log + "-none").line([7], since=0.0)) is None
    assert run_real(KernelLog(host.proc, str(host.folder)).line([7], since=0.0)) is None
    assert run_real(KernelLog("/nowhere", host.log).line([7], since=0.0)) is None


def test_records_that_are_overwritten_meanwhile_are_skipped(
    run_real: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next read goes on with the oldest one left; what the device does when there is no more ends it."""
    answers: list[bytes | int] = [DONE % 6, errno.EPIPE, HOST % 7, errno.EAGAIN, DONE % 8]
    real = os.read

    def read(fd: int, size: int) -> bytes:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith("kmsg"):
            return real(fd, size)
        answer = answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer

    monkeypatch.setattr(os, "read", read)
    assert "llama-server" in str(run_real(KernelLog(host.proc, host.log).line([7], since=0.0)))
    assert answers == [DONE % 8]


def test_a_flood_is_not_followed_for_ever(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: the kernel may write faster than we read."""
    monkeypatch.setattr(os, "read", lambda fd, size: DONE % 7)
    monkeypatch.setattr(kernel_log, "RECORDS", 10)
    assert len(KernelLog(host.proc, host.log)._read()) == 10


def test_a_log_that_hangs_delays_nobody_for_long(
    run_real: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS, a driver that hangs: given up in bounded time, and asked again without harm."""
    monkeypatch.setattr(kernel_log, "PATIENCE", 0.01)
    going_on, ended = threading.Event(), threading.Event()

    def hang(self: KernelLog) -> list[Kill]:
        going_on.wait(60)
        ended.set()
        return []

    monkeypatch.setattr(KernelLog, "_read", hang)
    log = KernelLog(host.proc, host.log)

    async def main() -> None:
        try:
            async with asyncio.timeout(30):
                assert await log.line([7], since=0.0) is None
        finally:
            going_on.set()
        await asyncio.to_thread(ended.wait, 60)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    run_real(main())


def test_the_count_of_the_host_is_read_when_asked_for(host: Host) -> None:
    """It says whether there is anything to look for in the log; where it cannot be read nobody knows."""
    host.count_on_host(3)
    log = KernelLog(host.proc, host.log)
    assert log.count == 3
    host.count_on_host(4)
    assert log.count == 3
    assert log.count_now() == 4
    assert log.count == 4
    host.write("proc/vmstat", "")
    assert log.count_now() is None
