"""The manager of a state directory is found, and never taken for somebody else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_lifecycle.cli.running import NobodyRuns, Running
from pool_lifecycle.errors import StateDirError
from pool_lifecycle.statedir import StateDir

HOLDS = """
import signal, sys
from pathlib import Path
from pool_lifecycle.statedir import StateDir
hung_up = []
signal.signal(signal.SIGHUP, lambda *_: hung_up.append(1))
lock = StateDir(Path(sys.argv[1])).lock()
print("holds", flush=True)
while not hung_up:
    signal.pause()
print("hung up", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, says when it is hung up, and ends when its input does."""
    words = [sys.executable, "-c", HOLDS, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            yield process
        finally:
            process.kill()


def ended(running: Running) -> bool:
    """Looked at anew."""
    return running.ended


@pytest.mark.slow
def test_the_manager_is_found_and_told(tmp_path: Path) -> None:
    """S4: through a pidfd; and it is seen to end."""
    with holder(tmp_path) as process, Running(tmp_path) as running:
        assert running.pid == process.pid
        assert ended(running) is False
        running.hang_up()
        assert process.stdout is not None
        assert process.stdout.readline() == "hung up\n"
        process.kill()
        process.wait()
        assert ended(running) is True
        with pytest.raises(NobodyRuns):
            running.hang_up()


@pytest.mark.parametrize("content", [None, "", "x", "0\n", "-1\n", "99999999999999999999\n", "4194999\n"])
def test_where_nobody_runs(tmp_path: Path, content: str | None) -> None:
    """No lock file, or one in which nobody is named, or nobody who is there."""
    if content is not None:
        (tmp_path / "lock").write_text(content)
    with pytest.raises(NobodyRuns):
        Running(tmp_path)


def test_a_pid_in_a_file_says_nothing(tmp_path: Path) -> None:
    """S4: a manager was killed, and its pid is somebody else's by now: here our own."""
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    with pytest.raises(NobodyRuns):
        Running(tmp_path)


def test_a_lock_of_ours_is_held(tmp_path: Path) -> None:
    """To look at it does not take it away, nor keep anybody out."""
    lock = StateDir(tmp_path).lock()
    with Running(tmp_path) as running:
        assert running.pid == os.getpid()
    with pytest.raises(StateDirError, match="in use by another manager"):
        StateDir(tmp_path).lock()
    lock.release()
    with pytest.raises(NobodyRuns):
        Running(tmp_path)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Nor is it taken for nobody."""
    (tmp_path / "lock").symlink_to("/etc/passwd")
    with pytest.raises(StateDirError, match="cannot be told"):
        Running(tmp_path)


def test_without_pidfds_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S4: there is no other safe way; it says so."""

    def refused(pid: int, flags: int = 0) -> int:
        raise PermissionError(1, "Operation not permitted")

    lock = StateDir(tmp_path).lock()
    monkeypatch.setattr(os, "pidfd_open", refused)
    with pytest.raises(StateDirError, match="cannot be told"):
        Running(tmp_path)
    lock.release()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Whether somebody runs or not."""
    lock = StateDir(tmp_path).lock()
    before = _pidfds()
    with Running(tmp_path):
        assert len(_pidfds()) == len(before) + 1
    lock.release()
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    with pytest.raises(NobodyRuns):
        Running(tmp_path)
    assert _pidfds() == before


def _pidfds() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "pidfd" in (target := os.readlink(one)):
                found.append(target)
    return found
