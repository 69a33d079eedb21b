"""The drivers of a simulation."""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.simulation.engines import Profile, SimulatedHost, Stager, simulated
from pool_lifecycle.simulation.trace import WEEK
from pool_lifecycle.testing import check_engine_profile, virtual_time
from tests.replays import a_pool, a_trace, runs


def test_the_profile_is_a_sound_one() -> None:
    """It keeps what profiles promise."""
    check_engine_profile(Profile)


def test_nothing_real_is_used_whatever_a_pool_names() -> None:
    """Under every name that is configured there is a simulated driver, also one that is not installed."""
    spec = a_pool(launcher="slurm", stager="s3", gpu_probe="nvml")
    spec = evolve(spec, engine=evolve(spec.engine, profile="vllm"), health=evolve(spec.health, probe="tcp"))
    host = SimulatedHost.of(a_trace(*runs(1.0)))
    drivers = host.drivers([spec])
    assert drivers.launcher("slurm") is host
    assert isinstance(drivers.stager("s3"), Stager)
    for found in (drivers.gpu_probe("nvml"), drivers.profile("vllm"), drivers.health_probe("tcp")):
        assert type(found).__module__.startswith(("pool_lifecycle.simulation", "pool_lifecycle.testing"))


def test_a_pool_is_as_declared_but_for_its_model() -> None:
    """Which is one of its own, and but for checks that cannot fail, which would only take time."""
    spec = a_pool(model="file:/models/a.gguf", slots=3)
    (same,) = simulated([spec], a_trace(*runs(1.0), *runs(1.0, reason="hang")))
    assert same == evolve(spec, model="chat")
    (unchecked,) = simulated([spec], a_trace(*runs(1.0)))
    assert unchecked == evolve(spec, model="chat", health=evolve(spec.health, interval=WEEK))


def test_models_are_there_and_stay_there() -> None:
    """Nothing is put anywhere, so nothing can be taken away."""

    async def look() -> None:
        stager = Stager(lambda _: None)
        assert (await stager.resolve(reference="chat")).name == "chat"
        staged = await stager.stage(reference="chat", digest=None, progress=lambda _: None)
        assert not await stager.evict(model=staged)

    virtual_time.run(look())
