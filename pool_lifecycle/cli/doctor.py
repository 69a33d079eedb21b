"""`pool-lifecycle doctor`: what would keep the pools of a file from starting on this host, and what helps."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pool_lifecycle.causes import Cause
from pool_lifecycle.cli.exits import Exit
from pool_lifecycle.cli.survey import PoolSurvey, Survey, survey
from pool_lifecycle.cli.words import console, printable
from pool_lifecycle.config import Config
from pool_lifecycle.interfaces import Capability
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.wording import plural

OK, WARNING, WOULD_NOT_START = "ok", "warning", "would not start"
"""What is said of a pool."""

_STYLES = {OK: "green", WARNING: "yellow", WOULD_NOT_START: "bold red"}


def run(config: Config, root: Path, *, as_json: bool, drivers: Drivers | None = None) -> int:
    """Look, and tell; return the exit code."""
    found = asyncio.run(survey(config.pools, root, config.manager, drivers=drivers))
    if as_json:
        sys.stdout.write(f"{_as_json(config, root, found)}\n")
    else:
        show(config, root, found, console())
    return Exit.OK if found.ok else Exit.WOULD_NOT_START


def verdict(pool: PoolSurvey) -> str:
    """In two words."""
    return WOULD_NOT_START if pool.causes else WARNING if pool.warnings else OK


# --- for people ----------------------------------------------------------------------------------------


def show(config: Config, root: Path, found: Survey, to: Console) -> None:
    """A line for each pool, below it what was found and what helps; then what holds for all of them."""
    where = f"{config.file}: {plural(len(found.pools), 'pool')}, state in {root.absolute()}"
    to.print(Text(printable(where)), soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for pool in found.pools:
        table.add_row(Text(printable(pool.pool_id)), _told(pool))
    if found.host:
        told = Text("a manager would not start", _STYLES[WOULD_NOT_START])
        table.add_row(Text("all of them"), _causes(told, found.host))
    table.add_row(Text("this host", "dim"), _allowed(found.capabilities))
    to.print(table)
    to.print(_summary(found), soft_wrap=True)


def _told(pool: PoolSurvey) -> Text:
    said = verdict(pool)
    text = _causes(Text(said, _STYLES[said]), pool.causes)
    for one in pool.warnings:
        text.append(f"\n{printable(one)}", "yellow")
    for one in pool.notes:
        text.append(f"\n{printable(one)}", "default")
    return text


def _causes(text: Text, causes: Iterable[Cause]) -> Text:
    for cause in causes:
        text.append(f"\n{printable(cause.message)}", "default")
        if cause.remedy:
            text.append(f"\n  → {printable(cause.remedy)}", "cyan")
    return text


def _allowed(capabilities: Iterable[Capability]) -> Text:
    """How engines are held together, and what could be better; `capabilities` tells all of it."""
    text = Text()
    for one in capabilities:
        if one.better or "containment" in one.name:
            text.append(f"{printable(one.name)}: {printable(one.in_force)}", "yellow" if one.better else "")
            text.append(f" ({printable(one.why)})\n" if one.better and one.why else "\n", "dim")
    text.rstrip()
    return text


def _summary(found: Survey) -> Text:
    count = sum(not one.causes for one in found.pools)
    of = f"{count} of {plural(len(found.pools), 'pool')} would start"
    if found.host:
        return Text(f"{of}, if a manager did", _STYLES[WOULD_NOT_START])
    return Text(of, _STYLES[OK if found.ok else WOULD_NOT_START])


# --- for programs --------------------------------------------------------------------------------------


def _as_json(config: Config, root: Path, found: Survey) -> str:
    pools = [
        {
            "pool_id": one.pool_id,
            "verdict": verdict(one),
            "causes": [*_plain(one.causes)],
            "warnings": one.warnings,
            "notes": one.notes,
        }
        for one in found.pools
    ]
    document = {
        "ok": found.ok,
        "file": str(config.file),
        "state_dir": str(root.absolute()),
        "pools": pools,
        "host": [*_plain(found.host)],
        "capabilities": [attrs.asdict(one) for one in found.capabilities],
    }
    return json.dumps(document, indent=2)


def _plain(causes: Iterable[Cause]) -> Iterator[dict[str, Any]]:
    for one in causes:
        yield {
            "kind": one.kind,
            "stage": one.stage,
            "message": one.message,
            "remedy": one.remedy,
            "heals": one.heals,
        }
