"""The last words of an engine, however its log looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.logtail import LINE, WINDOW, last_lines, size


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "chat.log"


def test_only_what_this_launch_wrote_counts(log: Path) -> None:
    """An earlier launch's trouble is not this one's."""
    log.write_text("CUDA error of yesterday\n")
    since = size(str(log))
    log.write_text(log.read_text() + "loading\n\nno such model\n")
    assert last_lines(str(log), since=since) == ("loading", "no such model")


def test_a_log_that_is_not_there_is_empty(log: Path) -> None:
    """Also one that is a folder."""
    assert size(str(log)) == 0
    assert last_lines(str(log), since=0) == ()
    log.mkdir()
    assert last_lines(str(log), since=0) == ()


def test_a_log_that_was_emptied_meanwhile_is_read_from_its_begin(log: Path) -> None:
    """Rotated by copying and truncating: what is there now is from this launch."""
    log.write_text("new words\n")
    assert last_lines(str(log), since=5000) == ("new words",)


def test_a_pipe_in_its_place_is_not_waited_for(log: Path) -> None:
    """FAULTS: the log path replaced by a FIFO; nobody ever writes to it."""
    os.mkfifo(log)
    assert last_lines(str(log), since=0) == ()


def test_a_link_in_its_place_is_not_followed(log: Path, tmp_path: Path) -> None:
    """FAULTS: an engine must not make us quote another file."""
    (tmp_path / "secret").write_text("password\n")
    log.symlink_to(tmp_path / "secret")
    assert last_lines(str(log), since=0) == ()


def test_a_flood_is_looked_at_from_its_end(log: Path) -> None:
    """S19: a bounded window, a bounded line, whatever was written."""
    log.write_text("x" * 10_000_000 + "\n" + "y" * 5000 + "\nthe end")
    lines = last_lines(str(log), since=0)
    assert lines[-1] == "the end"
    assert lines[-2] == "y" * LINE
    assert sum(map(len, lines)) <= WINDOW


def test_hostile_bytes_become_harmless(log: Path) -> None:
    """NUL, escapes and broken UTF-8 neither break it nor reach a terminal."""
    log.write_bytes(b"\x1b[31mred\x00\xff\xfe\r\n")
    (line,) = last_lines(str(log), since=0)
    assert line.isprintable()
    assert "red" in line


@given(st.binary(max_size=400), st.integers(0, 500))
def test_any_bytes_can_be_read(tmp_path_factory: pytest.TempPathFactory, raw: bytes, since: int) -> None:
    """Every line is printable, not empty, and not too long."""
    log = tmp_path_factory.getbasetemp() / "any.log"
    log.write_bytes(raw)
    assert all(line.isprintable() and 0 < len(line) <= LINE for line in last_lines(str(log), since=since))
