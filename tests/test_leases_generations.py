"""The lease book over a change of engine: slots belong to engines, and so do leases."""

from __future__ import annotations

import pytest

from pool_lifecycle.errors import NoFreeSlot, PoolDraining
from pool_lifecycle.testing import virtual_time
from tests.lease_books import DRAINING, a_book, asking, loop_book
from tests.worlds import virtually

HERE, THERE = "http://here", "http://there"


def test_leases_on_an_older_engine_take_no_slot_of_the_new_one() -> None:
    """S9, B-RELOAD-x2: the new one has all of its own from the first moment on."""
    book = a_book(2)
    old = [book.acquire(f"old {number}") for number in range(2)]
    assert book.free == 0
    book.open(2, THERE)
    assert book.free == 2
    new = [book.acquire(f"new {number}") for number in range(2)]
    assert [one.generation for one in (*old, *new)] == [1, 1, 2, 2]
    assert {one.url for one in new} == {THERE}
    with pytest.raises(NoFreeSlot, match="all 2 slots are taken"):
        book.acquire("too much")


def test_a_lease_that_ends_on_an_older_engine_leaves_no_slot_behind() -> None:
    """S9: nobody is granted its slot, in whichever way it ends."""
    book = a_book(1)
    first = book.acquire("old")
    book.open(2, THERE)
    book.acquire("middle")
    book.open(3, HERE)
    last = book.acquire("new")
    assert first.release()
    book.lose(2)
    assert (book.count, book.free) == (1, 0)
    with pytest.raises(NoFreeSlot):
        book.acquire("too much")
    assert last.release()
    assert book.free == 1


def test_slots_are_those_of_the_engine() -> None:
    """A smaller one has fewer; the larger one's leases end in their time."""
    book = a_book(3)
    old = [book.acquire(f"old {number}") for number in range(3)]
    book.open(2, THERE, slots=1)
    assert (book.slots, book.free) == (1, 1)
    book.acquire("new")
    with pytest.raises(NoFreeSlot, match="all 1 slots"):
        book.acquire("too much")
    for lease in old:
        assert lease.release()
    assert (book.count, book.free) == (1, 0)


def test_a_gate_that_goes_back_finds_its_leases_again() -> None:
    """S9: those of before count on the old engine as ever; those of the new one no longer."""
    book = a_book(2)
    book.acquire("old")
    book.open(2, THERE)
    gone = [book.acquire(f"new {number}") for number in range(2)]
    book.open(1, HERE)
    assert book.free == 1
    assert book.acquire("again").generation == 1
    with pytest.raises(NoFreeSlot):
        book.acquire("too much")
    assert set(book.lose(2)) == set(gone)
    assert (book.count, book.free) == (2, 0)


def test_a_gate_that_closed_counts_anew_when_it_opens() -> None:
    """S10: a drain that was called off in the middle of a change."""
    book = a_book(1)
    old = book.acquire("old")
    book.open(2, THERE)
    new = book.acquire("new")
    book.close(DRAINING)
    with pytest.raises(PoolDraining):
        book.acquire("nobody")
    assert old.release()
    book.open(2, THERE)
    assert book.free == 0
    assert new.release()
    assert book.free == 1


@virtually
async def test_whoever_waits_finds_a_slot_when_the_gate_moves_on() -> None:
    """S9, V4: as many as the new engine has, who came first is first."""
    book = loop_book(1)
    held = book.acquire("old")
    waiting = [asking(book, f"waiter {number}") for number in range(3)]
    await virtual_time.settle()
    assert book.waiting == 3
    book.open(2, THERE, slots=2)
    await virtual_time.settle()
    assert [one.done() for one in waiting] == [True, True, False]
    assert {one.result().generation for one in waiting[:2]} == {2}
    held.release()
    await virtual_time.settle()
    assert not waiting[2].done()
    waiting[1].result().release()
    assert (await waiting[2]).generation == 2


@virtually
async def test_an_older_engine_is_empty_when_its_own_leases_have_ended() -> None:
    """B-DRAIN-001: what is granted meanwhile is not granted there."""
    book, empty = loop_book(1), list[int]()
    old = book.acquire("old")
    book.when_empty(1, lambda: empty.append(1))
    book.open(2, THERE)
    new = book.acquire("new")
    book.when_empty(2, lambda: empty.append(2))
    assert empty == []
    old.release()
    assert empty == [1]
    new.release()
    assert empty == [1, 2]


@virtually
async def test_a_lease_on_an_older_engine_may_run_out() -> None:
    """S9: its time is its own; no slot of the new engine comes of it."""
    book = loop_book(1)
    book.acquire("old", ttl=5.0)
    book.open(2, THERE)
    book.acquire("new")
    waiting = asking(book, "waiter", timeout=20.0)
    (expired,) = book.expire(book._clock() + 5.0)
    assert expired.generation == 1
    with pytest.raises(NoFreeSlot):
        await waiting
