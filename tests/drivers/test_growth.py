"""Growth of files is told at once by inotify, and found by looking where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers import growth
from pool_lifecycle_drivers.growth import GrowthWatch

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def target_of(fd: str) -> str:
    """What a descriptor of ours is open on; nothing when another thread has just closed it."""
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


def inotify_instances() -> int:
    return sum("inotify" in target_of(fd) for fd in os.listdir("/proc/self/fd"))


def none_is_left() -> bool:
    """The instance is closed in a thread, so it may take a moment."""
    patient_until = time.monotonic() + 5
    while inotify_instances() and time.monotonic() < patient_until:
        os.sched_yield()
    return inotify_instances() == 0


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("x")


def test_a_write_wakes_whoever_waits_for_that_file(run_real: Run, tmp_path: Path) -> None:
    """All who wait for it, and nobody who waits for another; no interval is waited for."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch()
    other.touch()

    async def main() -> None:
        watch = GrowthWatch()
        with watch.watching(str(one)) as first, watch.watching(str(one)) as second:
            with watch.watching(str(other)) as third:
                waiting = [asyncio.ensure_future(alarm.wait()) for alarm in (first, second, third)]
                assert inotify_instances() == 1
                append(one)
                await asyncio.wait_for(asyncio.gather(*waiting[:2]), 10)
                assert not waiting[2].done()
                append(other)
                await asyncio.wait_for(waiting[2], 10)
            again = asyncio.ensure_future(first.wait())
            await asyncio.sleep(0)
            assert not again.done()
            append(one)
            await asyncio.wait_for(again, 10)
        assert none_is_left()

    run_real(main())


def test_a_write_between_the_look_and_the_wait_is_not_lost(run_real: Run, tmp_path: Path) -> None:
    """The watch is there before the look."""
    path = tmp_path / "file"
    path.touch()

    async def main() -> None:
        with GrowthWatch().watching(str(path)) as alarm:
            append(path)
            await asyncio.wait_for(alarm.wait(), 10)

    run_real(main())


def test_when_the_kernel_lost_count_everybody_looks(run_real: Run, tmp_path: Path) -> None:
    """The queue of events overflowed."""
    path = tmp_path / "file"
    path.touch()
    lost = struct.pack("iIII", -1, growth.IN_Q_OVERFLOW, 0, 0)

    async def main() -> None:
        watch = GrowthWatch()
        with watch.watching(str(path)) as alarm:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "read", lambda fd, size: lost)
                (instance,) = watch._instances.values()
                instance.read()
            await asyncio.wait_for(alarm.wait(), 10)

    run_real(main())


class Unavailable:
    """A C library without inotify, or out of instances."""

    def inotify_init1(self, flags: int) -> int:
        return -1


@pytest.mark.parametrize("why", ["no inotify", "no file"])
def test_without_inotify_the_file_is_looked_at_again_and_again(
    run_real: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A sandbox, or a file that is not there yet."""
    monkeypatch.setattr(growth, "POLL", 0.001)
    if why == "no inotify":
        monkeypatch.setattr(growth, "_libc", Unavailable())

    async def main() -> None:
        with GrowthWatch().watching(str(tmp_path / "file")) as alarm:
            await asyncio.wait_for(alarm.wait(), 10)
            await asyncio.wait_for(alarm.wait(), 10)
        assert none_is_left()

    run_real(main())


def test_it_can_be_used_by_one_loop_after_another(run_real: Run, tmp_path: Path) -> None:
    """Also when the first was closed with somebody waiting in it."""
    path = tmp_path / "file"
    path.touch()
    watch = GrowthWatch()
    left = watch.watching(str(path))

    async def leave() -> None:
        left.__enter__()

    async def main() -> None:
        with watch.watching(str(path)) as alarm:
            append(path)
            await asyncio.wait_for(alarm.wait(), 10)

    run_real(leave())
    run_real(main())
    assert none_is_left()


def test_who_holds_it_waits_again_without_a_new_instance(run_real: Run, tmp_path: Path) -> None:
    """Making one costs little, ending one costs milliseconds: it is kept between waits, then given back."""
    path = tmp_path / "file"
    path.touch()

    async def main() -> None:
        watch = GrowthWatch()
        let_go = watch.hold()
        for _ in range(2):
            with watch.watching(str(path)) as alarm:
                append(path)
                await asyncio.wait_for(alarm.wait(), 10)
            assert inotify_instances() == 1
        let_go()
        assert none_is_left()

    run_real(main())


def test_two_loops_at_once_do_not_disturb_each_other(run_real: Run, tmp_path: Path) -> None:
    """One set of drivers under two managers, each with a loop in a thread: both hear of every write."""
    path = tmp_path / "file"
    path.touch()
    watch = GrowthWatch()
    waits, heard = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        with watch.watching(str(path)) as alarm:
            waits.set()
            await asyncio.wait_for(alarm.wait(), 10)
            heard.set()

    async def here() -> None:
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        assert await asyncio.to_thread(waits.wait, 10)
        with watch.watching(str(path)) as alarm:
            append(path)
            await asyncio.wait_for(alarm.wait(), 10)
        await other
        assert heard.is_set()
        assert none_is_left()

    run_real(here())
    assert watch._instances == {}
