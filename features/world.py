"""The world of one scenario: an event loop, a manager with its drivers, and what the steps have to remember.

Time is virtual and engines exist in memory, so that five minutes cost nothing; scenarios tagged `@real` run
real processes on the real clock. Nothing may be left when a scenario is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
from attrs import evolve

from features.chronicle import Chronicle
from features.rehearsed import Cast
from pool_lifecycle import (
    Backoff,
    Drivers,
    EngineSpec,
    HealthSpec,
    Lease,
    Limits,
    Pool,
    PoolManager,
    PoolSpec,
)
from pool_lifecycle.errors import EngineStuck
from pool_lifecycle.logs import LOGGER
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.store import MemoryStore, Store
from pool_lifecycle.testing.virtual_time import VirtualTimeLoop, pending
from tests.reborn import BOOT, die

CHAT = "chat"
"""The pool that a scenario speaks of when it says "the pool"."""

PATIENCE = 20.0
"""Real seconds after which what a real scenario waits for is not going to happen."""

FAKE_ENGINE = Path(__file__).parent.parent / "tests" / "engines" / "fake_engine.py"

IMAGINED = PoolSpec(
    CHAT,
    EngineSpec("engine", profile="memory"),
    model="file:/models/chat.gguf",
    health=HealthSpec(probe="memory"),
    launcher="memory",
    stager="memory",
)
REAL = PoolSpec(
    CHAT,
    EngineSpec(sys.executable, args=("-I", "-S", str(FAKE_ENGINE), "--host", "{host}", "--port", "{port}")),
    limits=Limits(start=PATIENCE, stall=PATIENCE, stop_grace=0.3),
    backoff=Backoff(initial=60.0),
)
"""What does not happen soon never will, and no second start hides how the first one failed."""

MARK = "POOL_LIFECYCLE_SCENARIO"
"""The variable by which everything that a scenario's engines start is known."""


class LogBook(logging.Handler):
    """Keeps what the library logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.entries: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an entry."""
        self.entries.append(record)

    def lines(self) -> list[str]:
        """The sentences."""
        return [entry.getMessage() for entry in self.entries]

    def about(self, event: str) -> list[tuple[int, dict[str, Any]]]:
        """Level and fields of every entry about one kind of happening."""
        kept = [(entry.levelno, getattr(entry, "pool_lifecycle", {})) for entry in self.entries]
        return [(level, fields) for level, fields in kept if fields.get("event") == event]


