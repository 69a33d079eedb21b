"""Steps about a catalogue that may be down, and the circuit breaker alone that guards it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from attrs import define, field

from features.vocabulary import given, then, when
from features.world import World
from pool_lifecycle import Breaker, CircuitBreaker, CircuitOpen
from pool_lifecycle.breaker import BreakerState

ANSWER = "an answer"


@define
class Catalogue:
    """What is guarded, and what its callers heard: an answer or an error each."""

    breaker: CircuitBreaker
    down: bool = False
    asked: int = 0
    heard: list[object] = field(factory=list)

    def ask(self) -> str:
        """An answer, unless it is down."""
        self.asked += 1
        if self.down:
            raise ConnectionError("the catalogue is down")
        return ANSWER

    async def ask_slowly(self) -> str:
        """The same, a moment later."""
        self.asked += 1
        await asyncio.sleep(1.0)
        return ANSWER


def catalogue(world: World) -> Catalogue:
    found: Catalogue = world.notes["catalogue"]
    return found


def ask(world: World) -> None:
    there = catalogue(world)
    try:
        there.heard.append(there.breaker(there.ask)())
    except (ConnectionError, CircuitOpen) as error:
        there.heard.append(error)


@given("a catalogue behind a circuit breaker that opens after {failures:d} failures, for {time:Duration}")
def guarded(world: World, failures: int, time: float) -> None:
    breaker = CircuitBreaker("catalogue", Breaker(failures, timeout=time), clock=world.loop.time)
    world.notes["catalogue"] = Catalogue(breaker)


@given("the catalogue is down")
def down(world: World) -> None:
    catalogue(world).down = True


@given("the catalogue is up again")
def up(world: World) -> None:
    catalogue(world).down = False


@given("the catalogue has been given up")
def given_up(world: World) -> None:
    down(world)
    while catalogue(world).breaker.state is BreakerState.CLOSED:
        ask(world)


@when("{count:d} callers ask it in turn")
def ask_in_turn(world: World, count: int) -> None:
    for _ in range(count):
        ask(world)


@when("another caller asks it")
def ask_once(world: World) -> None:
    ask(world)


@when("another caller asks it after {time:Duration}")
async def ask_later(world: World, time: float) -> None:
    await asyncio.sleep(time)
    ask(world)


@when("{count:d} callers ask it at once from tasks after {time:Duration}")
async def ask_from_tasks(world: World, count: int, time: float) -> None:
    await asyncio.sleep(time)
    there = catalogue(world)
    call = there.breaker(there.ask_slowly)
    there.heard = await asyncio.gather(*(call() for _ in range(count)), return_exceptions=True)


@when("{count:d} callers ask it at once from threads after {time:Duration}")
async def ask_from_threads(world: World, count: int, time: float) -> None:
    await asyncio.sleep(time)
    there = catalogue(world)
    begin = threading.Barrier(count)
    refused = threading.Barrier(count)

    def call() -> object:
        begin.wait()
        try:
            with there.breaker.acquire():
                answer = there.ask()
                refused.wait()  # the answer takes until everybody has asked
                return answer
        except CircuitOpen as error:
            refused.wait()
            return error

    with ThreadPoolExecutor(count) as threads:
        calls = [threads.submit(call) for _ in range(count)]
        there.heard = [one.result() for one in calls]


@given("a caller has asked it after {time:Duration} and gone away before the answer")
async def gone_away(world: World, time: float) -> None:
    await asyncio.sleep(time)
    there = catalogue(world)
    caller = asyncio.ensure_future(there.breaker(there.ask_slowly)())
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.wait([caller])


@then("that caller is refused, and may come back in {time:Duration}")
def refused(world: World, time: float) -> None:
    heard = catalogue(world).heard[-1]
    assert isinstance(heard, CircuitOpen), heard
    assert heard.retry_in == time, heard


@then("that caller gets an answer")
def answered(world: World) -> None:
    assert catalogue(world).heard[-1] == ANSWER, catalogue(world).heard


@then("the catalogue has been asked {count:d} times")
def asked(world: World, count: int) -> None:
    assert catalogue(world).asked == count, catalogue(world).asked


@then("the circuit breaker says that the circuit is closed")
def closed(world: World) -> None:
    said = catalogue(world).breaker.explain()
    assert "is closed, with 0 of 3 failures" in said, said


@then("one of them gets an answer and the others are refused")
def one_answer(world: World) -> None:
    heard = catalogue(world).heard
    assert heard.count(ANSWER) == 1, heard
    assert sum(isinstance(one, CircuitOpen) for one in heard) == len(heard) - 1, heard
    assert catalogue(world).asked == 3 + 1
