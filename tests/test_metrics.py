"""Metrics for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from pool_lifecycle import metrics
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import ConfigError, ReloadFailed, ReloadRefused, StartFailed
from pool_lifecycle.interfaces import Device, DeviceFault, FaultKind, GpuProbe
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.metrics import DRAIN_BUCKETS_MS, PrometheusObserver
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import CircuitMoved, RestartScheduled
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.snapshot import CircuitChanged
from pool_lifecycle.spec import EngineSpec, HealthSpec, PoolSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
)
from pool_lifecycle.waits import Awaits

BROKEN = Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "no such program", heals=False)
WORKS = EngineScript(ready_after=1.0)


@contextlib.asynccontextmanager
async def managed(
    folder: Path, scripts: Iterable[EngineScript] = (WORKS,), gpus: GpuProbe | None = None
) -> AsyncIterator[PoolManager]:
    """A manager of memory engines."""
    launcher = MemoryLauncher(tuple(scripts))
    drivers = Drivers(
        {
            Interface.LAUNCHER: {"local": launcher},
            Interface.HEALTH_PROBE: {"http": MemoryHealthProbe(launcher)},
            Interface.MODEL_STAGER: {"file": MemoryStager()},
            Interface.ENGINE_PROFILE: {"generic": MemoryProfile()},
            Interface.GPU_PROBE: {} if gpus is None else {"memory": gpus},
        }
    )
    async with PoolManager(folder, drivers=drivers, seed=1) as manager:
        yield manager


async def added(manager: PoolManager, name: str = "chat", **more: Any) -> Pool:
    """A pool of two slots."""
    return await manager.add(PoolSpec(name, EngineSpec("engine"), slots=2, health=HealthSpec(), **more))


class Scrapes:
    """What a scrape sees, by the name and labels of the series."""

    def __init__(self, manager: PoolManager) -> None:
        self.registry = CollectorRegistry()
        PrometheusObserver(manager, self.registry)

    def __getitem__(self, series: str) -> float | None:
        name, _, labels = series.rstrip("}").partition("{")
        pairs = dict(pair.split("=") for pair in labels.split(",")) if labels else {}
        return self.registry.get_sample_value(name, {"pool_id": "chat", **pairs})

    def series(self) -> list[str]:
        """Every series there is."""
        return [
            f"{sample.name}{sample.labels}" for metric in self.registry.collect() for sample in metric.samples
        ]


def test_drains_are_counted_and_timed(tmp_path: Path) -> None:
    """B-DRAIN-009: one that came to its end, one cut off at its deadline; both with their durations."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            lease = pool.acquire("a")
            draining = asyncio.create_task(pool.drain(60))
            await asyncio.sleep(0.2)
            lease.release()
            await draining
            assert seen["pool_drain_total{outcome=drained}"] == 1
            assert seen["pool_drain_force_stop_total"] == 0
            assert seen["pool_drain_duration_ms_sum"] == pytest.approx(200)
            await pool.start()
            pool.acquire("b")
            await pool.drain(3)
            assert seen["pool_drain_total{outcome=force_stopped}"] == 1
            assert seen["pool_drain_force_stop_total"] == 1
            assert seen["pool_drain_duration_ms_sum"] == pytest.approx(3200)
            assert [seen[f"pool_drain_duration_ms_bucket{{le={le}}}"] for le in DRAIN_BUCKETS_MS[2:8]] == [
                0, 1, 1, 1, 1, 2,
            ]  # fmt: skip
            assert seen["pool_drain_duration_ms_bucket{le=+Inf}"] == 2
            assert seen["pool_drain_duration_ms_count"] == 2

    virtual_time.run(main())


def test_preloads_are_counted_by_how_they_end(tmp_path: Path) -> None:
    """B-METRICS-001, B-METRICS-002: a failure with its class."""

    async def main() -> None:
        async with managed(tmp_path, [EngineScript(launch_error=BROKEN), WORKS]) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            assert seen["pool_preload_success_total"] == 0
            with pytest.raises(StartFailed):
                await pool.start()
            assert seen["pool_preload_failure_total{reason=bad_config}"] == 1
            await pool.start()
            assert seen["pool_preload_success_total"] == 1
            assert seen["pool_preload_failure_total{reason=bad_config}"] == 1

    virtual_time.run(main())


