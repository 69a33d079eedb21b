"""The one timer that ends a pool's leases."""

from __future__ import annotations

import asyncio
import threading

from pool_lifecycle.expiry import LeaseTimer
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.records import LeasesEnded, Record
from pool_lifecycle.testing import virtual_time
from tests.worlds import a_host, virtually


def a_timed_book() -> tuple[LeaseBook, LeaseTimer, list[Record]]:
    seen: list[Record] = []
    book = LeaseBook("chat", 3, asyncio.get_running_loop().time)
    timer = LeaseTimer(book, a_host([seen.append]))
    book.open(1, "http://x")
    return book, timer, seen


def timers() -> list[float]:
    loop = asyncio.get_running_loop()
    return [one.when() for one in loop._scheduled if not one.cancelled()]  # type: ignore[attr-defined]


@virtually
async def test_there_is_one_timer_for_the_earliest_lease_and_none_without() -> None:
    """V8: leases without a time to live cost no timer."""
    book, _, seen = a_timed_book()
    book.acquire("endless")
    await virtual_time.settle()
    assert timers() == []
    book.acquire("long", ttl=20)
    book.acquire("short", ttl=10)
    await virtual_time.settle()
    assert timers() == [1010.0]
    await asyncio.sleep(10)
    await virtual_time.settle()
    assert timers() == [1020.0]
    await asyncio.sleep(10)
    await virtual_time.settle()
    assert timers() == []
    assert seen == [
        LeasesEnded("chat", 1010.0, "expired", ("short",)),
        LeasesEnded("chat", 1020.0, "expired", ("long",)),
    ]


@virtually
async def test_what_a_thread_reclaims_is_reported_on_the_loop() -> None:
    """B-REG-x2: whoever noticed that the time was over."""
    book, timer, seen = a_timed_book()
    timer.close()
    book.acquire("a", ttl=1)
    await asyncio.sleep(2)
    where: list[str] = []
    timer._host.observers.append(lambda _: where.append(threading.current_thread().name))
    thread = threading.Thread(target=lambda: book.expire(asyncio_now), name="a thread")
    asyncio_now = asyncio.get_running_loop().time()
    thread.start()
    thread.join()
    assert seen == []
    await virtual_time.settle()
    assert len(seen) == 1
    assert where == [threading.current_thread().name]


@virtually
async def test_a_closed_one_sets_no_timer_any_more() -> None:
    """Also for leases that come later."""
    book, timer, _ = a_timed_book()
    book.acquire("before", ttl=100)
    await virtual_time.settle()
    timer.close()
    book.acquire("after", ttl=50)
    await virtual_time.settle()
    assert timers() == []
