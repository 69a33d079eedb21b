"""Whatever happens to a pool, people and programs can be told: no snapshot leaves anybody speechless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.accounts import Accounts
from pool_lifecycle.answers import Judge, judge_of
from pool_lifecycle.errors import IllegalEvent, PoolLifecycleError
from pool_lifecycle.events import Event, RanStably, Shared
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.logs import entry
from pool_lifecycle.records import CircuitMoved, LateOutcome, Moved, Record
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.restart_news import Step, restart_news
from pool_lifecycle.snapshot import CircuitChanged, Dropped, Effect, Emit, Notify, Rules, Snapshot
from pool_lifecycle.step import step
from tests.space import DEVICE, FIRST, GENERAL, NOW, WISHES, happenings, tripped
from tests.telling import tell_all

STEPS = 200
"""Steps of a walk: enough to crash often, to open circuits, and to make a storm."""


def records(before: Snapshot, after: Snapshot, effects: tuple[Effect, ...], now: float) -> Iterator[Record]:
    """What observers are told of a step."""
    accounts = Accounts("p")
    for effect in effects:
        if isinstance(effect, Notify):
            news = [*restart_news(Step(effect, before, after, now, lambda: now), None)]
            news += accounts.follow(effect, 0, before, after, now) if _no_drain(before) else ()
            yield Moved("p", now, 0.0, after.generation, 0, effect, told=bool(news))
            yield from news
        elif isinstance(effect, Emit):
            match effect.news:
                case CircuitChanged() as change:
                    yield CircuitMoved("p", now, change)
                case Dropped() as dropped:
                    yield LateOutcome("p", now, dropped)


def _no_drain(before: Snapshot) -> bool:
    """A walk may leave a drain by an event that ends none in its table; that is tested with accounts."""
    return before.state is not PoolState.DRAINING


def judges() -> list[Judge]:
    return [judge for wish in WISHES if (judge := judge_of(wish, lambda: NOW)) is not None]


def answer_all(after: Snapshot, effects: tuple[Effect, ...]) -> None:
    """Whoever waits is answered in words, or goes on waiting."""
    for notice in (one for one in effects if isinstance(one, Notify)):
        for judge in judges() if after.plan is None or notice.target != notice.source else ():
            answer = judge(after, notice)
            if answer is not None and answer.error is not None:
                assert isinstance(answer.error, PoolLifecycleError)
                assert "p" in str(answer.error)


def choices(pool: Snapshot) -> list[Event]:
    server = pool.server
    stable = () if server is None else (RanStably(server.generation, pool.rules.window.stable),)
    return [*WISHES, *happenings(pool), *stable]


def walk(chance: Random, steps: int) -> Iterator[tuple[Snapshot, Snapshot, tuple[Effect, ...], float]]:
    """A life in which anything may happen; more often than not nobody interferes."""
    pool, now = evolve(FIRST, rules=Rules(breaker=Breaker(threshold=4))), NOW
    for _ in range(steps):
        now += chance.choice((0.0, 0.1, 1.0, 70.0))
        event = chance.choice(choices(pool) if chance.random() < 0.3 else [*happenings(pool)] or [*WISHES])
        if chance.random() < 0.02:
            device = tripped(pool, chance.choice((GENERAL, DEVICE))).circuits[-1]
            event = Shared(device)
        try:
            after, effects = step(pool, event, now)
        except IllegalEvent:
            continue
        yield pool, after, effects, now
        pool = after


@given(st.integers(0, 2**32))
def test_no_life_leaves_anybody_speechless(seed: int) -> None:
    """B-SUPER-015, 026, B-LOG: explain, refusals, answers, records and log entries, after every step."""
    for before, after, effects, now in walk(Random(seed), STEPS):
        tell_all(after, now)
        answer_all(after, effects)
        for record in records(before, after, effects, now):
            _, sentence, fields = entry(record)
            assert sentence
            json.dumps(fields)


def test_such_lives_have_crashes_restarts_and_open_circuits() -> None:
    """Else the walk would prove little."""
    met: set[Any] = set()
    for seed in range(40):
        for before, after, effects, now in walk(Random(seed), STEPS):
            met.update(type(one).__name__ for one in records(before, after, effects, now))
            met.update((one.name, str(one.state)) for one in after.circuits)
    assert met >= {"EngineCrashed", "RestartScheduled", "RestartBegan", "CircuitMoved", "PreloadEnded"}
    assert met >= {(GENERAL, "open"), ("cuda", "open"), (DEVICE, "open"), (GENERAL, "trial")}
