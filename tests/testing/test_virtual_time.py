"""Time that jumps: exact, free of charge, honest about threads, deadlocks and leftovers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from pool_lifecycle.testing import virtual_time


def now() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def error_of(main: Coroutine[Any, Any, Any], kind: type[Exception], **options: float) -> str:
    """The message with which running `main` fails."""
    with pytest.raises(kind) as caught:
        virtual_time.run(main, **options)
    return str(caught.value)


def test_sleeping_passes_virtual_time_only() -> None:
    """A thousand sleeps of 300 s take their exact virtual time and hardly any real time."""

    async def sleeper() -> float:
        for _ in range(1000):
            await asyncio.sleep(300)
        return now()

    begun = time.perf_counter()
    assert virtual_time.run(sleeper(), start=5.0) == 300_005.0
    assert time.perf_counter() - begun < 5.0


def test_timers_fire_in_order_and_exactly_when_due() -> None:
    """Each sees the very time it was set for, also where floating point is coarse."""

    async def watch() -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []
        loop = asyncio.get_running_loop()
        for delay in (0.3, 0.1, 86400.1, 1e-9, 0.2):
            due = loop.time() + delay
            loop.call_at(due, lambda due: seen.append((due, loop.time())), due)
        await asyncio.sleep(100_000)
        return seen

    for start in (0.0, 1000.0, 1e9):
        seen = virtual_time.run(watch(), start=start)
        assert len(seen) == 5
        assert seen == sorted(seen)
        assert all(due == at for due, at in seen)


def test_computing_takes_no_time() -> None:
    """Time stands still while anything is ready."""

    async def busy() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return now()

    assert virtual_time.run(busy(), start=7.0) == 7.0


def test_timeouts_work() -> None:
    """`asyncio.timeout` and `wait_for` measure virtual time."""

    async def impatient() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 3600)
        return now()

    assert virtual_time.run(impatient(), start=0.0) == 3600.0


def test_a_deadlock_names_every_task_and_where_it_waits() -> None:
    """Nothing ready, no timer: the error leads to the very calls, innermost first."""

    async def wait_in_vain() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(wait_in_vain(), name="waiter")

    message = error_of(main(), virtual_time.Deadlock)
    assert "deadlock at 1000 s" in message
    assert "waiter: Event.wait (" in message
    assert "wait_in_vain" in message
    assert "test_virtual_time.py:" in message


def test_after_a_deadlock_the_program_can_clean_up() -> None:
    """What hung is cancelled as at the end of any program, and its clean-up may take virtual time."""
    cleaned = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10)
            cleaned.append(now())

    error_of(main(), virtual_time.Deadlock)
    assert cleaned == [1010.0]


def test_sleeping_for_ever_is_a_deadlock() -> None:
    """An endless sleep is no timer that could ever wake anybody."""
    assert "no timer" in error_of(asyncio.sleep(float("inf")), virtual_time.Deadlock)


def test_ticking_for_ever_ends_at_the_limit() -> None:
    """A program kept awake by a periodic timer alone is stopped, and told where it waits."""

    async def main() -> None:
        ticks = asyncio.create_task(tick(), name="ticker")
        await asyncio.Event().wait()
        ticks.cancel()

    async def tick() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(10)

    message = error_of(main(), virtual_time.Deadlock, start=0.0, limit=3600.0)
    assert "after the limit, 3600 s" in message
    assert "ticker: sleep" in message


def test_tasks_that_outlive_the_program_are_named_and_cancelled() -> None:
    """A leaked task fails the run even if its program succeeded."""
    ended = []

    async def linger() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(now())

    async def main() -> None:
        asyncio.get_running_loop().keep = asyncio.create_task(linger(), name="lingerer")  # type: ignore[attr-defined]

    assert "lingerer: sleep" in error_of(main(), virtual_time.LeakedTasks)
    assert ended == [1000.0]


def test_a_task_that_is_about_to_end_is_no_leak() -> None:
    """Cancelled without being awaited, it ends by itself before anybody looks."""

    async def clean_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)

    async def main() -> str:
        task = asyncio.create_task(clean_up())
        await virtual_time.settle()
        task.cancel()
        return "fine"

    assert virtual_time.run(main()) == "fine"


def test_errors_that_nobody_handled_fail_the_run() -> None:
    """In a task never asked for its result, or in a callback, an error is not lost."""

    async def fail() -> None:
        raise ValueError("in a task")

    async def main() -> None:
        task = asyncio.create_task(fail())
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await virtual_time.settle()
        del task

    message = error_of(main(), virtual_time.UnhandledErrors)
    assert "ValueError('in a task')" in message
    assert "ZeroDivisionError" in message


def test_the_error_of_the_program_comes_through() -> None:
    """It is raised as it is, whatever else was left."""

    async def main() -> None:
        asyncio.get_running_loop().keep = asyncio.create_task(asyncio.sleep(9))  # type: ignore[attr-defined]
        raise KeyError("mine")

    assert "mine" in error_of(main(), KeyError)


def test_settle_runs_what_is_ready_and_no_timer() -> None:
    """Long chains of ready steps run to their end; time stays where it is."""
    steps = []

    async def chain() -> None:
        for step in range(50):
            steps.append(step)
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        steps.append(99)

    async def main() -> None:
        task = asyncio.create_task(chain())
        await virtual_time.settle()
        assert steps == list(range(50))
        assert now() == 1000.0
        await task
        assert steps[-1] == 99

    virtual_time.run(main())


def test_many_may_settle_at_once() -> None:
    """All who settle are woken, one of them cancelled meanwhile or not."""

    async def main() -> None:
        settling = [asyncio.create_task(virtual_time.settle()) for _ in range(3)]
        await asyncio.sleep(0)
        settling[1].cancel()
        await virtual_time.settle()
        assert [task.cancelled() for task in settling] == [False, True, False]

    virtual_time.run(main())


def test_threads_take_no_virtual_time() -> None:
    """`asyncio.to_thread` is waited for, though a timer was due much earlier in virtual time."""

    async def main() -> None:
        gate = threading.Event()
        alarm = asyncio.create_task(asyncio.sleep(0.5))
        work = asyncio.create_task(asyncio.to_thread(gate.wait, 30))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        threading.Timer(0.05, gate.set).start()
        assert await work
        assert not alarm.done()
        assert now() == 1000.0
        await alarm

    virtual_time.run(main())


def test_settle_waits_for_threads() -> None:
    """Work in a thread counts as running."""

    async def main() -> None:
        work = asyncio.create_task(asyncio.to_thread(time.sleep, 0.05))
        await virtual_time.settle()
        assert work.done()

    virtual_time.run(main())


def test_outside_the_loop_really_waits() -> None:
    """A foreign thread that calls back is waited for, and no timer fires meanwhile."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        caller = threading.Timer(0.05, loop.call_soon_threadsafe, (called.set_result, "hello"))
        caller.start()
        with virtual_time.outside():
            assert await asyncio.wait_for(called, 0.001) == "hello"
        assert now() == 1000.0

    virtual_time.run(main())


