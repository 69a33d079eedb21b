"""The life of an engine that keeps crashing, told as it happens: `make crash-loop`.

Launches a pretended engine that dies again and again, each time in another way, until its pool gives it up:
its circuit opens. A trial fails, the circuit opens for twice as long; then the engine is mended, the next
trial succeeds, and the circuit closes. Everything is real but the engine's moods: processes, signals, time
(about 12 seconds). Exit code 0 means that all of it went as told and nothing is left; Ctrl-C ends it
cleanly at any time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import textwrap
import time
import urllib.request
from functools import singledispatchmethod
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from pool_lifecycle import Backoff, Breaker, EngineSpec, Pool, PoolManager, PoolSpec
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.conclusions import conclusion
from pool_lifecycle.records import CircuitMoved, EngineCrashed, PreloadEnded, RestartScheduled
from pool_lifecycle.wording import plural, seconds, sentence

ENGINE = Path(__file__).parent / "engine_kit" / "moody_engine.py"

BACKOFF = Backoff(initial=0.5, jitter=0.1)
BREAKER = Breaker(threshold=3, timeout=1.5, stable=2.0)

PACE = 0.6
"""Seconds for which nothing happens, so that people can follow."""

WIDTH, MARGIN = 110, 20
"""Characters of a line, and of the column before its text that has the time and what it is about."""


class Story:
    """Tells what happens, with the time since the beginning in front. It observes the manager."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.circuit_closed = asyncio.Event()

    def tell(self, topic: str, text: str) -> None:
        """Something that happened, or that was concluded."""
        head = f"{time.monotonic() - self.began:6.2f} s  {topic}"
        self._write(f"{head:<{MARGIN}}{text}", margin=MARGIN)

    def explain(self, pool: Pool) -> None:
        """What the pool says when it is asked: why it is so, what comes next and when, what would help."""
        self.tell("explain()", pool.explain())

    def chapter(self, title: str, about: str) -> None:
        """A heading, and what to look for."""
        print(f"\n{title}\n")
        self._write(about)
        print()

    @staticmethod
    def _write(text: str, margin: int = 0) -> None:
        wrapped = textwrap.wrap(
            text, WIDTH, subsequent_indent=" " * margin, break_on_hyphens=False, replace_whitespace=False
        )
        print("\n".join(wrapped), flush=True)

    @singledispatchmethod
    def __call__(self, record: Any) -> None:
        """Every other record is not told here. The library's log has them all."""

    @__call__.register
    def _(self, record: PreloadEnded) -> None:
        if record.cause is None:
            self.tell("ready", f"The engine serves, {seconds(record.duration)} after this start began.")

    @__call__.register
    def _(self, record: EngineCrashed) -> None:
        cause = record.cause
        self.tell("crash", sentence(cause.message))
        evidence = ", ".join(map(repr, cause.evidence))
        self.tell(
            "verdict", f"{sentence(conclusion(cause))} This is {cause.confidence}. Evidence: {evidence}."
        )

    @__call__.register
    def _(self, record: RestartScheduled) -> None:
        if record.backoff:
            after = plural(record.crash_count, "failure")
            self.tell("next", f"The next attempt is in {seconds(record.backoff)}, after {after} in a row.")

    @__call__.register
    def _(self, record: CircuitMoved) -> None:
        change = record.change
        if change.new is BreakerState.OPEN:
            lasts = seconds(change.timeout)
            self.tell("circuit", f"OPEN after {change.failures} failures: nothing is started for {lasts}.")
        elif change.new is BreakerState.HALF_OPEN:
            self.tell("circuit", "HALF-OPEN: one start is allowed, on trial.")
        elif change.new is BreakerState.CLOSED:
            self.tell("circuit", f"CLOSED: the trial has run for {seconds(BREAKER.stable)}.")
            self.circuit_closed.set()


async def ask(story: Story, pool: Pool, prompt: str) -> None:
    """One request of a user, on a lease; the engine may not survive it."""
    await asyncio.sleep(PACE)
    async with pool.lease("a user") as lease:
        try:
            answer = await asyncio.to_thread(fetch, f"{lease.url}/{quote(prompt)}")
        except OSError:
            answer = "none, the connection broke"
    story.tell("user", f"Asks: {prompt!r}. The answer: {answer}.")


