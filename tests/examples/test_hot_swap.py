"""`examples/hot_swap.py` swaps a model under load and draws what clients noticed; and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hot_swap_plot import COLUMNS, Answer, Run, as_svg, as_text, high

PROGRAM = Path(__file__).parents[2] / "examples" / "hot_swap.py"
PATIENCE = 240.0
"""Seconds: ten times what it takes, as the machine may be busy."""

SURGE = Run("surge", [Answer(n / 10, 0.01, 1 + n // 50) for n in range(100)], ends=10.0)
GAP = Run(
    "drain_first",
    [*(Answer(n / 10, 0.01, 1) for n in range(40)), *(Answer(n / 10, 0.04, 2) for n in range(60, 100))],
    refused=[4.5, 5.0, 5.5],
    moments=[(4.0, "the model is to change"), (6.0, "the new engine <serves>")],
    ends=10.0,
)


def test_a_run_says_how_long_nobody_was_let_in() -> None:
    """From the first refusal to the first answer after it; without refusals there is no gap."""
    assert SURGE.gap == 0.0
    assert "there was no gap" in SURGE.summary
    assert GAP.gap == pytest.approx(1.5)
    assert "80 answers" in GAP.summary
    assert "3 refusals" in GAP.summary
    assert "nobody was let in for 1.50 s" in GAP.summary


def test_as_text_each_part_of_the_time_has_its_column() -> None:
    """Who answered, how soon, what was refused, and what happened when."""
    text = as_text(GAP, high([SURGE, GAP]))
    rows = {line[:9].strip(): line[10:] for line in text.splitlines()[:3]}
    part = COLUMNS / 10.0
    assert rows["engine"][0] == "1"
    assert rows["engine"].rstrip()[-1] == "2"
    assert {at for at, sign in enumerate(rows["refused"]) if sign == "x"} == {
        int(at * part) for at in GAP.refused
    }
    assert "2   6.00 s  the new engine <serves>" in text


def test_as_a_picture_it_has_a_dot_for_each_answer() -> None:
    """Well-formed, whatever the words; and a mark for each refusal."""
    picture = ET.fromstring(as_svg([SURGE, GAP], "two & two"))
    legend = 3
    assert len([one for one in picture if one.tag.endswith("circle")]) == 180 + legend
    assert len([one for one in picture if one.get("stroke") == "#c0392b"]) == len(GAP.refused)
    assert "the new engine <serves>" in [one.text for one in picture]


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(300)
def test_the_surge_is_noticed_by_nobody_and_the_other_way_has_a_gap(tmp_path: Path) -> None:
    """With the real llama.cpp: exit code 0 says that no lease was refused in the surge and nothing failed."""
    done = subprocess.run(
        [sys.executable, PROGRAM, "-o", str(tmp_path / "plot.svg")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert re.search(r"surge: \d+ answers, .* 0 refusals, 0 failures: there was no gap", done.stdout)
    assert re.search(r"drain_first: .* [1-9]\d* refusals, 0 failures: nobody was let in", done.stdout)
    assert "Left behind: no process, no file." in done.stdout
    ET.fromstring((tmp_path / "plot.svg").read_text())
    assert [one.name for one in tmp_path.iterdir()] == ["plot.svg"]


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(300)
def test_it_can_be_interrupted(tmp_path: Path) -> None:
    """Ctrl-C in the middle of it: no engine, no file, no traceback."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, PROGRAM],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        try:
            assert running.stdout is not None
            assert any("Swapping the model with surge" in line for line in running.stdout)
            running.send_signal(signal.SIGINT)
            told, complaints = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert (running.returncode, complaints) == (130, ""), told + complaints
    assert "Interrupted" in told
    assert [*tmp_path.iterdir()] == []
