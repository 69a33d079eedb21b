"""A file that changes is seen to do so, once whoever writes it is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pool_lifecycle.cli.watching import Watch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is there."""
    made = tmp_path / "pools.toml"
    made.write_text("one")
    return made


def test_a_file_that_stays_is_left_alone(file: Path) -> None:
    """However often one looks."""
    watch = Watch(file)
    assert [watch.look() for _ in range(3)] == [False] * 3


def test_a_change_is_told_once(file: Path) -> None:
    """At the second look, which finds it as the first one did."""
    watch = Watch(file)
    file.write_text("another")
    assert [watch.look() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_being_written_is_let_be_finished(file: Path) -> None:
    """A half of it is no configuration."""
    watch = Watch(file)
    looks = []
    for number in range(3):
        file.write_text("x" * (10 + number))
        looks.append(watch.look())
    assert looks == [False] * 3
    assert watch.look()


def test_another_file_in_its_place_is_a_change(file: Path) -> None:
    """As editors and deployments do it; also with the same size and times."""
    watch = Watch(file)
    new = file.with_name("new")
    new.write_text("two")
    stat = file.stat()
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.replace(file)
    assert [watch.look() for _ in range(3)] == [False, True, False]


def test_a_file_that_is_away_for_a_moment_is_waited_for(file: Path) -> None:
    """Some editors take it away first; one that stays away is told, as it cannot be read."""
    watch = Watch(file)
    file.unlink()
    assert not watch.look()
    file.write_text("two")
    assert [watch.look() for _ in range(2)] == [False, True]
    file.unlink()
    assert [watch.look() for _ in range(3)] == [False, True, False]


def test_a_relative_name_means_the_same_file_wherever_one_goes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its folder was when it was begun."""
    monkeypatch.chdir(file.parent)
    watch = Watch(Path("pools.toml"))
    monkeypatch.chdir("/")
    file.write_text("another")
    assert [watch.look(), watch.look()] == [False, True]
