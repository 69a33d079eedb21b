"""Changes of model under the eyes of those whom they concern: clients, and readers of what is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from attrs import define, field

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import PoolLifecycleError
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.records import Moved, Record
from pool_lifecycle.testing.memory import MemoryLauncher
from tests.twisted import Passing
from tests.worlds import World


def handed_off(world: World) -> tuple[str, str]:
    """Which model the handoff document names, and where."""
    document = json.loads((world.folder / "engines/chat.json").read_text())
    return str(document["model"]["path"]), str(document["url"])


def url_of(world: World, generation: int) -> str:
    (engine,) = [one for one in world.launcher.engines if one.request.generation == generation]
    return f"http://{engine.request.host}:{engine.request.port}"


@define
class Client:
    """Takes a lease every virtual millisecond. `on` has the generation of each, `refused` every refusal."""

    world: World = field(repr=False)
    on: list[int] = field(factory=list)
    refused: list[PoolLifecycleError] = field(factory=list)

    async def work(self) -> None:
        while True:
            try:
                with self.world.pool.acquire("client") as lease:
                    self.on.append(lease.generation)
                    await asyncio.sleep(0.001)
            except PoolLifecycleError as error:
                self.refused.append(error)
                await asyncio.sleep(0.001)


@define
class Reader:
    """Looks at everything that readers have, at every change and every virtual millisecond.

    The handoff document may be as late as a disk is.
    """

    world: World = field(repr=False)
    seen: list[tuple[str | None, str | None]] = field(factory=list, repr=False)
    wrong: list[str] = field(factory=list)
    over: bool = False

    def __call__(self, record: Record) -> None:
        if isinstance(record, Moved) and not self.over:
            self.look()

    def look(self) -> None:
        status, entry = self.world.pool.status(), self.world.manager.registry.get("chat")
        assert entry is not None
        living = {url_of(self.world, one.request.generation) for one in self.world.living}
        self.seen.append((status.model, status.url))
        if not (entry.live and entry.ready and not entry.draining and status.ready):
            self.wrong.append(f"nothing serves in {status.state}")
        if status.url not in living:
            self.wrong.append(f"status has {status.url} in {status.state}")

    def look_at_the_document(self) -> None:
        url, state = handed_off(self.world)[1], self.world.pool.state
        if url not in {url_of(self.world, one.request.generation) for one in self.world.living}:
            self.wrong.append(f"the handoff document has {url} in {state}")

    async def work(self) -> None:
        self.world.manager.observe(self)
        while True:
            self.look()
            self.look_at_the_document()
            await asyncio.sleep(0.001)


Seen = tuple[Client, Reader, PoolLifecycleError | None]


async def watched(world: World, asking: asyncio.Task[None]) -> Seen:
    """A client and a reader are at it until who asked has been answered, and a little longer."""
    client, reader = Client(world), Reader(world)
    busy = [asyncio.create_task(client.work()), asyncio.create_task(reader.work())]
    await asyncio.wait((asking,))
    await asyncio.sleep(0.1)
    reader.over = True
    for one in busy:
        one.cancel()
    await asyncio.wait(busy)
    error = asking.exception()
    assert error is None or isinstance(error, PoolLifecycleError)
    return client, reader, error


class Scarce(Passing):
    """A launcher on a host with so many bytes of memory free."""

    driver: MemoryLauncher

    def __init__(self, driver: MemoryLauncher, free: int) -> None:
        super().__init__(driver)
        self.free = free
        self.asked: list[int | None] = []

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        self.asked.append(request.memory)
        if request.memory is None or request.memory <= self.free:
            return await self.driver.preflight(request=request)
        what = f"{request.memory - self.free} bytes of memory too few"
        return (Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, what, remedy="end something"),)


def scarce(free: int) -> Callable[[object], object]:
    """What puts such a launcher into a world."""
    return lambda driver: Scarce(driver, free) if isinstance(driver, MemoryLauncher) else driver


def free_now(world: World, free: int) -> None:
    """From now on so many bytes are free there."""
    launcher = world.pool.host.drivers.launcher("memory")
    assert isinstance(launcher, Scarce)
    launcher.free = free
