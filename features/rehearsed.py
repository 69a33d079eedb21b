"""Drivers for scenarios in virtual time: the memory drivers, which also write down what is done and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pool_lifecycle import Cause, Drivers, Interface
from pool_lifecycle.interfaces import Health, LaunchRequest, ProbeTarget, StagedModel, StageProgress
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
    StageScript,
)

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
    """Launches engines by the world's script of the moment; each has a real pid file."""

    def __init__(self, diary: Diary, script: Callable[[LaunchRequest], EngineScript]) -> None:
        super().__init__(script, files=True)
        self._diary = diary

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """As ever."""
        self._diary.note("check")
        return await super().preflight(request=request)

    async def launch(self, *, request: LaunchRequest) -> MemoryEngine:
        """As ever."""
        self._diary.note("launch the engine")
        return await super().launch(request=request)


class RehearsedStager(MemoryStager):
    """Stages every model by the world's script of the moment."""

    def __init__(self, diary: Diary, script: Callable[[str], StageScript]) -> None:
        super().__init__(script=script)
        self._diary = diary

    async def stage(self, *, reference: str, progress: Callable[[StageProgress], None]) -> StagedModel:
        """As ever."""
        self._diary.note("put the model in place")
        return await super().stage(reference=reference, progress=progress)


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


class Cast:
    """The drivers of a scenario. `engine` and `staging` are the scripts that are followed from now on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.engine = EngineScript()
        self.staging = StageScript()
        self.diary = Diary(clock)
        self.launcher = RehearsedLauncher(self.diary, lambda _: self.engine)
        self.stager = RehearsedStager(self.diary, lambda _: self.staging)
        self.probe = RehearsedProbe(self.diary, self.launcher)

    @property
    def engines(self) -> list[MemoryEngine]:
        """Every engine there has been, in order."""
        return self.launcher.engines

    def drivers(self) -> Drivers:
        """For a manager."""
        given: dict[Interface, dict[str, Any]] = {
            Interface.LAUNCHER: {"memory": self.launcher},
            Interface.HEALTH_PROBE: {"memory": self.probe},
            Interface.MODEL_STAGER: {"memory": self.stager},
            Interface.ENGINE_PROFILE: {"memory": MemoryProfile()},
        }
        return Drivers(given)
