"""Drivers for scenarios in virtual time: the memory drivers, which also write down what is done and when."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from typing import Any

from attrs import evolve

from pool_lifecycle import Cause, Drivers, FailureClass, Interface
from pool_lifecycle.causes import Stage
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Device,
    Health,
    LaunchRequest,
    ProbeTarget,
    StagedModel,
    StageProgress,
)
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
from pool_lifecycle.testing.memory_launcher import PORTS
from pool_lifecycle_drivers.log_patterns import ARGPARSE_PATTERNS, DEVICE_PATTERNS

WARM_UP = "/warm-up"
"""The path of the first request that is made for the users, in pools that have one."""


class Diary:
    """What was done, in order, each with its time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.entries: list[tuple[str, float]] = []
        self._clock = clock

    def note(self, what: str) -> None:
        """Write it down."""
        self.entries.append((what, self._clock()))

    def when(self, what: str) -> list[float]:
        """Every time at which it was done."""
        return [at for done, at in self.entries if done == what]

    def order(self) -> list[str]:
        """What was done, in order; what was done several times in a row, once."""
        done = [what for what, _ in self.entries]
        return [what for i, what in enumerate(done) if i == 0 or done[i - 1] != what]


class RehearsedLauncher(MemoryLauncher):
    """Launches engines by the world's script of the moment; each has a real pid file.

    `first_words` is what they say as soon as they run. `when_launched` and `when_gone` is done then.
    """

    def __init__(self, diary: Diary, script: Callable[[LaunchRequest], EngineScript]) -> None:
        super().__init__(script, files=True)
        self.first_words = ""
        self.when_launched: Callable[[], object] = lambda: None
        self.when_gone: Callable[[], object] = lambda: None
        self._diary = diary

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """As ever."""
        self._diary.note("check")
        return await super().preflight(request=request)

    async def launch(self, *, request: LaunchRequest) -> MemoryEngine:
        """As ever."""
        self._diary.note("launch the engine")
        engine = await super().launch(request=request)
        if self.first_words:
            engine.say(self.first_words)
        self.when_launched()
        asyncio.get_running_loop().create_task(engine.wait()).add_done_callback(lambda _: self.when_gone())
        return engine


class RehearsedStager(MemoryStager):
    """Stages every model by the world's script of the moment."""

    def __init__(self, diary: Diary, script: Callable[[str], StageScript]) -> None:
        super().__init__(script=script)
        self._diary = diary

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """As ever."""
        self._diary.note("put the model in place")
        return await super().stage(reference=reference, digest=digest, progress=progress)


class RehearsedProbe(MemoryHealthProbe):
    """Asks the engine, and notes whether it had a pid file when it was asked."""

    def __init__(self, diary: Diary, launcher: MemoryLauncher) -> None:
        super().__init__(launcher)
        self.had_pid_file: list[bool] = []
        self._diary = diary
        self._host = launcher

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        """As ever."""
        self._diary.note("warm up" if target.path == WARM_UP else "ask for health")
        self.had_pid_file.append(os.path.exists(self._host.launched[-1].pid_path))  # noqa: ASYNC240 - a small file
        return await super().check(target=target, timeout=timeout)


class RehearsedProfile(MemoryProfile):
    """Knows what engines say of their devices and arguments; tells them their model and its split."""

    patterns = DEVICE_PATTERNS + ARGPARSE_PATTERNS

    def command(self, *, context: CommandContext) -> Command:
        """As ever, with the model in the environment."""
        plain = super().command(context=context)
        return Command(plain.argv, (*plain.env, (MODEL, context.model_path or "")))

    def split_flags(self, *, ratios: tuple[float, ...]) -> tuple[str, ...]:
        """One share for each device."""
        return ("split", *map(str, ratios)) if len(ratios) > 1 else ()


MODEL = "REHEARSED_MODEL"
"""The variable that names the model that an engine is to serve."""


PORT_CLASH = Cause(FailureClass.PORT_IN_USE, Stage.LAUNCH, "another program has taken the port")


GPUS, GB = 4, 2**30
"""A scenario's host has so many of them, of 80 GB each, until it says otherwise."""


def a_gpu(index: int, *, total: int = 80, free: int | None = None, unwell: str = "") -> Device:
    """An imagined one; memory in GB."""
    has = total if free is None else free
    return Device(
        index, f"GPU-{uuid.UUID(int=index)}", "an imagined one", total * GB, has * GB, unwell=unwell
    )


class Cast:
    """The drivers of a scenario. `engine` and `staging` are the scripts that are followed from now on.

    `with_model` has others for engines that are launched with certain models, by where these lie. On the
    ports in `taken`, other programs are faster than any engine.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.engine = EngineScript()
        self.staging = StageScript()
        self.with_model: dict[str, EngineScript] = {}
        self.taken: set[int] = set()
        self.diary = Diary(clock)
        self.gpus = MemoryGpuProbe(map(a_gpu, range(GPUS)))
        self.launcher = RehearsedLauncher(self.diary, self._script)
        self.stager = RehearsedStager(self.diary, lambda _: self.staging)
        self.probe = RehearsedProbe(self.diary, self.launcher)

    @property
    def engines(self) -> list[MemoryEngine]:
        """Every engine there has been, in order."""
        return self.launcher.engines

    def take_ports(self, count: int) -> None:
        """Other programs take the next ports that nobody declared."""
        self.taken = set(PORTS[:count])

    def _script(self, request: LaunchRequest) -> EngineScript:
        script = self.with_model.get(dict(request.command.env).get(MODEL, ""), self.engine)
        return evolve(script, launch_error=PORT_CLASH) if request.port in self.taken else script

    def newest(self, pool: str | None = None) -> MemoryEngine:
        """The engine launched last, of this pool or of any."""
        return next(one for one in reversed(self.engines) if pool in {None, one.request.pool_id})

    def drivers(self) -> Drivers:
        """For a manager."""
        given: dict[Interface, dict[str, Any]] = {
            Interface.LAUNCHER: {"memory": self.launcher},
            Interface.HEALTH_PROBE: {"memory": self.probe},
            Interface.MODEL_STAGER: {"memory": self.stager},
            Interface.ENGINE_PROFILE: {"memory": RehearsedProfile()},
            Interface.GPU_PROBE: {"memory": self.gpus, "nvml": self.gpus},
        }
        return Drivers(given)
