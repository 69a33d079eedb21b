"""How much of a pool's life the simulation of the whole manager goes through in a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.rows import Row

SEEDS = 100
"""In one process, some ten seconds; `make simulate` runs thousands in several."""

DAY = 86400.0


def run() -> Iterator[Row]:
    """Pool-days a second, with every invariant looked at after every step."""
    from tests.whole.plan import plan_of  # noqa: PLC0415 - as slow to import as many benchmarks are to run
    from tests.whole.world import World  # noqa: PLC0415

    began, simulated = time.perf_counter(), 0.0
    for seed in range(SEEDS):
        world = World(plan_of(seed)).run()
        simulated += world.host.true * len(world.specs)
    days = simulated / DAY / (time.perf_counter() - began)
    yield Row(f"simulated, {SEEDS} seeds", days, "pool-days/s", "", None, None, "shown", met=True)
