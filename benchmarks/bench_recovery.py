"""How soon a manager that was killed is replaced by one that has all its engines again. Real processes.

No supervisor that is measured elsewhere can do this: each ends its children with itself, or forgets them. So
it stands beside what a program takes that only starts, and imports what ours does.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row
from benchmarks.supervised import HERE, Workshop, workshop

COUNT, ROUNDS = 500, 5
GOAL = 150.0
NAME = f"{COUNT} engines found again after a SIGKILL"


def run() -> Iterator[Row]:
    """Nothing is left running, however this ends. Without a C compiler there is no engine."""
    if shutil.which("cc") is None:
        yield Row(NAME, 0.0, "ms", "no cc: not measured", None, None, f"<= {GOAL:g} ms", met=False)
        return
    with workshop() as made:
        yield _recovery(made)


def _recovery(made: Workshop) -> Row:
    fifo = made.folder / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _one_life(made, fifo)
        imports = [_imports() for _ in range(ROUNDS)]
        lives = [_one_life(made, fifo) for _ in range(ROUNDS)]
    finally:
        os.close(reading)
    lost = sum(ready != COUNT or launched for _, ready, launched in lives)
    if lost:
        return Row(NAME, 0.0, "ms", f"{lost} of {ROUNDS} lost engines", None, None, "none lost", met=False)
    taken = statistics.median(milliseconds for milliseconds, _, _ in lives)
    return Row.within(NAME, taken, "ms", GOAL, peer="its imports", peer_value=statistics.median(imports))


def _one_life(made: Workshop, fifo: Path) -> tuple[float, int, int]:
    """A manager that lives until it has said how it began."""
    folder = made.folder / "kept"
    command = [
        sys.executable,
        str(HERE / "kept_pools.py"),
        str(COUNT),
        str(folder),
        str(made.engine),
        str(fifo),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdout is not None  # as it was made
        said = manager.stdout.readline()
        manager.kill()
    taken, ready, launched = json.loads(said)
    return taken, ready, launched


def _imports() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import benchmarks.kept_pools"], cwd=HERE.parent, check=True)
    return (time.perf_counter() - began) * 1e3
