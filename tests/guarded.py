"""A circuit breaker on a clock of its own, and operations that work or break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.circuit_breaker import CircuitBreaker
from pool_lifecycle.errors import CircuitOpen
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.snapshot import CircuitChanged

S = BreakerState
THREE = Breaker(threshold=3, timeout=30.0, timeout_max=100.0)


@define
class Clock:
    """Seconds that pass when they are told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A breaker on a clock of its own, with what its observer heard."""

    def __init__(self, policy: Breaker = THREE, **options: Any) -> None:
        self.clock = Clock()
        self.heard: list[CircuitChanged] = []
        options.setdefault("on_change", self.heard.append)
        self.breaker = CircuitBreaker("catalogue", policy, clock=self.clock, **options)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.acquire().failed()

    def state(self) -> BreakerState:
        """By a call, so that nobody takes it for something that stays."""
        return self.breaker.state

    def open(self) -> World:
        while self.state() is S.CLOSED:
            self.fail()
        return self

    def half_open(self) -> World:
        self.open()
        self.clock.now += 30.0
        return self

    def refused(self) -> CircuitOpen:
        with pytest.raises(CircuitOpen) as caught:
            self.breaker.acquire()
        return caught.value


def works() -> str:
    return "worked"


def breaks(error: BaseException | None = None, *, after: Callable[[], object] = works) -> str:
    after()
    raise error or ConnectionError("refused")


def broken(guarded: Callable[..., Any], *args: Any) -> None:
    with pytest.raises(ConnectionError, match="refused"):
        guarded(*args)
