"""The output file: opened for appending and nothing else, counted from this launch on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers import growth
from pool_lifecycle_drivers.growth import GrowthWatch
from pool_lifecycle_drivers.output import Output, open_for_append

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_the_file_is_made_with_its_folders_for_us_alone(tmp_path: Path) -> None:
    """Appending, blocking, close-on-exec."""
    path = tmp_path / "a" / "b" / "log"
    fd = open_for_append(str(path))
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    assert flags & os.O_APPEND
    assert not flags & os.O_NONBLOCK
    assert not os.get_inheritable(fd)
    os.close(fd)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, path.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("kind", ["link", "FIFO", "read FIFO", "folder", "device", "socket"])
def test_anything_but_a_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    """At once, whoever is on the other side, and without writing a byte."""
    path = tmp_path / "log"
    reader = -1
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind.endswith("FIFO"):
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if kind == "read FIFO" else -1
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    with pytest.raises(OSError, match=r"directory|symbolic|regular|device"):
        open_for_append(str(path))
    assert not (tmp_path / "target").exists()
    if reader >= 0:
        os.close(reader)


def output(path: Path, offset: int = 0) -> Output:
    return Output(str(path), offset, GrowthWatch())


def soon(counting: Awaitable[int]) -> Coroutine[Any, Any, int]:
    return asyncio.wait_for(counting, 10)


def test_bytes_count_from_where_the_launch_began(run_real: Run, tmp_path: Path) -> None:
    """A waiter wakes when more than it knows of is there."""
    path = tmp_path / "log"
    path.write_text("old")

    async def main() -> None:
        one = output(path, 3)
        waiting = asyncio.ensure_future(one.more_than(2))
        for text in ("a", "b", "c"):
            await asyncio.sleep(0)
            assert not waiting.done()
            with path.open("a") as file:
                file.write(text)
        assert await soon(waiting) == 3
        assert await soon(one.more_than(0)) == 3
        one.close()

    run_real(main())


def test_counting_goes_on_after_a_truncation(run_real: Run, tmp_path: Path) -> None:
    """A log rotation that copies and truncates."""
    path = tmp_path / "log"
    path.write_text("12345")

    async def main() -> None:
        one = output(path)
        assert await soon(one.more_than(0)) == 5
        path.write_text("6")
        assert await soon(one.more_than(5)) == 6
        one.close()

    run_real(main())


def test_a_file_that_was_deleted_is_still_followed(run_real: Run, tmp_path: Path) -> None:
    """Whoever writes has it open, and so have we."""
    path = tmp_path / "log"

    async def main() -> None:
        with path.open("w") as file:
            one = output(path)
            waiting = asyncio.ensure_future(one.more_than(0))
            await asyncio.sleep(0)
            path.unlink()
            file.write("x")
            file.flush()
            assert await soon(waiting) == 1
        one.close()

    run_real(main())


def test_a_file_that_is_not_there_yet_is_waited_for(
    run_real: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine recovered after its log was deleted must not break its watcher."""
    monkeypatch.setattr(growth, "POLL", 0.001)
    path = tmp_path / "log"

    async def main() -> None:
        one = output(path)
        waiting = asyncio.ensure_future(one.more_than(0))
        await asyncio.sleep(0.01)
        path.write_text("x")
        assert await soon(waiting) == 1
        one.close()

    run_real(main())


def test_once_closed_the_count_stays(run_real: Run, tmp_path: Path) -> None:
    """What the engine wrote at the very end is in it; what others write later is not."""
    path = tmp_path / "log"
    path.write_text("1")

    async def main() -> None:
        one = output(path)
        assert await soon(one.more_than(0)) == 1
        path.write_text("123")
        one.close()
        path.write_text("12345")
        assert await soon(one.more_than(0)) == 3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.more_than(3), 0.01)

    run_real(main())