def test_without_outside_a_foreign_thread_is_not_waited_for() -> None:
    """The loop cannot know of it, so it reports the deadlock that it sees."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    error_of(main(), virtual_time.Deadlock)


def test_sockets_within_the_program_are_served_before_time_passes() -> None:
    """A descriptor that is ready comes before any timer."""

    async def main() -> tuple[bytes, float]:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            asyncio.get_running_loop().call_later(0.001, right.close)
            receiving = asyncio.create_task(asyncio.get_running_loop().sock_recv(left, 10))
            await virtual_time.settle()
            right.send(b"now")
            return await receiving, now()

    assert virtual_time.run(main()) == (b"now", 1000.0)


def test_on_a_real_loop_the_helpers_say_what_is_wrong() -> None:
    """`settle` outside virtual time is an error that names the way in."""
    with pytest.raises(TypeError, match=r"virtual_time\.run"):
        asyncio.run(virtual_time.settle())


def test_a_task_that_has_not_begun_is_named_too() -> None:
    """Its line says where it would begin."""

    async def main() -> tuple[str, ...]:
        task = asyncio.create_task(asyncio.sleep(0), name="fresh")
        lines = virtual_time.pending(asyncio.get_running_loop())
        await task
        return lines

    assert any(line.startswith("fresh: sleep") for line in virtual_time.run(main()))
