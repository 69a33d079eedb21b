"""A pool's state in a few sentences."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.errors import StartFailed
from pool_lifecycle.explain import plural, seconds, sentence
from pool_lifecycle.lifecycle import PoolState
from tests.reaching import a_pool_in
from tests.worlds import BROKEN, a_world, virtually


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (120, "2 min"),
        (3599.7, "1 h"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_are_said_as_people_do(value: float, said: str) -> None:
    """Rounded to what matters, never `60.0 s` or `1000 ms`."""
    assert seconds(value) == said


@given(st.floats(0, 7 * 86400))
def test_no_part_of_a_duration_overflows(value: float) -> None:
    """Less than 1000 ms, 60 s, 60 min."""
    for part, limit in (("ms", 1000), ("s", 60), ("min", 60)):
        for number, unit in zip(seconds(value).split()[::2], seconds(value).split()[1::2], strict=True):
            assert unit != part or float(number) < limit


def test_words() -> None:
    """One lease, two leases; a sentence begins and ends like one."""
    assert (plural(1, "lease"), plural(2, "lease"), plural(0, "slot")) == ("1 lease", "2 leases", "0 slots")
    assert sentence("look at the log") == "Look at the log."
    assert sentence("Done.") == "Done."
    assert sentence("") == ""


@virtually
async def test_a_drain_names_its_blockers() -> None:
    """B-REG-x2: holders and their ages, the first three by name."""
    async with a_world(slots=5) as world:
        await world.ready()
        for number in range(5):
            world.pool.acquire(f"req-{number}")
            await asyncio.sleep(1)
        await world.began(world.pool.drain(20))
        await asyncio.sleep(1)
        assert world.pool.explain() == (
            "Pool 'chat' has been draining for 1.0 s: no new leases; those in flight may finish. "
            "It waits for 5 leases: req-0 (6.0 s), req-1 (5.0 s), req-2 (4.0 s) and 2 more. "
            "If that is not over in 19.0 s, the leases left are cut off, or, in a change of model, "
            "the old one goes on."
        )


@virtually
async def test_a_failed_pool_says_what_would_help() -> None:
    """The remedy of what cannot heal; else the circuit, and when it allows a trial."""
    async with a_pool_in(PoolState.FAILED) as world:
        assert world.pool.explain().endswith(
            "Last failure: launch failed: no such flag. "
            "Trying again cannot help by itself. Mend it. Then start it."
        )
    async with a_world(BROKEN) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        assert "The next attempt is in 1.0 s." in world.pool.explain()
        await world.pool.reached("failed")
        assert "Circuit 'general' is open; it allows one trial in 5 min." in world.pool.explain()
        assert world.pool.explain().endswith("Reset its circuit to start at once.")


@virtually
async def test_what_happens_otherwise_is_said() -> None:
    """The deadline of the state and what comes after it; whether it is to stop."""
    async with a_pool_in(PoolState.STARTING) as world:
        assert "If that is not over in 10.0 s, it counts as failed." in world.pool.explain()
    async with a_pool_in(PoolState.STUCK) as world:
        assert "It is to stop." in world.pool.explain()
    async with a_pool_in(PoolState.READY) as world:
        assert world.pool.explain().endswith("the engine serves. 0 of 2 slots taken.")