def test_changes_of_model_are_counted_and_timed(tmp_path: Path) -> None:
    """B-RELOAD-012, B-RELOAD-013: one that is made, one that fails, one that is refused."""

    async def main() -> None:
        scripts = [WORKS, EngineScript(ready_after=2.0), EngineScript(launch_error=BROKEN), WORKS]
        async with managed(tmp_path, scripts) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            assert (seen["pool_reload_success_total"], seen["pool_reload_duration_ms_count"]) == (0, 0)
            await pool.reload("file:/a.gguf", strategy="drain_first")
            assert seen["pool_reload_success_total"] == 1
            gap = seen["pool_reload_gap_ms_sum"] or 0.0
            assert gap == pytest.approx(2000, abs=100)
            assert seen["pool_reload_duration_ms_sum"] == pytest.approx(gap + 5000)
            with pytest.raises(ReloadFailed):
                await pool.reload("file:/b.gguf", strategy="drain_first")
            assert seen["pool_reload_failure_total{reason=bad_config}"] == 1
            pool.acquire("long")
            changing = asyncio.create_task(pool.reload("file:/c.gguf", drain_deadline=5))
            await asyncio.sleep(1)
            with pytest.raises(ReloadRefused):
                await pool.reload("file:/d.gguf")
            assert seen["pool_reload_failure_total{reason=busy}"] == 1
            with pytest.raises(ReloadFailed):
                await changing
            assert seen["pool_reload_failure_total{reason=drain_timeout}"] == 1
            assert (seen["pool_reload_success_total"], seen["pool_reload_duration_ms_count"]) == (1, 1)

    virtual_time.run(main())


def test_crashes_are_counted_by_class(tmp_path: Path) -> None:
    """B-METRICS: an engine that dies and one that hangs; one that is stopped is none."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            launcher = pool.host.drivers.launcher("local")
            assert isinstance(launcher, MemoryLauncher)
            for trouble in (MemoryEngine.crash, MemoryEngine.hang):
                trouble(launcher.engines[-1])
                await pool.reached("recovering", "backing_off")
                await pool.reached("ready")
            await pool.stop()
            assert seen["engine_crash_total{reason=signal}"] == 1
            assert seen["engine_crash_total{reason=hang}"] == 1
            assert [one for one in seen.series() if "engine_crash_total" in one and "hang" not in one] == [
                "engine_crash_total{'pool_id': 'chat', 'reason': 'signal'}"
            ]

    virtual_time.run(main())


CRASHES = EngineScript(ready_after=1.0, exits_after=2.0, exit=ExitStatus(signal=11))


def test_restarts_are_counted_with_their_delays(tmp_path: Path) -> None:
    """B-SUPER-018, 037, B-METRICS-006, B-METRICS-007: decided and begun, by class; how many lately."""

    async def main() -> None:
        async with managed(tmp_path, [CRASHES, CRASHES, WORKS]) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            assert (seen["restart_rate"], seen["backoff_delay_ms_count"]) == (0, 0)
            await pool.reached("backing_off")
            assert seen["restart_scheduled_total{crash_reason=signal}"] == 1
            for _ in range(2):
                await pool.reached("staging")
                await pool.reached("ready")
            assert seen["restart_scheduled_total{crash_reason=signal}"] == 2
            assert seen["pool_restart_total{reason=signal}"] == 2
            assert seen["engine_crash_total{reason=signal}"] == 2
            assert seen["backoff_delay_ms_sum"] == pytest.approx(3000, rel=0.1)
            assert seen["backoff_delay_ms_bucket{le=500}"] == 0
            assert seen["backoff_delay_ms_bucket{le=+Inf}"] == 2
            assert seen["restart_rate"] == 2
            await asyncio.sleep(60)
            assert seen["restart_rate"] == 0

    virtual_time.run(main())


def test_circuits_are_counted_and_shown(tmp_path: Path) -> None:
    """B-SUPER-027: 0 closed, 1 open, 2 half-open, a trial included; one series for each circuit."""

    async def main() -> None:
        async with managed(tmp_path, [CRASHES] * 5 + [WORKS]) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            state = "circuit_breaker_state{circuit=general}"
            await pool.start()
            assert (seen[state], seen["circuit_breaker_state{circuit=cuda}"]) == (0, 0)
            await pool.reached("failed")
            assert (seen[state], seen["circuit_breaker_open_total{circuit=general}"]) == (1, 1)
            await pool.reached("ready")
            assert seen[state] == 2
            await asyncio.sleep(60)
            assert (seen[state], seen["circuit_breaker_open_total{circuit=general}"]) == (0, 1)

    virtual_time.run(main())


def test_storms_are_counted(tmp_path: Path) -> None:
    """B-SUPER-037: one, however often it failed in it."""

    async def main() -> None:
        dies = EngineScript(exits_after=0.5, exit=ExitStatus(code=1))
        quick = Backoff(initial=0.0, maximum=0.0)
        async with managed(tmp_path, [dies]) as manager:
            seen = Scrapes(manager)
            spec = PoolSpec("chat", EngineSpec("engine"), backoff=quick, breaker=Breaker(threshold=100))
            pool = await manager.add(spec)
            await pool.start()
            assert seen["restart_storm_total"] == 0
            await pool.reached("failed")
            assert (seen["restart_storm_total"], seen["restart_rate"]) == (1, 10)
            await pool.reset()
            await pool.reached("failed")
            assert seen["restart_storm_total"] == 2

    virtual_time.run(main())


def test_a_turn_on_the_host_is_no_second_restart(tmp_path: Path) -> None:
    """B-SUPER-018: the same restart comes somewhat later."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            first = RestartScheduled("chat", 1.0, 2.0, 1, 3.0, FailureClass.EXIT, 0, 0, 60.0, Awaits.DELAY)
            for record in (first, evolve(first, awaits=Awaits.TURN)):
                pool.host.observe(record)
            assert seen["restart_scheduled_total{crash_reason=exit}"] == 1
            assert seen["backoff_delay_ms_sum"] == 2000

    virtual_time.run(main())