def fetch(url: str) -> str:
    """What is answered there. Raises OSError when nothing is."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


async def crash_by_asking(story: Story, pool: Pool, prompt: str) -> None:
    """The same, until the pool has found out what became of the engine."""
    await pool.reached("ready")
    await asyncio.gather(pool.reached("backing_off"), ask(story, pool, prompt))


async def crash_until_given_up(story: Story, pool: Pool) -> None:
    """Three crashes, each with other evidence. The third engine is killed by us, as a stranger might."""
    await pool.start()
    await crash_by_asking(story, pool, "What is in this very long book?")
    await crash_by_asking(story, pool, "What is CUDA error 700?")
    story.tell("note", "Its log speaks of a CUDA error, but in a user's words. Those convict nobody.")
    await pool.reached("ready")
    await asyncio.sleep(PACE)
    story.tell("stranger", "Kills the engine with SIGKILL, as the kernel does when memory runs out.")
    pid = pool.status().pid
    assert pid is not None  # it is ready
    os.kill(pid, signal.SIGKILL)
    await pool.reached("failed")
    story.tell("note", "A kill is not taken for a lack of memory unless the kernel says that it was one.")
    story.explain(pool)


async def fail_on_trial(story: Story, pool: Pool) -> None:
    """The circuit allows one start, which fails as well."""
    await pool.reached("starting")
    await pool.reached("failed")
    story.explain(pool)


async def succeed_on_trial(story: Story, pool: Pool) -> None:
    """The engine has been mended; the next trial runs long enough."""
    story.tell("note", "The engine is mended now. An operator could reset the circuit at once; nobody does.")
    await pool.reached("ready")
    story.explain(pool)
    await story.circuit_closed.wait()
    story.explain(pool)
    await ask(story, pool, "What is in this very long book?")


async def crash_loop(folder: Path) -> None:
    """The whole story. `fate` has a line for each launch; what comes after the last one works."""
    fate = folder / "fate"
    fate.write_text("stumbles\ncrashes\n\nbreaks\n")
    arguments = ("-I", str(ENGINE), "--port", "{port}", "--fate", str(fate))
    spec = PoolSpec("chat", EngineSpec(sys.executable, args=arguments), backoff=BACKOFF, breaker=BREAKER)
    story = Story()
    async with PoolManager(folder / "state", observers=[story]) as manager:
        pool = await manager.add(spec)
        story.chapter("1. An engine crashes, again and again", WAITS)
        await crash_until_given_up(story, pool)
        story.chapter("2. A trial fails", "That opens the circuit again, for twice as long.")
        await fail_on_trial(story, pool)
        story.chapter(
            "3. A trial succeeds", f"It has to run for {seconds(BREAKER.stable)} to close the circuit."
        )
        await succeed_on_trial(story, pool)
        story.chapter(
            "4. The end", "What is done on purpose is no failure, and nothing starts again after it."
        )
        await pool.stop()
        story.explain(pool)


INTRODUCTION = """\
The life of an engine that keeps crashing, and what its pool makes of it. At any moment the pool says why
it is as it is, what comes next and what would change that: those are the lines marked explain()."""

WAITS = (
    f"The pool starts the engine again after {seconds(BACKOFF.initial)}, give or take a tenth, and waits "
    f"twice as long each time. After {BREAKER.threshold} failures in a row it gives up: its circuit opens."
)


def main() -> int:
    """Run it in a folder of its own; 0 if it went as told and no process is left, 130 after Ctrl-C."""
    print(INTRODUCTION)
    with tempfile.TemporaryDirectory(prefix="crash-loop-") as folder:
        try:
            asyncio.run(crash_loop(Path(folder)))
        except KeyboardInterrupt:
            print("\nInterrupted: the engine has been ended, and its folder removed.")
            return 130
    left = psutil.Process().children(recursive=True)
    print(f"\nLeft behind: {left or 'no process, no file.'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
