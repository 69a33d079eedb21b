"""What would keep pools from starting, found without starting them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from pool_lifecycle import PoolManager
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.cli import survey as surveying
from pool_lifecycle.cli.survey import PoolSurvey, Survey, survey
from pool_lifecycle.config import ManagerSettings
from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess, DriverVersions, ModelInfo
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.spec import EngineSpec, HealthSpec, PoolSpec
from pool_lifecycle.testing.memory import MemoryGpuProbe, MemoryLauncher, MemoryStager

GB = 2**30
SMALL = Device(0, "GPU-aaaa", "T4", 16 * GB, 16 * GB)
LARGE = Device(1, "GPU-bbbb", "H100", 80 * GB, 80 * GB)


class Versions(MemoryGpuProbe):
    """GPUs of an old driver."""

    async def versions(self) -> DriverVersions:
        return DriverVersions("535.1", (12, 2))

    async def close(self) -> None:
        """Nothing is kept going."""


def pool(pool_id: str = "chat", *, engine: dict[str, Any] | None = None, **more: Any) -> PoolSpec:
    """A pool in memory, unless said otherwise."""
    declared = {"binary": "/bin/true", "profile": "memory", **(engine or {})}
    return PoolSpec(
        pool_id,
        EngineSpec(**declared),
        health=HealthSpec(probe="memory"),
        **{"launcher": "memory", "stager": "memory" if "model" in more else None, **more},
    )


def found(root: Path, *specs: PoolSpec, probe: MemoryGpuProbe | None = None, **drivers: Any) -> Survey:
    """What there is to say of these pools on a host with these drivers."""
    given = {
        Interface.LAUNCHER: {"memory": drivers.get("launcher", MemoryLauncher())},
        Interface.MODEL_STAGER: {"memory": drivers.get("stager", MemoryStager())},
        Interface.GPU_PROBE: {"nvml": probe or MemoryGpuProbe([SMALL, LARGE])},
    }
    return asyncio.run(survey(specs, root, ManagerSettings(), drivers=Drivers(given)))


def causes(survey: Survey) -> list[tuple[str, ...]]:
    """What would keep each pool from starting."""
    return [tuple(cause.message for cause in one.causes) for one in survey.pools]


def files(folder: Path) -> list[tuple[str, bytes]]:
    """Everything in it."""
    return sorted((str(one), one.read_bytes()) for one in folder.rglob("*") if one.is_file())


def test_nothing_in_the_way_is_nothing_to_tell(tmp_path: Path) -> None:
    """And nothing has been made: no folder, no lock, no database."""
    result = found(tmp_path / "state", pool())
    assert result.ok
    assert result.pools == (PoolSurvey("chat"),)
    assert {"clock", "forks"} <= {one.name for one in result.capabilities}
    assert list(tmp_path.iterdir()) == []


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    """Of one pool: model, host memory, binary, port; each with what helps. What does not heal comes first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        engine = {"binary": "/nowhere/x", "port": taken.getsockname()[1], "memory": 2**60}
        spec = pool(engine=engine, launcher="local", model="file:/nowhere/a.gguf", stager="file")
        (one,) = found(tmp_path, spec).pools
    said = [cause.message for cause in one.causes]
    for part in ("/nowhere/a.gguf", "/nowhere/x", f"port {engine['port']}", "of memory"):
        assert sum(part in what for what in said) == 1, said
    assert len(said) == 4
    assert all(cause.remedy for cause in one.causes)
    assert [cause.heals for cause in one.causes] == [False, False, False, True]


def test_pools_do_not_hide_each_other(tmp_path: Path) -> None:
    """Each has its own answer, in the order of the file."""
    bad = pool("b", engine={"binary": "/nowhere"}, launcher="local")
    result = found(tmp_path, pool("a"), bad, pool("c"))
    assert [(one.pool_id, bool(one.causes)) for one in result.pools] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert not result.ok


def test_a_driver_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """One that there is not, or that another pool could use."""
    (one,) = found(tmp_path, pool(gpu_probe="nonsense")).pools
    assert "'nonsense'" in one.causes[0].message
    assert not one.causes[0].heals


def test_a_model_that_there_is_not_hides_nothing_else(tmp_path: Path) -> None:
    """A pool on GPUs asks for its model early; its program and port are looked at all the same."""
    spec = pool(
        engine={"binary": "/nowhere"},
        launcher="local",
        model="memory:gone",
        device_mask="0",
    )
    (said,) = causes(found(tmp_path, spec, stager=MemoryStager({})))
    assert len(said) == 2
    assert {"no model" in what for what in said} == {True, False}


# --- GPUs ----------------------------------------------------------------------------------------------


def test_a_gpu_that_there_is_not(tmp_path: Path) -> None:
    """The mask is told, with those that there are."""
    (said,) = causes(found(tmp_path, pool(device_mask="0,7")))
    assert any("there is no device 7" in what and "GPU-bbbb" in what for what in said)


