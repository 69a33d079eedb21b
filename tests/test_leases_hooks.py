"""What a lease book tells: of the last lease of a generation, and of every change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pool_lifecycle.errors import LeaseRefused
from pool_lifecycle.testing import virtual_time
from tests.lease_books import DRAINING, a_book, asking, loop_book

# --- telling of the last one -----------------------------------------------------------------------


def test_the_end_of_the_last_lease_is_told_once() -> None:
    """B-DRAIN-004, B-DRAIN-x1: at the release itself, on the thread that did it."""
    book = a_book()
    first, second = book.acquire("a"), book.acquire("b")
    told: list[int] = []
    book.when_empty(1, lambda: told.append(threading.get_ident()))
    first.release()
    assert not told
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_ident).result()
        pool.submit(second.release).result()
    book.acquire("c").release()
    assert told == [thread]


def test_an_empty_generation_is_told_at_once() -> None:
    """B-DRAIN-008: no lease, no wait."""
    book = a_book()
    book.acquire("on another generation")
    told: list[str] = []
    book.when_empty(2, lambda: told.append("empty"))
    assert told == ["empty"]


@pytest.mark.parametrize("end", ["release", "expire", "lose"])
def test_a_generation_is_empty_however_its_last_lease_ended(end: str) -> None:
    """A drain is not held up by a lease that expired or went with its engine."""
    book = a_book()
    lease = book.acquire("a", ttl=5)
    told: list[int] = []
    book.when_empty(1, lambda: told.append(book.count))
    book.open(2, "http://new")
    ends: dict[str, Callable[[], object]] = {
        "release": lease.release,
        "expire": lambda: book.expire(105),
        "lose": lambda: book.lose(1),
    }
    ends[end]()
    assert told == [0]


def test_only_leases_of_that_generation_count() -> None:
    """While a new engine serves, the old one can still run empty."""
    book = a_book()
    old = book.acquire("old")
    book.open(2, "http://new")
    new = book.acquire("new")
    told: list[str] = []
    book.when_empty(1, lambda: told.append("old is empty"))
    new.release()
    assert not told
    old.release()
    assert told


def test_leases_granted_later_count_too() -> None:
    """With an open gate, the generation is empty when nobody is left on it, not when the first ones are."""
    book = a_book()
    first = book.acquire("a")
    told: list[str] = []
    book.when_empty(1, lambda: told.append("empty"))
    second = book.acquire("b")
    first.release()
    assert not told
    second.release()
    assert told == ["empty"]


def test_a_slot_that_changes_hands_does_not_make_a_generation_empty() -> None:
    """It is somebody else's in the same moment."""

    async def main() -> list[str]:
        book = loop_book()
        lease = book.acquire("a")
        told: list[str] = []
        book.when_empty(1, lambda: told.append("empty"))
        waiting = asking(book, "b")
        await virtual_time.settle()
        lease.release()
        assert not told
        (await waiting).release()
        return told

    assert virtual_time.run(main()) == ["empty"]


def test_a_wish_taken_back_is_not_fulfilled() -> None:
    """B-DRAIN-x2: after a resume nobody is told; other wishes stay; taking it back twice is harmless."""
    book = a_book()
    lease = book.acquire("a")
    told: list[str] = []
    take_back = book.when_empty(1, lambda: told.append("first"))
    book.when_empty(1, lambda: told.append("second"))
    take_back()
    lease.release()
    take_back()
    assert told == ["second"]


def test_a_callback_that_raises_does_not_reach_the_holder(caplog: pytest.LogCaptureFixture) -> None:
    """Slow or raising subscribers: the release has happened, and the others are told."""
    book = a_book()
    told: list[str] = []

    def fail() -> None:
        raise KeyError

    lease = book.acquire("a")
    book.when_empty(1, fail)
    book.when_empty(1, lambda: told.append("other"))
    with caplog.at_level(logging.ERROR):
        assert lease.release() is True
    assert told == ["other"]
    assert "KeyError" in caplog.text


def test_a_callback_may_use_the_book() -> None:
    """It is called outside the lock, also with regard to other threads."""
    book = a_book(1)
    lease = book.acquire("a")

    def look() -> None:
        with ThreadPoolExecutor(1) as pool:
            told.append(pool.submit(lambda: book.acquire("from another thread").holder).result(timeout=30))

    told: list[str] = []
    book.when_empty(1, look)
    lease.release()
    assert told == ["from another thread"]


def test_every_change_of_the_count_is_told() -> None:
    """Grants, releases, expiries and losses; a refused one is none."""
    book = a_book(2)
    counts: list[int] = []
    book.on_change = lambda: counts.append(book.count)
    first = book.acquire("a")
    book.acquire("b", ttl=5)
    with pytest.raises(LeaseRefused):
        book.acquire("c")
    first.release()
    first.release()
    book.expire(105)
    book.acquire("d")
    book.close(DRAINING)
    book.lose(1)
    assert counts == [1, 2, 1, 0, 1, 0]
