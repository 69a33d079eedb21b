"""docs/models.md is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pool_lifecycle.references import Reference
from pool_lifecycle_drivers import fetch_http, fetching_stager, model_cache, model_files, sharing

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
ROWS = re.findall(r"^\| (`.*?) \| .* \| `(\w+)` \|$", PAGE, re.MULTILINE)

pytestmark = pytest.mark.sources


@pytest.mark.parametrize(("references", "stager"), ROWS)
def test_each_reference_goes_to_the_stager_it_says(references: str, stager: str) -> None:
    """As the table has it."""
    for reference in re.findall(r"`(.*?)`", references):
        assert Reference.parse(reference).stager == stager


def test_the_table_has_all_stagers() -> None:
    """None is left out, and the table is found at all."""
    assert {stager for _, stager in ROWS} == {"file", "hub", "fsspec"}


def test_the_numbers_are_those_of_the_program() -> None:
    """Time-outs, intervals, grace."""
    assert f"nothing comes for {fetch_http.TIMEOUT:g} s" in PAGE
    assert fetching_stager.GRACE == 600
    assert "within the last ten minutes" in PAGE
    assert (sharing.EVERY, sharing.PATIENCE) == (0.1, 5)
    assert "after five seconds" in PAGE
    assert "about ten times a second" in PAGE


def test_the_endings_are_those_of_the_program() -> None:
    """What is taken along with a whole model."""
    (listed,) = re.findall(r"and the ((?:`\.\w+`,? ?(?:and )?)+)files beside them", " ".join(PAGE.split()))
    assert set(re.findall(r"`(.*?)`", listed)) == set(model_files.BESIDE)
    assert model_files.INDEX in PAGE


def test_the_folder_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where models are kept if nobody says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert f"`{model_cache.default_folder().replace('/x', '$XDG_CACHE_HOME')}`" in PAGE
