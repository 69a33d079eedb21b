"""The state directory and its lock."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pool_lifecycle.errors import ConfigError, StateDirError
from pool_lifecycle.spec import EngineSpec, PoolSpec
from pool_lifecycle.statedir import Lock, StateDir
from tests.programs import conversing, said, say


def test_everything_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are absolute, whatever was given, and wherever the program goes afterwards."""
    monkeypatch.chdir(tmp_path.parent)
    paths = StateDir(tmp_path.name)
    monkeypatch.chdir("/")
    assert paths.log("chat") == str(tmp_path / "logs/chat.log")
    assert paths.pid("chat") == str(tmp_path / "run/chat.pid")
    assert paths.handoff("chat") == str(tmp_path / "engines/chat.json")
    assert paths.crash_logs("chat") == str(tmp_path / "crashes/chat")
    assert paths.log("chat", aside=True) == str(tmp_path / "logs/chat+.log")
    assert paths.pid("chat", aside=True) == str(tmp_path / "run/chat+.pid")
    assert paths.models() == str(tmp_path / "models")
    assert paths.database == str(tmp_path / "state.db")


@pytest.mark.parametrize("name", ["chat+", "+", "a+b"])
def test_no_pool_has_the_files_of_an_engine_beside_another_one(name: str) -> None:
    """Names of pools have no such character."""
    with pytest.raises(ConfigError, match="pool_id"):
        PoolSpec(name, EngineSpec("engine"))


def test_its_folders_are_private(tmp_path: Path) -> None:
    """Logs may hold prompts: nobody else reads them. Making them again changes nothing."""
    paths = StateDir(tmp_path / "deep/state")
    paths.make()
    paths.make()
    for folder in ("", "logs", "run", "engines", "crashes"):
        assert (paths.root / folder).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """It names the folder and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError, match=r"'.*/file/state' cannot be made: .*; name a folder"):
        StateDir(tmp_path / "file/state").make()


@pytest.mark.parametrize("below", ["", "state", "deep/state"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    """Not "File exists", which everybody expects of a state directory."""
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StateDirError, match=r"cannot be made: '.*/file' is not a folder; name a folder"):
        StateDir(tmp_path / "file" / below).make()
    assert (tmp_path / "file").read_text() == "precious"


def test_on_a_full_disk_the_lock_holds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC on writing the pid: nobody is told who holds it, but nobody else gets it."""
    paths = StateDir(tmp_path)
    paths.make()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        lock = paths.lock()
    with pytest.raises(StateDirError, match="in use by another manager"):
        paths.lock()
    lock.release()
    paths.lock().release()


def test_a_held_lock_keeps_others_out_and_says_who_holds_it(tmp_path: Path) -> None:
    """FAULTS: two managers on one state directory."""
    paths = StateDir(tmp_path)
    lock = paths.lock()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(StateDirError, match=rf"\(pid {os.getpid()}\); stop that one, or use another folder"):
        paths.lock()
    lock.release()
    paths.lock().release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_left_behind_locks_nobody_out(tmp_path: Path) -> None:
    """The lock ends with its process; the pid in it is overwritten, also by a shorter one."""
    (tmp_path / "lock").write_text("99999999999\n")
    lock = StateDir(tmp_path).lock()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_of_a_file_that_was_removed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it gave it back between our opening and our locking: two must not hold two files."""
    real = Lock._open
    opened: list[int] = []

    def removed_meanwhile(path: Path) -> int:
        descriptor = real(path)
        if not opened:
            path.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(Lock, "_open", staticmethod(removed_meanwhile))
    lock = StateDir(tmp_path).lock()
    assert len(opened) == 2
    with pytest.raises(StateDirError):
        StateDir(tmp_path).lock()
    lock.release()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Nothing of another file is overwritten."""
    (tmp_path / "other").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(StateDirError, match="is a symbolic link, which is not followed; remove it once"):
        StateDir(tmp_path).lock()
    assert (tmp_path / "other").read_text() == "precious"


def test_a_folder_in_place_of_the_lock_is_named(tmp_path: Path) -> None:
    """In words that say what to look at; whatever else is wrong is told as the kernel puts it."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateDirError, match=r"lock file '.*/lock' is a folder; remove it once"):
        StateDir(tmp_path).lock()
    with pytest.raises(StateDirError, match="cannot be opened: No such file or directory"):
        StateDir(tmp_path / "none").lock()


@pytest.mark.slow
def test_no_engine_inherits_the_lock(tmp_path: Path) -> None:
    """DESIGN §5: close-on-exec, or a kept engine would lock out the next manager."""
    lock = StateDir(tmp_path).lock()
    look = f"import os; os.fstat({lock.descriptor})"
    child = subprocess.run(
        [sys.executable, "-c", look], close_fds=False, check=False, stderr=subprocess.DEVNULL
    )
    assert child.returncode != 0
    lock.release()


FORKS = """
import os, signal, sys
from pool_lifecycle.statedir import StateDir

lock = StateDir(sys.argv[1]).lock()
if os.fork():
    signal.pause()
lock.release()
print("disowned", lock.descriptor, flush=True)
print(sys.stdin.readline(), flush=True)
"""


@pytest.mark.slow
def test_a_forked_child_neither_frees_the_lock_nor_keeps_it(tmp_path: Path) -> None:
    """FAULTS, forks: the parent has it as long as it lives, and the next manager once it was killed."""
    paths = StateDir(tmp_path)
    with conversing(FORKS, tmp_path) as program:
        assert said(program) == "disowned -1"
        with pytest.raises(StateDirError, match=rf"\(pid {program.pid}\)"):
            paths.lock()
        program.kill()
        program.wait()
        paths.lock().release()
        say(program, "still here")
        assert said(program) == "still here"


def test_a_lock_is_given_back_once(tmp_path: Path) -> None:
    """A second call leaves alone what another has taken since."""
    paths = StateDir(tmp_path)
    first = paths.lock()
    first.release()
    second = paths.lock()
    first.release()
    with pytest.raises(StateDirError, match="in use"):
        paths.lock()
    second.release()
