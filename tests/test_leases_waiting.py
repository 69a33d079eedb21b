"""Waiting for a slot, on a loop and in threads: no waiter and no slot is lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pool_lifecycle.errors import NoFreeSlot, PoolDraining
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.testing import virtual_time
from tests.lease_books import DRAINING, a_book, asking, loop_book

# --- waiting on a loop -----------------------------------------------------------------------------


def test_waiters_are_served_in_the_order_they_came() -> None:
    """V4, V6: a released slot goes to the longest waiter, and nobody overtakes."""

    async def main() -> list[str]:
        book = loop_book()
        lease = book.acquire("first")
        waiting = [asking(book, f"waiter {number}") for number in range(3)]
        await virtual_time.settle()
        assert book.waiting == 3
        served = []
        for task in waiting:
            assert lease.release()
            with pytest.raises(NoFreeSlot):
                book.acquire("pushes in")
            lease = await task
            served.append(lease.holder)
        return served

    assert virtual_time.run(main()) == ["waiter 0", "waiter 1", "waiter 2"]


def test_a_free_slot_is_had_without_waiting() -> None:
    """In zero time, and with what was asked for."""

    async def main() -> None:
        lease, seconds = await virtual_time.timed(loop_book().acquire_within("a", "batch", 9.0, timeout=5))
        assert seconds == 0
        assert (lease.kind, lease.expires_at) == ("batch", lease.acquired_at + 9)

    virtual_time.run(main())


def test_a_wait_that_runs_out_says_how_long_it_was() -> None:
    """V4: it ends at its time, and leaves the queue."""

    async def main() -> None:
        book = loop_book()
        book.acquire("first")
        with pytest.raises(NoFreeSlot, match=r"after 2\.5 s") as caught:
            await book.acquire_within("late", timeout=2.5)
        assert caught.value.waited == 2.5
        assert book.waiting == 0

    virtual_time.run(main())


def test_a_cancelled_waiter_is_passed_over() -> None:
    """V4: the slot goes to the next one who lives."""

    async def main() -> None:
        book = loop_book()
        lease = book.acquire("first")
        gone, next_one = asking(book, "gone"), asking(book, "next")
        await virtual_time.settle()
        gone.cancel()
        await virtual_time.settle()
        lease.release()
        assert (await next_one).holder == "next"
        assert gone.cancelled()

    virtual_time.run(main())


@pytest.mark.parametrize("rounds", range(4))
def test_a_slot_granted_at_the_moment_of_cancellation_is_not_lost(rounds: int) -> None:
    """V4: at whichever of the loop's rounds the waiter is cancelled, somebody has the slot in the end."""

    async def main() -> None:
        book = loop_book()
        lease = book.acquire("first")
        first, second = asking(book, "one"), asking(book, "two")
        await virtual_time.settle()
        lease.release()
        for _ in range(rounds):
            await asyncio.sleep(0)
        first.cancel()
        await virtual_time.settle()
        if first.cancelled():
            assert (await second).holder == "two"
        else:
            assert first.result().release()
            assert (await second).release()

    virtual_time.run(main())


def test_cancelling_every_waiter_frees_the_slot_it_was_handed() -> None:
    """V4: nobody is left, so the slot is simply free."""

    async def main() -> None:
        book = loop_book()
        lease = book.acquire("first")
        waiting = [asking(book, str(number)) for number in range(5)]
        await virtual_time.settle()
        lease.release()
        for task in waiting:
            task.cancel()
        await virtual_time.settle()
        assert (book.count, book.waiting) == (0, 0)

    virtual_time.run(main())


def test_closing_the_gate_fails_everyone_who_waits() -> None:
    """S10, V4: at once, with the reason, whoever releases later."""

    async def main() -> None:
        book = loop_book()
        lease = book.acquire("first")
        waiting = [asking(book, str(number)) for number in range(3)]
        await virtual_time.settle()
        book.close(DRAINING)
        lease.release()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PoolDraining] * 3
        assert (book.count, book.waiting) == (0, 0)
        with pytest.raises(PoolDraining):
            await book.acquire_within("late", timeout=60)

    virtual_time.run(main())


def test_an_expired_lease_hands_its_slot_to_a_waiter() -> None:
    """Whoever reclaims it; the waiter's own time to live counts from the moment of the grant."""

    async def main() -> None:
        book = loop_book()
        told: list[float] = []
        book.on_timed = told.append
        start = asyncio.get_running_loop().time()
        book.acquire("dead", ttl=10)
        waiting = asking(book, "next", ttl=7.0)
        await asyncio.sleep(10)
        book.expire(asyncio.get_running_loop().time())
        lease = await waiting
        assert (lease.acquired_at, lease.expires_at) == (start + 10, start + 17)
        assert book.next_expiry() == start + 17
        assert told == [start + 10, start + 17]

    virtual_time.run(main())


