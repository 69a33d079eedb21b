"""How soon a ready engine is noticed, against looking every half second; and how soon a drained one is told.

Real processes, on the real clock. The engine notes when it could first answer 200, and when SIGTERM came.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row
from pool_lifecycle import EngineSpec, HealthSpec, PoolManager, PoolSpec, PoolState
from pool_lifecycle.interfaces import ProbeTarget
from pool_lifecycle_drivers.health_http import HttpProbe

ENGINE = Path(__file__).with_name("slow_engine.py")
LOADS = (0.3, 2.0, 6.0)
REPEATS = 7
PHASE = 0.0037
"""Each turn loads this many seconds longer, so that probes meet the moment of ready in every phase."""
DRAINS = 15
FIXED = 0.5
"""The peer's interval, in seconds: what a plain polling loop uses."""


def run() -> Iterator[Row]:
    """Loads of different lengths, engines that log when they are ready and engines that do not; drains."""
    with tempfile.TemporaryDirectory() as folder:
        for load in LOADS:
            yield from asyncio.run(_readiness(_made(folder, f"{load:g}"), load))
        yield asyncio.run(_drains(_made(folder, "drains")))


def _made(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


async def _readiness(folder: Path, load: float) -> list[Row]:
    late: dict[str, list[float]] = {"log": [], "silent": []}
    fixed: list[float] = []
    async with PoolManager(folder / "state") as manager:
        for turn in range(REPEATS):
            async with asyncio.TaskGroup() as tasks:
                for mode, values in late.items():
                    tasks.create_task(
                        _one(manager, folder / f"{mode}-{turn}", load + PHASE * turn, mode, values)
                    )
                tasks.create_task(_polled(folder / f"polled-{turn}", load, 0.1 * turn, fixed))
    peer = statistics.median(fixed) * 1e3
    goals = {"log": 10.0, "silent": max(15.0, 0.01 * load * 1e3)}
    words = {"log": "engine logs when ready", "silent": "engine says nothing"}
    return [
        Row.within(
            f"ready noticed, {load:g} s load, {words[mode]}",
            statistics.median(values) * 1e3,
            "ms",
            goals[mode],
            peer="every 500 ms",
            peer_value=peer,
        )
        for mode, values in late.items()
    ]


def _spec(name: str, notes: Path, load: float, mode: str) -> PoolSpec:
    arguments = (str(ENGINE), "{port}", str(load), mode, str(notes))
    return PoolSpec(name, EngineSpec(sys.executable, args=arguments), health=HealthSpec(path="/health"))


async def _one(manager: PoolManager, notes: Path, load: float, mode: str, late: list[float]) -> None:
    pool = await manager.add(_spec(notes.name, notes, load, mode))
    await pool.start()
    woken = time.monotonic()
    late.append(woken - _noted(notes, "ready"))
    await pool.stop()


async def _polled(notes: Path, load: float, offset: float, late: list[float]) -> None:
    """The peer: the same engine, looked at every half second; `offset` shifts the beat between turns."""
    port, probe = 20_000 + int(time.monotonic() * 1000) % 10_000, HttpProbe()
    arguments = (str(ENGINE), str(port), str(load + offset), "silent", str(notes))
    engine = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        while not (await probe.check(target=ProbeTarget("127.0.0.1", port), timeout=10)).ok:  # noqa: ASYNC110
            await asyncio.sleep(FIXED)
        late.append(time.monotonic() - _noted(notes, "ready"))
    finally:
        engine.terminate()
        await engine.wait()


async def _drains(folder: Path) -> Row:
    """From the last release to SIGTERM arriving in the engine."""
    ours: list[float] = []
    polled: list[float] = []
    async with PoolManager(folder / "state") as manager:
        for turn in range(DRAINS):
            notes = folder / f"drain-{turn}"
            pool = await manager.add(_spec(notes.name, notes, 0.0, "log"))
            await pool.start()
            lease = pool.acquire("bench")
            draining = asyncio.create_task(pool.drain(30))
            await pool.reached(PoolState.DRAINING)
            released = time.monotonic()
            lease.release()
            await draining
            ours.append(_noted(notes, "term") - released)
            polled.append(await _polled_release(0.007 * turn))
    return Row.within(
        "last release to SIGTERM",
        statistics.median(ours) * 1e3,
        "ms",
        1.0,
        peer="count polled every 100 ms",
        peer_value=statistics.median(polled) * 1e3,
    )


async def _polled_release(offset: float) -> float:
    """The peer: a drain that looks at the count every 100 ms, without even sending a signal."""
    released: list[float] = []
    asyncio.get_running_loop().call_later(0.15 + offset, lambda: released.append(time.monotonic()))
    while not released:  # noqa: ASYNC110 - the peer polls: that is what it is
        await asyncio.sleep(0.1)
    return time.monotonic() - released[0]


def _noted(notes: Path, what: str) -> float:
    lines = [line.split() for line in notes.read_text(encoding="ascii").splitlines()]
    return float(next(when for noted, when in lines if noted == what))
