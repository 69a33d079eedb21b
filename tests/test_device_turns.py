"""Starts on one device happen one at a time, in the order in which they were asked for."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.device_turns import DeviceTurns
from pool_lifecycle.testing.virtual_time import run
from tests.worlds import virtually

DEVICES = ("0", "1", "2")


@virtually
async def test_one_at_a_time_on_a_device() -> None:
    """B-GPU-x3: the second waits for the first, a third on another device does not."""
    turns = DeviceTurns()
    await turns.take("a", ["0"])
    second = asyncio.ensure_future(turns.take("b", ["0", "1"]))
    await turns.take("c", ["2"])
    await asyncio.sleep(0)
    assert not second.done()
    assert turns.holders(["0"]) == ("a", "b")
    turns.give_back("a")
    await second
    assert turns.holders(["1"]) == ("b",)


@virtually
async def test_whoever_came_first_is_not_overtaken() -> None:
    """V6: a start on both devices is not kept waiting by a stream of starts on one of them."""
    turns = DeviceTurns()
    await turns.take("a", ["0"])
    both = asyncio.ensure_future(turns.take("both", ["0", "1"]))
    await asyncio.sleep(0)
    later = asyncio.ensure_future(turns.take("later", ["1"]))
    await asyncio.sleep(0)
    assert not later.done()
    turns.give_back("a")
    await both
    assert not later.done()
    turns.give_back("both")
    await later


@virtually
async def test_asking_again_for_the_same_is_no_second_turn() -> None:
    """A launch asks for what its staging has already; asking for other devices gives these back."""
    turns = DeviceTurns()
    await turns.take("a", ["0"])
    waits = asyncio.ensure_future(turns.take("b", ["0"]))
    await turns.take("a", ["0"])
    assert not waits.done()
    await turns.take("a", ["1"])
    await waits


@virtually
async def test_whoever_is_cancelled_has_asked_for_nothing() -> None:
    """Neither while it waits nor in the moment in which it is let in."""
    turns = DeviceTurns()
    await turns.take("a", ["0"])
    gone, late, last = (asyncio.ensure_future(turns.take(name, ["0"])) for name in ("gone", "late", "last"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait((gone,))
    turns.give_back("a")
    late.cancel()  # it has its turn, and does not know yet
    await last
    assert turns.holders(["0"]) == ("last",)


@virtually
async def test_devices_that_something_is_left_on_are_kept_from_all() -> None:
    """B-PROC-x3: also while somebody else starts on them; and they are free when it is gone."""
    turns = DeviceTurns()
    await turns.take("a", ["0"])
    turns.keep("what is left", ["0"])
    waits = asyncio.ensure_future(turns.take("b", ["0"]))
    await asyncio.sleep(0)
    turns.give_back("a")
    await asyncio.sleep(0)
    assert not waits.done()
    turns.give_back("what is left")
    await waits


@given(
    asked=st.lists(st.frozensets(st.sampled_from(DEVICES), min_size=1), min_size=1, max_size=8),
    cancelled=st.sets(st.integers(0, 7)),
)
def test_everybody_gets_a_turn_and_nobody_shares_one(
    asked: list[frozenset[str]], cancelled: set[int]
) -> None:
    """B-GPU-x3, V4, V6: whatever is asked for, whoever goes away; each device in the order of asking."""

    async def starts() -> None:
        turns, active, order = DeviceTurns(), set[str](), list[int]()

        async def start(number: int, devices: frozenset[str]) -> None:
            await turns.take(str(number), devices)
            assert not devices & active
            active.update(devices)
            order.append(number)
            await asyncio.sleep(1)
            active.difference_update(devices)
            turns.give_back(str(number))

        tasks = [asyncio.ensure_future(start(*one)) for one in enumerate(asked)]
        await asyncio.sleep(0.5)
        for number in cancelled & set(range(len(asked))):
            if number not in order:
                tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns.holders(DEVICES) == ()
        assert set(order) >= set(range(len(asked))) - cancelled
        for device in DEVICES:
            mine = [one for one in order if device in asked[one]]
            assert mine == sorted(mine)

    run(starts())
