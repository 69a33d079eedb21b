"""The memory drivers keep the promises of the interfaces, follow their scripts, and cost little."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint

import pytest

from pool_lifecycle import interfaces
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Command,
    CommandContext,
    Device,
    DeviceFault,
    DeviceProcess,
    Health,
    LaunchRequest,
    ProbeTarget,
    StagedModel,
    StageProgress,
)
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
    ProbeScript,
    StageScript,
)
from pool_lifecycle.testing.virtual_time import run, timed

REQUEST = LaunchRequest("p", 1, "token-1", Command(("engine",)), "127.0.0.1", 20000, "/log", "/pid")
TARGET = ProbeTarget("127.0.0.1", 20000)
BROKEN = Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "no such program", heals=False)


# --- health ----------------------------------------------------------------------------------------


def test_a_probe_of_a_launcher_sees_how_its_engine_is() -> None:
    """Refused before it listens and after it ended, ok when ready, no answer while it hangs."""

    async def main() -> None:
        launcher = MemoryLauncher(EngineScript(ready_after=3.0))
        probe = MemoryHealthProbe(launcher)
        refused = Health(ok=False, detail="connection refused")
        assert await probe.check(target=TARGET, timeout=1.0) == refused
        engine = await launcher.launch(request=REQUEST)
        assert await probe.check(target=TARGET, timeout=1.0) == refused
        await asyncio.sleep(3.0)
        assert (await probe.check(target=TARGET, timeout=1.0)).ok
        engine.hang()
        silence = Health(ok=False, detail="no answer within 1.5 s", silent=True)
        assert await timed(probe.check(target=TARGET, timeout=1.5)) == (silence, 1.5)
        engine.heal()
        assert (await probe.check(target=TARGET, timeout=1.0)).ok
        engine.crash()
        assert await probe.check(target=TARGET, timeout=1.0) == refused
        assert probe.checks == 6

    run(main())


def test_a_probe_gives_its_scripted_answers() -> None:
    """In order, each after its time and within the time-out; an error is raised; the last one stays."""

    async def main() -> None:
        sick = Health(ok=False, detail="503")
        probe = MemoryHealthProbe(
            answers=[sick, ProbeScript(takes=2.0), ProbeScript(takes=9.0), ProbeScript(error=BROKEN)]
        )
        assert await timed(probe.check(target=TARGET, timeout=3.0)) == (sick, 0.0)
        assert await timed(probe.check(target=TARGET, timeout=3.0)) == (Health(ok=True, detail="ok"), 2.0)
        late, took = await timed(probe.check(target=TARGET, timeout=3.0))
        assert (late.ok, took) == (False, 3.0)
        for _ in range(2):
            with pytest.raises(DriverError, match="no such program"):
                await probe.check(target=TARGET, timeout=3.0)

    run(main())


# --- models ----------------------------------------------------------------------------------------


def test_a_stager_knows_its_models() -> None:
    """What it was not given stands for nothing; that is an error of the staging."""

    async def main() -> None:
        stager = MemoryStager({"file:/models/a.gguf": 700})
        info = await stager.resolve(reference="file:/models/a.gguf")
        assert info == interfaces.ModelInfo("file:/models/a.gguf", "a.gguf", 700)
        with pytest.raises(DriverError, match=r"no model 'hf:b'") as caught:
            await stager.resolve(reference="hf:b")
        assert caught.value.cause.stage is Stage.STAGING

    run(main())


def test_staging_takes_time_and_reports_progress() -> None:
    """At equal distances, up to the size; a second time nothing is left to do."""

    async def main() -> None:
        stager = MemoryStager({"m": 100}, StageScript(takes=8.0, steps=4))
        seen: list[StageProgress] = []
        wanted = StagedModel("m", "/memory/m", 100)
        assert await timed(stager.stage(reference="m", digest=None, progress=seen.append)) == (wanted, 8.0)
        assert seen == [StageProgress(done, 100) for done in (25, 50, 75, 100)]
        assert await timed(stager.stage(reference="m", digest=None, progress=seen.append)) == (wanted, 0.0)
        assert stager.requests == ["m"]

    run(main())


def test_a_failed_or_cancelled_staging_leaves_nothing() -> None:
    """The model is in place complete or not at all, and the next attempt begins anew."""

    async def main() -> None:
        stager = MemoryStager(script=[StageScript(takes=4.0, steps=2, error=BROKEN), StageScript(takes=4.0)])
        seen: list[StageProgress] = []
        with pytest.raises(DriverError, match="no such program"):
            await stager.stage(reference="m", digest=None, progress=seen.append)
        assert len(seen) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stager.stage(reference="m", digest=None, progress=seen.append), 3.0)
        assert stager.staged == {}
        model = await stager.stage(reference="m", digest=None, progress=seen.append)
        assert stager.staged == {"m": model}

    run(main())


def test_evicting_removes_what_was_staged_once() -> None:
    """True the first time, false after."""

    async def main() -> None:
        stager = MemoryStager()
        model = await stager.stage(reference="m", digest=None, progress=lambda _: None)
        assert [await stager.evict(model=model) for _ in range(2)] == [True, False]

    run(main())


# --- GPUs and profiles -----------------------------------------------------------------------------


def test_a_gpu_probe_shows_what_it_is_told() -> None:
    """Devices come by index, faults once, and a failing probe fails until it is told not to."""
    one, two = (Device(index, f"GPU-{index}", "toy", 100, 50) for index in (0, 1))
    fault = DeviceFault("GPU-0", 79, "fallen off the bus")
    process = DeviceProcess("GPU-0", 7, 50)

    async def main() -> None:
        probe = MemoryGpuProbe([two, one], faults=[fault])
        assert await probe.devices() == (one, two)
        assert await probe.faults() == (fault,)
        waiting = asyncio.ensure_future(probe.faults())
        await asyncio.sleep(100)
        assert not waiting.done()
        probe.report(fault)
        assert await waiting == (fault,)
        probe.show(processes=[process])
        probe.report(fault, fault)
        assert await probe.devices() == (one, two)
        assert await probe.processes() == (process,)
        assert await probe.faults() == (fault, fault)
        probe.show(devices=[one])
        probe.fail(BROKEN)
        for look in (probe.devices, probe.processes, probe.faults):
            with pytest.raises(DriverError, match="no such program"):
                await look()
        probe.fail(None)
        assert await probe.devices() == (one,)

    run(main())


def test_the_profile_runs_the_binary_with_its_arguments() -> None:
    """Nothing is added."""
    context = CommandContext("engine", ("--fast",), "127.0.0.1", 20000, 1, "/m")
    assert MemoryProfile().command(context=context) == Command(("engine", "--fast"))
    assert MemoryProfile().split_flags(ratios=(0.5, 0.5)) == ()


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (interfaces.EngineLauncher, "MemoryLauncher"),
        (interfaces.HealthProbe, "MemoryHealthProbe"),
        (interfaces.ModelStager, "MemoryStager"),
        (interfaces.GpuProbe, "MemoryGpuProbe"),
        (interfaces.EngineProfile, "MemoryProfile"),
    ],
)
def test_each_driver_can_be_made_by_name(protocol: type, name: str) -> None:
    """As from an entry point: without arguments, and it has the interface's methods."""
    point = EntryPoint(name, f"pool_lifecycle.testing.memory:{name}", "group")
    assert isinstance(point.load()(), protocol)


def test_drivers_made_by_name_work_at_once() -> None:
    """Any model is staged, any engine launched, and every look finds it healthy, with no GPU there."""

    async def main() -> None:
        assert (
            await MemoryStager().stage(reference="hf:a/b", digest=None, progress=lambda _: None)
        ).path == "/memory/b"
        assert (await MemoryLauncher().launch(request=REQUEST)).ready
        assert (await MemoryHealthProbe().check(target=TARGET, timeout=1.0)).ok
        assert await MemoryGpuProbe().devices() == ()

    run(main())
