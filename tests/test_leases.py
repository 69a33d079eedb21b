"""The lease book: never more leases than slots, each accounted for to its end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pool_lifecycle.errors import ConfigError, NoFreeSlot, PoolDraining, PoolNotReady
from pool_lifecycle.lease import GateReason, Lease, LeaseState
from pool_lifecycle.leases import LeaseBook
from tests.lease_books import DRAINING, Clock, a_book

# --- taking and giving back ------------------------------------------------------------------------


def test_a_lease_says_who_holds_what_since_when_on_which_engine() -> None:
    """B-REG-x1: holder, kind, acquired at, time to live; S9: it names one generation."""
    lease = a_book().acquire("req-1", "batch", ttl=30.0)
    assert (lease.holder, lease.kind, lease.acquired_at, lease.expires_at) == ("req-1", "batch", 100.0, 130.0)
    assert (lease.pool_id, lease.generation, lease.url) == ("chat", 1, "http://127.0.0.1:80")


def test_the_count_follows_the_leases() -> None:
    """B-REG-090..093: one more, one less, and the free slots with it."""
    book = a_book(3)
    first, second = book.acquire("a"), book.acquire("b")
    assert (book.count, book.free) == (2, 1)
    assert book.active() == (first, second)
    assert first.release()
    assert (book.count, book.free) == (1, 2)


def test_a_second_release_changes_nothing() -> None:
    """S9: a holder that releases twice does not give back another one's slot."""
    book = a_book()
    first, other = book.acquire("a"), book.acquire("b")
    assert first.release() is True
    assert first.release() is False
    assert first.state is LeaseState.RELEASED
    assert book.active() == (other,)


def test_a_lease_of_another_book_is_not_released_here() -> None:
    """Foreign leases count nothing, also when they have a token that is known here."""
    here, there = a_book(), a_book()
    ours, theirs = here.acquire("a"), there.acquire("b")
    assert ours.token == theirs.token
    assert here.release(theirs) is False
    assert (here.count, there.count) == (1, 1)
    assert theirs.state is LeaseState.ACTIVE


def test_a_lease_can_be_released_by_another_thread() -> None:
    """Work is handed over between threads, and its lease with it."""
    book = a_book()
    lease = book.acquire("a")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lease.release).result()
    assert book.count == 0


def test_a_full_book_refuses_at_once() -> None:
    """S9: never more leases than slots; the error says how many there are."""
    book = a_book(2)
    book.acquire("a")
    book.acquire("b")
    with pytest.raises(NoFreeSlot) as caught:
        book.acquire("c")
    error = caught.value
    assert (error.pool_id, error.slots, error.waited) == ("chat", 2, 0.0)
    assert "2 slots" in error.what
    assert error.remedy
    assert book.count == 2


def test_tokens_only_grow() -> None:
    """B-REG-x1: over releases, closed gates and new generations, from 1 or on from a given number."""
    assert a_book().acquire("a").token == 1
    book = LeaseBook("chat", 1, Clock(), first_token=500)
    tokens = []
    for generation in range(1, 4):
        book.open(generation, "http://here")
        tokens.append(book.next_token)
        with book.acquire("a") as lease:
            assert lease.token == tokens[-1]
        book.close(DRAINING)
    assert tokens == [500, 501, 502]


@pytest.mark.parametrize("slots", [0, -1, 65537, 1.5, True])
def test_a_wrong_number_of_slots_is_refused(slots: object) -> None:
    """A book that could never grant anything is a typing error."""
    with pytest.raises(ConfigError, match="slots"):
        LeaseBook("chat", slots, Clock())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 7, b"req-17", ["a"]])
@pytest.mark.parametrize("name", ["holder", "kind"])
def test_a_holder_and_a_kind_are_strings(name: str, wrong: Any) -> None:
    """Of all three ways to ask; nothing is granted, also where a slot is free."""
    book = a_book()
    names: dict[str, Any] = {"holder": "a", "kind": "request"} | {name: wrong}
    with pytest.raises(ConfigError, match=f"{name} = .*: must be a string"):
        book.acquire(**names)
    with pytest.raises(ConfigError, match=name):
        book.acquire_blocking(**names, timeout=0)
    with pytest.raises(ConfigError, match=name):
        asyncio.run(book.acquire_within(**names, timeout=0))
    assert book.count == 0


def test_any_string_names_a_holder() -> None:
    """Also an odd one, or one of a kind of string; all that is wrong is told at once."""
    names = ("", "a\nb", "x" * 10_000, LeaseState.ACTIVE)
    book = a_book(len(names))
    assert [book.acquire(name).holder for name in names] == list(names)
    wrong: Any = None
    with pytest.raises(ConfigError) as caught:
        book.acquire(wrong, wrong, ttl=-1)
    assert [one.key for one in caught.value.problems] == ["holder", "kind", "ttl"]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e9, "5"])
def test_a_wrong_time_to_live_is_refused(ttl: Any) -> None:
    """A lease that is over before it begins, or never, would be one nobody meant."""
    book = a_book()
    with pytest.raises(ConfigError, match="ttl"):
        book.acquire("a", ttl=ttl)
    assert book.count == 0


# --- the gate --------------------------------------------------------------------------------------


def test_a_new_book_grants_nothing() -> None:
    """A pool that was never started is not ready."""
    with pytest.raises(PoolNotReady) as caught:
        LeaseBook("chat", 1, Clock()).acquire("a")
    assert (caught.value.pool_id, caught.value.state) == ("chat", "stopped")


