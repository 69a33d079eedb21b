"""A circuit breaker on its own, around any operation: B-SUPER-x5."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.circuit_breaker import CircuitBreaker, Permit
from pool_lifecycle.errors import CircuitOpen, ConfigError
from pool_lifecycle.restart.circuit import Breaker
from tests.guarded import World, breaks, broken, works

S = BreakerState


# --- the ways to use it --------------------------------------------------------------------------------


def test_a_guarded_function_is_the_function() -> None:
    """Arguments, result, errors, name and signature are those of the function."""

    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    guarded = World().breaker(add)
    assert (guarded(1), guarded(1, b=2), guarded.__doc__) == (2, 3, "Add.")
    assert inspect.signature(guarded) == inspect.signature(add)
    broken(World().breaker(breaks))


def test_failures_of_a_guarded_function_open_it() -> None:
    """B-SUPER-020, alone: at the threshold it opens, and the function is not called any more."""
    world, calls = World(), []

    @world.breaker
    def fetch() -> None:
        calls.append(1)
        breaks()

    for _ in range(3):
        broken(fetch)
    with pytest.raises(CircuitOpen):
        fetch()
    assert len(calls) == 3


def test_a_coroutine_function_stays_one() -> None:
    """Its failures count when they happen, not when the coroutine is made, and it awaits what it awaits."""
    world = World()

    @world.breaker
    async def fetch(error: bool) -> str:
        await asyncio.sleep(0)
        return breaks() if error else works()

    async def main() -> None:
        assert inspect.iscoroutinefunction(fetch)
        assert await fetch(False) == "worked"
        fetch(True).close()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await fetch(True)
        with pytest.raises(CircuitOpen):
            await fetch(False)

    asyncio.run(main())


def test_objects_that_are_called_like_coroutines_are_awaited() -> None:
    """An `async def __call__` and a partial coroutine function are guarded as what they are."""
    world = World(Breaker(threshold=2))

    class Fetch:
        async def __call__(self) -> str:
            return breaks()

    async def fetch(error: BaseException) -> str:
        return breaks(error)

    async def main() -> None:
        guarded = world.breaker(partial(fetch, ConnectionError("refused")))
        for operation in (guarded, world.breaker(Fetch())):
            with pytest.raises(ConnectionError):
                await operation()

    asyncio.run(main())
    assert world.state() is S.OPEN


def test_a_generator_function_is_refused() -> None:
    """Its call does nothing yet: a breaker around it would call every failure a success."""

    def some() -> Iterator[int]:
        yield 1

    async def others() -> AsyncIterator[int]:
        yield 1

    for generator in (some, others):
        with pytest.raises(TypeError, match="acquire"):
            World().breaker(generator)


def test_a_block_passes_the_verdict() -> None:
    """`with acquire()`: an exception is a failure and goes on; the end is a success."""
    world = World()
    with pytest.raises(ConnectionError), world.breaker.acquire():
        breaks()
    assert world.breaker.failures == 1
    with world.breaker.acquire():
        works()
    assert world.breaker.failures == 0


def test_an_async_block_passes_the_verdict() -> None:
    """`async with acquire()` does the same."""
    world = World()

    async def main() -> None:
        with pytest.raises(ConnectionError):
            async with world.breaker.acquire():
                breaks()
        assert world.breaker.failures == 1
        async with world.breaker.acquire():
            pass
        assert world.breaker.failures == 0

    asyncio.run(main())


def test_a_block_may_pass_its_verdict_itself() -> None:
    """What answered, but badly, is failed by hand; the end of the block does not take that back."""
    world = World()
    with world.breaker.acquire() as permit:
        permit.failed()
    assert world.breaker.failures == 1
    with pytest.raises(ConnectionError), world.breaker.acquire() as permit:
        breaks(after=permit.succeeded)
    assert world.breaker.failures == 0


def test_the_first_verdict_on_a_permit_counts() -> None:
    """Later ones do nothing, whatever they say."""
    world = World()
    permit = world.breaker.acquire()
    permit.failed()
    permit.failed()
    permit.succeeded()
    permit.abandon()
    assert world.breaker.failures == 1


# --- what is a failure ---------------------------------------------------------------------------------


def test_a_success_ends_the_row() -> None:
    """Failures in a row are what is counted: two and two make no three."""
    world = World()
    for _ in range(2):
        world.fail(2)
        world.breaker.acquire().succeeded()
    assert (world.state(), world.breaker.failures) == (S.CLOSED, 0)


@pytest.mark.parametrize(
    "counts",
    [ConnectionError, (ConnectionError, TimeoutError), lambda error: isinstance(error, ConnectionError)],
    ids=["type", "types", "function"],
)
def test_what_does_not_count_is_an_answer(counts: Any) -> None:
    """A `KeyError` says that the operation works, so it ends the row; a connection refused is one more."""
    world = World(counts=counts)
    guarded = world.breaker(breaks)
    for _ in range(2):
        broken(guarded)
    assert world.breaker.failures == 2
    with pytest.raises(KeyError):
        guarded(KeyError("no such model"))
    assert world.breaker.failures == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_giving_up_is_no_failure_and_no_success(error: type[BaseException]) -> None:
    """The count stays; a trial that is cancelled gives its permit back (V5). Even if `counts` asks for it."""
    world = World(counts=BaseException)
    guarded = world.breaker(breaks)
    world.fail(2)
    with pytest.raises(error):
        guarded(error())
    assert world.breaker.failures == 2
    world.half_open()
    with pytest.raises(error):
        guarded(error())
    assert world.state() is S.HALF_OPEN


def test_counts_that_fail_count_as_failure() -> None:
    """The caller gets the operation's own error, and a trial has its verdict."""
    world = World(counts=lambda error: bool(1 / 0)).half_open()
    broken(world.breaker(breaks))
    assert world.state() is S.OPEN


