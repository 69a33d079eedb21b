"""What was found out about files is remembered until one of them changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pool_lifecycle_drivers import known_files
from pool_lifecycle_drivers.known_files import SETTLED_NS, KnownFiles, identities


def learn(known: KnownFiles[str], *paths: Path, since: int | None = None) -> None:
    names = [str(path) for path in paths]
    later = time.time_ns() + 10 * SETTLED_NS  # as if they had not changed for long
    known.learn(names[0], names, identities(names), "found", later if since is None else since)


def tick(path: Path) -> None:
    """Return when the clock of files has gone on since `path` changed."""
    probe = path.with_name("probe")
    while True:
        probe.write_text("")
        if os.stat(probe).st_ctime_ns > os.stat(path).st_ctime_ns:
            return


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_text("content")
    return path


def test_what_stays_is_known(model: Path) -> None:
    """By its path only."""
    known = KnownFiles[str]()
    assert known.get(str(model)) is None
    learn(known, model)
    assert known.get(str(model)) == "found"
    assert known.get(str(model) + "b") is None


@pytest.mark.parametrize("change", ["rewrite", "append", "replace", "remove", "touch"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_changed_is_not(model: Path, change: str, which: int) -> None:
    """FAULTS: whichever of its files, and also if length and time of change were put back."""
    other = model.with_name("b")
    other.write_text("content")
    old = os.stat(model)
    for path in (model, other):
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    tick(model)
    known = KnownFiles[str]()
    learn(known, model, other)
    changed = (model, other)[which]
    if change == "rewrite":
        changed.write_text("CONTENT")
        os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns))
    elif change == "append":
        changed.write_text("content+")
    elif change == "replace":
        new = changed.with_name("new")
        new.write_text("content")
        new.replace(changed)
    elif change == "remove":
        changed.unlink()
    else:
        os.utime(changed)
    assert known.get(str(model)) is None


def test_what_changed_just_before_is_not_remembered(model: Path) -> None:
    """It might change again within the same tick of the file system's clock."""
    known = KnownFiles[str]()
    changed = os.stat(model).st_ctime_ns
    learn(known, model, since=changed + SETTLED_NS)
    assert known.get(str(model)) is None
    learn(known, model, since=changed - 1)
    assert known.get(str(model)) is None
    learn(known, model, since=changed + SETTLED_NS + 1)
    assert known.get(str(model)) == "found"


def test_what_was_not_asked_for_longest_is_forgotten(tmp_path: Path) -> None:
    """Memory is bounded."""
    known = KnownFiles[str](most=2)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.touch()
    learn(known, paths[0])
    learn(known, paths[1])
    assert known.get(str(paths[0])) == "found"
    learn(known, paths[2])
    assert [known.get(str(path)) for path in paths] == ["found", None, "found"]
    assert known_files.MOST == 256
