"""When readiness is seen, and whose answer it is."""

from __future__ import annotations

import asyncio
import math

import pytest

from pool_lifecycle.causes import FailureClass, Stage
from pool_lifecycle.errors import StartFailed
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.readiness import PROBE_GAP
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import EngineScript, ProbeScript
from tests.worlds import NEVER_READY, a_world, virtually

# --- when readiness is seen -----------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 2.0, 6.0, 20.0])
@virtually
async def test_readiness_is_seen_within_a_hundredth_of_the_load(load: float) -> None:
    """B-PRELOAD-x2: without any output, at most 1 % late, or 10 ms."""
    async with a_world(EngineScript(ready_after=load)) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert load <= seconds <= load + max(0.0101, 0.0101 * load)


@pytest.mark.parametrize("load", [0.3, 2.0, 30.0, 100.0])
@virtually
async def test_readiness_is_seen_at_once_when_the_engine_logs_it(load: float) -> None:
    """B-PRELOAD-x2: within 10 ms, however old the engine is."""
    moment = load + 0.0057
    async with a_world(EngineScript(ready_after=moment, output=((moment, 20),))) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert moment <= seconds <= moment + 0.010


@virtually
async def test_a_flood_of_output_does_not_cause_a_flood_of_probes() -> None:
    """B-PRELOAD-x2: the rate is capped."""
    flood = EngineScript(ready_after=3.0, output=tuple((at / 1000, 100) for at in range(3000)))
    async with a_world(flood) as world:
        await world.pool.start()
        assert world.probe.checks <= 3.0 / PROBE_GAP + 2


@virtually
async def test_output_long_ago_is_no_reason_to_look_more_often() -> None:
    """B-PRELOAD-x2: one line at the begin, and then the usual pauses."""
    async with a_world(EngineScript(ready_after=50.0, output=((1.0, 20),))) as world:
        await world.pool.start()
        assert world.probe.checks <= 100 + 100 * math.log(10) + 400 + 10


@virtually
async def test_a_slow_probe_is_asked_again_when_it_answered() -> None:
    """One probe at a time; its time-out is the declared one."""
    answers = (ProbeScript(takes=99.0), ProbeScript(Health(ok=True, detail="200"), takes=0.5))
    health = HealthSpec(probe="memory", timeout=2.0)
    async with a_world(answers=answers, health=health) as world:
        _, seconds = await virtual_time.timed(world.pool.start())
        assert seconds == pytest.approx(2.0 + 0.010 + 0.5)  # half the interval, as the look took so long
        assert world.probe.checks == 2


@virtually
async def test_what_an_unready_engine_answers_is_shown_in_a_line() -> None:
    """S19: not the ten megabytes that a probe makes of it."""
    flood = Health(ok=False, detail="\x1b[31m" * 2 * 10**6)
    async with a_world(
        answers=(flood, ProbeScript(flood, takes=0.5), Health(ok=True, detail="200"))
    ) as world:
        await world.began(world.pool.start())
        assert "\\x1b[31m" in world.pool.explain()
        assert len(world.pool.explain()) < 1000
        await world.pool.reached("ready")


@virtually
async def test_what_is_probed_is_declared_or_the_profiles() -> None:
    """Path and command; the warm-up has a path of its own."""
    seen: list[ProbeTarget] = []

    def answer(target: ProbeTarget) -> Health:
        seen.append(target)
        return Health(ok=True, detail="200")

    async with a_world(answers=answer) as world:
        await world.pool.start()
    health = HealthSpec(probe="memory", path="/live", command=["ask", "it"], warm_up="/warm")
    async with a_world(answers=answer, health=health) as world:
        await world.pool.start()
    assert [one.path for one in seen] == ["/health", "/live", "/warm"]
    assert seen[1].command == ("ask", "it")
    assert seen[1].host == "127.0.0.1"


@virtually
async def test_the_warm_up_must_succeed() -> None:
    """B-PRELOAD-x1: ready comes after it; until then it says what it is doing."""

    def answer(target: ProbeTarget) -> Health:
        warm = target.path == "/health" or asyncio.get_running_loop().time() >= 1005.0
        return Health(ok=warm, detail="cold")

    async with a_world(answers=answer, health=HealthSpec(probe="memory", warm_up="/v1")) as world:
        starting = await world.began(world.pool.start())
        assert "Last seen: /v1: cold." in world.pool.explain()
        _, seconds = await virtual_time.timed(starting)
        assert 5.0 <= seconds <= 5.1


# --- whose answer it is ---------------------------------------------------------------------------------


@virtually
async def test_the_answer_of_somebody_else_is_not_ours() -> None:
    """B-PRELOAD-x3, S8: 200 on a port that our process tree does not hold is an error naming who does."""
    stranger = (Health(ok=True, detail="200"),)
    async with a_world(NEVER_READY, answers=stranger) as world:
        with pytest.raises(StartFailed) as caught:
            await world.pool.start()
        cause = caught.value.cause
        assert (cause.kind, cause.stage) == (FailureClass.PORT_IN_USE, Stage.HEALTH)
        pid = world.launcher.engines[0].pid
        assert f"the healthy answer did not come from our engine: port {20000} is held by pid {pid}" in str(
            cause
        )
        assert "ready" not in world.way
