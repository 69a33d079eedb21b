"""What a circuit breaker costs a call that works or is refused, against pybreaker and circuitbreaker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import circuitbreaker
import pybreaker

from benchmarks.rows import Row, each_in_turn
from pool_lifecycle import Breaker, CircuitBreaker

NUMBER = 20_000
AWAITS = 2_000
DAY = 86_400
PEERS = ("pybreaker", "circuitbreaker")


def run() -> Iterator[Row]:
    """The time of the bare call is taken off, so that what is compared is the guard."""
    yield from _rows("guarded call", _calls(), NUMBER, PEERS, most=1.0)
    yield from _rows("guarded coroutine", _coroutines(), 1, PEERS[1:], most=1.0, each=AWAITS)
    yield from _rows("refused call", _refusals(), NUMBER, PEERS, most=1.0)


def _rows(
    name: str,
    contenders: dict[str, Callable[[], object]],
    number: int,
    peers: tuple[str, ...],
    *,
    most: float,
    each: int = 1,
) -> Iterator[Row]:
    times = each_in_turn(contenders, number=number)
    bare = times.pop("bare")
    guard = {who: (taken - bare) / each * 1e6 for who, taken in times.items()}
    for peer in peers:
        yield Row.against(f"{name}, beside {peer}", guard["ours"], "us", peer, guard[peer], most=most)


def _works() -> int:
    return 1


def _calls() -> dict[str, Callable[[], object]]:
    return {
        "bare": _works,
        "ours": CircuitBreaker("bench")(_works),
        "pybreaker": pybreaker.CircuitBreaker()(_works),
        "circuitbreaker": circuitbreaker.CircuitBreaker()(_works),
    }


async def _awaited() -> int:
    return 1


def _coroutines() -> dict[str, Callable[[], object]]:
    """pybreaker guards coroutines of tornado only; of others it never sees the end."""
    return {
        "bare": _many(_awaited),
        "ours": _many(CircuitBreaker("bench")(_awaited)),
        "circuitbreaker": _many(circuitbreaker.CircuitBreaker()(_awaited)),
    }


def _many(call: Callable[[], Coroutine[Any, Any, int]]) -> Callable[[], object]:
    async def main() -> None:
        for _ in range(AWAITS):
            await call()

    return lambda: asyncio.run(main())


def _refusals() -> dict[str, Callable[[], object]]:
    ours = CircuitBreaker("bench", Breaker(timeout=DAY, timeout_max=DAY))
    ours.trip()
    pys = pybreaker.CircuitBreaker(reset_timeout=DAY)
    pys.open()
    theirs = circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=DAY)
    with suppress(ZeroDivisionError), theirs:
        _ = 1 / 0
    guarded = {"ours": ours(_works), "pybreaker": pys(_works), "circuitbreaker": theirs(_works)}
    return {"bare": _works} | {name: _refused(call) for name, call in guarded.items()}


def _refused(call: Callable[[], int]) -> Callable[[], object]:
    def refused() -> str:
        try:
            call()
        except Exception as refusal:  # noqa: BLE001 - each has a type of its own
            return type(refusal).__name__
        raise AssertionError("the call was let through")

    return refused
