"""One circuit breaker for many: operators, observers, threads, tasks. B-SUPER-x5, S15."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pool_lifecycle import circuit_breaker
from pool_lifecycle.breaker import BreakerEvent, BreakerState
from pool_lifecycle.circuits import feed
from pool_lifecycle.errors import CircuitOpen
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.snapshot import CircuitChanged
from tests.guarded import World, works

S = BreakerState
CROWD = 8


# --- operators -----------------------------------------------------------------------------------------


def test_reset_closes_it_from_everywhere() -> None:
    """B-SUPER-028, alone: count 0, and what began before counts nothing."""
    for world in (World(), World().open(), World().half_open()):
        permits = [world.breaker.acquire()] if world.state() is not S.OPEN else []
        world.breaker.reset()
        for permit in permits:
            permit.failed()
        assert (world.state(), world.breaker.failures) == (S.CLOSED, 0)


def test_trip_opens_it_at_once() -> None:
    """Also without any failure; a second trip does not make it longer."""
    world = World()
    world.breaker.trip()
    world.clock.now += 10.0
    world.breaker.trip()
    assert (world.breaker.retry_in, world.breaker.failures) == (20.0, 0)
    assert "after" not in world.breaker.explain()


def test_an_operator_may_allow_one_trial_before_its_time() -> None:
    """The one permit of an open circuit: a second one is refused, and its success closes the circuit."""
    world = World().open()
    permit = world.breaker.allow_one()
    with pytest.raises(CircuitOpen):
        world.breaker.allow_one()
    world.refused()
    permit.succeeded()
    assert world.state() is S.CLOSED
    world.breaker.allow_one().failed()
    assert world.breaker.failures == 1


def test_it_explains_itself() -> None:
    """In every state: how it is, what comes next, and why, without keeping the exception."""
    world = World()
    explain = world.breaker.explain
    assert explain() == "Circuit 'catalogue' is closed, with 0 of 3 failures in a row."
    for _ in range(3):
        world.breaker.acquire().failed(ConnectionError("refused\nby the host."))
    said = "Circuit 'catalogue' is open after 3 failures in a row; it allows one trial in 30.0 s."
    last = " Last failure: ConnectionError: refused by the host."
    assert explain() == said + last
    world.clock.now += 30.0
    assert explain() == "Circuit 'catalogue' is half-open; the next call is the trial that decides." + last
    with world.breaker.acquire():
        assert explain() == "Circuit 'catalogue' is half-open; the trial under way decides." + last
    assert explain() == "Circuit 'catalogue' is closed, with 0 of 3 failures in a row."
    assert repr(world.breaker) == "CircuitBreaker('catalogue', closed, failures=0)"


def test_of_a_long_failure_the_beginning_is_kept() -> None:
    """And an exception that cannot be written out does not matter."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError

    world = World()
    world.breaker.acquire().failed(Unspeakable())
    assert "Unspeakable" in world.breaker.explain()
    world.breaker.acquire().failed(ValueError("long" * 1000))
    assert len(world.breaker.explain()) < 300


# --- observers -----------------------------------------------------------------------------------------


def test_every_change_of_state_is_told_in_order() -> None:
    """B-SUPER-026, alone: old state, new state, failures, name."""
    world = World().half_open()
    world.breaker.acquire().succeeded()
    assert [(one.old, one.new, one.failures) for one in world.heard] == [
        (S.CLOSED, S.OPEN, 3),
        (S.OPEN, S.HALF_OPEN, 3),
        (S.HALF_OPEN, S.TRIAL, 3),
        (S.TRIAL, S.CLOSED, 0),
    ]
    assert {one.circuit for one in world.heard} == {"catalogue"}


def test_an_observer_may_use_the_breaker() -> None:
    """No lock is held while it is told; what it causes is told after what it was told of."""
    heard = []

    def undo(change: CircuitChanged) -> None:
        heard.append(change.new)
        if change.new is S.OPEN:
            world.breaker.reset()
            assert heard == [S.OPEN]

    world = World(on_change=undo)
    world.fail(3)
    assert heard == [S.OPEN, S.CLOSED]
    assert world.state() is S.CLOSED


def test_an_observer_that_fails_changes_nothing() -> None:
    """What it raises is logged; the caller gets its own result, and the next change is told."""
    heard = []

    def fail(change: CircuitChanged) -> None:
        heard.append(change.new)
        raise RuntimeError

    world = World(on_change=fail).half_open()
    assert world.breaker(works)() == "worked"
    assert heard == [S.OPEN, S.HALF_OPEN, S.TRIAL, S.CLOSED]


# --- several at once -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table takes its time, so that threads which could come between do."""

    def slowly(circuit: Circuit, event: BreakerEvent, **facts: Any) -> Circuit:
        after = feed(circuit, event, **facts)
        time.sleep(0.0001)
        return after

    monkeypatch.setattr(circuit_breaker, "feed", slowly)


def crowd(work: Callable[[], Any]) -> list[Any]:
    """What `work` gave in each of several threads that begin together; None where it was refused."""
    begin = threading.Barrier(CROWD)

    def one() -> Any:
        begin.wait()
        try:
            return work()
        except CircuitOpen:
            return None

    with ThreadPoolExecutor(CROWD) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(CROWD)]]


def test_of_many_threads_one_gets_the_trial() -> None:
    """S15, in threads: the race for the one permit has one winner, every time."""
    for _ in range(20):
        world = World().half_open()
        permits = [one for one in crowd(world.breaker.acquire) if one is not None]
        assert len(permits) == 1
        permits[0].succeeded()
        assert world.state() is S.CLOSED


def test_of_many_tasks_one_gets_the_trial() -> None:
    """S15, in asyncio: the others are refused at once and do not wait."""
    world = World().half_open()
    running = 0

    @world.breaker
    async def fetch() -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(0)

    async def main() -> list[BaseException | None]:
        return await asyncio.gather(*(fetch() for _ in range(CROWD)), return_exceptions=True)

    results = asyncio.run(main())
    assert running == 1
    assert sum(isinstance(one, CircuitOpen) for one in results) == CROWD - 1


def test_no_failure_is_lost_between_threads() -> None:
    """Each is counted once, however many come at a time, and the opening is told once."""
    world = World(Breaker(threshold=CROWD * 10))
    permits = [world.breaker.acquire() for _ in range(CROWD * 10)]

    def fail(times: int) -> None:
        for _ in range(times):
            permits.pop().failed()

    crowd(lambda: fail(9))
    assert world.breaker.failures == CROWD * 9
    crowd(lambda: fail(1))
    assert world.state() is S.OPEN
    assert len(world.heard) == 1


def test_one_permit_in_many_threads_counts_once() -> None:
    """The race for the first verdict has one winner, too."""
    world = World()
    permit = world.breaker.acquire()
    crowd(permit.failed)
    assert world.breaker.failures == 1


def test_changes_are_told_in_order_from_many_threads() -> None:
    """Each begins where the one before ended, whoever tells it."""
    world = World(Breaker(threshold=1, timeout=0.001))

    def churn() -> None:
        for _ in range(30):
            try:
                world.breaker.acquire().failed()
            except CircuitOpen:
                world.breaker.reset()

    crowd(churn)
    states = [S.CLOSED, *(one.new for one in world.heard)]
    assert [one.old for one in world.heard] == states[:-1]
    assert len(states) > CROWD
