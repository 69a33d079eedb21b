"""Managers with drivers in memory, in virtual time, and everything they told their observers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from random import Random
from typing import Any, ParamSpec, TypeVar

from attrs import define, field

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import EngineStuck
from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import EngineLauncher, EngineProfile, GpuProbe, HealthProbe, ModelStager
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import Moved, Observer, Record
from pool_lifecycle.registry import Registry
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.spec import EngineSpec, HealthSpec, PoolSpec
from pool_lifecycle.statedir import StateDir
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
    StageScript,
)

P = ParamSpec("P")
R = TypeVar("R", bound=Record)

OLD, NEW = "file:/old.gguf", "file:/new.gguf"

WORKS = EngineScript()
NEVER_READY = EngineScript(ready_after=None)
STUBBORN = EngineScript(ignores_term=True)
UNKILLABLE = EngineScript(unkillable=True)
BROKEN = EngineScript(launch_error=Cause(FailureClass.EXIT, Stage.LAUNCH, "it does not start"))
HOPELESS = EngineScript(
    launch_error=Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "no such flag", heals=False, remedy="mend it")
)

INSTANT = StageScript()
SLOW_STAGING = StageScript(takes=100.0)


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The coroutine function as a test that runs in virtual time, and fails when tasks outlive it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        virtual_time.run(test(*args, **kwargs))

    return run


def a_spec(pool_id: str = "chat", **changes: Any) -> PoolSpec:
    """A pool for the memory drivers, whose back-off has no jitter."""
    engine = EngineSpec("engine", profile="memory", **changes.pop("engine", {}))
    usual: dict[str, Any] = {
        "model": OLD,
        "slots": 2,
        "health": HealthSpec(probe="memory"),
        "backoff": Backoff(jitter=0.0),
        "launcher": "memory",
        "stager": "memory",
        "gpu_only": False,
    }
    return PoolSpec(pool_id, engine, **(usual | changes))


def drivers_of(
    launcher: EngineLauncher,
    probe: HealthProbe,
    stager: ModelStager,
    profile: EngineProfile | None = None,
    gpus: GpuProbe | None = None,
) -> Drivers:
    """These drivers, each under the name `memory`."""
    return Drivers(
        {
            Interface.LAUNCHER: {"memory": launcher},
            Interface.HEALTH_PROBE: {"memory": probe},
            Interface.MODEL_STAGER: {"memory": stager},
            Interface.ENGINE_PROFILE: {"memory": profile or MemoryProfile()},
            Interface.GPU_PROBE: {"memory": gpus or MemoryGpuProbe()},
        }
    )


def a_host(observers: Sequence[Observer], store: MemoryStore | None = None, **more: Any) -> Host:
    """What the pools of a manager share, without a manager."""
    return Host(
        loop=asyncio.get_running_loop(),
        drivers=Drivers(),
        paths=StateDir(Path("nowhere")),
        store=store or MemoryStore(),
        registry=Registry(lambda: 0),
        random=Random(1),
        wall=lambda: 0.0,
        observers=list(observers),
        **more,
    )


def timers() -> list[str]:
    """What the loop is to call at some time."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [one._callback.__qualname__ for one in scheduled if not one.cancelled()]


@define(eq=False)
class World:
    """A manager with one pool, `pool`. `records` has what observers were told."""

    manager: PoolManager
    pool: Pool
    launcher: MemoryLauncher
    probe: MemoryHealthProbe
    stager: MemoryStager
    folder: Path
    records: list[Record]
    _tasks: list[asyncio.Task[Any]] = field(factory=list)

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return asyncio.get_running_loop().time()

    @property
    def engine(self) -> MemoryEngine:
        """The engine launched last."""
        return self.launcher.engines[-1]

    @property
    def living(self) -> list[MemoryEngine]:
        """The engines that live."""
        return [one for one in self.launcher.engines if one.alive]

    @property
    def files(self) -> set[str]:
        """What lies under the state directory, but for logs."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {str(path) for path in found if path.suffix != ".log"}

    @property
    def way(self) -> list[str]:
        """The states gone through, one after the other."""
        return [
            str(one.notice.target) for one in self.of(Moved) if one.notice.source is not one.notice.target
        ]

    def of(self, kind: type[R]) -> list[R]:
        """The records of one kind."""
        return [one for one in self.records if isinstance(one, kind)]

    def begin(self, asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Ask something in the background. At the end of the world everybody must have been answered."""
        task = asyncio.create_task(asking)
        self._tasks.append(task)
        return task

    async def began(self, asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The same, and let everything happen that happens at once."""
        task = self.begin(asking)
        await virtual_time.settle()
        return task

    async def ready(self) -> MemoryEngine:
        """Start the pool; return its engine."""
        await self.pool.start()
        return self.engine

    async def answered(self) -> None:
        """V4: everybody who asked something has been answered, now that the manager has been closed."""
        await virtual_time.settle()
        assert not [task for task in self._tasks if not task.done()]
        for task in self._tasks:
            if not task.cancelled():
                task.exception()  # looked at by the test, or of no interest to it


@contextlib.asynccontextmanager
async def a_world(
    *scripts: EngineScript,
    staging: Sequence[StageScript] = (INSTANT,),
    answers: Any = (),
    twist: Callable[[Any], Any] = lambda driver: driver,
    profile: EngineProfile | None = None,
    gpus: GpuProbe | None = None,
    manager: dict[str, Any] | None = None,
    ends_in: PoolState = PoolState.STOPPED,
    **spec: Any,
) -> AsyncIterator[World]:
    """A world whose engines follow the scripts, one after the other, the last one for all further ones.

    `twist` may put something else in the place of the launcher, the probe and the stager; `manager` has
    further arguments for the manager. At its end, nothing may be left.
    """
    launcher = MemoryLauncher(scripts or (WORKS,), files=True)
    stager = MemoryStager(script=staging)
    probe = MemoryHealthProbe(launcher, answers)
    records: list[Record] = []
    drivers = drivers_of(twist(launcher), twist(probe), twist(stager), profile, gpus)
    usual: dict[str, Any] = {"seed": 1, "wall": lambda: 1_700_000_000.0, "store": MemoryStore()}
    arguments = usual | (manager or {})
    observers = [records.append, *arguments.pop("observers", ())]
    with tempfile.TemporaryDirectory() as folder:
        async with PoolManager(folder, drivers=drivers, observers=observers, **arguments) as holder:
            pool = await holder.add(a_spec(**spec))
            world = World(holder, pool, launcher, probe, stager, Path(folder), records)
            yield world
            for one in world.manager:
                if one.spec.on_manager_exit == "keep":
                    with contextlib.suppress(EngineStuck):
                        await one.stop()
            await world.manager.close()  # it may be another one than at the begin
        await world.answered()
        assert not world.living
        assert world.files == set(), world.files
        assert world.pool.state is ends_in
