"""What ten thousand pools cost while nothing happens, against a task and a `transitions` model for each."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from transitions import Machine

from benchmarks.rows import Row
from pool_lifecycle import Drivers, EngineSpec, HealthSpec, Interface, PoolManager, PoolSpec
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryLauncher, MemoryProfile, MemoryStager

POOLS = 10_000
AT_ONCE = 500


def run() -> Iterator[Row]:
    """Pools that were only added, and pools that serve; and a garbage collection of them."""
    peer = asyncio.run(_peer())
    added, ready = asyncio.run(_ours(_traced))
    tracemalloc.stop()
    collections = _Collections()  # without tracing, which would make them several times slower
    asyncio.run(_ours(collections.take))
    stopped, serving = collections.taken[1:]
    name, words = "transitions machine + task", f"at {POOLS} pools"
    yield Row.within(f"memory per stopped pool {words}", added, "KB", 8, peer=name, peer_value=peer)
    yield Row.within(f"memory per ready pool {words}", ready, "KB", 8, peer=name, peer_value=peer)
    name = "full garbage collection"
    yield Row(f"{name}, stopped pools", stopped, "ms", "", None, None, "<= 25 ms", stopped <= 25)
    yield Row(f"{name}, ready pools", serving, "ms", "", None, None, "no goal", met=True)


async def _ours(used: Callable[[], int]) -> tuple[float, float]:
    launcher = MemoryLauncher()
    drivers = Drivers(
        {
            Interface.LAUNCHER: {"memory": launcher},
            Interface.HEALTH_PROBE: {"memory": MemoryHealthProbe(launcher)},
            Interface.MODEL_STAGER: {"memory": MemoryStager()},
            Interface.ENGINE_PROFILE: {"memory": MemoryProfile()},
        }
    )
    engine, health = EngineSpec("engine", profile="memory"), HealthSpec(probe="memory")
    with tempfile.TemporaryDirectory() as folder:
        async with PoolManager(folder, drivers=drivers) as manager:
            before = used()
            pools = [
                await manager.add(
                    PoolSpec(f"p{n}", engine, launcher="memory", stager="memory", health=health)
                )
                for n in range(POOLS)
            ]
            added = used() - before
            for first in range(0, POOLS, AT_ONCE):
                await asyncio.gather(*(pool.start() for pool in pools[first : first + AT_ONCE]))
            ready = used() - before
    return added / POOLS / 1024, ready / POOLS / 1024


async def _peer() -> float:
    """The obvious design: every pool is a machine of its own, with a task that waits for events."""

    class Bare:
        """A model for `transitions`."""

    async def wait(queue: asyncio.Queue[str]) -> None:
        await queue.get()

    moves: list[Any] = [
        {"trigger": str(row.event), "source": str(state), "dest": str(row.to or state)}
        for state, one in LIFECYCLE.states.items()
        for row in one.rows
    ]
    names = [str(state) for state in LIFECYCLE.states]
    machine = Machine(None, names, initial="stopped", transitions=moves, auto_transitions=False)
    before, models, tasks = _traced(), [], []
    for _ in range(POOLS // 10):
        model = Bare()
        machine.add_model(model)
        models.append(model)
        tasks.append(asyncio.create_task(wait(asyncio.Queue())))
    await asyncio.sleep(0)
    cost = (_traced() - before) / (POOLS // 10) / 1024
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    return cost


def _traced() -> int:
    """Bytes in use, garbage not counted."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class _Collections:
    """How long a full garbage collection takes at each point of a run, in ms of this thread's time."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def take(self) -> int:
        """A full collection is the longest there is; the median of some, once the garbage is gone."""
        gc.collect()
        self.taken.append(statistics.median(_collection() for _ in range(7)) * 1e3)
        return 0


def _collection() -> float:
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began
