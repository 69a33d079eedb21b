"""Two GPUs and three pools, told as it happens: `make two-gpus`. No GPU is needed.

The GPUs are imagined, behind a stand-in for NVIDIA's library (`examples/stub_nvml`, compiled by `cc`); all
else is real: the probe that talks to that library, processes, signals, time (some 12 seconds). Pools see the
devices that they were given; on each device one start happens at a time; where memory does not suffice it is
said who has it; and when one GPU falls off the bus, the pool on the other one goes on. Exit code 0 means that
all of it went as told and nothing is left; Ctrl-C ends it cleanly at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import AsyncIterator
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import psutil

from pool_lifecycle import Backoff, EngineSpec, Pool, PoolManager, PoolSpec
from pool_lifecycle.device_records import DeviceFaulted, DeviceReleased, DeviceWell
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import FaultKind
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.placement.xid import told
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import EngineCrashed, PreloadEnded
from pool_lifecycle.spec import Limits
from pool_lifecycle.wording import seconds, sentence, size
from pool_lifecycle_drivers.gpu_nvml import NvmlGpuProbe
from stub_nvml.stub import GIB, Gpu, Process, StubbedNvml

ENGINE = Path(__file__).parent / "engine_kit" / "gpu_engine.py"

FIRST, SECOND = "GPU-5a1c6d2e-1b2c-4d5e-8f90-a1b2c3d4e5f0", "GPU-77c0ffee-9e0d-4b1a-a2b3-0123456789ab"

RELEASE = 1.0
"""Seconds for which a GPU that was at fault has to be well until pools may start on it again."""

LOADS, RETURNS = 0.5, 0.5
"""Seconds that a model takes to load, and that the memory of an ended process takes to come back."""

WIDTH, MARGIN = 110, 20
"""Characters of a line, and of the column before its text that has the time and what it is about."""


class Story:
    """Tells what happens, with the time since the beginning in front. It observes the manager."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.lost = asyncio.Event()

    def tell(self, topic: str, text: str) -> None:
        """Something that happened, or that was concluded."""
        head = f"{time.monotonic() - self.began:6.2f} s  {topic}"
        self._write(f"{head:<{MARGIN}}{text}", margin=MARGIN)

    def explain(self, pool: Pool) -> None:
        """What a pool says when it is asked."""
        self.tell("explain()", pool.explain())

    def chapter(self, title: str, about: str) -> None:
        """A heading, and what to look for."""
        print(f"\n{title}\n")
        self._write(" ".join(about.split()))
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
            self.tell(record.pool_id, f"Ready, {seconds(record.duration)} after this start began.")

    @__call__.register
    def _(self, record: EngineCrashed) -> None:
        self.tell(record.pool_id, sentence(record.cause.message))

    @__call__.register
    def _(self, record: DeviceFaulted) -> None:
        isolated = "It is in quarantine." if record.isolated else "That is no fault of the device."
        self.tell("device", f"{record.device[:1]} reports {told(record.fault)}. {isolated}")
        if record.fault.kind is FaultKind.LOST:
            self.lost.set()

    @__call__.register
    def _(self, record: DeviceWell) -> None:
        self.tell("device", f"{record.device[:1]}: {record.message}. It has to stay so for {RELEASE:g} s.")

    @__call__.register
    def _(self, record: DeviceReleased) -> None:
        self.tell("device", f"{record.device[:1]} is released: {record.by}.")


class GpuWorld:
    """What the hardware would do: processes that ask for memory get it, and give it back at their end."""

    def __init__(self, folder: Path, story: Story) -> None:
        self.claims = folder / "claims"
        self.claims.mkdir()
        self._story = story
        self._users: dict[int, tuple[str, int]] = {}
        self.stub = StubbedNvml(folder / "nvml")
        self.stub.show(Gpu(FIRST, pci="00000000:01:00.0"), Gpu(SECOND, pci="00000000:02:00.0"))

    @contextlib.asynccontextmanager
    async def turning(self) -> AsyncIterator[None]:
        """Within it, it goes on."""
        turning = asyncio.create_task(self._turn())
        try:
            yield
        finally:
            turning.cancel()

    async def _turn(self) -> None:
        while True:
            for claim in self.claims.iterdir():
                if claim.suffix == "":
                    self._load(claim)
            for pid in [pid for pid in self._users if not psutil.pid_exists(pid)]:
                del self._users[pid]
                self.stub.hold(*self._processes())
                asyncio.get_running_loop().call_later(RETURNS, self._show)
            await asyncio.sleep(0.02)

    def _load(self, claim: Path) -> None:
        visible, memory = claim.read_text().split()
        claim.unlink()
        self._story.tell("engine", f"Pid {claim.name} loads its model; all that it sees is GPU {visible}.")
        self.take(int(claim.name), FIRST if visible == "0" else SECOND, int(memory))
        asyncio.get_running_loop().call_later(LOADS, claim.with_suffix(".granted").touch)

    def take(self, pid: int, uuid: str, memory: int) -> None:
        """A process takes memory of a GPU."""
        self._users[pid] = uuid, memory
        self._show()

    def _processes(self) -> list[Process]:
        return [Process(uuid, pid, memory) for pid, (uuid, memory) in self._users.items()]

    def _show(self) -> None:
        for uuid in (FIRST, SECOND):
            used = sum(memory for where, memory in self._users.values() if where == uuid)
            self.stub.change(uuid, free=80 * GIB - used)
        self.stub.hold(*self._processes())


