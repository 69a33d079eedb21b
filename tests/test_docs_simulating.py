"""docs/simulating.md is true: its picture, its output, its sample, its links and its examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import fields

from pool_lifecycle.config import load
from pool_lifecycle.simulation import Run, Timeline, as_text, load_trace, picture, replay
from pool_lifecycle.simulation.trace import MOST_ENTRIES, REASONS, WISHES

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "simulating.md").read_text(encoding="utf-8")
TRACES = ROOT / "examples" / "traces"

REMEDY = """in examples/traces run

    pool-lifecycle simulate pools.toml crash_loop.jsonl -o ../../docs/simulating.svg

and put what it prints into docs/simulating.md"""


def replayed(name: str) -> Timeline:
    """One of the examples."""
    config = load(TRACES / "pools.toml")
    return replay(config, load_trace(TRACES / f"{name}.jsonl", [spec.pool_id for spec in config.pools]))


def test_the_picture_is_the_one_made_now() -> None:
    """Who changes a policy, or the drawing, is told how to make it."""
    made = picture(replayed("crash_loop"), "crash_loop.jsonl against pools.toml")
    assert (ROOT / "docs" / "simulating.svg").read_text(encoding="utf-8") == made, REMEDY


def test_the_output_is_the_one_printed_now() -> None:
    """To the character."""
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert shown == as_text(replayed("crash_loop")), REMEDY


def test_the_sample_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, in a folder with the examples."""
    (sample,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(sample, {})
    assert re.fullmatch(r"6 restarts, \d+ s down\n", capsys.readouterr().out)
    assert (tmp_path / "crash_loop.svg").read_text(encoding="utf-8").startswith("<svg")


def test_every_key_reason_and_wish_is_explained() -> None:
    """None is missing."""
    for name in (*(one.name for one in fields(Run)), *REASONS, *WISHES):
        assert f"`{name}`" in PAGE
    assert f"{MOST_ENTRIES:,}".replace(",", " ") in PAGE


def test_every_link_leads_somewhere() -> None:
    """To a file that is there; so does the link to this page."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    assert "(simulating.md)" in (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(file.stem for file in TRACES.glob("*.jsonl")))
def test_every_example_comes_to_its_end(name: str) -> None:
    """All its runs are reached, and the page tells of it."""
    timeline = replayed(name)
    assert timeline.rested
    assert not any(pool.unused for pool in timeline.pools)
    assert f"{name}.jsonl" in PAGE


def test_the_examples_show_what_they_are_there_for() -> None:
    """A device's circuit in one, a storm in the other."""
    assert [circuit.name for circuit in replayed("bad_device").shared] == ["device 0"]
    assert [storm.kind for pool in replayed("oom_storm").pools for storm in pool.storms] == ["oom_storm"]
