"""One file under way: resumed only where it is sure, and hashed as it is on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_lifecycle_drivers import fetch_file as module
from pool_lifecycle_drivers.fetch_file import READ, Hashing, Partial
from pool_lifecycle_drivers.fetch_source import Remote, Stopped, Watch

FILE = Remote("a", "a", 100, "v1")


def partial(path: Path, boot: str = "this") -> Partial:
    made = Partial(str(path), boot)
    made.open()
    return made


def left(path: Path, count: int, synced: int = 0) -> None:
    """A download of FILE that was left after so many bytes."""
    part = partial(path)
    part.begin(FILE, 0)
    os.write(part.descriptor, bytes(count))
    part.note(FILE, synced)
    part.close()


@pytest.mark.parametrize(
    ("file", "there"),
    [
        (FILE, 60),
        (Remote("a", "a", 100, "v2"), 0),
        (Remote("a", "a", 99, "v1"), 0),
        (Remote("a", "a", 100, ""), 0),
    ],
)
def test_what_is_there_counts_only_for_the_same_content(tmp_path: Path, file: Remote, there: int) -> None:
    """The validator and the size say so."""
    left(tmp_path / "a", 60)
    part = partial(tmp_path / "a")
    assert part.there(file) == there
    part.close()


def test_after_a_restart_of_the_host_only_what_was_synced_counts(tmp_path: Path) -> None:
    """The rest may be holes: the disk had not been told."""
    left(tmp_path / "a", 60, synced=40)
    for boot, there in (("this", 60), ("next", 40)):
        part = partial(tmp_path / "a", boot)
        assert part.there(FILE) == there
        part.close()


@pytest.mark.parametrize(
    "note", [b"", b"{}", b"7", b'{"validator":"v1","size":100,"boot":"this","synced":"x"}']
)
def test_without_its_note_nothing_counts(tmp_path: Path, note: bytes) -> None:
    """Nobody knows of what it is."""
    left(tmp_path / "a", 60)
    (tmp_path / "a.json").write_bytes(note)
    part = partial(tmp_path / "a")
    assert part.there(FILE) == 0
    part.close()


def test_more_than_there_is_to_be_does_not_count(tmp_path: Path) -> None:
    """Somebody else wrote there."""
    left(tmp_path / "a", 101)
    part = partial(tmp_path / "a")
    assert part.there(FILE) == 0
    part.close()


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_a_planted_link_is_not_written_through(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    """Soft or hard: what it leads to keeps what it has."""
    (tmp_path / "secret").write_bytes(b"secret")
    plant(tmp_path / "secret", tmp_path / "a")
    part = partial(tmp_path / "a")
    part.begin(FILE, 0)
    os.write(part.descriptor, b"model")
    part.close()
    assert (tmp_path / "secret").read_bytes() == b"secret"


# --- hashing ---------------------------------------------------------------------------------------------


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_what_is_written_is_hashed_behind_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of its own, which syncs from time to time; the digest is that of the file."""
    monkeypatch.setattr(module, "SYNC_EVERY", READ)
    content = bytes(range(256)) * (READ // 256) * 8 + b"end"
    synced: list[int] = []
    watch = Watch()
    with (tmp_path / "a").open("w+b", buffering=0) as file:
        hashing = Hashing(file.fileno(), synced.append, watch)
        for begin in range(0, len(content), READ):
            file.write(content[begin : begin + READ])
            hashing.reach(min(begin + READ, len(content)))
        assert hashing.finish(len(content)) == sha(content)
    assert watch.done == len(content), "what is hashed counts as done"
    assert synced == sorted(synced)
    assert all(one <= len(content) for one in synced)


def test_without_another_thread_it_is_hashed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host short of threads can still stage."""

    def none(_: object) -> None:
        raise OSError(11, "no threads")

    monkeypatch.setattr(module, "hand_over", none)
    (tmp_path / "a").write_bytes(bytes(5 * READ))
    with (tmp_path / "a").open("rb") as file:
        hashing = Hashing(file.fileno(), lambda _: None, Watch())
        hashing.reach(5 * READ)
        assert hashing.finish(5 * READ) == sha(bytes(5 * READ))


def test_a_disk_that_fails_while_it_is_hashed_is_told(tmp_path: Path) -> None:
    """In the thread that asked, not in the one that noticed. Nothing of the thread is left."""
    (tmp_path / "a").write_bytes(bytes(5 * READ))
    with (tmp_path / "a").open("rb") as file:
        hashing = Hashing(file.fileno(), lambda _: None, Watch())
        hashing.reach(6 * READ)  # more than there is
        with pytest.raises(OSError, match="lost bytes"):
            hashing.finish(6 * READ)


def test_an_abandoned_hash_touches_the_file_no_more(tmp_path: Path) -> None:
    """Its descriptor may be another file's a moment later."""
    (tmp_path / "a").write_bytes(bytes(5 * READ))
    with (tmp_path / "a").open("rb") as file:
        hashing = Hashing(file.fileno(), lambda _: None, Watch())
        hashing.reach(5 * READ)
        hashing.abandon()
    assert hashing._working is None or hashing._working.locked()


def test_the_note_is_json(tmp_path: Path) -> None:
    """For people who look why a download began anew."""
    left(tmp_path / "a", 60, synced=40)
    told = json.loads((tmp_path / "a.json").read_text())
    assert told == {"validator": "v1", "size": 100, "boot": "this", "synced": 40}


def test_hashing_goes_on_from_what_is_there(tmp_path: Path) -> None:
    """A big download that is gone on with shows progress while the part that was there is hashed."""
    (tmp_path / "a").write_bytes(bytes(5 * READ))
    watch = Watch()
    with (tmp_path / "a").open("rb") as file:
        hashing = Hashing(file.fileno(), lambda _: None, watch)
        hashing.reach(4 * READ)
        assert hashing.finish(5 * READ) == sha(bytes(5 * READ))
    assert watch.done == 5 * READ


def test_nobody_waits_for_a_digest_that_nobody_wants(tmp_path: Path) -> None:
    """A cancelled staging of a big model ends at once."""
    (tmp_path / "a").write_bytes(bytes(5 * READ))
    watch = Watch()
    watch.stop()
    with (tmp_path / "a").open("rb") as file:
        hashing = Hashing(file.fileno(), lambda _: None, watch)
        with pytest.raises(Stopped):
            hashing.finish(5 * READ)
    assert watch.done == 0
