"""`pool-lifecycle apply`: what a file would change of what runs, and what became of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pool_lifecycle.cli.declared import Application, Declared, Outcome
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.cli.rereading import words_of
from pool_lifecycle.cli.running import NobodyRuns, Running
from pool_lifecycle.cli.words import NARROW, printable
from pool_lifecycle.config import Config, load
from pool_lifecycle.plan import (
    Difference,
    Plan,
    PoolChange,
    Way,
    described,
    differences,
    plan_between,
    settings,
)

LOOK = 0.1
"""Seconds between two looks at what has become of it."""


class NotTheOne(Exception):
    """There is nobody to apply the file; the message says who runs instead, if anybody."""


class EndedMeanwhile(Exception):
    """The manager has ended before it had told what became of it."""


@frozen
class Asked:
    """What is to be applied: the file as it is now, against what its run has written down."""

    config: Config
    declared: Declared
    plan: Plan
    not_applied: tuple[Difference, ...]


def ask(file: Path, config: Config, root: Path, running: Running) -> Asked:
    """What the file would change. Raises NotTheOne when that manager does not run this file."""
    try:
        declared = Declared.read(root)
    except (OSError, ValueError) as error:
        declared = None
        why = error
    if declared is None or declared.pid != running.pid:
        reason = f": {why}" if declared is None and not isinstance(why, FileNotFoundError) else ""
        what = f"the manager of {str(root)!r} (pid {running.pid}) has not said that it runs a file{reason}"
        raise NotTheOne(what)
    if os.path.abspath(file) != declared.file:
        config = _same(file, declared)
    manager = differences(declared.manager, settings(config.manager, declared.key))
    after = (described(spec, declared.key) for spec in config.pools)
    return Asked(config, declared, plan_between(declared.pools, after), manager)


def _same(file: Path, declared: Declared) -> Config:
    """The same file under the name that the run knows it by, as paths in it are relative to its folder."""
    known = Path(declared.file)
    if not known.exists() or not known.samefile(file):
        raise NotTheOne(f"it runs {declared.file!r}, not {os.path.abspath(file)!r}")
    return load(known)


def carried_out(asked: Asked, root: Path, running: Running) -> Application:
    """Tell the manager to read its file, and wait for what becomes of it. Raises EndedMeanwhile."""
    latest = max((one.number for one in asked.declared.applications), default=0)
    try:
        running.hang_up()
    except NobodyRuns:
        raise EndedMeanwhile from None
    while True:
        over = running.ended
        try:
            applications = Declared.read(root).applications
        except (OSError, ValueError):
            applications = ()  # it is gone with its manager
        for one in applications:
            if one.number > latest and one.over:
                return one
        if over:
            raise EndedMeanwhile
        time.sleep(LOOK)


def code_of(one: Application) -> Exit:
    """With which code the command ends."""
    if one.problems:
        return Exit.NOT_APPLIED
    done = all(outcome.end == "done" for outcome in one.outcomes or ())
    return Exit.OK if done else Exit.NOT_APPLIED


# --- for programs -----------------------------------------------------------------------------------------


def as_json(asked: Asked, application: Application | None, *, ok: bool) -> str:
    """The plan, and what became of it."""
    document: dict[str, Any] = {
        "ok": ok,
        "file": asked.declared.file,
        "pid": asked.declared.pid,
        "plan": [asdict(one) for one in asked.plan.changes],
        "not_applied": [asdict(one) for one in asked.not_applied],
    }
    if application is not None:
        document["problems"] = list(application.problems)
        document["outcomes"] = [asdict(one) for one in application.outcomes or ()]
    return json.dumps(document, indent=2)


# --- for people -------------------------------------------------------------------------------------------

_STYLES: dict[Way, str] = {
    Way.ADD: "green",
    Way.ADJUST: "cyan",
    Way.RELOAD: "yellow",
    Way.REPLACE: "magenta",
    Way.REMOVE: "red",
}


def show_plan(asked: Asked, to: Console) -> None:
    """What is to change: a table where a terminal has room, else a list; piped, columns between tabs."""
    pending = asked.plan.pending
    if _has_room(to) and pending:
        rows = [row for change in pending for row in _rows(change)]
        to.print(_table(rows, ("pool", "change", "key", "from", "to")))
    elif to.is_terminal:
        for change in pending:
            _list(change, to)
    else:
        for cells in (cells for change in pending for cells in _cells(change)):
            _row(cells, to)
    _say(to, f"{asked.declared.file}: {asked.plan}", "bold")
    for one in asked.not_applied:
        _say(to, f"manager.{one}: only by the next run", "yellow")


def _cells(change: PoolChange) -> list[list[str]]:
    """A row for each difference; one for none."""
    adds = change.way is Way.ADD
    values = [(one.key, "" if adds else one.brief[0], one.brief[1]) for one in change.differences]
    rows = values or [("", "", "")]
    return [[change.pool_id, str(change.way), *map(printable, row)] for row in rows]


def _rows(change: PoolChange) -> list[list[Text]]:
    """The same for a table, where the pool is named once."""
    rows = [[Text(), Text(), *map(Text, cells[2:])] for cells in _cells(change)]
    rows[0][:2] = [Text(change.pool_id, "bold"), Text(change.way, _STYLES[change.way])]
    return rows


def _list(change: PoolChange, to: Console) -> None:
    to.print(Text(f"{change.pool_id} ", "bold").append(change.way, _STYLES[change.way]))
    for cells in _cells(change):
        if cells[2]:
            _say(to, f"  {cells[2]}: {' -> '.join(filter(None, cells[3:]))}")


def show_outcome(application: Application, to: Console) -> None:
    """What became of every pool that was to change."""
    for problem in application.problems:
        _say(to, f"not applied: {problem}", "bold red")
    changed = [one for one in application.outcomes or () if one.way != Way.UNCHANGED or one.end != "done"]
    if changed:
        rows = [_outcome(one) for one in changed]
        if _has_room(to):
            to.print(_table(rows, ("pool", "change", "end", "now")))
        for row in [] if _has_room(to) else rows:
            if to.is_terminal:
                to.print(Text(" ").join(row), soft_wrap=True)
            else:
                _row([cell.plain for cell in row], to)
    elif not application.problems:
        _say(to, "every pool is as declared already")


def _outcome(one: Outcome) -> list[Text]:
    style = "green" if one.end == "done" else "bold red"
    return [Text(one.pool_id, "bold"), Text(one.way), Text(one.end, style), Text(printable(words_of(one)))]


def _row(cells: list[str], to: Console) -> None:
    """As it is: to print it would make blanks of the tabs."""
    to.file.write("\t".join(cells) + "\n")


def _has_room(to: Console) -> bool:
    return to.is_terminal and to.width >= NARROW


def _table(rows: list[list[Text]], headings: tuple[str, ...]) -> Table:
    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number < 2)
    for row in rows:
        table.add_row(*row)
    return table


def _say(to: Console, what: str, style: str = "") -> None:
    to.print(Text(printable(what), style), soft_wrap=True)
