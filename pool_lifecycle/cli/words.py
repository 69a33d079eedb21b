"""What the command line says: to people in words and tables, to programs in JSON."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import attrs
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from pool_lifecycle.config import Config
from pool_lifecycle.errors import Problem
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.wording import plural


class _Console(Console):
    """A console that tells when nobody reads it; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(stream: TextIO | None = None) -> Console:
    """Where people read. What its encoding cannot show is shown as an escape."""
    stream = stream or sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return _Console(file=stream, highlight=False)


def printable(text: str) -> str:
    """Without characters that could do something to a terminal: engines' words are hostile text."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def told(problems: Iterable[Problem], to: Console) -> None:
    """Every problem: where it is, then what would be valid."""
    problems = tuple(problems)
    for problem in problems:
        where = str(problem).removeprefix(f"{problem.file}: ").removesuffix(problem.valid).removesuffix(": ")
        if where:
            to.print(Text(printable(where), "bold red"), soft_wrap=True)
        to.print(Text(f"    {printable(problem.valid)}"), soft_wrap=True)
    files = {problem.file for problem in problems}
    named = printable(", ".join(sorted(map(str, files))))
    to.print(Text(f"{plural(len(problems), 'problem')} in {named}"), soft_wrap=True)


def problems_as_json(problems: Iterable[Problem]) -> str:
    """The same for programs. Values are left out: the sentence has what may be shown."""
    listed = [{"file": one.file, "key": one.key, "valid": one.valid, "message": str(one)} for one in problems]
    return json.dumps({"ok": False, "problems": listed}, indent=2)


NARROW = 72
"""Columns of a terminal below which a table of pools cannot be read."""

_HEADINGS = ("pool", "engine", "model", "address", "slots", "health")


def show_pools(config: Config, to: Console) -> None:
    """The pools of a file at a glance: a table, or, on a narrow terminal, a list."""
    to.print(Text(f"{printable(str(config.file))}: {plural(len(config.pools), 'pool')}"), soft_wrap=True)
    rows = [[Text(printable(cell)) for cell in _row(spec)] for spec in config.pools]
    if to.width >= NARROW:
        to.print(_table(rows))
        return
    for name, *rest in rows:
        name.stylize("bold")
        to.print(name)
        for heading, cell in zip(_HEADINGS[1:], rest, strict=True):
            to.print(Text(f"  {heading:<8} ").append_text(cell), soft_wrap=True)


def _table(rows: list[list[Text]]) -> Table:
    table = Table()
    for heading in _HEADINGS:
        justify: JustifyMethod = "right" if heading == "slots" else "left"
        table.add_column(heading, justify=justify, style="bold" if heading == "pool" else "", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _row(spec: PoolSpec) -> tuple[str, ...]:
    engine = spec.engine
    port = " (free port)" if engine.port is None else f":{engine.port}"
    return (
        spec.pool_id,
        f"{Path(engine.binary).name} ({engine.profile})",
        spec.model or "-",
        f"{engine.host}{port}",
        str(spec.slots),
        f"{spec.health.probe} {spec.health.path or ''}".rstrip(),
    )


def config_as_json(config: Config) -> str:
    """Everything a file declares, with its defaults; of environment variables only the names."""
    pools = [_plain(spec) for spec in config.pools]
    manager = attrs.asdict(config.manager)
    return json.dumps({"ok": True, "file": str(config.file), "manager": manager, "pools": pools}, indent=2)


def _plain(spec: PoolSpec) -> dict[str, Any]:
    plain = attrs.asdict(spec)
    plain["engine"]["env"] = [name for name, _ in spec.engine.env]
    return plain


_TOLD_ELSEWHERE = frozenset({"EngineEnded", "EngineUnhealthy", "CrashLogKept"})
"""Kinds of records whose news is in another line: who looks for details finds them in JSON and in files."""


def _told_elsewhere(fields: dict[str, Any]) -> bool:
    """Of a start only a failure without an engine is news: of all others there is a line already."""
    event = fields.get("event")
    return event in _TOLD_ELSEWHERE or (event == "PreloadEnded" and fields.get("crashed", True))


class Story(logging.Handler):
    """Log records as lines for people: when, to which pool, what happened. `width` fits the pools' names.

    `bars`: there is a screen with bars as well, so that lines need not say how far a model is.
    """

    def __init__(
        self, to: Console, width: int, on_broken: Callable[[], object], *, bars: bool = False
    ) -> None:
        super().__init__()
        self._console = to
        self._width = width
        self._on_broken = on_broken
        self._bars = bars

    def emit(self, record: logging.LogRecord) -> None:
        """A line; a warning in yellow, an error in red."""
        fields = getattr(record, "pool_lifecycle", {})
        if _told_elsewhere(fields) or (self._bars and fields.get("event") == "StagingProgressed"):
            return
        pool_id = fields.get("pool_id", "")
        clock = Text(logging.Formatter().formatTime(record, "%H:%M:%S"), "dim")
        name = Text(pool_id.ljust(self._width), "bold")
        message = Text(printable(record.getMessage().removeprefix(f"{pool_id}: ")), _style(record.levelno))
        try:
            self._console.print(self._line(clock, name, message), soft_wrap=not self._console.is_terminal)
        except OSError:  # the terminal is gone
            self._on_broken()

    def _line(self, *parts: Text) -> Table | Text:
        if not self._console.is_terminal:
            return Text(" ").join(parts)
        line = Table.grid(padding=(0, 1))  # a long message goes on below its own beginning
        for part in parts[:-1]:
            line.add_column(no_wrap=True, min_width=part.cell_len)
        line.add_column(overflow="fold")
        line.add_row(*parts)
        return line


def _style(level: int) -> str:
    return "red" if level >= logging.ERROR else "yellow" if level >= logging.WARNING else ""


class Lines(logging.StreamHandler[TextIO]):
    """Log records as JSON lines."""

    def __init__(self, stream: TextIO, on_broken: Callable[[], object]) -> None:
        super().__init__(stream)
        self._on_broken = on_broken

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Whoever read the lines has gone away: there is nobody to tell."""
        if isinstance(sys.exc_info()[1], OSError):
            self._on_broken()
        else:
            super().handleError(record)
