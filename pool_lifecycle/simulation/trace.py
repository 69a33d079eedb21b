"""What is to happen in a simulation: how long each run of an engine lasts and how it ends; what operators do.

A trace is JSON lines. A run, in the order in which the runs of its pool come:

    {"pool_id": "chat", "uptime_seconds": 3.5, "reason": "cuda"}

An action of an operator, so many seconds after the begin:

    {"pool_id": "chat", "at": 600, "wish": "reset"}

What `pool-lifecycle run --format json` writes is a trace too: its records of crashes, of failed starts and of
how long starts took are read as runs, all others are passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from attrs import NOTHING, define, field, fields, frozen

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.checks import CHECK, check_all, checked, flag, one_of, optional, seconds, text
from pool_lifecycle.config import MOST_PROBLEMS, Remark
from pool_lifecycle.errors import ConfigError, Problem
from pool_lifecycle.simulation.logged import BEFORE_READY, ENDED_ON_PURPOSE, Log
from pool_lifecycle.wording import SHOWN

F = FailureClass

WEEK = 7 * 86400.0
"""No simulation lasts longer, in seconds."""

LONGEST_LINE = 2**20
LARGEST_TRACE = 2**30
"""In bytes: bounds on work and memory, whatever is given as a trace."""

MOST_ENTRIES = 10_000
"""Runs and wishes together. More cannot be read in a picture, and would take minutes."""

NAMED = 10
"""So many pools are named when a trace is about another one."""

WHEN_READY = frozenset({F.GRACEFUL, F.HANG, F.HEALTH})
"""Only an engine that had been ready ends so."""

REASONS = tuple(str(kind) for kind in F if kind not in ENDED_ON_PURPOSE)
WISHES = ("start", "stop", "drain", "reset", "allow_one")

QUICK_START = 0.5
"""Seconds from launch to ready where the trace does not say."""


@frozen
class Run:
    """One run of a pool's engine, as a trace tells it. Times in seconds.

    It is ready `start_seconds` after its launch and ends `uptime_seconds` after that, for `reason`. One that
    does not become `ready` ends so long after its launch. `ready` None leaves that to the reason.
    """

    pool_id: str = field(metadata=checked(text("a pool's name")))
    reason: str = field(metadata=checked(one_of(REASONS)))
    uptime_seconds: float = field(metadata=checked(seconds()))
    start_seconds: float = field(default=QUICK_START, metadata=checked(seconds()))
    ready: bool | None = field(default=None, metadata=checked(optional(flag)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
        if self.ready is True and self.reason in BEFORE_READY:
            valid = f"must be false or left out: only a start ends as {self.reason}"
            raise ConfigError([Problem("ready", self.ready, valid)])
        if self.ready is False and self.reason in WHEN_READY:
            valid = f"must be true or left out: only an engine that was ready ends as {self.reason}"
            raise ConfigError([Problem("ready", self.ready, valid)])

    @property
    def kind(self) -> FailureClass:
        """The class of its ending."""
        return FailureClass(self.reason)

    @property
    def becomes_ready(self) -> bool:
        """Whether it is ready before it ends."""
        return self.kind not in BEFORE_READY if self.ready is None else self.ready


@frozen
class Action:
    """Something that an operator does, `at` seconds after the begin."""

    pool_id: str = field(metadata=checked(text("a pool's name")))
    at: float = field(metadata=checked(seconds()))
    wish: str = field(metadata=checked(one_of(WISHES)))

    def __attrs_post_init__(self) -> None:
        check_all(self)


@frozen
class Trace:
    """The runs of each pool, in their order, and the actions, the earliest first."""

    runs: Mapping[str, tuple[Run, ...]]
    actions: tuple[Action, ...] = ()

    @property
    def pools(self) -> frozenset[str]:
        """The pools that something happens to."""
        return frozenset(self.runs) | {one.pool_id for one in self.actions}


def load(path: str | os.PathLike[str], pools: Collection[str]) -> Trace:
    """The trace in a file (or a pipe) about `pools`. Raises ConfigError with every problem of the file."""
    file = Path(path)
    reader = _Reader(str(file), pools)
    try:
        with open(file, "rb") as opened:
            reader.read(opened)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, ConfigError):
            raise
        sentence = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError([Remark("", sentence, file=str(file))]) from error
    except _EnoughError:
        reader.problems.append(Remark("", "the rest of the file was not looked at", file=str(file)))
    return reader.trace()


class _EnoughError(Exception):
    """The rest is not looked at."""


@define(eq=False)
class _Reader:
    """Reads one trace; collects what is wrong with it."""

    file: str
    pools: Collection[str]
    problems: list[Problem] = field(factory=list)
    _runs: dict[str, list[Run]] = field(factory=dict)
    _actions: list[Action] = field(factory=list)
    _entries: int = 0
    _line: int = 0
    _log: Log = field(factory=Log)

    def read(self, opened: IO[bytes]) -> None:
        """Every line."""
        for line in self._lines(opened):
            entry = self._parsed(line)
            if entry is not None:
                self._take(entry)

    def trace(self) -> Trace:
        """What was read. Raises ConfigError with every problem."""
        if not self.problems and not self._entries:
            valid = 'has nothing to replay; a run is {"pool_id": …, "uptime_seconds": …, "reason": …}'
            self.problems.append(Remark("", valid, file=self.file))
        if self.problems:
            raise ConfigError(self.problems)
        runs = {pool_id: tuple(runs) for pool_id, runs in self._runs.items()}
        return Trace(runs, tuple(sorted(self._actions, key=lambda one: one.at)))

    def _lines(self, opened: IO[bytes]) -> Iterator[bytes]:
        total = 0
        while line := opened.readline(LONGEST_LINE + 1):
            self._line += 1
            total += len(line)
            if len(line) > LONGEST_LINE:
                self._stop(f"is longer than {LONGEST_LINE} bytes; is it the right file?")
            if total > LARGEST_TRACE:
                self._stop(f"the file is larger than {LARGEST_TRACE} bytes")
            yield line

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        """The object of a line; None for an empty one, and for one that is none."""
        try:
            said = line.decode("utf-8-sig" if self._line == 1 else "utf-8").strip()
            entry = json.loads(said) if said else None
        except (ValueError, RecursionError) as error:
            self._remark("", f"must be a JSON object: {_why(error)}")
            return None
        if entry is not None and not isinstance(entry, dict):
            self._remark("", "must be a JSON object")
            return None
        return entry

    def _take(self, entry: dict[str, Any]) -> None:
        told = self._log.run_of(entry) if "event" in entry else entry
        if told is None:
            return
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            self._stop(f"no more than {MOST_ENTRIES} runs and wishes can be replayed")
        made = self._made(Action if "wish" in told or "at" in told else Run, told)
        if isinstance(made, Action):
            self._actions.append(made)
        elif made is not None:
            self._runs.setdefault(made.pool_id, []).append(made)

    def _made(self, kind: type[Run | Action], entry: dict[str, Any]) -> Run | Action | None:
        """What a line means; None, and problems, when it means nothing."""
        known = {one.name: one for one in fields(kind)}
        unknown = [name for name in entry if name not in known]
        for name in unknown:
            self._remark(name[:SHOWN], f"unknown key (valid: {', '.join(known)})")
        missing = [name for name, one in known.items() if one.default is NOTHING and name not in entry]
        for name in missing:
            self._remark(name, f"is missing; it {known[name].metadata[CHECK](None)}")
        if unknown or missing:
            return None
        try:
            made = kind(**entry)
        except ConfigError as error:
            for problem in error.problems:
                self._problem(problem.key, problem.value, problem.valid)
            return None
        if made.pool_id not in self.pools:
            self._problem("pool_id", made.pool_id, _one_of(tuple(self.pools)))
            return None
        return made

    # --- reports -----------------------------------------------------------------------------------------

    def _stop(self, sentence: str) -> NoReturn:
        self._remark("", sentence)
        raise _EnoughError

    def _problem(self, key: str, value: object, valid: str) -> None:
        self._add(Problem(f"line {self._line}: {key}", value, valid, file=self.file))

    def _remark(self, key: str, sentence: str) -> None:
        where = ": ".join(filter(None, (f"line {self._line}", key)))
        self._add(Remark(where, sentence, file=self.file))

    def _add(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MOST_PROBLEMS:
            raise _EnoughError


def _one_of(pools: tuple[str, ...]) -> str:
    more = f" or {len(pools) - NAMED} others" if len(pools) > NAMED else ""
    return f"must be a pool of the configuration: {', '.join(map(repr, pools[:NAMED]))}{more}"


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it is not UTF-8 text"