@pytest.mark.parametrize("counts", [None, "Exception", [ValueError], (ValueError, "x"), int])
def test_counts_that_cannot_be_are_refused(counts: Any) -> None:
    """At the definition, not at the first failure."""
    with pytest.raises(ConfigError, match="counts"):
        CircuitBreaker("catalogue", counts=counts)


# --- open, half-open, trial ----------------------------------------------------------------------------


def test_open_refuses_and_says_until_when() -> None:
    """B-SUPER-021, alone: the refusal names the circuit, the seconds left, and what would help."""
    world = World().open()
    world.clock.now += 10.0
    refused = world.refused()
    assert (refused.name, refused.retry_in, refused.state) == ("catalogue", 20.0, "open")
    assert str(refused) == "circuit 'catalogue' is open for 20 s; try again then, or reset it"


def test_a_refusal_can_be_sent_to_another_process() -> None:
    """Its sentences are written when they are read, so they have to be the same there."""
    refused = World().open().refused()
    sent = pickle.loads(pickle.dumps(refused))
    assert (str(sent), sent.what, sent.remedy) == (str(refused), refused.what, refused.remedy)
    assert sent.pool_id is None
    with pytest.raises(AttributeError, match="no attribute 'cause'"):
        _ = sent.cause


def test_after_the_time_out_a_success_closes_it() -> None:
    """B-SUPER-022 and 024, alone: the call is its own trial, and has run as long as it ever will."""
    world = World().open()
    world.clock.now += 29.999
    world.refused()
    world.clock.now += 0.001
    assert world.breaker(works)() == "worked"
    assert (world.state(), world.breaker.failures) == (S.CLOSED, 0)


def test_a_failed_trial_doubles_the_time_out() -> None:
    """B-SUPER-025, alone: 30, 60, 100 and again 100 seconds, with a cap of 100; after a success 30 again."""
    world, waits = World().open(), []
    for _ in range(4):
        waits.append(world.breaker.retry_in)
        world.clock.now += waits[-1] or 0.0
        broken(world.breaker(breaks))
    assert waits == [30.0, 60.0, 100.0, 100.0]
    world.clock.now += 100.0
    world.breaker(works)()
    assert world.open().breaker.retry_in == 30.0


