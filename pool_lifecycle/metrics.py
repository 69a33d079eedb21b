"""Metrics for Prometheus: drains, preloads, crashes, leases and slots. Needs the extra `metrics`.

    async with PoolManager(state_dir) as manager:
        PrometheusObserver(manager)             # then serve prometheus_client.REGISTRY as you like

    pool_drain_duration_ms{pool_id}             histogram   how long drains lasted
    pool_drain_total{pool_id,outcome}           counter     drains, by how they ended (DrainEnd)
    pool_drain_force_stop_total{pool_id}        counter     drains that cut leases off at their deadline
    pool_preload_success_total{pool_id}         counter     ways from staging to ready
    pool_preload_failure_total{pool_id,reason}  counter     those that failed, by class (FailureClass)
    engine_crash_total{pool_id,reason}          counter     crashes of engines that served, by class
    pool_slots_total{pool_id}                   gauge       slots
    pool_slots_free{pool_id}                    gauge       slots without a lease
    pool_active_leases{pool_id}                 gauge       active leases

The gauges are read from the registry at the moment of a scrape, so that leases pay nothing for them. Every
label has a bounded set of values: pools there are, and members of an enumeration. The series of a pool
that was removed end with it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

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

from pool_lifecycle.lifecycle import PoolEvent
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.records import DrainEnded, Moved, PreloadEnded, Record
from pool_lifecycle.registry import Entry

DRAIN_BUCKETS_MS = (10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)
"""Upper bounds, in milliseconds: from a drain without leases to one of long completions."""


@define(eq=False)
class _Counts:
    """What has been counted of one pool. `buckets` has one place more, for what is above every bound."""

    drains: Counter[str] = field(factory=Counter)
    forced: int = 0
    buckets: list[int] = field(factory=lambda: [0] * (len(DRAIN_BUCKETS_MS) + 1))
    drained_ms: float = 0.0
    preloads: int = 0
    failures: Counter[str] = field(factory=Counter)
    crashes: Counter[str] = field(factory=Counter)

    def take(self, record: DrainEnded | PreloadEnded | Moved) -> None:
        if isinstance(record, DrainEnded):
            milliseconds = record.outcome.duration * 1000
            self.drains[str(record.outcome.end)] += 1
            self.forced += record.outcome.forced
            self.buckets[bisect_left(DRAIN_BUCKETS_MS, milliseconds)] += 1
            self.drained_ms += milliseconds
        elif isinstance(record, Moved):
            if record.notice.event is PoolEvent.CRASHED and record.notice.cause is not None:
                self.crashes[str(record.notice.cause.kind)] += 1
        elif record.cause is None:
            self.preloads += 1
        else:
            self.failures[str(record.cause.kind)] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: each with all below it."""
        total, found = 0, []
        for bound, count in zip((*map(str, DRAIN_BUCKETS_MS), "+Inf"), self.buckets, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class PrometheusObserver(Collector):
    """Counts what the manager's pools do, and offers it to `registry` from now on.

    Scrapes may come from any thread.
    """

    def __init__(self, manager: PoolManager, registry: CollectorRegistry = REGISTRY) -> None:
        self._pools = manager.registry
        self._counts: dict[str, _Counts] = {}
        self._lock = threading.Lock()
        manager.observe(self)
        registry.register(self)

    def __call__(self, record: Record) -> None:
        """Count a record, if it is of a kind that counts."""
        if isinstance(record, DrainEnded | PreloadEnded | Moved):
            with self._lock:
                self._counts.setdefault(record.pool_id, _Counts()).take(record)

    def describe(self) -> Iterator[Metric]:
        """The metrics without values."""
        return iter(_families((), {}))

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        entries = self._pools.entries()
        with self._lock:
            gone = self._counts.keys() - {entry.pool_id for entry in entries}
            for pool_id in gone:
                del self._counts[pool_id]
            return iter(_families(entries, self._counts))


_POOL = ("pool_id",)


def _families(entries: tuple[Entry, ...], counts: dict[str, _Counts]) -> tuple[Metric, ...]:
    durations = HistogramMetricFamily("pool_drain_duration_ms", "How long drains lasted", labels=_POOL)
    drains = CounterMetricFamily("pool_drain", "Drains, by how they ended", labels=(*_POOL, "outcome"))
    forced = CounterMetricFamily("pool_drain_force_stop", "Drains that cut leases off", labels=_POOL)
    ready = CounterMetricFamily("pool_preload_success", "Starts that became ready", labels=_POOL)
    failed = CounterMetricFamily(
        "pool_preload_failure", "Starts that failed, by class", labels=(*_POOL, "reason")
    )
    crashes = CounterMetricFamily(
        "engine_crash", "Crashes of engines that served, by class", labels=(*_POOL, "reason")
    )
    slots = GaugeMetricFamily("pool_slots_total", "Slots", labels=_POOL)
    free = GaugeMetricFamily("pool_slots_free", "Slots without a lease", labels=_POOL)
    leases = GaugeMetricFamily("pool_active_leases", "Active leases", labels=_POOL)
    for entry in entries:
        pool, count = entry.pool_id, counts.get(entry.pool_id) or _Counts()
        durations.add_metric((pool,), count.cumulative(), count.drained_ms)
        forced.add_metric((pool,), count.forced)
        ready.add_metric((pool,), count.preloads)
        for outcome, number in count.drains.items():
            drains.add_metric((pool, outcome), number)
        for reason, number in count.failures.items():
            failed.add_metric((pool, reason), number)
        for reason, number in count.crashes.items():
            crashes.add_metric((pool, reason), number)
        slots.add_metric((pool,), entry.slots_total)
        free.add_metric((pool,), entry.slots_free)
        leases.add_metric((pool,), entry.active_leases)
    return durations, drains, forced, ready, failed, crashes, slots, free, leases
