"""The one timer for what may come a little late."""

from __future__ import annotations

import asyncio

from pool_lifecycle.ticks import TICK, Ticks
from tests.worlds import timers, virtually


@virtually
async def test_calls_are_gathered_into_ticks() -> None:
    """V8: what is due within one tick is one wake-up, never before its time, less than a tick after it."""
    loop = asyncio.get_running_loop()
    ticks, seen = Ticks(loop), list[tuple[str, float]]()
    begin = loop.time()
    for name, after in (("a", 0.5), ("b", 0.51), ("c", 0.7), ("d", 0.75), ("e", 0.0)):
        ticks.at(begin + after, lambda name=name: seen.append((name, loop.time() - begin)))  # type: ignore[misc]
    assert len(timers()) == 1
    await asyncio.sleep(1)
    assert seen == [("e", 0.0), ("a", 0.5), ("b", 0.75), ("c", 0.75), ("d", 0.75)]
    assert timers() == []


@virtually
async def test_what_is_forgotten_wakes_nobody() -> None:
    """V8: the timer goes with the last call that needs it; forgetting twice, or too late, is harmless."""
    loop = asyncio.get_running_loop()
    ticks, seen = Ticks(loop), list[str]()
    soon, late = (lambda: seen.append("soon")), (lambda: seen.append("late"))
    early, later = ticks.at(loop.time() + 1, soon), ticks.at(loop.time() + 2, late)
    ticks.forget(early, late)
    ticks.forget(early, soon)
    ticks.forget(early, soon)
    assert [one.when() for one in loop._scheduled if not one.cancelled()] == [later * TICK]  # type: ignore[attr-defined]
    await asyncio.sleep(2)
    assert seen == ["late"]
    ticks.forget(later, late)
    ticks.forget(ticks.at(loop.time() + 1, soon), soon)
    assert timers() == []


@virtually
async def test_a_call_may_ask_for_another() -> None:
    """That is how something is done again and again."""
    loop = asyncio.get_running_loop()
    ticks, seen = Ticks(loop), list[float]()
    begin = loop.time()

    def again() -> None:
        seen.append(loop.time() - begin)
        if len(seen) < 4:
            ticks.at(loop.time() + 10, again)

    ticks.at(begin, again)
    await asyncio.sleep(100)
    assert seen == [0, 10, 20, 30]
    assert timers() == []
