"""One piece of work in a thread for all who want its result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pool_lifecycle.interfaces import StageProgress
from pool_lifecycle_drivers import sharing
from pool_lifecycle_drivers.fetch_source import Stopped, Watch
from pool_lifecycle_drivers.sharing import Sharing

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Gated:
    """Work that goes on step by step as the test lets it; it notices at once when it is to stop."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.go = threading.Event()
        self.count = 0

    def __call__(self, watch: Watch) -> int:
        self.count += 1
        watch.interruptible(self.go.set)
        self.begun.release()
        self.go.wait(60)
        try:
            watch.check()
        finally:
            self.ended.release()
        watch.total = watch.done = 10
        return self.count

    async def running(self) -> None:
        """Wait until it is."""
        await asyncio.to_thread(self.begun.acquire, timeout=60)


def ignore(_: StageProgress) -> None:
    pass


def test_all_who_ask_share_one_piece_of_work(run_real: Run) -> None:
    """However many pools ask for a model, it is fetched once."""
    work, shared = Gated(), Sharing[int]()

    async def program() -> list[int]:
        asking = [asyncio.ensure_future(shared.do("key", work, ignore)) for _ in range(100)]
        await work.running()
        work.go.set()
        return await asyncio.gather(*asking)

    assert run_real(program()) == [1] * 100


def test_other_keys_are_other_work(run_real: Run) -> None:
    """And what has ended is begun anew."""
    work, shared = Gated(), Sharing[int]()
    work.go.set()

    async def program() -> list[int]:
        return [await shared.do(key, work, ignore) for key in ("a", "b", "a")]

    assert run_real(program()) == [1, 2, 3]


def test_one_cancel_harms_none_of_the_others(run_real: Run) -> None:
    """Also not that of the one who began it."""
    work, shared = Gated(), Sharing[int]()

    async def program() -> int:
        first, second = (asyncio.ensure_future(shared.do("key", work, ignore)) for _ in range(2))
        await work.running()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.go.set()
        return await second

    assert run_real(program()) == 1


def test_the_last_cancel_ends_the_work(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And waits until it has ended. Whoever comes then begins anew."""
    monkeypatch.setattr(sharing, "PATIENCE", 60.0)  # the machine may be busy
    work, shared = Gated(), Sharing[int]()

    async def program() -> None:
        asking = [asyncio.ensure_future(shared.do("key", work, ignore)) for _ in range(3)]
        await work.running()
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        assert all(one.cancelled() for one in asking)
        assert work.ended.acquire(blocking=False), "it has ended before its callers have"
        assert await shared.do("key", work, ignore) == 2

    run_real(program())


def test_work_that_hangs_holds_up_nobody_for_long(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be woken is left behind; it ends by itself, and nobody hears of it."""
    monkeypatch.setattr(sharing, "PATIENCE", 0.01)
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def hangs(watch: Watch) -> int:
        begun.set()
        go.wait(60)
        ended.set()
        raise Stopped

    async def program() -> None:
        asking = asyncio.ensure_future(Sharing[int]().do("key", hangs, ignore))
        await asyncio.to_thread(begun.wait, 60)
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        assert not ended.is_set()
        go.set()
        await asyncio.to_thread(ended.wait, 60)

    run_real(program())


def test_what_it_raises_is_told_to_all(run_real: Run) -> None:
    """Each gets the error; none is lost."""

    def fails(watch: Watch) -> int:
        raise ValueError("no")

    async def program() -> list[Any]:
        shared = Sharing[int]()
        asking = (shared.do("key", fails, ignore) for _ in range(3))
        return await asyncio.gather(*asking, return_exceptions=True)

    assert [str(error) for error in run_real(program())] == ["no"] * 3


def test_progress_is_told_from_the_loop_and_never_goes_back(run_real: Run) -> None:
    """Whatever the thread does to its count; whoever joins later hears where it is."""
    begun, go = threading.Event(), threading.Event()

    def work(watch: Watch) -> int:
        watch.total, watch.done = 10, 6
        begun.set()
        go.wait(60)
        watch.done = 3
        return 1

    async def program() -> None:
        shared, here = Sharing[int](), threading.get_ident()
        seen: list[tuple[StageProgress, bool]] = []
        late: list[StageProgress] = []
        told = asyncio.Event()

        def hear(news: StageProgress) -> None:
            seen.append((news, threading.get_ident() == here))
            told.set()

        first = asyncio.ensure_future(shared.do("key", work, hear))
        await told.wait()
        second = asyncio.ensure_future(shared.do("key", work, late.append))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, second)
        assert seen == [(StageProgress(6, 10), True)]
        assert late == [StageProgress(6, 10)]

    run_real(program())
