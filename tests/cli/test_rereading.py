"""`run` takes its file again; in virtual time, with drivers in memory."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from pool_lifecycle.cli.declared import NAME, Declared
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.cli.foreground import Foreground
from pool_lifecycle.cli.rereading import HANGUP, KEPT, Rereading
from pool_lifecycle.cli.terminal import Terminal
from pool_lifecycle.cli.watching import INTERVAL, Watch
from pool_lifecycle.config import load
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
)

SERVES = EngineScript(ready_after=1.0)


class ATerminal(Terminal):
    """One that goes when it is told to."""

    def __init__(self) -> None:
        self.is_gone = False

    @property
    def gone(self) -> bool:
        """Whether it was told to."""
        return self.is_gone


@define(eq=False)
class Run:
    """A run under way."""

    file: Path
    manager: PoolManager
    foreground: Foreground
    rereading: Rereading
    terminal: ATerminal

    def write(self, *pools: str) -> None:
        """Declare these pools, `name: what else` each."""
        self.file.write_text(declaring(*pools))

    @property
    def declared(self) -> Declared:
        """What is written down."""
        return Declared.read(self.manager.paths.root)

    async def read_again(self) -> None:
        """By SIGHUP, until all has come of it."""
        number = len(self.declared.applications)
        self.rereading.hung_up()
        while (  # noqa: ASYNC110 - a file is polled, as `apply` does
            len(self.declared.applications) == number or not self.declared.applications[-1].over
        ):
            await asyncio.sleep(0.1)


def declaring(*pools: str) -> str:
    """A file with these pools."""
    tables = []
    for pool in pools:
        name, _, more = pool.partition(":")
        tables.append(
            f'[pools.{name}]\nengine = {{ binary = "engine" }}\nlimits = {{ proving = 0 }}\n{more}\n'
        )
    return "".join(tables)


Then = Callable[[Run], Awaitable[None]]


def run(folder: Path, then: Then, *pools: str, watch: bool = False, script: EngineScript = SERVES) -> int:
    """The exit code of a run of these pools, in which `then` happens once they are ready."""
    file = folder / "pools.toml"
    file.write_text(declaring(*pools))

    async def main() -> int:
        launcher = MemoryLauncher(script)
        given: dict[Interface, dict[str, Any]] = {
            Interface.LAUNCHER: {"local": launcher},
            Interface.HEALTH_PROBE: {"http": MemoryHealthProbe(launcher)},
            Interface.MODEL_STAGER: {"file": MemoryStager()},
            Interface.ENGINE_PROFILE: {"generic": MemoryProfile()},
        }
        watching = Watch(file) if watch else None
        async with PoolManager(folder / "state", drivers=Drivers(given), seed=1) as manager:
            foreground = Foreground(manager, lasting=watch)
            rereading = Rereading(load(file), foreground, terminal := ATerminal())
            one = Run(file, manager, foreground, rereading, terminal)
            running = asyncio.create_task(foreground.run(rereading.config.pools, rereading.begun))
            looking = asyncio.create_task(rereading.watch(watching)) if watching else None
            await asyncio.sleep(5.0)
            await then(one)
            code = await running
            if looking is not None:
                looking.cancel()
            await rereading.close()
        assert not (folder / "state" / NAME).exists()
        return code

    return virtual_time.run(main())


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pool_lifecycle")


def test_sighup_changes_what_was_edited_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The plan is told before, the outcome after; the other pool keeps its engine."""

    async def then(run: Run) -> None:
        untouched = run.manager["b"].snapshot
        run.write("a: slots = 3", "b", "c")
        await run.read_again()
        assert run.manager["b"].snapshot is untouched
        assert run.manager["a"].spec.slots == 3
        assert run.manager["c"].state is PoolState.READY
        (one,) = run.declared.applications
        assert [(o.pool_id, o.way, o.end) for o in one.outcomes or ()] == [
            ("a", "reload", "done"),
            ("b", "unchanged", "done"),
            ("c", "add", "done"),
        ]
        run.foreground.stop(15)

    assert run(tmp_path, then, "a", "b") == Exit.OK
    told = [record.getMessage() for record in caplog.records]
    plan = told.index("SIGHUP: the file is read again: 1 to add, 1 to reload, 1 unchanged")
    assert told[plan + 1] == "a: to reload: slots: 1 -> 3"
    done = told.index("a: ready, as declared")
    assert plan < done
    assert told.index("a: the change to another engine for no model begins (drain_first)") in range(
        plan, done
    )


def test_a_wrong_file_is_told_in_full_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """B-CONFIG-x1: every problem of it; what is written down for `apply` has no values."""

    async def then(run: Run) -> None:
        before = {pool.pool_id: pool.snapshot for pool in run.manager}
        run.write("a: slots = -7", "b: model = 5")
        await run.read_again()
        assert {pool.pool_id: pool.snapshot for pool in run.manager} == before
        (one,) = run.declared.applications
        assert len(one.problems) == 2
        assert "-7" not in " ".join(one.problems)
        run.foreground.stop(15)

    assert run(tmp_path, then, "a", "b") == Exit.OK
    told = [record.getMessage() for record in caplog.records]
    assert any("pools.a.slots = -7" in one for one in told)
    assert "SIGHUP: the file is wrong, nothing was changed" in told


