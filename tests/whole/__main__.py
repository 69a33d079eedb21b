"""`python -m tests.whole`: run the simulation of the whole manager for many seeds, or replay one."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from attrs import define, field, frozen

from tests.whole import coverage
from tests.whole.crash_points import SCENARIOS, Run, every_pair, every_point
from tests.whole.plan import plan_of
from tests.whole.shrink import shrunk
from tests.whole.world import SHOWN, World

CHUNK = 10
"""How many seeds a worker runs before it reports."""

DAY = 86400.0


@frozen
class Outcome:
    """What came of some seeds: `seconds` simulated, counted for each pool."""

    seeds: int
    seconds: float
    seen: Counter[str]
    failed: tuple[int, ...]


@define
class Total:
    """What came of all so far."""

    seeds: int = 0
    seconds: float = 0.0
    seen: Counter[str] = field(factory=Counter)
    failed: list[int] = field(factory=list)
    began: float = field(factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Some seeds more."""
        self.seeds += outcome.seeds
        self.seconds += outcome.seconds
        self.seen += outcome.seen
        self.failed += outcome.failed

    def __str__(self) -> str:
        lasted = time.monotonic() - self.began
        days = self.seconds / DAY / lasted
        return f"{self.seeds} seeds in {lasted:.0f} s ({self.seeds / lasted:.0f}/s, {days:.1f} pool-days/s)"


def some(first: int, count: int) -> Outcome:
    """Run these seeds, up to the first that fails."""
    seen: Counter[str] = Counter()
    seconds = 0.0
    for seed in range(first, first + count):
        world = World(plan_of(seed)).run()
        seen += world.seen
        seconds += world.host.true * len(world.specs)
        if world.violation is not None:
            return Outcome(seed - first + 1, seconds, seen, (seed,))
    return Outcome(count, seconds, seen, ())


def every(first: int, count: int, workers: int) -> Iterator[Outcome]:
    """Run so many seeds on all cores; what came of each handful, in order."""
    chunks = [(at, min(CHUNK, first + count - at)) for at in range(first, first + count, CHUNK)]
    if workers == 1:
        yield from (some(*chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(workers) as workers_:
        try:
            yield from workers_.map(some, *zip(*chunks, strict=True))
        finally:
            workers_.shutdown(cancel_futures=True)


def campaign(first: int, count: int, workers: int, *, quiet: bool) -> int:
    """Run many seeds; on a failure, show the first one in full. Returns the exit code."""
    total = Total()
    for outcome in every(first, count, workers):
        total.add(outcome)
        if not quiet:
            end = "\r" if sys.stdout.isatty() else "\n"
            if sys.stdout.isatty() or total.seeds % (50 * CHUNK) == 0:
                print(total, end=end, flush=True)
        if total.failed:
            break
    print(total)
    if total.failed:
        return explain(total.failed[0])
    print(*coverage.table(total.seen), sep="\n")
    if unmet := coverage.unmet(total.seen):
        print(f"warning: never met by these seeds: {', '.join(unmet)}")
    return 0


def explain(seed: int) -> int:
    """Why a seed fails, by the shortest plan that still does."""
    world = World(plan_of(seed)).run()
    if world.violation is None:
        print(f"seed {seed} failed, but not again: the simulation is not deterministic")
        return 1
    print(
        f"seed {seed} violates {world.violation}\nshrinking its {len(world.plan.deeds)} deeds ...", flush=True
    )
    world = World(shrunk(world.plan, world.violation.what)).run()
    print(f"{len(world.plan.deeds)} deeds are enough:", *world.plan.deeds, sep="\n  ")
    print("with these pools:", *world.plan.specs, sep="\n  ")
    print(f"the last {SHOWN} records:", *world.words(SHOWN), sep="\n  ")
    print(f"{world.violation}\nreplay with: python -m tests.whole --seed {seed} --verbose")
    return 1


def _points(scenario: str, policy: str, pairs: bool) -> tuple[int, list[Run]]:
    """Kill at each point of a scenario, in each way, or in `pairs`: how many runs, and those that failed."""
    ways = [every_point(scenario, policy, how) for how in ("", "reboot", "power cut")]
    runs = every_pair(scenario, policy) if pairs else itertools.chain(*ways)
    count, failed = 0, []
    for run in runs:
        count += 1
        if run.violation:
            failed.append(run)
    return count, failed


def crash_points(workers: int, *, pairs: bool) -> int:
    """All scenarios; shows every failure. Returns the exit code."""
    began, total, failures = time.monotonic(), 0, 0
    all_ = [*itertools.product(SCENARIOS, ("keep", "stop"))]
    with ProcessPoolExecutor(workers) as pool:
        for (scenario, policy), (count, failed) in zip(
            all_, pool.map(_points, *zip(*all_, strict=True), [pairs] * len(all_)), strict=True
        ):
            total, failures = total + count, failures + len(failed)
            lasted = time.monotonic() - began
            print(
                f"killed {count} times: {scenario}, policy {policy} ({lasted:.0f} s)",
                *failed,
                sep="\n",
                flush=True,
            )
    print(f"{total} runs of {len(all_)} scenarios, {failures} failed")
    return 1 if failures else 0


def replay(seed: int, *, verbose: bool) -> int:
    """Run one seed, and show everything."""
    world = World(plan_of(seed)).run()
    if verbose:
        print(*world.plan.specs, *world.plan.deeds, *world.words(), sep="\n")
    if world.violation is not None:
        return explain(seed)
    print(f"seed {seed}: everything holds; history {world.digest()[:16]}")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.whole", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5000, metavar="N", help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them")
    parser.add_argument("--seed", type=int, metavar="SEED", help="run this one alone")
    parser.add_argument("--verbose", action="store_true", help="with --seed: show all that happens")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--crash-points", action="store_true", help="kill at every point of fixed scenarios")
    parser.add_argument("--pairs", action="store_true", help="with --crash-points: kill the successor, too")
    asked = parser.parse_args()
    if asked.crash_points:
        return crash_points(asked.workers, pairs=asked.pairs)
    if asked.seed is not None:
        return replay(asked.seed, verbose=asked.verbose)
    return campaign(asked.first, asked.seeds, asked.workers, quiet=asked.quiet)


if __name__ == "__main__":
    sys.exit(main())
