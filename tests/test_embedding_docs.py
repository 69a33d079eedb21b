"""docs/embedding.md is true: its tests are there, its program runs, and it names everything that is told."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.manager import PoolManager
from pool_lifecycle.store import MemoryStore

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "embedding.md"

NAMED = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", PAGE.read_text())


def test_every_row_names_a_test() -> None:
    """Of the table of what a program may do to us."""
    table = PAGE.read_text().partition("## What you may do to us")[2].partition("What nobody can")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert all("`test_" in row.rpartition(" | ")[2] for row in rows)


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_what_it_names_is_there(name: str, file: str) -> None:
    """By that name, in that file."""
    assert f"def {name}(" in (ROOT / file).read_text()


def test_its_program_runs_and_everything_that_is_told_is_listed(tmp_path: Path) -> None:
    """On this host, whatever it allows."""
    page = PAGE.read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)

    async def main() -> tuple[list[str], list[str]]:
        async with PoolManager(tmp_path / "state", store=MemoryStore()) as manager:
            return names["weak_points"](manager), [one.name for one in manager.capabilities()]

    weak, told = asyncio.run(main())
    assert all("because" in one for one in weak)
    assert {f"| {name} |" for name in told} <= set(re.findall(r"^\| [\w ]+ \|", page, re.MULTILINE))