def test_others_are_refused_while_a_trial_is_on() -> None:
    """B-SUPER-023, S15: exactly one trial; nobody can say how long it takes."""
    world = World().half_open()
    assert world.breaker.retry_in == 0.0
    trial = world.breaker.acquire()
    refused = world.refused()
    assert {refused.retry_in, world.breaker.retry_in} == {None}
    assert str(refused) == "circuit 'catalogue' is half-open, its trial is under way; try again soon"
    trial.succeeded()
    world.breaker.acquire()


def test_a_late_result_counts_nothing() -> None:
    """S15: who began before the circuit opened decides neither the trial nor the count after it."""
    world = World()
    early = [world.breaker.acquire() for _ in range(6)]
    world.half_open()
    trial = world.breaker.acquire()
    early[0].succeeded()
    early[1].failed()
    early[2].abandon()
    assert world.state() is S.TRIAL
    trial.succeeded()
    early[3].failed()
    assert world.breaker.failures == 0
    world.fail(2)
    early[4].succeeded()
    assert world.breaker.failures == 2


def test_the_result_of_an_older_trial_counts_nothing() -> None:
    """S15: a trial that was overtaken by a trip does not decide the next one."""
    world = World().half_open()
    old = world.breaker.acquire()
    world.breaker.trip()
    world.clock.now += 30.0
    new = world.breaker.acquire()
    old.succeeded()
    old.abandon()
    assert world.state() is S.TRIAL
    new.succeeded()
    assert world.state() is S.CLOSED


def test_an_abandoned_trial_is_free_for_the_next() -> None:
    """V5: given up without a verdict, the permit goes to whoever comes next."""
    world = World().half_open()
    world.breaker.acquire().abandon()
    assert (world.state(), world.breaker.retry_in) == (S.HALF_OPEN, 0.0)
    world.breaker.acquire().abandon()
    world.breaker.acquire().succeeded()
    assert world.state() is S.CLOSED


def test_a_forgotten_permit_is_abandoned() -> None:
    """V5: half-open never lasts for ever because somebody lost the permit."""
    world = World().half_open()
    permit: Permit | None = world.breaker.acquire()
    assert world.state() is S.TRIAL
    permit = None
    gc.collect()
    assert permit is None
    assert world.state() is S.HALF_OPEN


def test_a_permit_may_be_collected_by_whoever_has_the_lock() -> None:
    """V5: the garbage collector strikes anywhere, also where the lock is held; it waits for nothing."""
    world = World().half_open()
    cycle: list[Any] = [world.breaker.acquire()]
    cycle.append(cycle)
    del cycle
    with world.breaker._lock:
        gc.collect()
    assert world.state() is S.HALF_OPEN


def test_only_the_trial_itself_can_be_given_up() -> None:
    """What was given up while closed leaves nothing behind; an older epoch that comes late frees nothing."""
    world = World()
    late = world.breaker._epoch
    for _ in range(3):
        world.breaker.acquire().abandon()
    assert not world.breaker._given_up
    world.half_open()
    permit = world.breaker.acquire()
    world.breaker._given_up.append(late)  # as if another thread had been held up just before it said so
    assert world.state() is S.TRIAL
    permit.succeeded()


def test_a_cancelled_task_gives_its_trial_back() -> None:
    """V5, in asyncio: guarded call or block, cancelled in the middle, the next one is the trial."""
    world = World().half_open()

    @world.breaker
    async def call() -> None:
        await asyncio.sleep(3600)

    async def block() -> None:
        async with world.breaker.acquire():
            await asyncio.sleep(3600)

    async def main() -> None:
        for work in (call, block):
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            assert world.state() is S.TRIAL
            task.cancel()
            await asyncio.wait([task])
            assert world.state() is S.HALF_OPEN

    asyncio.run(main())
