"""`our_pools.py COUNT FOLDER HEALTH MODES ENGINE FIFO`: a manager of COUNT pools that restart without delay.

It says "up", begins at a line on its standard input, and says "ready" each time all of them are. HEALTH is
the health specification as JSON; MODES are those of the engines, by turns, with commas between them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys

from pool_lifecycle import Backoff, Breaker, EngineSpec, HealthSpec, PoolManager, PoolSpec
from pool_lifecycle.lifecycle import PoolEvent
from pool_lifecycle.records import Moved, Record
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.restart.window import Window

AT_ONCE = Backoff(initial=0.0, minimum=0.0, jitter=0.0)
PATIENT = Breaker(threshold=1000)
ENDLESS = Window(period=1.0, limit=1000, storm=1000, warning=1000, storm_period=1.0)
UNLIMITED = Budget(burst=100_000)
"""A benchmark crashes its engines more often than anybody should put up with."""


class Counter:
    """Says when as many pools have become ready as there are."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ready = 0

    def __call__(self, record: Record) -> None:
        """An observer."""
        if isinstance(record, Moved) and record.notice.event is PoolEvent.HEALTHY:
            self._ready += 1
            if self._ready % self._count == 0:
                print("ready", flush=True)


def specification(number: int, health: HealthSpec, mode: str, engine: str, fifo: str) -> PoolSpec:
    """One of the pools."""
    arguments = (fifo, "{port}", mode) if mode else (fifo, "{port}")
    return PoolSpec(
        f"p{number}",
        EngineSpec(engine, args=arguments),
        health=health,
        backoff=AT_ONCE,
        breaker=PATIENT,
        window=ENDLESS,
    )


async def main(folder: str, specs: list[PoolSpec]) -> None:
    """Keep the pools until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with PoolManager(folder, restarts=UNLIMITED) as manager:
        manager.observe(Counter(len(specs)))
        pools = [await manager.add(spec) for spec in specs]
        print("up", flush=True)
        sys.stdin.readline()
        starting = [asyncio.ensure_future(pool.start()) for pool in pools]
        await told.wait()
        await asyncio.gather(*starting)


if __name__ == "__main__":
    count, folder, health, modes, engine, fifo = sys.argv[1:]
    chosen = itertools.islice(itertools.cycle(modes.split(",")), int(count))
    probed = HealthSpec(**json.loads(health))
    asyncio.run(main(folder, [specification(n, probed, mode, engine, fifo) for n, mode in enumerate(chosen)]))