def test_a_split_over_a_gpu_that_there_is_not(tmp_path: Path) -> None:
    """Only the mask is told: what would be where cannot be said."""
    spec = pool(device_mask="0,7", engine={"split": (0.5, 0.5), "device_memory": GB})
    (said,) = causes(found(tmp_path, spec))
    assert len(said) == 1
    assert "there is no device 7" in said[0]


def test_a_split_over_a_gpu_that_is_lost(tmp_path: Path) -> None:
    """That is what is told. FAULTS: GPU lost."""
    lost = Device(1, "GPU-bbbb", "H100", 0, 0, unwell="GPU is lost")
    spec = pool(device_mask="0,1", engine={"split": (0.5, 0.5), "device_memory": GB})
    (said,) = causes(found(tmp_path, spec, probe=MemoryGpuProbe([SMALL, lost])))
    assert any("GPU is lost" in what for what in said)
    assert not any("raised" in what for what in said)


def test_a_host_without_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pool must not run on the CPU."""
    monkeypatch.setenv("PATH", "")
    (said,) = causes(found(tmp_path, pool(device_mask="0"), probe=MemoryGpuProbe()))
    assert any("GPU-only" in what for what in said)


def test_a_driver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at is told with why."""
    monkeypatch.setenv("PATH", "")
    probe = MemoryGpuProbe([SMALL])
    probe.fail(Cause(FailureClass.DEVICE_LOST, Stage.PREFLIGHT, "the driver does not answer"))
    (one,) = found(tmp_path, pool(device_mask="0"), probe=probe).pools
    assert any("the driver does not answer" in cause.message for cause in one.causes)


def test_a_gpu_that_is_too_full_names_who_has_it(tmp_path: Path) -> None:
    """With pid and bytes, by the words of a real refusal."""
    full = Device(0, "GPU-aaaa", "T4", 16 * GB, 2 * GB)
    probe = MemoryGpuProbe([full], [DeviceProcess("GPU-aaaa", 4711, 14 * GB)])
    ((said,),) = causes(found(tmp_path, pool(device_mask="0", engine={"device_memory": 8 * GB}), probe=probe))
    assert "pid 4711" in said
    assert str(14 * GB) in said


def test_a_gpu_that_is_too_small_is_told_once(tmp_path: Path) -> None:
    """It would be too small if it were empty: that is what is told, as no waiting helps."""
    (one,) = found(tmp_path, pool(device_mask="0", engine={"device_memory": 20 * GB})).pools
    assert [cause.heals for cause in one.causes] == [False]


def test_the_model_is_what_has_to_fit(tmp_path: Path) -> None:
    """Where no memory is declared, its size is what is counted with; over several devices it is split."""
    stager = MemoryStager({"memory:big": 90 * GB})
    alone = pool(device_mask="1", model="memory:big")
    split = pool("two", device_mask="0,1", engine={"split": (0.1, 0.9)}, model="memory:big")
    first, second = causes(found(tmp_path, alone, split, stager=stager))
    assert len(first) == 1
    assert second == ()


def test_pools_that_do_not_fit_together(tmp_path: Path) -> None:
    """Each would fit alone; the later one is told who is there before it, and on other devices it fits."""
    each = {"device_memory": 10 * GB}
    specs = [pool("a", device_mask="0", engine=each), pool("b", device_mask="0", engine=each)]
    first, second, third = causes(found(tmp_path, *specs, pool("c", device_mask="1", engine=each)))
    assert (first, third) == ((), ())
    (what,) = second
    assert what.startswith("once a has started, device 0 has 6.0 GiB free")


def test_an_old_driver_is_a_warning(tmp_path: Path) -> None:
    """It names both versions; the pool would start."""
    result = found(tmp_path, pool(device_mask="0", engine={"cuda": "12.4"}), probe=Versions([SMALL]))
    assert result.ok
    (warning,) = result.pools[0].warnings
    assert "12.4" in warning
    assert "12.2" in warning


# --- the state directory -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_manager_that_runs_is_told_and_not_disturbed(tmp_path: Path) -> None:
    """By its pid; its lock, its database and its engines are as before. Its pools go on."""
    root = tmp_path / "state"
    spec = pool(
        "kept", launcher="local", engine={"binary": "/bin/sleep", "profile": "generic", "args": ["60"]}
    )

    async def beside() -> Survey:
        drivers = Drivers({Interface.GPU_PROBE: {"nvml": MemoryGpuProbe([SMALL])}})
        async with PoolManager(root, drivers=drivers) as manager:
            running = await manager.add(spec)
            await running.start()
            before = files(root / "run")
            result = await survey([spec], root, ManagerSettings(), drivers=drivers)
            assert files(root / "run") == before
            assert running.status().ready
            with pytest.raises(Exception, match="in use by another manager"):
                await PoolManager(root).__aenter__()
            return result

    result = asyncio.run(beside())
    assert not result.ok
    (cause,) = result.host
    assert "in use by another manager (pid" in cause.message
    (one,) = result.pools
    assert one.causes == ()
    assert "its engine lives (pid" in one.notes[0]


