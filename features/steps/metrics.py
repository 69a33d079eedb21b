"""Steps about the numbers that are offered to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from features.vocabulary import given, then
from features.world import CHAT, World
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


@then('the metrics count 1 change of model of "{pool}"')
def count_change(world: World, pool: str) -> None:
    assert sample(world, "pool_reload_success_total", pool_id=pool) == 1
    assert sample(world, "pool_reload_duration_ms_count", pool_id=pool) == 1


@then("the metrics say that it took about {lasted:g} milliseconds")
def change_took(world: World, lasted: float) -> None:
    took = sample(world, "pool_reload_duration_ms_sum", pool_id=CHAT) or 0.0
    assert lasted <= took <= 1.05 * lasted, took


@then('the metrics count 1 failed change of model of "{pool}", because of "{reason}"')
def count_unmade(world: World, pool: str, reason: str) -> None:
    assert sample(world, "pool_reload_failure_total", pool_id=pool, reason=reason) == 1
    assert not sample(world, "pool_reload_success_total", pool_id=pool)


@then(
    'the metrics count {count:d} restarts of "{pool}" because of "{reason}", '
    "after about {lasted:g} milliseconds in all"
)
def count_restarts(world: World, count: int, pool: str, reason: str, lasted: float) -> None:
    assert sample(world, "restart_scheduled_total", pool_id=pool, crash_reason=reason) == count
    assert sample(world, "backoff_delay_ms_count", pool_id=pool) == count
    assert 0.9 * lasted <= (sample(world, "backoff_delay_ms_sum", pool_id=pool) or 0.0) <= 1.1 * lasted


@then('the metrics say that the circuit of "{pool}" has opened {times:Times} and is {state:CircuitState}')
def circuit(world: World, pool: str, times: int, state: str) -> None:
    number = {"closed": 0, "open": 1, "half-open": 2}[state]
    assert sample(world, "circuit_breaker_open_total", pool_id=pool, circuit="general") == times
    assert sample(world, "circuit_breaker_state", pool_id=pool, circuit="general") == number


@then('the metrics count {storms:Storms} of "{pool}", and {restarts:d} restarts within the last minute')
def storm(world: World, storms: int, pool: str, restarts: int) -> None:
    assert (sample(world, "restart_storm_total", pool_id=pool) or 0) == storms
    assert sample(world, "restart_rate", pool_id=pool) == restarts
