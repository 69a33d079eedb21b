"""What this host allows: a table for people, or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pool_lifecycle import capabilities
from pool_lifecycle.boot import Boot
from pool_lifecycle.cli.words import NARROW, printable
from pool_lifecycle.interfaces import Capability
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.spec import PoolSpec


def here(specs: Collection[PoolSpec]) -> tuple[Capability, ...]:
    """What is in force for the drivers of these pools, or for the usual ones."""

    async def look() -> tuple[Capability, ...]:
        loop = asyncio.get_running_loop()
        return capabilities.of(Drivers(), specs, loop=loop, boot=Boot.of(loop.time()))

    return asyncio.run(look())


def as_json(found: Collection[Capability]) -> str:
    """Everything, for programs."""
    return json.dumps({"capabilities": [attrs.asdict(one) for one in found]}, indent=2)


def show(found: Collection[Capability], to: Console) -> None:
    """What is in force, and below what could be better why it is not and what would help."""
    table = Table(show_header=to.width >= NARROW, box=None, padding=(0, 2, 0, 0))
    table.add_column("what", style="bold", overflow="fold")
    table.add_column("in force here", overflow="fold")
    for one in found:
        table.add_row(Text(printable(one.name)), _told(one))
    to.print(table)


def _told(one: Capability) -> Text:
    text = Text(printable(one.in_force), "yellow" if one.better else "green")
    rest = (("", one.why), ("better: ", one.better), ("to get it: ", one.remedy))
    for word, words in rest:
        if words:
            text.append(f"\n{word}{printable(words)}", "default")
    return text
