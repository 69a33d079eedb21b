"""What the README shows works as shown."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks() -> list[str]:
    """The code a reader would copy."""
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_every_name_that_a_sample_imports_is_there() -> None:
    """The samples can be copied: what they import exists."""
    blocks = python_blocks()
    assert len(blocks) >= 2
    for block in blocks:
        imports = [
            node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert imports
        exec("\n".join(ast.unparse(node) for node in imports), {})


def test_the_sample_for_testers_runs() -> None:
    """The sample about memory drivers runs as it stands."""
    names: dict[str, object] = {}
    exec(python_blocks()[1], names)
    assert "drivers" in names


def test_the_samples_on_observing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of docs/observing.md can be copied as it stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    page = (ROOT / "docs" / "observing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, {})


def test_every_link_to_a_file_leads_somewhere() -> None:
    """No link of the README is broken."""
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target


def test_every_make_word_it_names_is_one() -> None:
    """The README names no word that make does not know."""
    words = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    named = set(re.findall(r"^    make ([a-z]+)$", README, flags=re.MULTILINE))
    assert named == {"demo", "daemon", "test"}
    assert named <= words
