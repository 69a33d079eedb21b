"""PID files: digits in one, the proof beside it, both whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers import pidfile

HANDLE = EngineHandle("local", "token", "127.0.0.1", 1, 123, "boot", 456, "details")
NEWER = EngineHandle("local", "newer", "127.0.0.1", 1, 123, "boot", 456, "details")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """The pid file has only digits, both are for nobody's eyes but ours (B-PROC-022)."""
    path = tmp_path / "made" / "a.pid"
    pidfile.write(str(path), HANDLE)
    assert path.read_text() == "123"
    assert pidfile.read_pid(str(path)) == 123
    assert pidfile.read_handle(str(path)) == HANDLE
    assert set(os.listdir(path.parent)) == {"a.pid", "a.pid.identity"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_newer_launch_replaces_and_is_not_removed_by_an_older(tmp_path: Path) -> None:
    """Two launches of a pool may overlap."""
    path = str(tmp_path / "a.pid")
    pidfile.write(path, HANDLE)
    pidfile.write(path, NEWER)
    pidfile.remove(path, HANDLE)
    assert pidfile.read_handle(path) == NEWER
    pidfile.remove(path, NEWER)
    assert os.listdir(tmp_path) == []


def test_without_a_proof_the_number_tells_whose_it_is(tmp_path: Path) -> None:
    """Enough to remove a file, never to signal."""
    path = tmp_path / "a.pid"
    for text, left in (("123", False), ("124", True), ("", True)):
        path.write_text(text)
        pidfile.remove(str(path), HANDLE)
        assert path.exists() == left
    path.unlink()
    pidfile.remove(str(path), HANDLE)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"pid": 1, "more": 2}', "{"])
def test_a_damaged_proof_proves_nothing(tmp_path: Path, text: str) -> None:
    """It is as if it were not there."""
    (tmp_path / "a.pid.identity").write_text(text)
    assert pidfile.read_handle(str(tmp_path / "a.pid")) is None


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Neither at the name nor at the unfinished one."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("a.pid", "a.pid.new", "a.pid.identity"):
        (tmp_path / name).symlink_to(victim)
    pidfile.write(str(tmp_path / "a.pid"), HANDLE)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "a.pid").is_symlink()


def test_a_failed_write_leaves_no_part(tmp_path: Path) -> None:
    """A folder stands where the pid file should be."""
    (tmp_path / "a.pid").mkdir()
    with pytest.raises(IsADirectoryError):
        pidfile.write(str(tmp_path / "a.pid"), HANDLE)
    assert "a.pid.new" not in os.listdir(tmp_path)


def test_what_a_killed_program_did_not_finish_goes_too(tmp_path: Path) -> None:
    """Nothing of a launch is left behind, wherever the program that wrote was killed."""
    path = str(tmp_path / "engine.pid")
    pidfile.write(path, HANDLE)
    (tmp_path / "engine.pid.new").write_text("47", encoding="ascii")
    pidfile.remove(path, HANDLE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_written_for_who_lives(tmp_path: Path) -> None:
    """People look there; one that is there is left as it is."""
    path = str(tmp_path / "engine.pid")
    pidfile.restore(path, HANDLE)
    assert (pidfile.read_pid(path), pidfile.read_handle(path)) == (HANDLE.pid, HANDLE)
    (tmp_path / "engine.pid").write_text("1", encoding="ascii")
    pidfile.restore(path, HANDLE)
    assert pidfile.read_pid(path) == 1
