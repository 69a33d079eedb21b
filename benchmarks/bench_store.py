"""What a durable step costs the loop: the step, the text of the pool, and the commit of both rows.

Beside it the same bytes committed by SQLite alone, and with a sync in each commit, as whoever takes the
defaults gets it. Every step is of another pool than the one before and changes every row it writes. The
checkpoints of the store happen meanwhile, off this thread, and are part of what is measured.
"""

from __future__ import annotations

import gc
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.rows import Row
from pool_lifecycle import EngineSpec, PoolSpec, Snapshot, step
from pool_lifecycle.events import Drain, Event, Healthy, Resume, Staged, Start
from pool_lifecycle.kept import Kept, Moment, Passage
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.serialized import dump, dump_passage
from pool_lifecycle.sqlite_store import SqliteStore

POOLS, ROUNDS = 500, 20
PAUSE = 0.02
"""Seconds between two rounds in which every pool takes a step: a loop that does nothing else is none."""

MEDIAN, P99 = 40.0, 200.0
"""Microseconds; the goals."""

DRAIN, RESUME = Drain(5.0), Resume()


class Pools:
    """Pools that are drained and resumed in turns."""

    def __init__(self) -> None:
        self.snapshots = [_ready(f"pool-{number}") for number in range(POOLS)]
        self.now = 1.0

    def step(self, number: int) -> tuple[Kept, Passage]:
        """The next step of one, and what there is to store of it."""
        self.now += 0.001
        before = self.snapshots[number]
        event = DRAIN if before.state is PoolState.READY else RESUME
        after, _ = step(before, event, self.now)
        self.snapshots[number] = after
        moment = Moment("a boot", self.now, 1.8e9 + self.now)
        why = "asked by an operator"
        passage = Passage(after.pool_id, moment.wall, event.kind, before.state, after.state, why)
        return Kept(after, moment, "local", next_token=after.epoch), passage


def _ready(pool_id: str) -> Snapshot:
    snapshot = Snapshot.new(PoolSpec(pool_id, EngineSpec("engine")), lineage=pool_id, now=0.0)
    for make in (lambda _: Start(), Staged, Healthy):
        event: Event = make(snapshot.epoch)
        snapshot, _ = step(snapshot, event, 1.0)
    return snapshot


def run() -> Iterator[Row]:
    """In microseconds of the loop's thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, kept = _durable_steps(folder)
        bare = _bare(folder / "bare.db", "NORMAL", rounds=ROUNDS)
        synced = _bare(folder / "synced.db", "FULL", rounds=1)
    yield _within("median", _median(ours), MEDIAN, _median(bare))
    yield _within("99 of 100", _p99(ours), P99, _p99(bare))
    peer = "the same, a sync each"
    yield Row.faster("durable step", _median(ours), "us", peer, _median(synced), least=2)
    yield Row("of these steps kept at once", 100 * kept, "%", "", None, None, ">= 80 %", kept >= 0.8)


def _within(what: str, value: float, most: float, peer: float) -> Row:
    return Row.within(
        f"durable step, {what}", value, "us", most, peer="sqlite3 alone, the same bytes", peer_value=peer
    )


def _durable_steps(folder: Path) -> tuple[list[float], float]:
    store, pools = SqliteStore(folder / "state.db"), Pools()
    store.load()
    kept = 0

    def durable_step(number: int) -> None:
        nonlocal kept
        kept += store.save(*pools.step(number))

    try:
        taken = _timed(durable_step, ROUNDS)
    finally:
        store.close()
    return taken, kept / ((ROUNDS + 1) * POOLS)


def _bare(path: Path, synchronous: str, *, rounds: int) -> list[float]:
    """A commit of a pool's row and one of its history, the texts ready made."""
    pools = Pools()
    texts = [[_texts(*pools.step(number)) for number in range(POOLS)] for _ in range(rounds + 1)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE pools (pool TEXT PRIMARY KEY, text TEXT)")
        connection.execute(
            "CREATE TABLE history (pool TEXT, number INTEGER, text TEXT, PRIMARY KEY (pool, number))"
        )
        counts = [0] * POOLS

        def commit(number: int) -> None:
            text, row = texts[counts[number]][number]
            counts[number] += 1
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO pools VALUES (?, ?)", (f"pool-{number}", text))
            values = (f"pool-{number}", counts[number], row)
            connection.execute("INSERT INTO history VALUES (?, ?, ?)", values)
            connection.execute("COMMIT")

        return _timed(commit, rounds)


def _texts(kept: Kept, passage: Passage) -> tuple[str, str]:
    return dump(kept), dump_passage(passage)


def _timed(work: Callable[[int], None], rounds: int) -> list[float]:
    """Microseconds of each; the first round, in which everything is new, does not count."""
    taken: list[float] = []
    for _ in range(rounds + 1):
        for number in range(POOLS):
            began = time.perf_counter()
            work(number)
            taken.append((time.perf_counter() - began) * 1e6)
        time.sleep(PAUSE)
        gc.collect()
    return taken[POOLS:]


def _median(taken: list[float]) -> float:
    return statistics.median(taken)


def _p99(taken: list[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]
