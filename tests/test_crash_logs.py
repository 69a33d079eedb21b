"""The logs of runs that crashed: which are kept, under which names, and what cannot go wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pool_lifecycle import crash_logs
from pool_lifecycle.crash_logs import KEPT, MOST, keep, kept
from pool_lifecycle.log_follower import LogFollower

AT = 1_700_000_000.0


def written(folder: Path, text: bytes, begin: int = 0) -> LogFollower:
    """A log that has been followed to its end."""
    (folder / "chat.log").write_bytes(text)
    follower = LogFollower(str(folder / "chat.log"), begin, (), ())
    follower.look(0.0, final=True)
    return follower


def keep_all(log: LogFollower, folder: Path, generation: int = 1, at: float = AT) -> str | None:
    return keep(log, log.begin, log.end, folder=str(folder / "crashes"), generation=generation, at=at)


def test_what_this_launch_wrote_is_kept_for_nobody_else_to_read(tmp_path: Path) -> None:
    """B-SUPER-x3: its own part of the log, byte for byte; logs may hold prompts."""
    path = keep_all(written(tmp_path, b"before\n\x00mine\xff\n", begin=7), tmp_path, generation=3)
    assert path == str(tmp_path / "crashes/000001-20231114T221320Z-g3.log")
    assert Path(path).read_bytes() == b"\x00mine\xff\n"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "crashes").stat().st_mode & 0o777 == 0o700


def test_the_last_runs_are_kept_in_the_order_in_which_they_crashed(tmp_path: Path) -> None:
    """B-SUPER-x3: five, whatever the clock does, and whatever else lies there."""
    for generation in range(1, KEPT + 4):
        keep_all(written(tmp_path, b"%d" % generation), tmp_path, generation, AT - 3600 * generation)
        (tmp_path / "crashes/notes.txt").write_text("not ours")
    paths = kept(str(tmp_path / "crashes"))
    assert [Path(path).read_text() for path in paths] == ["4", "5", "6", "7", "8"]
    assert [Path(path).name[:6] for path in paths] == ["000004", "000005", "000006", "000007", "000008"]
    assert (tmp_path / "crashes/notes.txt").read_text() == "not ours"


def test_another_manager_goes_on_counting(tmp_path: Path) -> None:
    """No file is overwritten: the numbers go on from the highest there is, also beyond six digits."""
    (tmp_path / "crashes").mkdir()
    (tmp_path / "crashes/1000000-20231114T221320Z-g3.log").write_text("old")
    path = keep_all(written(tmp_path, b"new"), tmp_path)
    assert path == str(tmp_path / "crashes/1000001-20231114T221320Z-g1.log")
    assert [Path(one).read_text() for one in kept(str(tmp_path / "crashes"))] == ["old", "new"]


def test_of_a_long_run_the_end_is_kept(tmp_path: Path) -> None:
    """S19: bounded."""
    path = keep_all(written(tmp_path, b"x" * MOST + b"the end"), tmp_path)
    assert path is not None
    assert Path(path).stat().st_size == MOST
    assert Path(path).read_bytes().endswith(b"xthe end")


def test_what_the_next_engine_writes_is_not_copied(tmp_path: Path) -> None:
    """It may write before the copy is made: what is copied is what was there at the end."""
    log = written(tmp_path, b"mine\n")
    with (tmp_path / "chat.log").open("ab") as file:
        file.write(b"of the next one\n")
    path = keep_all(log, tmp_path)
    assert path is not None
    assert Path(path).read_bytes() == b"mine\n"


def test_a_rotated_log_is_kept_all_the_same(tmp_path: Path) -> None:
    """The file that the engine wrote to, wherever it is now."""
    log = written(tmp_path, b"mine\n")
    (tmp_path / "chat.log").unlink()
    path = keep_all(log, tmp_path)
    assert path is not None
    assert Path(path).read_bytes() == b"mine\n"


def test_of_an_engine_that_wrote_nothing_nothing_is_kept(tmp_path: Path) -> None:
    """No empty files push out those that tell something."""
    assert keep_all(written(tmp_path, b""), tmp_path) is None
    assert keep_all(written(tmp_path, b"before\n", begin=7), tmp_path) is None
    assert keep_all(LogFollower(str(tmp_path / "none"), 0, (), ()), tmp_path) is None
    assert not (tmp_path / "crashes").exists()
    assert kept(str(tmp_path / "crashes")) == ()


def test_on_a_full_disk_nothing_is_left_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS: ENOSPC in the middle of it. The older ones stay, and the numbers can be used again."""
    log = written(tmp_path, b"x" * (2 * crash_logs.PIECE))
    keep_all(log, tmp_path)
    real, sizes = os.write, []

    def full(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        if len(sizes) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            keep_all(log, tmp_path)
    assert len(kept(str(tmp_path / "crashes"))) == 1
    assert keep_all(log, tmp_path) == str(tmp_path / "crashes/000002-20231114T221320Z-g1.log")


def test_a_write_that_takes_only_a_part_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short writes are legal."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    path = keep_all(written(tmp_path, b"0123456789"), tmp_path)
    assert path is not None
    assert Path(path).read_bytes() == b"0123456789"


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Nobody makes us write, or remove, elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "crashes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        keep_all(written(tmp_path, b"mine"), tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []
