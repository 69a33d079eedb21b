"""`kept_pools.py COUNT FOLDER ENGINE FIFO`: a manager of COUNT pools whose engines outlive it.

It starts those that do not run, and then says, as JSON on one line: how many milliseconds it took from its
imports on, how many pools are ready, and how many engines it had to launch. Then it waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from pool_lifecycle import EngineSpec, HealthSpec, PoolManager, PoolSpec
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import Moved, Record
from pool_lifecycle_drivers import health_tcp, process, profile_generic

DRIVERS = (health_tcp, process, profile_generic)
"""Whatever is imported is so before the time is taken, also what a manager imports when it meets its name."""

IMPORTED = time.perf_counter()


class Launches:
    """Counts the launches."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, record: Record) -> None:
        """An observer."""
        self.count += isinstance(record, Moved) and record.notice.target is PoolState.STARTING


def specification(number: int, engine: str, fifo: str) -> PoolSpec:
    """One of the pools."""
    return PoolSpec(
        f"p{number}",
        EngineSpec(engine, args=(fifo, "{port}", "well")),
        health=HealthSpec(probe="tcp"),
        on_manager_exit="keep",
    )


async def main(specs: list[PoolSpec], folder: str) -> None:
    """Until somebody kills it."""
    launches = Launches()
    async with PoolManager(folder, observers=(launches,)) as manager:
        pools = [await manager.add(spec) for spec in specs]
        taken = (time.perf_counter() - IMPORTED) * 1e3
        ready = sum(pool.state is PoolState.READY for pool in pools)
        if not ready:
            await asyncio.gather(*(pool.start() for pool in pools))
        print(json.dumps([taken, ready, launches.count]), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    count, folder, engine, fifo = sys.argv[1:]
    asyncio.run(main([specification(number, engine, fifo) for number in range(int(count))], folder))
