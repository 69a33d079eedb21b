"""Files of our own in folders of our own."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from pool_lifecycle_drivers.private_files import (
    lock,
    locked,
    private_folder,
    read_whole,
    unique,
    write_all,
    write_whole,
)


def check() -> None:
    """Nobody stops."""


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    """And one that is there already becomes so."""
    (tmp_path / "open").mkdir(mode=0o755)
    for path in (tmp_path / "x" / "new", tmp_path / "open"):
        private_folder(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    """Somebody planted it, so that we write where it leads."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        private_folder(str(tmp_path / "link"))


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could put anything there."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError):
        private_folder(str(tmp_path))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails, what was there stays, and nothing else does."""
    path = tmp_path / "note"
    write_whole(str(path), b"first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(*_: object) -> int:
        raise OSError(28, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="full"):
            write_whole(str(path), b"second")
    assert read_whole(str(path)) == b"first"
    assert os.listdir(tmp_path) == ["note"]


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    """What it leads to is neither read nor written."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "note").symlink_to(tmp_path / "secret")
    assert read_whole(str(tmp_path / "note")) is None
    write_whole(str(tmp_path / "note"), b"mine")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert not (tmp_path / "note").is_symlink()


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert read_whole(str(tmp_path / "pipe")) is None
    assert read_whole(str(tmp_path)) is None
    assert read_whole(str(tmp_path / "none")) is None


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call may write less than it was given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    descriptor = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    write_all(descriptor, b"12345")
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"12345"


def test_temporary_names_are_never_the_same() -> None:
    """Nobody else's is taken for ours."""
    assert len({unique("/x", ".new-") for _ in range(1000)}) == 1000


def test_a_lock_is_held_by_one_or_shared(tmp_path: Path) -> None:
    """Until its descriptor is closed, which no engine inherits."""
    path = str(tmp_path / "lock")
    assert locked(path) is None, "it is not made unless asked for"
    first = locked(path, make=True)
    assert first is not None
    assert not os.get_inheritable(first)
    assert locked(path) is None
    assert locked(path, shared=True) is None
    os.close(first)
    sharing = [locked(path, shared=True) for _ in range(2)]
    assert locked(path) is None
    for one in sharing:
        assert one is not None
        os.close(one)


def test_a_lock_of_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    """Whoever waited for it takes the one that is there now."""
    path = str(tmp_path / "lock")
    first = lock(path, check)
    done: list[int] = []
    waiting = threading.Event()

    def looks() -> None:
        waiting.set()

    thread = threading.Thread(target=lambda: done.append(lock(path, looks)))
    thread.start()
    waiting.wait(60)
    os.unlink(path)
    os.close(first)
    thread.join()
    assert os.path.samestat(os.fstat(done[0]), os.stat(path))
    os.close(done[0])
