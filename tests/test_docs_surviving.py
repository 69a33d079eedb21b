"""docs/surviving.md is true: every row names something that shows it, and that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "surviving.md").read_text(encoding="utf-8")

COLUMNS = 5

ROWS = [
    row.strip("| ").split(" | ")
    for row in PAGE.splitlines()
    if row.startswith("| ") and not row.endswith("shown by |")
]

LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def is_there(name: str, path: Path) -> bool:
    """Whether the file has a test, or a scenario, of exactly that name."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".feature":
        return f"  Scenario: {name}\n" in text
    return re.search(rf"^(async )?def {re.escape(name.strip('`'))}\(", text, flags=re.MULTILINE) is not None


def test_there_are_rows() -> None:
    """Whatever becomes of the way they are found here."""
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_names_what_shows_it(row: list[str]) -> None:
    """A test or a scenario, by its name, in the file that the link leads to; every column says something."""
    assert len(row) == COLUMNS
    assert all(cell.strip() for cell in row)
    shown = LINK.findall(row[-1])
    assert shown
    assert LINK.sub("", row[-1]).replace(",", "").strip() == ""
    assert not [name for name, target in shown if not is_there(name, ROOT / "docs" / target)]


def test_every_link_leads_somewhere() -> None:
    """To a file that is there; and the README leads here."""
    for _, target in LINK.findall(PAGE):
        assert (ROOT / "docs" / target).exists(), target
    assert "(docs/surviving.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_it_says_of_the_code_is_so() -> None:
    """Names and numbers that a reader would look for."""
    from pool_lifecycle import Pool, PoolManager, recovery  # noqa: PLC0415 - none of the rest needs it

    assert f"within {recovery.PATIENCE:g} s" in PAGE
    assert hasattr(Pool, "grant")
    assert hasattr(Pool, "release")
    assert hasattr(PoolManager, "end_unclaimed")
