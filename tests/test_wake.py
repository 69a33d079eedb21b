"""Telling others, from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from pool_lifecycle.testing import virtual_time
from pool_lifecycle.wake import LoopWaker, ThreadWaker, call_each


def test_a_coroutine_is_woken_by_another_thread() -> None:
    """V4: a wake-up from outside the loop reaches whoever waits on it."""

    async def main() -> None:
        waker = LoopWaker()
        thread = threading.Thread(target=waker.wake)
        thread.start()
        await waker.wait()
        thread.join()

    asyncio.run(main())


def test_a_wait_ends_at_its_time_out() -> None:
    """Nobody wakes: the wait lasts its time-out, and not longer."""

    async def main() -> float:
        _, seconds = await virtual_time.timed(LoopWaker().wait(2.5))
        return seconds

    assert virtual_time.run(main()) == 2.5


def test_waking_before_the_wait_or_twice_is_not_lost() -> None:
    """V4: it does not matter which comes first."""

    async def main() -> None:
        waker = LoopWaker()
        assert waker.wake()
        assert waker.wake()
        await waker.wait()

    virtual_time.run(main())


def test_nobody_is_woken_on_a_closed_loop() -> None:
    """The caller is told, so that what it meant to hand over can go to somebody else."""

    async def main() -> LoopWaker:
        return LoopWaker()

    assert not asyncio.run(main()).wake()


def test_a_thread_is_woken_or_goes_on_after_its_time() -> None:
    """The same for threads."""
    waker = ThreadWaker()
    waker.wait(0)
    order: list[str] = []

    def wake() -> None:
        order.append("woken")
        waker.wake()

    waking = threading.Timer(0.01, wake)
    waking.start()
    waker.wait()
    order.append("went on")
    assert order == ["woken", "went on"]
    waking.join()
    assert waker.wake()
    waker.wait()


def test_a_callback_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others are called all the same, and the log tells of the one."""
    called: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        call_each((lambda: called.append("first"), fail, lambda: called.append("last")))
    assert called == ["first", "last"]
    assert "ZeroDivisionError" in caplog.text