class World:
    """Made before a scenario, closed after it. Steps read and set its attributes."""

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self.loop = asyncio.new_event_loop() if real else VirtualTimeLoop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, problem: self.problems.append(problem))
        self._folder = tempfile.TemporaryDirectory(prefix="pool-lifecycle-features-")
        self.folder = Path(self._folder.name)
        self.log = LogBook()
        self.chronicle = Chronicle()
        self.store = MemoryStore()
        self.cast = Cast(self.loop.time)
        self.spec = REAL if real else IMAGINED
        self.declare_engine(env={MARK: self.folder.name})
        self.wall = 1_800_000_000.0
        self.boot = None if real else BOOT
        self.manager = self.make_manager(self.folder / "state", self.store)
        self.registry = self.manager.registry
        self.until_closed = contextlib.ExitStack()
        # what a step leaves for later ones
        self.table: Any = None
        self.text = ""
        self.answer: Any = None
        self.error: Exception | None = None
        self.elapsed = 0.0
        self.leases: dict[str, Lease] = {}
        self.under_way: dict[str, asyncio.Task[Any]] = {}
        self.strangers: list[Popen[bytes]] = []
        self.notes: dict[str, Any] = {}

    def make_manager(self, folder: Path, store: Store | None, **more: Any) -> PoolManager:
        """A manager that is not open yet."""
        usual: dict[str, Any] = {
            "drivers": Drivers() if self.real else self.cast.drivers(),
            "observers": [self.chronicle],
            "store": store,
            "seed": 1,
            "wall": lambda: self.wall,
            "boot": self.boot,
            "devices": DevicePolicy(reserve=0),
        }
        return PoolManager(folder, **usual | more)

    def open(self) -> None:
        """Open the manager."""
        LOGGER.addHandler(self.log)
        self.run(self.manager.__aenter__())

    @property
    def wall(self) -> float:
        """The time of day, in seconds since the epoch. It goes on like the loop's; steps may set it."""
        return self._wall_is_ahead + self.loop.time()

    @wall.setter
    def wall(self, now: float) -> None:
        self._wall_is_ahead = now - self.loop.time()

    # --- steps -------------------------------------------------------------------------------------

    def take(self, step: Callable[..., Any], table: Any, text: str | None, said: dict[str, Any]) -> None:
        """Take a step; in virtual time, let everything happen that it leads to at once."""
        self.table, self.text = table, text or ""
        result = step(self, **said)
        if inspect.iscoroutine(result):
            self.run(result)
        self.run(self.settle())

    async def settle(self) -> None:
        """In virtual time, let everything happen that is to happen at once."""
        if isinstance(self.loop, VirtualTimeLoop):
            await self.loop.settle()

    def assert_has_table(self, fields: dict[str, Any]) -> None:
        """Each row of the step's table names one of these fields and its value."""
        rows = [self.table.headings, *(row.cells for row in self.table.rows)]
        wanted = dict(rows)
        found = {name: str(fields.get(name, "nothing")) for name in wanted}
        assert found == wanted, fields

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it on this world's loop."""
        return self.loop.run_until_complete(work)

    async def attempt(self, work: Awaitable[Any]) -> None:
        """Do it; keep what came of it as `answer` or `error`, and how many seconds it took as `elapsed`."""
        self._keep(await self._tried(work))

    def begin(self, name: str, work: Awaitable[Any]) -> None:
        """Begin something that may last longer than the step; `finish` waits for its end."""
        self.under_way[name] = self.loop.create_task(self._tried(work), name=name)

    async def finish(self, name: str) -> None:
        """Wait for the end of what was begun, and keep what came of it, as `attempt` does."""
        self._keep(await asyncio.wait_for(self.under_way.pop(name), PATIENCE if self.real else None))

    async def _tried(self, work: Awaitable[Any]) -> tuple[Any, Exception | None, float]:
        began = self.loop.time()
        answer, error = None, None
        try:
            answer = await work
        except Exception as problem:  # noqa: BLE001 - a later step judges it
            error = problem
        return answer, error, round(self.loop.time() - began, 6)

    def _keep(self, came_of_it: tuple[Any, Exception | None, float]) -> None:
        self.answer, self.error, self.elapsed = came_of_it

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for it to become true."""
        patient_until = self.loop.time() + PATIENCE
        while not condition():
            assert self.loop.time() < patient_until, "that never happened"
            await asyncio.sleep(0.005)

    # --- managers that go, and come ----------------------------------------------------------------

    async def lose_manager(self) -> None:
        """The manager is killed. Engines do not notice."""
        await die(self.manager)

    async def take_over(self) -> None:
        """Another manager takes the place of the one that is gone, with the same pools."""
        gone = self.manager
        self.manager = self.make_manager(self.folder / "state", self.store)
        self.registry = self.manager.registry
        await self.manager.__aenter__()
        for pool in gone:
            await self.manager.add(pool.spec)

    # --- the pool ----------------------------------------------------------------------------------

    def declare(self, **fields: Any) -> None:
        """Say more about the pool before it is made."""
        self.spec = evolve(self.spec, **fields)

    def declare_engine(self, **fields: Any) -> None:
        """Say more about the program that it runs."""
        self.declare(engine=evolve(self.spec.engine, **fields))

    def declare_health(self, **fields: Any) -> None:
        """Say more about how it is found out whether it is ready."""
        self.declare(health=evolve(self.spec.health, **fields))

    def declare_limits(self, **fields: Any) -> None:
        """Say more about its times."""
        self.declare(limits=evolve(self.spec.limits, **fields))

    def declare_policy(self, **fields: Any) -> None:
        """Say more about what becomes of it after a failure, as `breaker={"threshold": 3}`."""
        self.declare(**{name: evolve(getattr(self.spec, name), **said) for name, said in fields.items()})

    def imagine(self, **behaviour: Any) -> None:
        """Say more about how its imagined engines behave from now on."""
        self.cast.engine = evolve(self.cast.engine, **behaviour)

    async def pool(self, pool_id: str = CHAT) -> Pool:
        """The pool, made as declared when it is first spoken of."""
        if pool_id not in self.manager:
            await self.manager.add(evolve(self.spec, pool_id=pool_id))
        return self.manager[pool_id]

    @property
    def pid_file(self) -> Path:
        """Where the pool's pid file is, when there is one."""
        return Path(self.manager.paths.pid(CHAT))

    @property
    def handoff_file(self) -> Path:
        """Where the pool's handoff is, when there is one."""
        return Path(self.manager.paths.handoff(CHAT))

    @property
    def engine_log(self) -> str:
        """What the pool's engines wrote."""
        return Path(self.manager.paths.log(CHAT)).read_text()

    def family(self) -> list[psutil.Process]:
        """The living processes of this scenario's engines."""
        return [one for one in psutil.process_iter() if self._is_ours(one)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            ours = process.environ().get(MARK) == self.folder.name
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    # --- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything. Raises AssertionError when something is left then, or went wrong unheard."""
        try:
            self._end_strangers()
            self.run(self._end())
            self.until_closed.close()
            left = pending(self.loop)
            self.run(self.loop.shutdown_default_executor())
        finally:
            LOGGER.removeHandler(self.log)
            self.loop.close()
            self._folder.cleanup()
        assert not left, f"tasks outlived the scenario: {left}"
        assert not self.problems, f"nobody handled: {self.problems}"
        children = psutil.Process().children(recursive=True)
        assert not children, f"processes outlived the scenario: {children}"

    async def _end(self) -> None:
        for engine in self.cast.engines:
            engine.release()
        for pool in self.manager:
            if pool.spec.on_manager_exit == "keep":
                with contextlib.suppress(EngineStuck):
                    await pool.stop()
        await self.manager.close()
        await asyncio.gather(*self.under_way.values())
        await self.settle()

    def _end_strangers(self) -> None:
        for stranger in self.strangers:
            stranger.kill()
            stranger.communicate()
