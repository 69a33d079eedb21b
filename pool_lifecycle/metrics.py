"""Metrics for Prometheus: drains, starts, reloads, crashes, circuits, leases. Needs the extra `metrics`.

    async with PoolManager(state_dir) as manager:
        PrometheusObserver(manager)             # then serve prometheus_client.REGISTRY as you like

    pool_drain_duration_ms{pool_id}               histogram  how long drains lasted
    pool_drain_total{pool_id,outcome}             counter    drains, by how they ended (DrainEnd)
    pool_drain_force_stop_total{pool_id}          counter    drains that cut leases off at their deadline
    pool_preload_success_total{pool_id}           counter    ways from staging to ready
    pool_preload_failure_total{pool_id,reason}    counter    those that failed, by class (FailureClass)
    pool_reload_success_total{pool_id}            counter    changes of model that were made
    pool_reload_failure_total{pool_id,reason}     counter    those that were not, by class or NoReload
    pool_reload_duration_ms{pool_id}              histogram  how long those took that were made
    pool_reload_gap_ms{pool_id}                   histogram  for how long of that no lease could be granted
    engine_crash_total{pool_id,reason}            counter    engines that failed, ready or not, by class
    backoff_delay_ms{pool_id}                     histogram  how long restarts had to wait, as first decided
    restart_scheduled_total{pool_id,crash_reason} counter    restarts decided, by the class of the failure
    pool_restart_total{pool_id,reason}            counter    restarts begun, by the class of the failure
    restart_rate{pool_id}                         gauge      restarts within the window's period
    restart_storm_total{pool_id}                  counter    restart storms
    circuit_breaker_open_total{pool_id,circuit}   counter    openings of a circuit that the pool has
    circuit_breaker_state{pool_id,circuit}        gauge      0 closed, 1 open, 2 half-open or on trial
    pool_slots_total{pool_id}                     gauge      slots
    pool_slots_free{pool_id}                      gauge      slots without a lease
    pool_active_leases{pool_id}                   gauge      active leases
    device_vram_total_bytes{device}               gauge      memory of a device, by its uuid, as seen last
    device_vram_free_bytes{device}                gauge      of that, what is free
    driver_reset_total                            counter    devices that came back after they had gone

The gauges are read at the moment of a scrape, so that nothing else pays for them. Every label has a bounded
set of values: pools there are, members of an enumeration, circuits of classes and devices. A reload that was
refused counts as a failure, also where another strategy was taken instead. A circuit that
pools share is told of for each of them. The series of a pool that was removed end with it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from attrs import define, field

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "metrics need prometheus-client: pip install 'pool-lifecycle[metrics]'", name=error.name
    ) from error

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.device_metrics import DeviceCounts
from pool_lifecycle.errors import ConfigError, Problem
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import (
    CircuitMoved,
    DrainEnded,
    EngineCrashed,
    PreloadEnded,
    Record,
    ReloadEnded,
    ReloadNotBegun,
    RestartBegan,
    RestartScheduled,
    StormBegan,
)
from pool_lifecycle.registry import Entry
from pool_lifecycle.waits import Awaits

DRAIN_BUCKETS_MS = (10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)
"""Upper bounds, in milliseconds: from a drain without leases to one of long completions."""

RELOAD_BUCKETS_MS = (0, 100, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000)
"""Upper bounds, in milliseconds: from a change without a gap to one with a model of many GB."""

BACKOFF_BUCKETS_MS = (0, 100, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 120_000, 600_000)
"""Upper bounds, in milliseconds: from a restart at once to one that a window holds back."""

STATES = {BreakerState.CLOSED: 0, BreakerState.OPEN: 1, BreakerState.HALF_OPEN: 2, BreakerState.TRIAL: 2}
"""The values of `circuit_breaker_state`."""


@define(eq=False)
class _Histogram:
    """Milliseconds by their upper bounds; one place more is for what is above every bound."""

    bounds: tuple[int, ...]
    total: float = 0.0
    _buckets: list[int] = field(factory=list)

    def observe(self, seconds: float) -> None:
        milliseconds = seconds * 1000
        self._buckets = self._buckets or [0] * (len(self.bounds) + 1)
        self._buckets[bisect_left(self.bounds, milliseconds)] += 1
        self.total += milliseconds

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all below it."""
        total, found = 0, []
        buckets = self._buckets or [0] * (len(self.bounds) + 1)
        for bound, count in zip((*map(str, self.bounds), "+Inf"), buckets, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


@define(eq=False)
class _Counts:
    """What has been counted of one pool."""

    drains: Counter[str] = field(factory=Counter)
    forced: int = 0
    durations: _Histogram = field(factory=lambda: _Histogram(DRAIN_BUCKETS_MS))
    preloads: int = 0
    failures: Counter[str] = field(factory=Counter)
    reloads: int = 0
    unmade: Counter[str] = field(factory=Counter)
    changes: _Histogram = field(factory=lambda: _Histogram(RELOAD_BUCKETS_MS))
    gaps: _Histogram = field(factory=lambda: _Histogram(RELOAD_BUCKETS_MS))
    crashes: Counter[str] = field(factory=Counter)
    delays: _Histogram = field(factory=lambda: _Histogram(BACKOFF_BUCKETS_MS))
    scheduled: Counter[str] = field(factory=Counter)
    restarts: Counter[str] = field(factory=Counter)
    storms: int = 0
    openings: Counter[str] = field(factory=Counter)


def _drained(counts: _Counts, record: DrainEnded) -> None:
    counts.drains[str(record.outcome.end)] += 1
    counts.forced += record.outcome.forced
    counts.durations.observe(record.outcome.duration)


def _preloaded(counts: _Counts, record: PreloadEnded) -> None:
    if record.cause is None:
        counts.preloads += 1
    else:
        counts.failures[str(record.cause.kind)] += 1


def _reloaded(counts: _Counts, record: ReloadEnded | ReloadNotBegun) -> None:
    if record.reason is not None:
        counts.unmade[str(record.reason)] += 1
    elif isinstance(record, ReloadEnded):
        counts.reloads += 1
        counts.changes.observe(record.duration)
        counts.gaps.observe(record.gap)


def _crashed(counts: _Counts, record: EngineCrashed) -> None:
    counts.crashes[str(record.cause.kind)] += 1


def _scheduled(counts: _Counts, record: RestartScheduled) -> None:
    if record.awaits is not Awaits.TURN:  # that is the same restart, somewhat later
        counts.scheduled[str(record.reason)] += 1
        counts.delays.observe(record.backoff)


def _began(counts: _Counts, record: RestartBegan) -> None:
    counts.restarts[str(record.reason)] += 1


def _stormed(counts: _Counts, _record: StormBegan) -> None:
    counts.storms += 1


def _circuit_moved(counts: _Counts, record: CircuitMoved) -> None:
    counts.openings[record.change.circuit] += record.change.new is BreakerState.OPEN


_COUNTED: dict[type, Callable[..., None]] = {
    DrainEnded: _drained,
    PreloadEnded: _preloaded,
    ReloadEnded: _reloaded,
    ReloadNotBegun: _reloaded,
    EngineCrashed: _crashed,
    RestartScheduled: _scheduled,
    RestartBegan: _began,
    StormBegan: _stormed,
    CircuitMoved: _circuit_moved,
}


class PrometheusObserver(Collector):
    """Counts what the manager's pools do, and offers it to `registry` from now on.

    Scrapes may come from any thread. Raises ConfigError for a registry that has such metrics already.
    """

    def __init__(self, manager: PoolManager, registry: CollectorRegistry = REGISTRY) -> None:
        self._manager = manager
        self._counts: dict[str, _Counts] = {}
        self._devices = DeviceCounts()
        self._lock = threading.Lock()
        try:
            registry.register(self)
        except ValueError as error:
            valid = f"must not have the metrics of pools already: one observer for one registry ({error})"
            raise ConfigError([Problem("registry", registry, valid)]) from error
        manager.observe(self)  # only now: one that is refused counts nothing

    def __call__(self, record: Record) -> None:
        """Count a record, if it is of a kind that counts."""
        count = _COUNTED.get(type(record))
        if not record.pool_id:
            with self._lock:
                self._devices.count(record)
        if count is None:
            return
        concerned = (isinstance(record, CircuitMoved) and record.pools) or (record.pool_id,)
        with self._lock:
            for pool_id in concerned:
                count(self._counts.setdefault(pool_id, _Counts()), record)

    def describe(self) -> Iterator[Metric]:
        """The metrics without values."""
        return iter((*_families((), {}), *_supervision(()), *DeviceCounts().families()))

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        entries = self._manager.registry.entries()
        with self._lock:
            for pool_id in self._counts.keys() - {entry.pool_id for entry in entries}:
                del self._counts[pool_id]
            devices = tuple(self._devices.families())
            return iter((*_families(entries, self._counts), *_supervision(self._manager), *devices))


_POOL = ("pool_id",)
_NOTHING = _Counts()

_TOTALS: tuple[tuple[str, str, Callable[[_Counts], int]], ...] = (
    ("pool_drain_force_stop", "Drains that cut leases off", lambda counts: counts.forced),
    ("pool_preload_success", "Starts that became ready", lambda counts: counts.preloads),
    ("pool_reload_success", "Changes of model that were made", lambda counts: counts.reloads),
    ("restart_storm", "Restart storms", lambda counts: counts.storms),
)
_BY_LABEL: tuple[tuple[str, str, str, Callable[[_Counts], Counter[str]]], ...] = (
    ("pool_drain", "Drains, by how they ended", "outcome", lambda counts: counts.drains),
    ("pool_preload_failure", "Starts that failed, by class", "reason", lambda counts: counts.failures),
    ("pool_reload_failure", "Changes of model that were not made", "reason", lambda counts: counts.unmade),
    ("engine_crash", "Engines that failed, by class", "reason", lambda counts: counts.crashes),
    ("restart_scheduled", "Restarts decided, by class", "crash_reason", lambda counts: counts.scheduled),
    ("pool_restart", "Restarts begun, by class", "reason", lambda counts: counts.restarts),
    ("circuit_breaker_open", "Openings of circuits", "circuit", lambda counts: counts.openings),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[_Counts], _Histogram]], ...] = (
    ("pool_drain_duration_ms", "How long drains lasted", lambda counts: counts.durations),
    ("pool_reload_duration_ms", "How long changes of model took", lambda counts: counts.changes),
    ("pool_reload_gap_ms", "How long they let no lease be granted", lambda counts: counts.gaps),
    ("backoff_delay_ms", "How long restarts were to wait", lambda counts: counts.delays),
)
_READ: tuple[tuple[str, str, Callable[[Entry], int]], ...] = (
    ("pool_slots_total", "Slots", lambda entry: entry.slots_total),
    ("pool_slots_free", "Slots without a lease", lambda entry: entry.slots_free),
    ("pool_active_leases", "Active leases", lambda entry: entry.active_leases),
)


