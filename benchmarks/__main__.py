"""`python -m benchmarks [NAME ...]`: run the benchmarks, print the table, write `benchmarks/latest.json`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from benchmarks import (
    bench_breaker,
    bench_gpus,
    bench_idle,
    bench_leases,
    bench_memory,
    bench_policy,
    bench_readiness,
    bench_recovery,
    bench_reload,
    bench_restart,
    bench_simulation,
    bench_staging,
    bench_step,
    bench_store,
)
from benchmarks.rows import Row, show, write

BENCHMARKS = {
    "step": bench_step.run,
    "leases": bench_leases.run,
    "readiness": bench_readiness.run,
    "memory": bench_memory.run,
    "breaker": bench_breaker.run,
    "policy": bench_policy.run,
    "restart": bench_restart.run,
    "idle": bench_idle.run,
    "recovery": bench_recovery.run,
    "store": bench_store.run,
    "staging": bench_staging.run,
    "reload": bench_reload.run,
    "gpus": bench_gpus.run,
    "simulation": bench_simulation.run,
}
LATEST = Path(__file__).with_name("latest.json")


def main(names: list[str]) -> int:
    """Exit code 0 when every goal was met, 1 when not, 2 for a name there is not."""
    console = Console()
    if unknown := set(names) - BENCHMARKS.keys():
        console.print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
        return 2
    rows: list[Row] = []
    with console.status("") as spinner:
        for name in names or BENCHMARKS:
            spinner.update(f"measuring {name}")
            for row in BENCHMARKS[name]():
                rows.append(row)
                spinner.update(f"measuring {name}: {row.name}")
    show(rows, console)
    write(rows, LATEST)
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
