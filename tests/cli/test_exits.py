"""The exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pool_lifecycle.cli.commands import cli
from pool_lifecycle.cli.exits import BY_SIGNAL, MEANINGS, Exit

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def test_every_code_has_a_meaning() -> None:
    """Those of the program, and those of being interrupted."""
    assert set(MEANINGS) == set(Exit) | {BY_SIGNAL + 2, BY_SIGNAL + 15}


def test_the_page_lists_them() -> None:
    """In the same words."""
    found = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert {int(code): meaning for code, meaning in found} == MEANINGS


@pytest.mark.parametrize("command", [[], ["check"], ["run"]])
def test_the_help_lists_them(command: list[str]) -> None:
    """Where people look first."""
    shown = CliRunner().invoke(cli, [*command, "--help"]).output
    assert all(f"{code:>3}  {meaning}" in shown for code, meaning in MEANINGS.items())
