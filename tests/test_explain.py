"""A pool's state in a few sentences."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, Confidence, FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.explain import explain
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.storm import Storm
from pool_lifecycle.waits import Awaits
from tests.pools import HALF_OPEN, NOW, OPEN, QUARANTINE, SOMEBODY_ELSES, TRIAL, pool_in
from tests.reaching import a_pool_in
from tests.worlds import BROKEN, a_world, virtually

S = PoolState


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
            "If that is not over in 19.0 s, the leases left are cut off."
        )


@virtually
async def test_a_failed_pool_says_what_would_help() -> None:
    """The remedy of what cannot heal; else the circuit, and when it allows a trial."""
    async with a_pool_in(PoolState.FAILED) as world:
        assert world.pool.explain().endswith(
            "Last failure: launch failed: no such flag. That was a bad configuration. "
            "Trying again cannot help by itself. Mend it. Then start it."
        )
    async with a_world(BROKEN) as world:
        with contextlib.suppress(StartFailed):
            await world.pool.start()
        assert "Next: restart 1 in 1.0 s (back-off after 1 failure in a row)." in world.pool.explain()
        assert world.pool.explain().endswith("A start skips the back-off.")
        await world.pool.reached("failed")
        assert "Since its last long run: 4 restarts, 5 failures in a row." in world.pool.explain()
        assert world.pool.explain().endswith(
            "Circuit 'general' is open after 5 failures in a row; it allows one trial in 5 min. "
            "To try at once, reset it, or allow one start."
        )


def said(state: PoolState, **changes: Any) -> str:
    return explain(pool_in(state, **changes), LeaseBook("chat", 2, lambda: NOW), NOW)


GUESS = Cause(
    FailureClass.CUDA,
    Stage.RUN,
    "the engine ended after 9.0 s (exit code 1)",
    remedy="look at the device",
    evidence=("'CUDA error: an illegal memory access'", "exit code 1"),
    confidence=Confidence.LIKELY,
)


def test_what_was_concluded_comes_with_its_evidence() -> None:
    """B-SUPER-x1: what happened, what that was taken for, how sure that is, and why; where the log is."""
    pool = pool_in(S.BACKING_OFF, cause=GUESS, crash_count=1, not_before=NOW + 2, awaits=Awaits.DELAY)
    text = explain(pool, LeaseBook("chat", 2, lambda: NOW), NOW, crash_logs="/state/crashes/chat")
    assert text == (
        "Pool 'chat' has been backing_off for 1 min 40 s: it waits its turn to start again. "
        "Last failure: run failed: the engine ended after 9.0 s (exit code 1). "
        "That was probably a CUDA failure, going by: "
        "'CUDA error: an illegal memory access'; exit code 1. "
        "Logs of its last crashes are in /state/crashes/chat. "
        "Next: restart 1 in 2.0 s (back-off after 1 failure in a row). "
        "Look at the device. A start skips the back-off."
    )


STORMY = tuple(NOW - 20 + number for number in range(10))
STORM = Storm(NOW, "oom_storm", 10, 60.0, "give it more memory")


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (
            S.FAILED,
            {"cause": GUESS, "circuits": (OPEN,), "storm": STORM},
            (
                "Circuit 'general' is open because of a restart storm (oom_storm: 10 restarts within 1 min); "
                "it allows one trial in 5 min. Give it more memory. To try at once, reset it, or allow one "
                "start."
            ),
        ),
        (
            S.FAILED,
            {"cause": GUESS, "circuits": (QUARANTINE,)},
            (
                "Circuit 'device' is in quarantine, as something on that device cannot be killed. Look at "
                "the device. It ends once that is gone; restarting the host ends it too."
            ),
        ),
        (
            S.FAILED,
            {"cause": GUESS, "circuits": (SOMEBODY_ELSES,)},
            (
                "Circuit 'device' is half-open, and pool 'other' has its one trial. Look at the device. "
                "Wait for the end of that trial."
            ),
        ),
        (S.FAILED, {"cause": GUESS}, "Look at the device. Start it to try again."),
        (
            S.BACKING_OFF,
            {"awaits": Awaits.WINDOW, "not_before": NOW + 40, "restart_count": 12},
            "Next: restart 13 in 40.0 s (at most 10 restarts within 1 min).",
        ),
        (
            S.BACKING_OFF,
            {"awaits": Awaits.TURN, "not_before": NOW + 28},
            "Next: restart 1 in 28.0 s (the host restarts one pool after the other).",
        ),
        (S.BACKING_OFF, {"not_before": NOW - 100}, "Next: restart 1 at once."),
        (
            S.READY,
            {"storm": STORM},
            "There was a restart storm (oom_storm: 10 restarts within 1 min). 0 of 2",
        ),
        (
            S.READY,
            {"circuits": (TRIAL,), "restart_count": 5, "crash_count": 5},
            (
                "Since its last long run: 5 restarts, 5 failures in a row. 0 of 2 slots taken. "
                "Circuit 'general' is half-open: this run is its one trial, and closes it in 0 ms."
            ),
        ),
        (
            S.STARTING,
            {"circuits": (TRIAL,)},
            "is half-open: this start is its one trial, and closes it once it has run 1 min.",
        ),
        (
            S.BACKING_OFF,
            {"circuits": (HALF_OPEN,)},
            "Circuit 'general' is half-open: one start may be tried, and decides.",
        ),
        (
            S.STOPPED,
            {"circuits": (OPEN,)},
            "it allows one trial in 5 min. Start it to use it.",
        ),
    ],
)
def test_every_constellation_has_its_words(state: PoolState, changes: dict[str, Any], words: str) -> None:
    """B-SUPER-021, 022, 033, 036, 038: which circuit, because of what, until when, and what would help."""
    assert words in said(state, **changes)


def test_what_is_waited_for_is_said_better_by_who_waits() -> None:
    """The turn on the host, or memory of a device: as it was last seen."""
    pool, book = pool_in(S.BACKING_OFF, not_before=NOW + 2), LeaseBook("chat", 2, lambda: NOW)
    assert "restart 1 in 2.0 s (it is not its turn)" in explain(pool, book, NOW, "it is not its turn")
    due = evolve(pool, not_before=NOW - 2, deadline=NOW + 58)
    text = explain(due, book, NOW, "no memory")
    assert "Last seen: no memory. " in text
    assert "Next: restart 1 once that is over, in 58.0 s at the latest." in text


@virtually
async def test_what_happens_otherwise_is_said() -> None:
    """The deadline of the state and what comes after it; whether it is to stop."""
    async with a_pool_in(PoolState.STARTING) as world:
        assert "If that is not over in 10.0 s, it counts as failed." in world.pool.explain()
    async with a_pool_in(PoolState.STUCK) as world:
        assert "It is to stop." in world.pool.explain()
        assert world.pool.explain().endswith(
            f"Generation 1 (pid {world.engine.handle.pid}) could not be ended: "
            "it is watched; the pool goes on by itself once it is gone."
        )
    async with a_pool_in(PoolState.READY) as world:
        assert world.pool.explain().endswith("the engine serves. 0 of 2 slots taken.")


@virtually
async def test_a_change_of_model_names_the_new_one() -> None:
    """In every state of it; while it drains, what its deadline means is another thing than in a drain."""
    async with a_pool_in(PoolState.RELOADING_DRAINING) as world:
        assert "The new model is 'file:/new.gguf'." in world.pool.explain()
        assert world.pool.explain().endswith("the change is called off and the old model goes on.")
    assert said(PoolState.RELOADING_PROVING).endswith(
        "If it still does well in 0 ms, the pool is committed to it; if it does not, the old model comes "
        "back."
    )
    assert said(PoolState.SURGING_PROVING).endswith(
        "If it still does well in 0 ms, the pool is committed to it and the old one may finish."
    )
    async with a_pool_in(PoolState.RELOADING_RESTORING) as world:
        assert "Last failure: health check failed: no healthy answer" not in world.pool.explain()
        assert "Last failure: launch failed: it does not start." in world.pool.explain()