def _families(entries: tuple[Entry, ...], counts: dict[str, _Counts]) -> Iterator[Metric]:
    """What was counted, and what the registry says."""
    pools = [(entry.pool_id, counts.get(entry.pool_id, _NOTHING)) for entry in entries]
    for name, help_, histogram in _HISTOGRAMS:
        durations = HistogramMetricFamily(name, help_, labels=_POOL)
        for pool_id, count in pools:
            durations.add_metric((pool_id,), histogram(count).cumulative(), histogram(count).total)
        yield durations
    for name, help_, total in _TOTALS:
        totals = CounterMetricFamily(name, help_, labels=_POOL)
        for pool_id, count in pools:
            totals.add_metric((pool_id,), total(count))
        yield totals
    for name, help_, label, counted in _BY_LABEL:
        labelled = CounterMetricFamily(name, help_, labels=(*_POOL, label))
        for pool_id, count in pools:
            for value, number in counted(count).items():
                labelled.add_metric((pool_id, value), number)
        yield labelled
    for name, help_, read in _READ:
        gauge = GaugeMetricFamily(name, help_, labels=_POOL)
        for entry in entries:
            gauge.add_metric((entry.pool_id,), read(entry))
        yield gauge


def _supervision(pools: Iterable[Pool]) -> Iterator[Metric]:
    """What the pools' snapshots say: frozen values, so that any thread may look."""
    rates = GaugeMetricFamily("restart_rate", "Restarts within the window's period", labels=_POOL)
    states = GaugeMetricFamily(
        "circuit_breaker_state", "0 closed, 1 open, 2 half-open", labels=(*_POOL, "circuit")
    )
    for pool in pools:
        snapshot = pool.snapshot
        recent = snapshot.rules.window.recent(snapshot.restarts, pool.host.clock())
        rates.add_metric((pool.pool_id,), len(recent))
        for circuit in snapshot.circuits:
            states.add_metric((pool.pool_id, circuit.name), STATES[circuit.state])
    yield from (rates, states)
