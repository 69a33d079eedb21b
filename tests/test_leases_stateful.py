"""The lease book against a model of it, over random histories in virtual time. S9, S10, V4, V6.

The model is what a person would keep on paper: who holds a slot and until when, and who stands in line.
"""

from __future__ import annotations

import asyncio

import pytest
from attrs import define, frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pool_lifecycle.errors import LeaseRefused, NoFreeSlot, PoolDraining
from pool_lifecycle.lease import Lease, LeaseState
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.testing.virtual_time import VirtualTimeLoop
from tests.lease_books import DRAINING

# Whole seconds, so that times on paper and in the book are exactly equal.
WHILES = st.one_of(st.none(), st.integers(1, 6).map(float))


@frozen
class Held:
    """A slot on paper."""

    generation: int
    until: float | None


@define
class InLine:
    """Somebody in line on paper, and the task that really waits."""

    holder: str
    ttl: float | None
    until: float | None
    task: asyncio.Task[Lease]


class Book(RuleBasedStateMachine):
    """Every rule does the same to the book and on paper; the invariants compare the two."""

    @initialize(slots=st.integers(1, 3))
    def begin(self, slots: int) -> None:
        self.loop = VirtualTimeLoop()
        self.book = LeaseBook("chat", slots, self.loop.time)
        self.generation = 0
        self.slots: dict[int, int] = {}
        self.is_open = False
        self.names = 0
        self.held: dict[str, Held] = {}
        self.line: list[InLine] = []
        self.left: list[InLine] = []
        self.leases: dict[str, Lease] = {}
        self.told: dict[int, int] = {}
        self.open(slots=None)

    # --- rules -------------------------------------------------------------------------------------

    @rule(slots=st.one_of(st.none(), st.integers(1, 3)))
    def open(self, slots: int | None) -> None:
        """The gate opens, or moves on, to an engine that there has not been yet."""
        self.generation = len(self.slots) + 1
        self.slots[self.generation] = slots or self.book.slots
        self.is_open = True
        self.book.open(self.generation, "http://here", slots)
        self.settle()

    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """To an engine that there has been."""
        self.generation = data.draw(st.integers(1, len(self.slots)))
        self.is_open = True
        self.book.open(self.generation, "http://here", self.slots[self.generation])
        self.settle()

    @rule()
    def close(self) -> None:
        self.is_open = False
        self.book.close(DRAINING)
        self.left += self.line
        self.line = []

    @rule(ttl=WHILES)
    def acquire(self, ttl: float | None) -> None:
        holder = self.new_name()
        if self.is_open and self.has_room():
            self.leases[holder] = self.book.acquire(holder, ttl=ttl)
            self.hold(holder, ttl)
        else:
            with pytest.raises(NoFreeSlot if self.is_open else PoolDraining):
                self.book.acquire(holder, ttl=ttl)

    @rule(ttl=WHILES, patience=WHILES)
    def wait(self, ttl: float | None, patience: float | None) -> None:
        holder = self.new_name()
        task = self.loop.create_task(self.book.acquire_within(holder, ttl=ttl, timeout=patience))
        waiter = InLine(holder, ttl, None if patience is None else self.loop.time() + patience, task)
        (self.line if self.is_open else self.left).append(waiter)
        self.settle()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.line))
        waiter.task.cancel()
        self.line.remove(waiter)
        self.left.append(waiter)
        self.settle()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def release_and_cancel_at_once(self, data: st.DataObject) -> None:
        """Who is first in line is granted the slot and cancelled before it could notice."""
        holder = data.draw(st.sampled_from(sorted(self.on(self.generation))))
        first = self.line.pop(0)
        self.leases[holder].release()
        first.task.cancel()
        del self.held[holder]
        self.left.append(first)
        self.settle()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Any lease there ever was."""
        holder = data.draw(st.sampled_from(sorted(self.leases)))
        assert self.leases[holder].release() == (self.held.pop(holder, None) is not None)
        self.settle()

    @rule(seconds=st.integers(0, 4))
    def time_passes(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        now = self.loop.time()
        gone = [one for one in self.line if one.until is not None and one.until <= now]
        self.line = [one for one in self.line if one not in gone]
        self.left += gone
        due = {name for name, slot in self.held.items() if slot.until is not None and slot.until <= now}
        assert {lease.holder for lease in self.book.expire(now)} == due
        for holder in due:
            del self.held[holder]
        self.settle()

    @precondition(lambda self: not self.is_open or len(self.slots) > 1)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Any engine but the one that the gate is open on."""
        gone = [one for one in self.slots if not (self.is_open and one == self.generation)]
        generation = data.draw(st.sampled_from(gone))
        lost = self.on(generation)
        assert {lease.holder for lease in self.book.lose(generation)} == lost
        for holder in lost:
            assert self.leases[holder].state is LeaseState.LOST
            del self.held[holder]
        self.settle()

    @rule()
    def ask_to_be_told(self) -> None:
        """Once for each generation, while something is held there."""
        generation = self.generation
        if self.book.count_on(generation) and generation not in self.told:
            self.told[generation] = 0
            self.book.when_empty(generation, lambda: self.tell(generation))

    @rule()
    def look_at_the_next_expiry(self) -> None:
        """No invariant, because looking makes the book look again too."""
        times = [slot.until for slot in self.held.values() if slot.until is not None]
        assert self.book.next_expiry() == min(times, default=None)

    # --- on paper ----------------------------------------------------------------------------------

    def on(self, generation: int) -> set[str]:
        return {name for name, slot in self.held.items() if slot.generation == generation}

    def has_room(self) -> bool:
        """What goes on on other engines takes no slot of this one."""
        return len(self.on(self.generation)) < self.slots[self.generation]

    def new_name(self) -> str:
        self.names += 1
        return f"holder {self.names:04}"

    def hold(self, holder: str, ttl: float | None) -> None:
        self.held[holder] = Held(self.generation, None if ttl is None else self.loop.time() + ttl)

    def tell(self, generation: int) -> None:
        assert self.book.count_on(generation) == 0
        self.told[generation] += 1

    def settle(self) -> None:
        """On paper the line moves up; then the real waiters get their turn."""
        while self.line and self.is_open and self.has_room():
            first = self.line.pop(0)
            self.hold(first.holder, first.ttl)
            self.left.append(first)
        self.loop.run_until_complete(self.loop.settle())
        for waiter in self.left:
            self.ended(waiter)
        self.left = []

    def ended(self, waiter: InLine) -> None:
        assert waiter.task.done(), f"{waiter.holder} still waits"
        if waiter.holder in self.held:
            self.leases[waiter.holder] = waiter.task.result()
        else:
            assert waiter.task.cancelled() or isinstance(waiter.task.exception(), LeaseRefused)

    # --- what always holds -------------------------------------------------------------------------

    @invariant()
    def the_book_says_what_the_paper_says(self) -> None:
        assert {lease.holder for lease in self.book.active()} == set(self.held)
        assert {one.holder: one.expires_at for one in self.book.active()} == {
            name: slot.until for name, slot in self.held.items()
        }
        assert [one.generation for one in self.book.active()] == [
            self.held[one.holder].generation for one in self.book.active()
        ]
        assert self.book.waiting == len(self.line)
        assert self.book.count == len(self.held)

    @invariant()
    def no_engine_has_more_work_than_slots(self) -> None:
        for generation, slots in self.slots.items():
            assert self.book.count_on(generation) <= slots
        if self.is_open:
            assert self.book.slots == self.slots[self.generation]
            assert self.book.free == self.book.slots - self.book.count_on(self.generation)

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        assert not (self.is_open and self.book.waiting and self.book.free)

    @invariant()
    def tokens_grow(self) -> None:
        tokens = [lease.token for lease in self.book.active()]
        assert tokens == sorted(set(tokens))
        assert all(token < self.book.next_token for token in tokens)

    @invariant()
    def empty_generations_were_told_once(self) -> None:
        for generation, times in self.told.items():
            assert times == 1 or (times == 0 and self.on(generation))

    def teardown(self) -> None:
        self.close()
        self.settle()
        self.loop.close()


TestBook = Book.TestCase
