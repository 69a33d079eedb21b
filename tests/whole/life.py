"""The life of one manager on the simulated host: from its start to its orderly end, or to its sudden one.

A manager that is killed is not cancelled: its loop just does not run any more, and nothing that it may still
do in that very instant (Python cannot stop within a function) reaches the host or the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from pool_lifecycle.boot import Boot
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.testing.virtual_time import Deadlock, VirtualTimeLoop
from tests.whole import liveness
from tests.whole.devices import Listener
from tests.whole.disk import LifeStore
from tests.whole.drivers import drivers_of
from tests.whole.faults import afflicted

if TYPE_CHECKING:
    from tests.whole.world import World

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LONGEST = 4000.0
"""Seconds that no manager lives, if everybody is answered."""

CLOSES = 16
"""How often a coroutine that will not be closed is closed again."""


class SimulatedLoop(VirtualTimeLoop):
    """Virtual time, also for threads: what is given to them is done after `threads_take` seconds."""

    threads_take = 0.0

    def __init__(self, start: float) -> None:
        super().__init__(start=start, limit=LONGEST)
        self.kept_tasks: set[asyncio.Task[Any]] = set()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Done later, on this thread."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        self.call_later(self.threads_take, _run, done, lambda: func(*args))
        return done

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        """As ever, but kept until it is done: at a kill none may end by itself because nobody knows it."""
        task: asyncio.Task[T] = super().create_task(coro, **options)
        self.kept_tasks.add(task)
        task.add_done_callback(self.kept_tasks.discard)
        return task

    def halt(self) -> None:
        """Run nothing any more, beginning with the next callback."""
        for handle in self._ready:  # type: ignore[attr-defined]
            handle.cancel()
        self.stop()


def _run(done: asyncio.Future[T], work: Callable[[], T]) -> None:
    if done.done():
        return
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - whoever waits for it is told
        done.set_exception(error)


class Life:
    """One manager. `points` counts the instants at which it could be killed: calls of drivers and store."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.loop = SimulatedLoop(start=world.host.now)
        self.over = False
        self.leaving = False
        self.points = 0
        self.born = world.host.now
        self.opened_after: float | None = None
        self.manager: PoolManager | None = None
        self.errors: list[dict[str, Any]] = []
        self.calm = asyncio.Event()
        self.listener = Listener(world.devices, len(world.devices.reports))
        self.asking: list[asyncio.Task[None]] = []
        self.holding: list[asyncio.Task[None]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))

    def __repr__(self) -> str:
        return f"manager {self.number}"

    # --- from begin to end -----------------------------------------------------------------------------

    def run(self) -> None:
        """Until it has ended, in one way or the other."""
        self.world.host.attach(self.loop)
        try:
            self.loop.run_until_complete(self._live())
        except Deadlock as error:
            self.world.fail("v4_everybody_answered", f"somebody waits for what never comes: {error}")
        except RuntimeError:
            if not self.over:  # else it says that its program was stopped
                raise
        finally:
            self.world.host.detach()
            self._bury()

    async def _live(self) -> None:
        world, began = self.world, self.loop.time()
        manager = PoolManager(
            world.folder,
            drivers=drivers_of(self),
            observers=[world.observe],
            store=LifeStore(self, world.disk),
            seed=world.seed + self.number,
            wall=world.host.wall,
            restarts=world.plan.budget,
            blame=world.plan.blame,
            boot=Boot(world.host.boot_id, world.host.boot_id),
        )
        async with manager:
            self.manager = manager
            for spec in tuple(world.declared.values()):
                await manager.add(spec)
            self.opened_after = self.loop.time() - began
            await self.halt_if_over()
            world.opened(self)
            await world.play(self)
            self.leaving = True
        await liveness.ended(world, self)
        self.over = True

    def begin(self, asking: Coroutine[Any, Any, None], *, cancel: bool = False) -> None:
        """Somebody asks something. Who only holds a lease is cancelled at the end; others are answered."""
        task = self.loop.create_task(asking)
        (self.holding if cancel else self.asking).append(task)

    def die(self, why: str) -> None:
        """SIGKILL, now."""
        if self.over:
            return
        self.over = True
        self.loop.halt()
        self.world.died(self, why)

    def _bury(self) -> None:
        """Give back what the process would have given back to the kernel."""
        buried: set[asyncio.Task[Any]] = set()
        while left := asyncio.all_tasks(self.loop) - buried:  # what is closed may begin something
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
            buried |= left
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.loop.close()
        for descriptor in _descriptors(os.path.join(self.world.folder, "lock")):
            os.close(descriptor)

    # --- the instants at which it can be killed -----------------------------------------------------------

    def point(self, name: str) -> None:
        """One is reached; perhaps it is the last."""
        if not self.over:
            self.points += 1
            self.world.reached(self, name)

    async def ready(self, name: str) -> None:
        """The same in a coroutine, which does not go on after the end."""
        self.point(name)
        await self.halt_if_over()

    async def halt_if_over(self) -> None:
        """Nobody goes on in a life that is over."""
        if self.over:
            await self.loop.create_future()

    async def call(self, verb: str, pool_id: str, real: Callable[[], Awaitable[T]]) -> T:
        """A driver is called: here it can be killed before and after, and the call go wrong in between."""
        await self.ready(f"{verb} before")
        fault = self.world.faults.take(verb, pool_id)
        result: T = await (real() if fault is None else afflicted(fault, real, self.calm))
        await self.ready(f"{verb} after")
        return result


def _close(coroutine: Any) -> None:
    for _ in range(CLOSES):
        try:
            coroutine.close()
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - it waits again, or has raised: both are in vain
            continue
        return


def _descriptors(path: str) -> Iterator[int]:
    """The descriptors of this process that lead to that file."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").removesuffix(" (deleted)") == path:
                yield int(name)