def test_a_shared_circuit_is_counted_for_every_pool_that_has_it(tmp_path: Path) -> None:
    """B-SUPER-027: as its state is shown for each of them."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await added(manager, "embed")
            change = CircuitChanged("device 0", BreakerState.CLOSED, BreakerState.OPEN, 0, shared=True)
            pool.host.observe(CircuitMoved("embed", 1.0, change, ("chat", "embed")))
            for name in ("chat", "embed"):
                series = f"circuit_breaker_open_total{{pool_id={name},circuit=device 0}}"
                assert seen[series] == 1

    virtual_time.run(main())


def test_leases_and_slots_are_read_at_the_scrape(tmp_path: Path) -> None:
    """B-METRICS-008, B-METRICS-009, B-METRICS-010: they follow the lease book; no lease is told of."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            lease = pool.acquire("a")
            names = ("pool_slots_total", "pool_slots_free", "pool_active_leases")
            assert [seen[name] for name in names] == [2, 1, 1]
            lease.release()
            assert [seen[name] for name in names] == [2, 2, 0]
            assert pool.book.on_change is None

    virtual_time.run(main())


def test_the_memory_of_devices_is_told_and_how_often_one_came_back(tmp_path: Path) -> None:
    """B-METRICS-003, B-METRICS-004, B-METRICS-005: as seen last; heat that is over is no reset."""
    gpus = MemoryGpuProbe([Device(0, "GPU-a", "a GPU", 80, 70)])
    lost, well, hot = FaultKind.LOST, FaultKind.WELL, FaultKind.THERMAL

    async def main() -> None:
        async with managed(tmp_path, gpus=gpus) as manager:
            seen = Scrapes(manager)
            await added(manager, device_mask="0", gpu_probe="memory")
            for kind in (hot, well, lost, well):
                gpus.report(DeviceFault("GPU-a", 0, "", kind))
                await asyncio.sleep(100)
            told = seen.registry.get_sample_value
            assert told("device_vram_total_bytes", {"device": "GPU-a"}) == 80
            assert told("device_vram_free_bytes", {"device": "GPU-a"}) == 70
            assert told("driver_reset_total") == 1

    virtual_time.run(main())


def test_the_series_of_a_removed_pool_end(tmp_path: Path) -> None:
    """All of them; those of another pool stay."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen = Scrapes(manager)
            for name in ("chat", "embed"):
                pool = await added(manager, name)
                await pool.start()
                await pool.drain(1)
            assert any("chat" in one for one in seen.series())
            await manager.remove("chat")
            assert not any("chat" in one for one in seen.series())
            assert any("embed" in one for one in seen.series())
            await added(manager, "chat")
            assert seen["pool_preload_success_total"] == 0

    virtual_time.run(main())


def test_both_text_formats_can_show_them(tmp_path: Path) -> None:
    """The names are what they were asked to be."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen, pool = Scrapes(manager), await added(manager)
            await pool.start()
            await pool.drain(1)
            openmetrics = generate_openmetrics(seen.registry)  # type: ignore[no-untyped-call]
            for text in (generate_latest(seen.registry), openmetrics):
                assert b'pool_drain_total{outcome="drained",pool_id="chat"} 1.0' in text
                assert b'pool_slots_total{pool_id="chat"} 2.0' in text

    virtual_time.run(main())


def test_two_observers_of_one_registry_are_refused(tmp_path: Path) -> None:
    """Or everything would be counted twice."""

    async def main() -> None:
        async with managed(tmp_path) as manager:
            seen = Scrapes(manager)
            with pytest.raises(ConfigError, match="one observer for one registry"):
                PrometheusObserver(manager, seen.registry)
            pool = await added(manager)
            await pool.start()
            assert seen["pool_preload_success_total"] == 1

    virtual_time.run(main())


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence that can be pasted."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pool-lifecycle\[metrics\]'"):
        runpy.run_path(metrics.__file__)