def test_a_closed_gate_refuses_with_its_reason_and_leaves_leases_alone() -> None:
    """B-DRAIN-002, B-DRAIN-003, S10: new ones are refused, those in flight go on."""
    book = a_book()
    lease = book.acquire("a")
    book.close(DRAINING)
    with pytest.raises(PoolDraining):
        book.acquire("b")
    book.close(GateReason("recovering"))
    with pytest.raises(PoolNotReady, match="recovering"):
        book.acquire("b")
    assert lease.state is LeaseState.ACTIVE
    assert lease.release()


def test_leases_are_granted_on_the_newest_generation() -> None:
    """S9: a lease taken before a change of engines stays on the old one."""
    book = a_book()
    old = book.acquire("a")
    book.open(2, "http://127.0.0.1:81")
    new = book.acquire("b")
    assert [(one.generation, one.url[-2:]) for one in (old, new)] == [(1, "80"), (2, "81")]
    assert (book.count_on(1), book.count_on(2), book.count_on(3)) == (1, 1, 0)


def test_once_closed_no_thread_gets_a_lease() -> None:
    """S10: whatever was granted was granted before `close` returned."""
    book = a_book(64)
    begun, closed = threading.Event(), threading.Event()
    late: list[Lease] = []

    def work() -> None:
        try:
            while True:
                sure = closed.is_set()
                lease = book.acquire("a")
                if sure:
                    late.append(lease)
                lease.release()
                begun.set()
        except PoolDraining:
            pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    book.close(DRAINING)
    closed.set()
    granted = book.next_token
    for thread in threads:
        thread.join()
    assert not late
    assert book.next_token == granted
    assert book.count == 0


# --- time to live ----------------------------------------------------------------------------------


def test_a_lease_whose_time_is_over_is_reclaimed_and_reported() -> None:
    """B-REG-x2: at its time, not before; those without a time stay."""
    clock = Clock()
    book = a_book(3, clock)
    brief, long, endless = book.acquire("a", ttl=5), book.acquire("b", ttl=50), book.acquire("c")
    assert book.next_expiry() == 105.0
    assert book.expire(104.9) == ()
    assert book.expire(105.0) == (brief,)
    assert brief.state is LeaseState.EXPIRED
    assert book.active() == (long, endless)
    assert book.next_expiry() == 150.0
    assert brief.release() is False
    assert book.expire(1000.0) == (long,)
    assert book.next_expiry() is None


def test_the_next_expiry_forgets_released_leases() -> None:
    """V8: no timer is kept for a lease that is gone."""
    book = a_book()
    book.acquire("a", ttl=5).release()
    assert book.next_expiry() is None


def test_a_late_release_is_no_release() -> None:
    """After its time a holder has lost its lease, whether or not anybody has looked yet."""
    clock = Clock()
    book = a_book(1, clock)
    reclaimed: list[tuple[Lease, ...]] = []
    book.on_reclaimed = reclaimed.append
    lease = book.acquire("a", ttl=5)
    clock.now += 5
    assert lease.release() is False
    assert lease.state is LeaseState.EXPIRED
    assert book.count == 0
    assert reclaimed == [(lease,)]
    assert book.expire(clock.now) == ()


def test_a_full_book_reclaims_before_it_refuses() -> None:
    """B-REG-x2: a slot that is due is free, also when no timer has run yet."""
    clock = Clock()
    book = a_book(1, clock)
    reclaimed: list[tuple[Lease, ...]] = []
    book.on_reclaimed = reclaimed.append
    dead = book.acquire("dead", ttl=5)
    clock.now += 5
    assert book.acquire("next").state is LeaseState.ACTIVE
    assert dead.state is LeaseState.EXPIRED
    assert reclaimed == [(dead,)]


def test_the_timer_is_told_only_of_earlier_ends() -> None:
    """V8: the owner of the timer is not woken for a lease that ends later than the next one."""
    clock = Clock()
    book = a_book(5, clock)
    told: list[float] = []
    book.on_timed = told.append
    for ttl in (50, 60, 20, 20, None):
        book.acquire("a", ttl=ttl)
    assert told == [150.0, 120.0]


def test_a_blocker_list_names_the_oldest_first() -> None:
    """B-REG-x2: who holds the drain up, how long already, how long still."""
    clock = Clock()
    book = a_book(2, clock)
    book.acquire("first", "batch", ttl=60)
    clock.now += 10
    book.acquire("second")
    clock.now += 5
    told = [(one.holder, one.kind, one.age, one.expires_in) for one in book.blockers(clock.now)]
    assert told == [("first", "batch", 15.0, 45.0), ("second", "request", 5.0, None)]


# --- engines that go -------------------------------------------------------------------------------


def test_leases_of_a_generation_that_is_gone_end_as_lost() -> None:
    """Only those on that generation; what its holders release later counts nothing."""
    book = a_book(3)
    lost = book.acquire("a")
    book.open(2, "http://here")
    kept = book.acquire("b")
    assert book.lose(1) == (lost,)
    assert lost.state is LeaseState.LOST
    assert lost.release() is False
    assert book.active() == (kept,)
    assert book.lose(1) == ()


def test_a_generation_that_still_grants_cannot_be_lost() -> None:
    """Otherwise the freed slots would go to waiters on an engine that is gone."""
    book = a_book()
    with pytest.raises(ValueError, match="still grants"):
        book.lose(1)
