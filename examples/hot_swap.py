"""A model is swapped while clients never stop asking, with two strategies side by side: `make hot-swap`.

Clients take leases on a pool of llama.cpp's own server and have their prompts completed, without a rest. Then
the model is changed: first with `surge`, where the new engine starts beside the old one, then with
`drain_first`, where it takes its place. What every client noticed is drawn here, and with `-o FILE` as a
picture. The models are random ones, made on the spot; all of it takes about half a minute. Exit code 0 means
that in the surge no lease was refused, that no answer failed at all, and that nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil

from engine_kit.command import make_llama_server
from engine_kit.tiny_model import make_tiny_model
from hot_swap_plot import Answer, Run, as_svg, as_text, high
from pool_lifecycle import EngineSpec, Limits, Pool, PoolManager, PoolSpec, PoolState
from pool_lifecycle.errors import LeaseRefused
from pool_lifecycle.records import Moved, Record

CLIENTS = 4
WORDS = 12
"""How many words each client asks for at a time."""

BEFORE, AFTER = 1.5, 1.5
"""Seconds of load before the change, and after it."""

KNOCK_AGAIN = 0.05
"""Seconds after which a client that was refused asks again."""

LIMITS = Limits(proving=1.5)
"""The new model has to serve for this long until the old one goes for good."""

HAPPENS = {
    (PoolState.READY, PoolState.SURGING_STAGING): "the model is to change",
    (PoolState.READY, PoolState.RELOADING_DRAINING): "the model is to change",
    (PoolState.SURGING_STARTING, PoolState.SURGING_PROVING): "the new engine takes over",
    (PoolState.RELOADING_STOPPING, PoolState.RELOADING_STARTING): "the old engine has ended",
    (PoolState.RELOADING_STARTING, PoolState.RELOADING_PROVING): "the new engine serves",
    (PoolState.SURGING_PROVING, PoolState.RETIRING): "it has proven itself",
    (PoolState.RELOADING_PROVING, PoolState.READY): "it has proven itself",
}
"""The passages that a plot shows."""


def complete(url: str) -> str:
    """What the model says. Raises OSError or ValueError when there is no answer."""
    body = json.dumps({"prompt": "the quiet engine", "n_predict": WORDS}).encode()
    with urllib.request.urlopen(f"{url}/completion", body, timeout=60) as answer:
        return str(json.load(answer)["content"])


async def client(pool: Pool, run: Run, began: float, name: str) -> None:
    """Ask, and ask again; what comes of it is noted in `run`."""
    clock = asyncio.get_running_loop().time
    while True:
        at = clock()
        try:
            async with pool.lease(name) as lease:
                try:
                    await asyncio.to_thread(complete, lease.url)
                except (OSError, ValueError):
                    run.failed += 1
                else:
                    run.answers.append(Answer(at - began, clock() - at, lease.generation))
        except LeaseRefused:
            run.refused.append(at - began)
            await asyncio.sleep(KNOCK_AGAIN)


@asynccontextmanager
async def load(pool: Pool, run: Run, began: float) -> AsyncIterator[None]:
    """Clients at work; at the end they are sent home."""
    clients = [asyncio.ensure_future(client(pool, run, began, f"client {n}")) for n in range(CLIENTS)]
    try:
        yield
    finally:
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


def note(run: Run, began: float, record: Record) -> None:
    """An observer: notes when what happened."""
    if isinstance(record, Moved) and (record.notice.source, record.notice.target) in HAPPENS:
        what = HAPPENS[record.notice.source, record.notice.target]
        run.moments.append((record.at - began, what))


async def swap(folder: Path, strategy: str, server: Path, models: tuple[Path, Path]) -> Run:
    """Change the model under load; what the clients noticed."""
    old, new = models
    spec = PoolSpec(
        "chat",
        EngineSpec(str(server), profile="llama.cpp", args=("--threads", "1")),  # clients have to run, too
        model=f"file:{old}",
        slots=CLIENTS,
        limits=LIMITS,
    )
    run = Run(strategy)
    async with PoolManager(folder / strategy) as manager:
        pool = await manager.add(spec)
        await pool.start()
        clock = asyncio.get_running_loop().time
        began = clock()
        manager.observe(partial(note, run, began))
        async with load(pool, run, began):
            await asyncio.sleep(BEFORE)
            await pool.reload(f"file:{new}", strategy=strategy)
            await asyncio.sleep(AFTER)
            run.ends = clock() - began
    return run


async def swaps(folder: Path) -> list[Run]:
    """One change of model for each strategy."""
    server = make_llama_server(folder / "llama-server")
    old, new = (
        make_tiny_model(folder / f"{name}.gguf", seed=seed, n_embd=256) for seed, name in enumerate("ab")
    )
    runs = []
    for strategy in ("surge", "drain_first"):
        print(
            f"Swapping the model with {strategy}, while {CLIENTS} clients never stop asking ...", flush=True
        )
        runs.append(await swap(folder, strategy, server, (old, new)))
    return runs


def told(runs: list[Run]) -> str:
    """All runs as text, to the same scale."""
    highest = high(runs)
    return "\n\n".join(f"{run.strategy}: {run.summary}\n\n{as_text(run, highest)}" for run in runs)


def main() -> int:
    """Run it in a folder of its own. Returns the exit code; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="Swap a model under load, and draw what clients notice.")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the picture there, as SVG")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hot-swap-") as folder:
        try:
            runs = asyncio.run(swaps(Path(folder)))
        except KeyboardInterrupt:
            print("\nInterrupted: the engines have been ended, and their folder removed.")
            return 130
    print(f"\n{told(runs)}")
    if options.output:
        Path(options.output).write_text(as_svg(runs, "A model is swapped under load"), encoding="utf-8")
        print(f"\nThe picture: {options.output}")
    left = psutil.Process().children(recursive=True)
    print(f"\nLeft behind: {left or 'no process, no file.'}")
    went_well = not runs[0].refused and not any(run.failed for run in runs) and not left
    return 0 if went_well else 1


if __name__ == "__main__":
    sys.exit(main())
