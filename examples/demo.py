"""The main job on a real engine, told as it happens: `make demo`.

Makes a small model, launches llama.cpp's server on it, waits until it is really ready, works on leases,
drains while one lease is still open, stops, and looks whether anything was left behind. Exit code 0 means
that all of it went as told.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from rich.console import Console

from engine_kit.command import make_llama_server
from engine_kit.tiny_model import make_tiny_model
from pool_lifecycle import EngineSpec, Lease, Pool, PoolManager, PoolSpec, PoolState
from pool_lifecycle.records import Moved, Record
from pool_lifecycle.wording import seconds

SLOTS = 2
OPEN_FOR = 2.0
"""How long the demo holds its last lease open into the drain, in seconds."""


class Story:
    """Tells what happens, with the time since the beginning in front."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    def tell(self, text: str) -> None:
        """One line."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.2f} s[/dim]  {text}", highlight=False)

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print(f"\n[bold cyan]{title}[/bold cyan]")

    def observe(self, record: Record) -> None:
        """The observer: every change of state, why, and how long the last one took."""
        if isinstance(record, Moved) and record.notice.source is not record.notice.target:
            notice = record.notice
            took = f"[dim]after {seconds(record.lasted)}[/dim]"
            self.tell(f"{notice.source} → [bold]{notice.target}[/bold] {took}: {notice.why}")

    @asynccontextmanager
    async def watching(self, pool: Pool) -> AsyncIterator[None]:
        """While it lasts, show what the pool is doing and what was last seen of it."""
        with self.console.status("") as spinner:
            ticker = asyncio.create_task(self._tick(pool, spinner.update))
            try:
                yield
            finally:
                ticker.cancel()

    @staticmethod
    async def _tick(pool: Pool, show: Callable[[str], None]) -> None:
        while True:
            show(pool.explain())
            await asyncio.sleep(0.1)


def complete(lease: Lease, prompt: str, tokens: int = 12) -> str:
    """Real work: a completion from the engine that the lease is on."""
    body = json.dumps({"prompt": prompt, "n_predict": tokens}).encode()
    with urllib.request.urlopen(f"{lease.url}/completion", body, timeout=60) as answer:
        return str(json.load(answer)["content"]).strip()


async def work(story: Story, pool: Pool, holder: str, prompt: str) -> None:
    """One request: a lease for as long as the completion takes."""
    async with pool.lease(holder, wait=10) as lease:
        text = await asyncio.to_thread(complete, lease, prompt)
        story.tell(f"lease {lease.token} ({holder}, generation {lease.generation}): {prompt!r} → {text!r}")


async def drain_with_an_open_lease(story: Story, pool: Pool) -> None:
    """The drain waits for the lease in flight, refuses new ones, and stops the engine at its release."""
    lease = pool.acquire("last-request")
    story.tell(f"lease {lease.token} (last-request) is open; now the drain begins")
    draining = asyncio.create_task(pool.drain(deadline=30))
    async with story.watching(pool):
        await pool.reached(PoolState.DRAINING)
        try:
            pool.acquire("too-late")
        except Exception as refusal:  # noqa: BLE001 - shown, whatever it is
            story.tell(f"a new lease is refused: {refusal}")
        text = await asyncio.to_thread(complete, lease, "still", 24)
        story.tell(f"the open lease still works: 'still' → {text!r}")
        await asyncio.sleep(OPEN_FOR)
        story.tell("the last lease is released")
        lease.release()
        outcome = await draining
    took = seconds(outcome.duration)
    story.tell(f"drain outcome: {outcome.end} in {took}, {outcome.leases_left} leases left")


TO_STAY = {".log", ".db"}


def left_behind(pid: int | None, url: str, state: Path) -> list[str]:
    """What should not be there any more: the process, its port, files that name it, the lock.

    Logs are to stay, and so is what the next manager would have to know.
    """
    host, port = url.removeprefix("http://").split(":")
    left = [f"process {pid}"] if pid is not None and psutil.pid_exists(pid) else []
    left += [f"child {child}" for child in psutil.Process().children(recursive=True)]
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port))) == 0:
            left.append(f"port {port}")
    return left + [str(path) for path in state.rglob("*") if path.is_file() and path.suffix not in TO_STAY]


async def demo(story: Story, folder: Path) -> list[str]:
    """The whole story; returns what was left behind."""
    story.chapter("A model and an engine")
    model = make_tiny_model(folder / "tiny.gguf")
    story.tell(f"made a random GGUF model: {model.name}")
    engine = EngineSpec(str(make_llama_server(folder / "llama-server")), profile="llama.cpp")
    async with PoolManager(folder / "state", observers=[story.observe]) as manager:
        pool = await manager.add(PoolSpec("chat", engine, model=f"file:{model}", slots=SLOTS))
        story.chapter("Start: until it is really ready")
        async with story.watching(pool):
            await pool.start()
        status = pool.status()
        story.tell(f"ready: pid {status.pid}, {status.url}, {status.slots} slots")
        story.chapter("Work: three requests on two slots")
        async with story.watching(pool):
            await asyncio.gather(
                *(work(story, pool, f"req-{n}", word) for n, word in enumerate(("one", "two", "three"), 1))
            )
        story.chapter("Drain: with one lease still open")
        await drain_with_an_open_lease(story, pool)
    return left_behind(status.pid, status.url or "", folder / "state")


def main() -> int:
    """Run it in a folder of its own; 0 if nothing was left behind."""
    story = Story(Console(soft_wrap=True))
    with tempfile.TemporaryDirectory(prefix="pool lifecycle demo ") as folder:
        left = asyncio.run(demo(story, Path(folder)))
    story.chapter("What is left")
    story.tell(", ".join(left) if left else "no process, no port, no lock")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
