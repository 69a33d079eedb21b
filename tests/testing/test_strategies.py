"""The strategies draw only valid values, and varied ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from pool_lifecycle.causes import Cause, ExitStatus
from pool_lifecycle.interfaces import Command, LaunchRequest, StopReport
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.testing import strategies, virtual_time
from pool_lifecycle.testing.memory import EngineScript, MemoryLauncher

QUICK = settings(phases=[Phase.generate], database=None, derandomize=True, max_examples=1000)
"""Shrinking what was found would take most of the time, and say nothing."""

REQUEST = LaunchRequest("p", 1, "token", Command(("engine",)), "127.0.0.1", 20000, "/log", "/pid")


@given(spec=strategies.pool_specs())
def test_every_pool_spec_drawn_is_valid(spec: PoolSpec) -> None:
    """Making it again from its own fields passes every check, and it can be a key."""
    assert hash(evolve(spec)) == hash(spec)


@given(status=strategies.exit_statuses(), cause=strategies.causes())
def test_every_ending_drawn_can_be_told(status: ExitStatus, cause: Cause) -> None:
    """A status is a code, a signal or unknown, never two of them; a cause is one sentence."""
    assert status.code is None or status.signal is None
    assert str(status)
    assert str(cause).startswith(f"{cause.stage} failed: ")


@given(script=strategies.engine_scripts(), kill_after=strategies.seconds(maximum=600.0))
def test_every_killable_engine_drawn_ends_in_time(script: EngineScript, kill_after: float) -> None:
    """Whatever else its script says, an engine that can be killed is gone `kill_after` after its stop."""
    willing = evolve(script, launch_error=None, unkillable=False)

    async def stop() -> tuple[StopReport, float]:
        engine = await MemoryLauncher(willing).launch(request=REQUEST)
        begun = asyncio.get_running_loop().time()
        report = await engine.stop(kill_after=kill_after)
        return report, asyncio.get_running_loop().time() - begun

    report, took = virtual_time.run(stop())
    assert took <= kill_after + 1e-6
    assert report.exit.signal == 9 or not report.killed


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (strategies.exit_statuses(), lambda status: not status.known),
        (strategies.pool_specs(), lambda spec: spec.engine.env and spec.model and spec.health.path),
        (strategies.limits(), lambda limits: limits.start < limits.start_hard),
        (strategies.backoffs(), lambda backoff: 0 < backoff.minimum < backoff.initial < backoff.maximum),
        (strategies.breakers(), lambda breaker: breaker.timeout < breaker.timeout_max),
    ],
)
def test_the_unusual_is_drawn_too(strategy: st.SearchStrategy[Any], wanted: Any) -> None:
    """Each strategy reaches the corners that matter."""
    assert wanted(find(strategy, wanted, settings=QUICK))
