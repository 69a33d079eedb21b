"""`run` takes its file again: when told by SIGHUP, or when it sees that the file has changed."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from pool_lifecycle.applying import Applied, End, described_as
from pool_lifecycle.cli.declared import Application, Declared, Outcome
from pool_lifecycle.cli.foreground import Foreground
from pool_lifecycle.cli.terminal import Terminal
from pool_lifecycle.cli.watching import INTERVAL, Watch
from pool_lifecycle.config import Config, ManagerSettings, load
from pool_lifecycle.errors import ConfigError, PoolLifecycleError, Problem
from pool_lifecycle.events import Target
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.logs import LOGGER
from pool_lifecycle.plan import Described, Difference, Plan, Way, differences, settings
from pool_lifecycle.spec import PoolSpec

HANGUP = 0.1
"""Seconds from SIGHUP to reading: a terminal that goes away tells so before all of it is gone."""

KEPT = 16
"""So many of the last times that the file was read are written down."""

STOPPING = "the manager is being stopped"


@define(eq=False)
class Rereading:
    """The file of one run, and how its pools come to be as it says now."""

    config: Config
    foreground: Foreground
    terminal: Terminal
    _key: bytes = field(factory=partial(secrets.token_bytes, 32), init=False)
    _number: int = field(default=0, init=False)
    _applications: dict[int, Application] = field(factory=dict, init=False)
    _turn: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _writing: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _shown: dict[str, tuple[PoolSpec, Target, Described]] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def _file(self) -> Path:
        return Path(os.path.abspath(self.config.file))

    # --- when it is read ----------------------------------------------------------------------------------

    def hung_up(self) -> None:
        """SIGHUP: the terminal is gone, or somebody wants the file to be read again."""
        if self.terminal.gone:
            self.foreground.unheard()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HANGUP, self._settled)

    def _settled(self) -> None:
        self._timer = None
        if self.terminal.gone:
            self.foreground.unheard()
        else:
            self.foreground.begin(self.again("SIGHUP"))

    async def watch(self, watch: Watch) -> None:
        """Look at the file, and read it again when it has changed; without end."""
        while True:
            await asyncio.sleep(INTERVAL)
            if await asyncio.to_thread(watch.look):
                self.foreground.begin(self.again("the file has changed"))

    # --- what comes of it ---------------------------------------------------------------------------------

    async def again(self, by: str) -> None:
        """Read the file, tell what is to be done, do it, tell what became of it."""
        self._number += 1
        one = Application(self._number, by)
        await self._note(one)
        try:
            async with self._turn:  # else an older content might be applied last
                config = await asyncio.to_thread(load, self._file)
                applying = self._apply(config, by)
        except ConfigError as error:
            refused(by, error)
            await self._note(evolve(one, problems=tuple(map(_sentence, error.problems))))
            return
        if applying is None:
            await self._note(evolve(one, problems=(STOPPING,)))
            return
        outcomes = [await self._revived(outcome) for outcome in await applying]
        await self._note(evolve(one, outcomes=tuple(map(in_words, outcomes))))

    def _apply(self, config: Config, by: str) -> asyncio.Task[tuple[Applied, ...]] | None:
        if self.foreground.stopping:
            return None
        manager = self.foreground.manager
        planned(by, manager.plan(config.pools), self._not_applied(config.manager))
        self.foreground.declare(config.pools)
        return asyncio.create_task(manager.apply(config.pools, each=ended))

    def _not_applied(self, declared: ManagerSettings) -> tuple[Difference, ...]:
        return differences(settings(self.config.manager), settings(declared))

    async def _revived(self, outcome: Applied) -> Applied:
        """Every pool of the file is to run: one that has ended is started, now that it is another one."""
        pool = self.foreground.manager.get(outcome.pool_id)
        changed = outcome.end is End.DONE and outcome.way in {Way.ADJUST, Way.RELOAD}
        if pool is None or not changed or pool.state is not PoolState.STOPPED or self.foreground.stopping:
            return outcome
        try:
            await pool.start()
        except PoolLifecycleError as error:
            failed = evolve(outcome, end=End.FAILED, error=error, state=str(pool.state))
            ended(failed)
            return failed
        return evolve(outcome, state=str(pool.state))

    # --- what is written down -----------------------------------------------------------------------------

    async def begun(self) -> None:
        """The pools have been added: write down what they are."""
        await self._note(None)

    async def close(self) -> None:
        """The run is over: nothing more is read or written."""
        if self._timer is not None:
            self._timer.cancel()
        async with self._writing:
            self._closed = True
            Declared.forget(self.foreground.manager.paths.root)

    async def _note(self, one: Application | None) -> None:
        if one is not None:
            self._applications[one.number] = one
            for number in sorted(self._applications)[:-KEPT]:
                del self._applications[number]
        async with self._writing:
            if self._closed:
                return
            pools = [(pool.spec, pool.snapshot.target) for pool in self.foreground.manager]
            applications = tuple(self._applications.values())
            try:
                await asyncio.to_thread(self._write, pools, applications)
            except OSError as error:
                LOGGER.warning("what is declared cannot be written down for `apply`: %s", error)

    def _write(self, pools: Iterable[tuple[PoolSpec, Target]], applications: tuple[Application, ...]) -> None:
        known = tuple(self._as_shown(spec, target) for spec, target in pools)
        manager = settings(self.config.manager, self._key)
        declared = Declared(os.getpid(), str(self._file), self._key, manager, known, applications)
        declared.write(self.foreground.manager.paths.root)

    def _as_shown(self, spec: PoolSpec, target: Target) -> Described:
        """Nearly all pools are as they were when this was written last."""
        known = self._shown.get(spec.pool_id)
        if known is None or known[0] is not spec or known[1] != target:
            known = self._shown[spec.pool_id] = spec, target, described_as(spec, target, self._key)
        return known[2]


# --- what is told -----------------------------------------------------------------------------------------


def planned(by: str, plan: Plan, not_applied: Iterable[Difference] = ()) -> None:
    """What is to be done, before it is."""
    _tell("ApplyBegan", f"{by}: the file is read again: {plan}", trigger=by)
    for change in plan.pending:
        what = f"{change.pool_id}: {change}"
        _tell("ApplyPlanned", what, pool_id=change.pool_id, way=str(change.way))
    for one in not_applied:
        _tell("NotApplied", f"manager.{one}: only by the next run", level=logging.WARNING)


def refused(by: str, error: ConfigError) -> None:
    """What is wrong with the file."""
    for problem in error.problems:
        _tell("ApplyRefused", str(problem), level=logging.ERROR, trigger=by)
    _tell("ApplyRefused", f"{by}: the file is wrong, nothing was changed", level=logging.ERROR, trigger=by)


def ended(one: Applied) -> None:
    """What became of a pool that was to change."""
    if one.way is Way.UNCHANGED and one.end is End.DONE:
        return
    told = in_words(one)
    fields = {"pool_id": one.pool_id, "way": told.way, "end": told.end, "last_error": told.error}
    level = logging.WARNING if one.end is End.FAILED else logging.INFO
    given = {name: value for name, value in fields.items() if value}
    _tell("Applied", f"{one.pool_id}: {words_of(told)}", level=level, **given)


def in_words(one: Applied) -> Outcome:
    """For whoever reads it in another process."""
    error = "" if one.error is None else "; ".join(filter(None, (one.error.what, one.error.remedy)))
    return Outcome(one.pool_id, str(one.way), str(one.end), error, one.state)


def words_of(one: Outcome) -> str:
    """What became of a pool, in a sentence."""
    if one.error:
        return f"{one.state or 'gone'}, not as declared: {one.error}"
    return "removed" if one.state is None else f"{one.state}, as declared"


def _sentence(problem: Problem) -> str:
    """Without its value, which may be a secret in the wrong place: this is written to a disk."""
    return f"{problem.key}: {problem.valid}".removeprefix(": ")


def _tell(event: str, what: str, *, level: int = logging.INFO, **fields: Any) -> None:
    LOGGER.log(level, "%s", what, extra={"pool_lifecycle": {"event": event, **fields}})