@pytest.mark.slow
def test_an_engine_that_was_kept_lives_until_it_does_not(tmp_path: Path) -> None:
    """A record tells of it; that it is still that very process, the host does."""
    engine = {"binary": "/bin/sleep", "profile": "generic", "args": ["600"]}
    spec = pool(launcher="local", engine=engine, on_manager_exit="keep")

    async def before() -> int:
        async with PoolManager(tmp_path) as manager:
            running = await manager.add(spec)
            await running.start()
            pid = running.status().pid
            assert pid is not None
            return pid

    process = psutil.Process(asyncio.run(before()))
    try:
        kept = found(tmp_path, spec)
    finally:
        process.kill()
        process.wait(60)
    assert kept.ok
    assert kept.pools[0].notes == (f"its engine lives (pid {process.pid}), and a manager goes on with it",)
    gone = found(tmp_path, spec)
    assert gone.ok
    assert gone.pools[0].notes == ()


def test_a_device_in_quarantine_is_remembered(tmp_path: Path) -> None:
    """A manager has noticed a fault of the device; the next one would not start on it either. B-SUPER-x7."""
    probe = MemoryGpuProbe([SMALL, LARGE])
    given: dict[Interface, dict[str, Any]] = {
        Interface.GPU_PROBE: {"nvml": probe},
        Interface.LAUNCHER: {"memory": MemoryLauncher()},
    }
    specs = [pool("on", device_mask="0"), pool("off", device_mask="1")]

    async def before() -> None:
        async with PoolManager(tmp_path, drivers=Drivers(given)) as manager:
            for spec in specs:
                await manager.add(spec)
            probe.report(DeviceFault("GPU-aaaa", 79, "GPU has fallen off the bus"))
            async with asyncio.timeout(60):
                while not manager["on"].snapshot.circuits[-1].fault:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)

    asyncio.run(before())
    first, second = causes(found(tmp_path, *specs))
    assert any("quarantine" in what for what in first)
    assert second == ()


def test_a_state_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in the place of a folder; as root everything else can be written."""
    (tmp_path / "file").write_text("")
    result = found(tmp_path / "file" / "state", pool())
    assert not result.ok
    assert any("is not a folder" in cause.message for cause in result.host)


def test_a_state_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be written to."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = found(tmp_path / "state", pool())
    assert any("cannot be written to" in cause.message for cause in result.host)


def test_a_damaged_database_keeps_nobody_from_starting(tmp_path: Path) -> None:
    """A start sets it aside; to ask leaves it where it is."""
    (tmp_path / "state.db").write_bytes(b"nonsense" * 1000)
    before = files(tmp_path)
    assert found(tmp_path, pool()).ok
    assert files(tmp_path) == before


def test_a_folder_in_the_place_of_the_database(tmp_path: Path) -> None:
    """Nothing could be kept there."""
    (tmp_path / "state.db").mkdir()
    result = found(tmp_path, pool())
    assert any("state.db" in cause.message for cause in result.host)


# --- drivers that do not keep their promises -------------------------------------------------------------


class Broken(MemoryLauncher):
    """Raises what no driver may."""

    async def preflight(self, **_: object) -> tuple[Cause, ...]:
        raise KeyError("oops")


class Refusing(MemoryLauncher):
    """Cannot launch anything."""

    async def preflight(self, **_: object) -> tuple[Cause, ...]:
        return (Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "hopeless", heals=False),)


class Silent(MemoryStager):
    """Never answers."""

    async def resolve(self, *, reference: str) -> ModelInfo:
        await asyncio.Event().wait()
        return await super().resolve(reference=reference)


def test_a_driver_that_raises_is_a_finding(tmp_path: Path) -> None:
    """Not the end of the survey."""
    ((said,),) = causes(found(tmp_path, pool(), launcher=Broken()))
    assert "KeyError" in said


def test_a_driver_that_is_silent_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; the rest is asked all the same, and what no waiting mends comes first."""
    monkeypatch.setattr(surveying, "PATIENCE", 0.01)
    spec = pool(model="memory:x", stager="silent", gpu_probe="none")
    given: dict[Interface, dict[str, Any]] = {
        Interface.MODEL_STAGER: {"silent": Silent()},
        Interface.LAUNCHER: {"memory": Refusing()},
    }
    result = asyncio.run(survey([spec], tmp_path, ManagerSettings(), drivers=Drivers(given)))
    ((first, second),) = causes(result)
    assert first == "hopeless"
    assert "have not answered" in second
