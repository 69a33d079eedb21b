"""A change of model: how long nobody is let in, how many are refused in a surge, what the decision costs.

The engines are real processes, on the real clock. The gap is held against stopping and starting the same
engine by hand, with nothing around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from transitions import Machine

from benchmarks.rows import Row, each_in_turn
from benchmarks.supervised import Workshop, workshop
from pool_lifecycle import EngineSpec, Limits, Pool, PoolManager, PoolSpec, PoolState, Snapshot, step
from pool_lifecycle.errors import LeaseRefused
from pool_lifecycle.events import Event, Healthy, Reload, Resume, Staged, Start, Strategy, Target
from pool_lifecycle.records import Moved, Record

SWAPS = 15
OVERHEAD = 50.0
"""Milliseconds that may come on top of stopping one engine and starting the other."""

SURGES = 10
RATE = 200.0
"""Leases that are asked for in a second."""

WORK = 0.02
"""Seconds that each of them is held."""

STEPS = 4000
BEGINS, ENDS = PoolState.RELOADING_DRAINING, PoolState.RELOADING_PROVING
LIMITS = Limits(proving=0.2)


def run() -> Iterator[Row]:
    """Nothing is left running, however this ends. Without a C compiler there is no engine to be changed."""
    yield _decision()
    if shutil.which("cc") is None:
        yield Row(
            "gap of a drain_first", 0.0, "ms", "no cc: not measured", None, None, "stop + start", met=False
        )
        return
    with workshop() as made:
        fifo = made.folder / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # so that engines can say they run
        try:
            yield _gap(made, fifo)
            yield _surge(made, fifo)
        finally:
            os.close(reader)


# --- the decision ---------------------------------------------------------------------------------------


def _decision() -> Row:
    """A reload that begins, and is called off: two steps."""
    times = each_in_turn({"ours": _steps(), "bare": _bare_transitions()}, number=STEPS)
    ours, bare = (times[name] / 2 * 1e6 for name in ("ours", "bare"))
    return Row.against("step() of a reload", ours, "us", "bare transitions trigger", bare, most=4.0)


def _steps() -> Callable[[], None]:
    ready = Snapshot.new(PoolSpec("bench", EngineSpec("engine")), lineage="bench", now=0.0)
    for make in (lambda _: Start(), Staged, Healthy):
        event: Event = make(ready.epoch)
        ready, _ = step(ready, event, 1.0)
    reload, resume = Reload(Target("file:/new"), Strategy.STAGE_FIRST), Resume()

    def steps() -> None:
        staging, _ = step(ready, reload, 1.0)
        step(staging, resume, 1.0)

    return steps


def _bare_transitions() -> Callable[[], None]:
    class Model:
        reload: Callable[[], bool]
        resume: Callable[[], bool]

    model = Model()
    machine = Machine(model, states=["ready", "staging"], initial="ready", auto_transitions=False)
    machine.add_transition("reload", "ready", "staging")
    machine.add_transition("resume", "staging", "ready")

    def triggers() -> None:
        model.reload()
        model.resume()

    return triggers


# --- with one engine at a time --------------------------------------------------------------------------


def _gap(made: Workshop, fifo: Path) -> Row:
    with tempfile.TemporaryDirectory(dir=made.folder) as folder:
        ours = asyncio.run(_gaps(Path(folder), made, fifo)) * 1e3
    bare = statistics.median(_by_hand(made, fifo) for _ in range(SWAPS)) * 1e3
    name, peer = "gap of a drain_first", "stop + start by hand"
    return Row.within(name, ours, "ms", bare + OVERHEAD, peer=peer, peer_value=bare)


async def _gaps(folder: Path, made: Workshop, fifo: Path) -> float:
    """Seconds for which no lease is granted, from the last of the old engine to the first of the new one."""
    times: dict[PoolState, float] = {}
    gaps: list[float] = []

    def note(record: Record) -> None:
        if isinstance(record, Moved):
            times[record.notice.target] = record.at

    async with _serving(folder, made, fifo, note) as (pool, models):
        for number in range(SWAPS):
            await pool.reload(models[number % 2], strategy="drain_first")
            gaps.append(times[ENDS] - times[BEGINS])
    return statistics.median(gaps)


def _by_hand(made: Workshop, fifo: Path) -> float:
    """Seconds from the SIGTERM of one engine until another one lets somebody in."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(made.engine), str(fifo), str(port), "well"]
    old = subprocess.Popen(command)
    _until_open(port)
    began = time.perf_counter()
    old.send_signal(signal.SIGTERM)
    old.wait()
    new = subprocess.Popen(command)
    _until_open(port)
    took = time.perf_counter() - began
    new.kill()
    new.wait()
    return took


def _until_open(port: int) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as asking:
            asking.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            if asking.recv(64):
                return
        time.sleep(0.0005)


# --- with two -------------------------------------------------------------------------------------------


def _surge(made: Workshop, fifo: Path) -> Row:
    with tempfile.TemporaryDirectory(dir=made.folder) as folder:
        granted, refused = asyncio.run(_surges(Path(folder), made, fifo))
    name = f"leases refused in {SURGES} surges at {RATE:g}/s"
    return Row(name, refused, f"of {granted + refused}", "", None, None, "0", refused == 0)


async def _surges(folder: Path, made: Workshop, fifo: Path) -> tuple[int, int]:
    """How many leases were granted and refused meanwhile."""
    counts = {True: 0, False: 0}
    async with _serving(folder, made, fifo) as (pool, models):
        asking = asyncio.ensure_future(_ask(pool, counts))
        for number in range(SURGES):
            await pool.reload(models[number % 2], strategy="surge")
            await pool.reached("ready")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return counts[True], counts[False]


async def _ask(pool: Pool, counts: dict[bool, int]) -> None:
    """For leases, at a steady rate, however long each is held."""
    clock = asyncio.get_running_loop().time
    due = clock()
    async with asyncio.TaskGroup() as holders:
        while True:
            try:
                lease = pool.acquire("bench")
            except LeaseRefused:
                counts[False] += 1
            else:
                counts[True] += 1
                holders.create_task(_hold(lease.release))
            due = max(due + 1 / RATE, clock() - WORK)  # what was missed is asked for, but no crowd of it
            await asyncio.sleep(max(0.0, due - clock()))


async def _hold(release: Callable[[], object]) -> None:
    try:
        await asyncio.sleep(WORK)
    finally:
        release()


@contextlib.asynccontextmanager
async def _serving(
    folder: Path, made: Workshop, fifo: Path, *observers: Callable[[Record], None]
) -> AsyncIterator[tuple[Pool, tuple[str, str]]]:
    """A ready pool, and two other models for it."""
    paths = [folder / name for name in ("first", "second", "third")]
    for path in paths:
        path.write_bytes(b"a model")
    first, second, third = (f"file:{path}" for path in paths)
    engine = EngineSpec(str(made.engine), args=(str(fifo), "{port}", "well"))
    spec = PoolSpec("chat", engine, model=first, slots=64, limits=LIMITS)
    async with PoolManager(folder / "state", observers=observers) as manager:
        pool = await manager.add(spec)
        await pool.start()
        yield pool, (second, third)
