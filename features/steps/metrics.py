"""Steps about the numbers that are offered to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from features.vocabulary import given, then
from features.world import World
from pool_lifecycle.metrics import PrometheusObserver


@given("metrics are collected")
def collect(world: World) -> None:
    world.notes["metrics"] = CollectorRegistry()
    PrometheusObserver(world.manager, world.notes["metrics"])


def sample(world: World, name: str, **labels: str) -> float | None:
    metrics: CollectorRegistry = world.notes["metrics"]
    return metrics.get_sample_value(name, labels)


@then('the metrics count 1 drain of "{pool}" that ended as {end}, of {lasted:g} milliseconds')
def count_drain(world: World, pool: str, end: str, lasted: float) -> None:
    assert sample(world, "pool_drain_total", pool_id=pool, outcome=end) == 1
    assert sample(world, "pool_drain_duration_ms_count", pool_id=pool) == 1
    assert sample(world, "pool_drain_duration_ms_sum", pool_id=pool) == lasted


@then('the metrics count {count:d} forced stops of "{pool}"')
def count_forced(world: World, pool: str, count: int) -> None:
    assert sample(world, "pool_drain_force_stop_total", pool_id=pool) == count