def declared(name: str, mask: str, memory: int, claims: Path) -> PoolSpec:
    """A pool on one GPU."""
    arguments = ("-I", str(ENGINE), "--port", "{port}", "--memory", str(memory), "--claims", str(claims))
    engine = EngineSpec(sys.executable, args=arguments, device_memory=memory)
    return PoolSpec(
        name,
        engine,
        device_mask=mask,
        limits=Limits(memory_wait=0.5),
        backoff=Backoff(initial=0.5, jitter=0.0),
    )


async def start_together(story: Story, manager: PoolManager, claims: Path) -> tuple[Pool, Pool, Pool]:
    """Three pools want to start at once: two of them on the same GPU."""
    chat = await manager.add(declared("chat", "0", 40 * GIB, claims))
    code = await manager.add(declared("code", "1", 40 * GIB, claims))
    draft = await manager.add(declared("draft", SECOND, 20 * GIB, claims))
    for pool in (chat, code, draft):
        story.tell(pool.pool_id, f"On GPU {pool.spec.device_mask}.")
    await asyncio.gather(chat.start(), code.start(), draft.start())
    return chat, code, draft


@contextlib.asynccontextmanager
async def a_stranger() -> AsyncIterator[int]:
    """A process that is none of ours, by its pid."""
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        yield stranger.pid
    finally:
        stranger.kill()
        await stranger.wait()


async def be_refused(story: Story, world: GpuWorld, draft: Pool) -> None:
    """Somebody else takes the memory that the pool counted on."""
    await draft.stop()
    async with a_stranger() as pid:
        world.take(pid, SECOND, 30 * GIB)
        story.tell("stranger", f"Pid {pid} takes {size(30 * GIB)} of GPU 1.")
        try:
            await draft.start()
        except StartFailed as error:
            story.tell("draft", f"Does not start: {error.cause.message}.")
            story.tell("draft", sentence(error.remedy))
        else:
            raise RuntimeError("it should not have started")
    story.tell("stranger", "Has ended. The pool need not be told: it tries again.")
    await draft.reached("ready")


async def lose_one(story: Story, world: GpuWorld, chat: Pool, *others: Pool) -> None:
    """A GPU falls off the bus: what is on it is unready at once, what is not does not notice."""
    world.stub.xid(SECOND, 79)
    await asyncio.gather(*(one.reached("failed") for one in others))
    world.stub.lose(SECOND)
    await story.lost.wait()
    story.explain(others[0])
    async with chat.lease("a user") as lease:
        answer = await asyncio.to_thread(fetch, lease.url)
    story.tell("chat", f"Answers a user, as before: {answer}.")


async def get_it_back(world: GpuWorld, *others: Pool) -> None:
    """It is there again."""
    world.stub.lose(SECOND, lost=False)
    await asyncio.gather(*(one.reached("ready") for one in others))


def fetch(url: str) -> str:
    """What is answered there."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


async def two_gpus(folder: Path) -> None:
    """The whole story."""
    story = Story()
    world = GpuWorld(folder, story)
    os.environ.update(world.stub.environment)
    drivers = Drivers({Interface.GPU_PROBE: {"nvml": NvmlGpuProbe(every=0.25)}})
    policy = DevicePolicy(release=RELEASE, look=0.25)
    async with (
        world.turning(),
        PoolManager(folder / "state", drivers=drivers, observers=[story], devices=policy) as manager,
    ):
        story.chapter("1. Three pools start on two GPUs", TOGETHER)
        chat, code, draft = await start_together(story, manager, world.claims)
        story.chapter("2. Somebody else takes the memory", STRANGER)
        await be_refused(story, world, draft)
        story.chapter("3. A GPU falls off the bus", FALLEN)
        await lose_one(story, world, chat, code, draft)
        story.chapter("4. It is back", BACK)
        await get_it_back(world, code, draft)
        for pool in (chat, code, draft):
            story.tell(pool.pool_id, f"{pool.state}, generation {pool.snapshot.generation}.")


INTRODUCTION = """\
Two imagined GPUs of 80 GiB, three pools: chat on the first GPU, code and draft on the second."""

TOGETHER = """\
All at once, but on one GPU one after the other, so that each sees what the one before it has taken. Every
engine sees the GPU that it was given, and no other."""

STRANGER = """\
A process that nobody told us of takes 30 GiB of GPU 1, so that 20 GiB for draft are no longer there. It is
not started in the hope that it fits: it is said what is missing, and who has it."""

FALLEN = """\
The driver reports Xid 79 of GPU 1. The pools on it are unready at once, whatever their engines answer, and
nothing is started there. The pool on GPU 0 does not notice."""

BACK = f"""\
When it has been well for {RELEASE:g} s its quarantine ends by itself; an operator could end it at once, by
manager.release_device("1")."""


def main() -> int:
    """Run it in a folder of its own; 0 if it went as told and no process is left, 130 after Ctrl-C."""
    print(INTRODUCTION)
    with tempfile.TemporaryDirectory(prefix="two-gpus-") as folder:
        try:
            asyncio.run(two_gpus(Path(folder)))
        except KeyboardInterrupt:
            print("\nInterrupted: the engines have been ended, and their folder removed.")
            return 130
    left = psutil.Process().children(recursive=True)
    print(f"\nLeft behind: {left or 'no process, no file.'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
