"""A circuit breaker against an oracle, in any order of events: S15, V5."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.circuit_breaker import Permit
from pool_lifecycle.errors import CircuitOpen
from tests.guarded import THREE, World

S = BreakerState


@define
class Oracle:
    """The whole of it in a few lines: what a reader of the documentation expects."""

    failures: int = 0
    length: float = 0.0
    until: float | None = None
    trial: object | None = None
    half: bool = False
    era: int = 0

    @property
    def state(self) -> BreakerState:
        if self.trial is not None:
            return S.TRIAL
        if self.until is not None:
            return S.OPEN
        return S.HALF_OPEN if self.half else S.CLOSED

    def look(self, now: float) -> None:
        if self.until is not None and now >= self.until:
            self.until, self.half = None, True

    def open(self, now: float, length: float) -> None:
        self.length, self.until, self.half, self.trial = length, now + length, False, None
        self.era += 1

    def close(self) -> None:
        self.failures, self.length, self.until, self.half, self.trial = 0, 0.0, None, False, None
        self.era += 1

    def verdict(self, permit: tuple[int, object], ok: bool, now: float) -> None:
        era, token = permit
        if self.trial is not None and self.trial is token:
            self.failures += not ok
            if ok:
                self.close()
            else:
                self.open(now, min(2 * self.length, THREE.timeout_max))
        elif self.state is S.CLOSED and era == self.era:
            self.failures = 0 if ok else self.failures + 1
            if self.failures == THREE.threshold:
                self.open(now, THREE.timeout)


Held = tuple[Permit, tuple[int, object]]


class BreakerMachine(RuleBasedStateMachine):
    """Any order of permits, verdicts, waits and commands: the breaker and the oracle agree."""

    permits: Bundle[Held] = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.oracle = Oracle()

    @property
    def now(self) -> float:
        self.oracle.look(self.world.clock.now)
        return self.world.clock.now

    @rule(target=permits, early=st.booleans())
    def acquire(self, early: bool) -> Held | Any:
        """Take a permit, or be refused, exactly as the oracle says."""
        self.oracle.look(self.now)
        oracle, breaker = self.oracle, self.world.breaker
        allowed = oracle.state is not S.TRIAL and (early or oracle.state is not S.OPEN)
        ask = breaker.allow_one if early else breaker.acquire
        if not allowed:
            with pytest.raises(CircuitOpen):
                ask()
            return self._spent()
        token = object()
        if oracle.state is not S.CLOSED:
            oracle.trial, oracle.until, oracle.half = token, None, True
        return ask(), (oracle.era, token)

    def _spent(self) -> Held:
        """A permit that says nothing any more."""
        permit = World().breaker.acquire()
        return permit, (-1, object())

    @rule(held=consumes(permits), ok=st.booleans())
    def verdict(self, held: Held, ok: bool) -> None:
        permit, known = held
        now = self.now
        permit.succeeded() if ok else permit.failed()
        self.oracle.verdict(known, ok, now)

    @rule(held=consumes(permits))
    def abandon(self, held: Held) -> None:
        permit, (_, token) = held
        permit.abandon()
        if self.oracle.trial is token:
            self.oracle.trial, self.oracle.half = None, True

    @rule(seconds=st.sampled_from((1.0, 29.0, 30.0, 60.0, 100.0)))
    def wait(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule()
    def reset(self) -> None:
        self.world.breaker.reset()
        self.oracle.close()

    @rule()
    def trip(self) -> None:
        now = self.now
        self.world.breaker.trip()
        if self.oracle.state is not S.OPEN:
            self.oracle.open(now, self.oracle.length or THREE.timeout)

    @invariant()
    def agree(self) -> None:
        """State, count and waiting time; and what was told is the way that was gone."""
        now = self.now
        breaker, oracle = self.world.breaker, self.oracle
        assert (breaker.state, breaker.failures) == (oracle.state, oracle.failures)
        waits = {S.OPEN: (oracle.until or now) - now, S.TRIAL: None}
        assert breaker.retry_in == waits.get(oracle.state, 0.0)
        states = [S.CLOSED, *(one.new for one in self.world.heard)]
        assert [one.old for one in self.world.heard] == states[:-1]
        assert states[-1] is breaker.state


TestBreakerMachine = BreakerMachine.TestCase
