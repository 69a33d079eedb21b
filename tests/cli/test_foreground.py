"""A manager in the foreground, in virtual time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.cli.foreground import Foreground
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
)

HOPELESS = EngineScript(launch_error=Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "bad flag", heals=False))
FLAKY = EngineScript(launch_error=Cause(FailureClass.EXIT, Stage.LAUNCH, "once", heals=True))
SERVES = EngineScript(ready_after=1.0)

Then = Callable[[Foreground], Awaitable[None]]


async def _nothing(_: Foreground) -> None:
    """Let it go its way."""


def run(
    folder: Path,
    scripts: Sequence[EngineScript],
    then: Then = _nothing,
    pools: int = 1,
    classes: ClassPolicies | None = None,
) -> tuple[int, float]:
    """The exit code, and how many seconds it took; meanwhile `then` happens."""

    async def main() -> tuple[int, float]:
        launcher = MemoryLauncher(scripts)
        given: dict[Interface, dict[str, Any]] = {
            Interface.LAUNCHER: {"local": launcher},
            Interface.HEALTH_PROBE: {"http": MemoryHealthProbe(launcher)},
            Interface.MODEL_STAGER: {"file": MemoryStager()},
            Interface.ENGINE_PROFILE: {"generic": MemoryProfile()},
        }
        policies = classes or ClassPolicies()
        limits = Limits(drain=20.0, stop_grace=5.0, reclaim=7.0)
        specs = tuple(
            PoolSpec(f"p{n}", EngineSpec("engine"), limits=limits, classes=policies) for n in range(pools)
        )
        async with PoolManager(folder, drivers=Drivers(given), seed=1) as manager:
            foreground = Foreground(manager)
            began = asyncio.get_running_loop().time()
            meanwhile = asyncio.create_task(_call(then, foreground))
            code = await foreground.run(specs)
            took = asyncio.get_running_loop().time() - began
            await meanwhile
            for engine in launcher.engines:
                engine.release()
        return code, took

    async def _call(then: Then, foreground: Foreground) -> None:
        await asyncio.sleep(5.0)
        await then(foreground)

    return virtual_time.run(main())


async def stopped(foreground: Foreground) -> None:
    """Ctrl-C, once."""
    foreground.stop(signal.SIGINT)


async def stopped_with_a_lease(foreground: Foreground) -> None:
    """Ctrl-C while a lease is held, which ends three seconds later."""
    lease = foreground.manager["p0"].acquire("a")
    foreground.stop(signal.SIGTERM)
    await asyncio.sleep(3.0)
    assert foreground.manager["p0"].state is PoolState.DRAINING
    lease.release()


def test_when_nothing_can_run_it_ends_by_itself(tmp_path: Path) -> None:
    """With a code of its own: nobody has to watch a manager of nothing."""
    assert run(tmp_path, [HOPELESS], pools=3) == (Exit.NOTHING_CAN_RUN, 0)


def test_a_pool_that_may_come_back_keeps_it_running(tmp_path: Path) -> None:
    """Also when another one is past hope; and what heals is not given up."""
    code, took = run(tmp_path, [HOPELESS, FLAKY, FLAKY, SERVES], stopped, pools=2)
    assert (code, took) == (Exit.OK, 5)


def test_an_open_circuit_keeps_it_running(tmp_path: Path) -> None:
    """Its trial may bring the pool back: here the sixth launch does."""

    async def later(foreground: Foreground) -> None:
        await foreground.manager["p0"].reached(PoolState.FAILED)
        await foreground.manager["p0"].reached(PoolState.READY)
        foreground.stop(signal.SIGINT)

    code, took = run(tmp_path, [FLAKY] * 5 + [SERVES], later)
    assert code == Exit.OK
    assert took > 300


def test_a_class_that_is_not_tried_again_ends_it(tmp_path: Path) -> None:
    """What the pool says of a class counts, whatever is known of the single failure."""
    never = ClassPolicies(exit=ClassPolicy(retry=False))
    assert run(tmp_path, [FLAKY], classes=never) == (Exit.NOTHING_CAN_RUN, 0)


def test_engines_that_finish_end_it(tmp_path: Path) -> None:
    """B-SUPER-006: exit code 0 is no failure, and nothing is left to do."""
    finishes = EngineScript(ready_after=1.0, exits_after=4.0, exit=ExitStatus(code=0))
    assert run(tmp_path, [finishes], pools=2) == (Exit.OK, 4)


def test_the_first_signal_waits_for_leases(tmp_path: Path) -> None:
    """A drain, within the pool's limit."""
    assert run(tmp_path, [SERVES], stopped_with_a_lease) == (Exit.OK, 8)


def test_a_lease_that_lasts_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    """B-DRAIN-005: after `limits.drain`."""

    async def then(foreground: Foreground) -> None:
        foreground.manager["p0"].acquire("a")
        foreground.stop(signal.SIGTERM)

    assert run(tmp_path, [SERVES], then) == (Exit.OK, 25)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_kills(tmp_path: Path, second: int, code: int) -> None:
    """At once, leases or not, SIGTERM or not; the code says which signal it was."""

    async def then(foreground: Foreground) -> None:
        foreground.manager["p0"].acquire("a")
        foreground.stop(signal.SIGINT)
        await asyncio.sleep(1.0)
        foreground.stop(second)

    assert run(tmp_path, [EngineScript(ready_after=1.0, ignores_term=True)], then) == (code, 6)


def test_one_signal_delivered_twice_is_one_wish(tmp_path: Path) -> None:
    """`timeout` and others signal a process and its group: the leases in flight still have their time."""

    async def then(foreground: Foreground) -> None:
        lease = foreground.manager["p0"].acquire("a")
        foreground.stop(signal.SIGTERM)
        foreground.stop(signal.SIGTERM)
        await asyncio.sleep(3.0)
        assert foreground.manager["p0"].state is PoolState.DRAINING
        lease.release()

    assert run(tmp_path, [SERVES], then) == (Exit.OK, 8)


def test_signals_in_the_middle_of_a_start_are_heard(tmp_path: Path) -> None:
    """The start is called off, the engine ended."""
    assert run(tmp_path, [EngineScript(ready_after=None)], stopped, pools=2) == (Exit.OK, 5)


def test_what_cannot_be_killed_is_told(tmp_path: Path) -> None:
    """V2: it does not wait for ever."""
    code, took = run(tmp_path, [EngineScript(ready_after=1.0, unkillable=True)], stopped)
    assert code == Exit.STUCK
    assert took < 5 + 5 + 7 + 1


def test_a_reader_who_goes_away_is_a_wish_to_stop_only_once(tmp_path: Path) -> None:
    """However many lines cannot be written: leases still get their time."""

    async def then(foreground: Foreground) -> None:
        lease = foreground.manager["p0"].acquire("a")
        for _ in range(3):
            foreground.unheard()
            await asyncio.sleep(1.0)
        lease.release()

    assert run(tmp_path, [SERVES], then) == (Exit.OK, 8)