@pytest.mark.parametrize("later", [False, True])
def test_a_terminal_that_is_gone_stops_it(tmp_path: Path, later: bool) -> None:
    """Also one that is only on its way when it says so: then the file is not read."""

    async def then(run: Run) -> None:
        run.terminal.is_gone = not later
        run.rereading.hung_up()
        run.terminal.is_gone = True
        await asyncio.sleep(2 * HANGUP)
        assert run.foreground.stopping
        assert run.declared.applications == ()

    assert run(tmp_path, then, "a") == Exit.OK


def test_many_signals_at_once_are_one(tmp_path: Path) -> None:
    """The last of them is followed by a look at the file."""

    async def then(run: Run) -> None:
        for _ in range(50):
            run.rereading.hung_up()
        await asyncio.sleep(2.0)
        assert [one.number for one in run.declared.applications] == [1]
        run.foreground.stop(15)

    assert run(tmp_path, then, "a") == Exit.OK


def test_a_stop_ends_what_was_to_be_applied(tmp_path: Path) -> None:
    """V4: nothing is started any more, and the run ends as ever."""

    async def then(run: Run) -> None:
        lease = run.manager["a"].acquire("me")
        run.write("a: slots = 3", "b")
        run.rereading.hung_up()
        await run.manager["a"].reached("reloading.draining")
        run.foreground.stop(15)
        await asyncio.sleep(1.0)
        lease.release()
        run.rereading.hung_up()

    assert run(tmp_path, then, "a") == Exit.OK


def test_with_watch_a_change_is_seen(tmp_path: Path) -> None:
    """Within some seconds; a half-written file is let be finished, a wrong one changes nothing."""

    async def then(run: Run) -> None:
        run.write("a: slots = ")
        await asyncio.sleep(4 * INTERVAL)
        assert run.declared.applications[0].problems
        run.write("a: slots = 3")
        await asyncio.sleep(6 * INTERVAL)
        assert run.manager["a"].spec.slots == 3
        assert len(run.declared.applications) == 2
        run.foreground.stop(15)

    assert run(tmp_path, then, "a", watch=True) == Exit.OK


def test_with_watch_it_goes_on_when_nothing_runs(tmp_path: Path) -> None:
    """The next change may bring a pool; one that has ended by itself is started when it is declared anew."""
    finishes = EngineScript(ready_after=1.0, exits_after=2.0)

    async def then(run: Run) -> None:
        assert run.manager["a"].state is PoolState.STOPPED
        run.write("a: slots = 3")
        await run.manager["a"].reached("ready")
        run.foreground.stop(15)

    assert run(tmp_path, then, "a", watch=True, script=finishes) == Exit.OK


def test_settings_of_the_manager_are_told_not_to_be_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are the next run's."""

    async def then(run: Run) -> None:
        run.file.write_text(declaring("a") + "[manager.restarts]\nburst = 3\n")
        await run.read_again()
        run.foreground.stop(15)

    assert run(tmp_path, then, "a") == Exit.OK
    told = [record.getMessage() for record in caplog.records]
    assert "manager.restarts.burst: 20 -> 3: only by the next run" in told


def test_what_is_written_down_does_not_grow(tmp_path: Path) -> None:
    """The last ones are kept, as numbers that only grow."""

    async def then(run: Run) -> None:
        for _ in range(KEPT + 3):
            await run.rereading.again("a test")
        numbers = [one.number for one in run.declared.applications]
        assert numbers == list(range(4, KEPT + 4))
        run.foreground.stop(15)

    assert run(tmp_path, then, "a") == Exit.OK


def test_a_full_disk_only_keeps_apply_from_seeing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The pools are changed all the same."""

    async def then(run: Run) -> None:
        root = run.manager.paths.root
        (root / NAME).unlink()
        (root / NAME).mkdir()
        run.write("a: slots = 3")
        await run.rereading.again("a test")
        assert run.manager["a"].spec.slots == 3
        (root / NAME).rmdir()
        for left in root.glob(f"{NAME}.*"):
            left.unlink()
        run.foreground.stop(15)

    assert run(tmp_path, then, "a") == Exit.OK
    assert any("cannot be written down for `apply`" in record.getMessage() for record in caplog.records)


def test_what_is_logged_can_be_read_by_programs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each record with its kind and the pool it is about."""

    async def then(run: Run) -> None:
        run.write("a: slots = 3")
        await run.read_again()
        run.foreground.stop(15)

    run(tmp_path, then, "a")
    fields = [getattr(record, "pool_lifecycle", {}) for record in caplog.records]
    kinds = [one["event"] for one in fields if one.get("event", "").startswith("Appl")]
    assert kinds == ["ApplyBegan", "ApplyPlanned", "Applied"]
    json.dumps(fields, default=str)