def test_lost_leases_hand_their_slots_to_waiters_on_the_new_generation() -> None:
    """A waiter never gets a slot on the engine that is gone."""

    async def main() -> None:
        book = loop_book()
        book.acquire("on the old")
        waiting = asking(book, "next")
        await virtual_time.settle()
        book.open(2, "http://new")
        book.lose(1)
        assert (await waiting).generation == 2

    virtual_time.run(main())


def test_a_waiter_whose_loop_was_closed_is_passed_over() -> None:
    """V4: the slot is not granted to somebody who will never run again."""
    book = a_book(1)
    lease = book.acquire("first")
    loop = asyncio.new_event_loop()
    dead = loop.create_task(book.acquire_within("dead"))
    loop.run_until_complete(asyncio.sleep(0))
    assert book.waiting == 1
    loop.close()
    lease.release()
    assert (book.count, book.waiting) == (0, 0)
    dead._log_destroy_pending = False  # type: ignore[attr-defined]


# --- waiting in threads ----------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds, letting other threads run."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.0005)


def test_a_thread_waits_for_a_slot() -> None:
    """And gets it as soon as another thread releases one."""
    book = a_book(1)
    lease = book.acquire("first")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(book.acquire_blocking, "thread")
        until(lambda: book.waiting == 1)
        lease.release()
        assert waiting.result().holder == "thread"


def test_a_thread_waits_no_longer_than_it_said() -> None:
    """A time-out of zero is a question, not a wait."""
    book = a_book(1)
    book.acquire("first")
    with pytest.raises(NoFreeSlot) as caught:
        book.acquire_blocking("late", timeout=0)
    assert caught.value.waited == 0
    assert book.waiting == 0


def test_a_waiting_thread_is_failed_when_the_gate_closes() -> None:
    """V4: no thread hangs on a pool that drains."""
    book = a_book(1)
    book.acquire("first")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(book.acquire_blocking, "thread")
        until(lambda: book.waiting == 1)
        book.close(DRAINING)
        with pytest.raises(PoolDraining):
            waiting.result()


def test_coroutines_and_threads_wait_in_one_queue() -> None:
    """V6: first come, first served, whatever one is."""

    async def main() -> None:
        book = a_book(1)
        lease = book.acquire("first")
        on_loop = asking(book, "coroutine")
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as pool:
            in_thread = pool.submit(book.acquire_blocking, "thread")
            until(lambda: book.waiting == 2)
            lease.release()
            second = await on_loop
            assert not in_thread.done()
            second.release()
            assert (await asyncio.wrap_future(in_thread)).holder == "thread"

    asyncio.run(main())


def test_threads_at_once_never_exceed_the_slots_and_lose_none() -> None:
    """S9 under contention: counted by the holders themselves."""
    book = a_book(3)
    inside = threading.Semaphore(3)

    def work() -> bool:
        for _ in range(100):
            with book.acquire_blocking("worker"):
                assert inside.acquire(blocking=False)
                inside.release()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(future.result() for future in [pool.submit(work) for _ in range(8)])
    assert (book.count, book.free, book.waiting) == (0, 3, 0)


# --- forgotten leases ------------------------------------------------------------------------------


def test_a_forgotten_lease_closed_by_the_collector_neither_hangs_nor_oversells() -> None:
    """V4, S9: the garbage collector closes a forgotten `with lease:` in the middle of a hand-over.

    The clock stands in for it: the book asks the time while it hands a slot over, and there the forgotten
    one is closed on the same thread.
    """
    forgotten: list[Iterator[None]] = []

    def clock() -> float:
        if forgotten:
            forgotten.pop().close()  # type: ignore[attr-defined]
        return loop_time()

    def forgetful(book: LeaseBook) -> Iterator[None]:
        with book.acquire("forgetful"):
            yield

    async def main() -> None:
        book = a_book(2, clock)
        lease = book.acquire("first")
        stream = forgetful(book)
        next(stream)
        waiting = [asking(book, str(number)) for number in range(3)]
        await virtual_time.settle()
        forgotten.append(stream)
        lease.release()
        assert (book.count, book.waiting) == (2, 1)
        tokens = {(await task).token for task in waiting[:2]}
        assert len(tokens) == 2
        assert [one.token for one in book.active()] == sorted(tokens)
        book.close(DRAINING)
        with pytest.raises(PoolDraining):
            await waiting[2]

    def loop_time() -> float:
        return asyncio.get_running_loop().time()

    virtual_time.run(main())
    gc.collect()
