"""Seconds in which the loop runs."""

from __future__ import annotations

import asyncio

from pool_lifecycle.awake import SLICES, Awake, patiently
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.ticks import TICK, Ticks
from tests.worlds import timers, virtually


def awake() -> Awake:
    loop = asyncio.get_running_loop()
    return Awake(Ticks(loop), loop.time)


@virtually
async def test_time_in_which_the_loop_runs_is_counted_whole() -> None:
    """However it is looked at."""
    one = awake()
    for _ in range(7):
        await asyncio.sleep(0.3)
    assert abs(one.seconds - 2.1) < 1e-6
    one.close()


@virtually
async def test_a_block_is_left_out_at_once_and_for_good() -> None:
    """FAULTS, a blocked loop: before anything else could run, and after; also a second one."""
    one = awake()
    await asyncio.sleep(1)
    virtual_time.block(60)
    assert 1 <= one.seconds <= 1 + 2 * TICK
    await asyncio.sleep(1)
    virtual_time.block(60)
    await asyncio.sleep(1)
    assert 3 - 2 * TICK <= one.seconds <= 3 + 4 * TICK
    one.close()


@virtually
async def test_what_comes_a_little_late_is_no_block() -> None:
    """On a busy machine every call is late: an engine that hangs must be found there, too."""
    one = awake()
    for _ in range(20):
        virtual_time.block(TICK / 2)
        await asyncio.sleep(TICK / 4)
    assert abs(one.seconds - 20 * TICK * 3 / 4) < 1e-6
    one.close()


@virtually
async def test_closed_it_looks_no_more() -> None:
    """V8: no timer is left."""
    one = awake()
    await asyncio.sleep(1)
    one.close()
    assert timers() == []


@virtually
async def test_a_patient_wait_ends_with_what_it_waits_for() -> None:
    """Or when its time is over; what is done already is not waited for."""
    soon, late = (asyncio.create_task(asyncio.sleep(seconds)) for seconds in (1.3, 100))
    _, took = await virtual_time.timed(patiently([soon], 4))
    assert took == 1.3
    _, took = await virtual_time.timed(patiently([soon, late], 4))
    assert took == 4
    _, took = await virtual_time.timed(patiently([soon], 4))
    assert took == 0
    late.cancel()


@virtually
async def test_a_block_takes_one_slice_of_a_patient_wait_at_most() -> None:
    """FAULTS, a blocked loop: who was about to end gets its turns."""

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    loop.call_later(0.1, virtual_time.block, 60)
    done = asyncio.Event()
    loop.call_later(0.2, done.set)

    async def slow() -> None:
        await done.wait()
        await work()

    task = asyncio.create_task(slow())
    await patiently([task], 4)
    assert task.done()
    assert loop.time() < 1000 + 61 + 4 / SLICES
