"""Room for models: what was not used for longest goes first, and what is in use never."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_lifecycle_drivers import cache_room
from pool_lifecycle_drivers.cache_room import FORGOTTEN, make_room, trim
from pool_lifecycle_drivers.fetch_source import Listing, Remote, Trouble
from pool_lifecycle_drivers.model_cache import MANIFEST, ModelCache
from pool_lifecycle_drivers.private_files import lock

NOTE = 100
"""More bytes than a manifest has."""


class Filled:
    """A cache with four models of 1000 bytes each, the first of them not used for longest."""

    def __init__(self, folder: Path) -> None:
        self.cache = ModelCache(str(folder))
        self.cache.prepare()
        self.digests = [self._add(number) for number in range(4)]

    def _add(self, number: int) -> str:
        digest = f"sha256:{number:064x}"
        part = Path(self.cache.folder) / "partial" / "part"
        part.write_bytes(bytes(1000))
        self.cache.publish(Listing("a", (Remote("a", ""),)), digest, {"a": str(part)}, lambda _: None)
        os.utime(os.path.join(self.cache.blob(digest), MANIFEST), (number, number))
        return digest

    def kept(self) -> list[int]:
        """Which of them are there."""
        return [number for number, digest in enumerate(self.digests) if self.cache.find(digest)]

    def partial(self, used: float) -> Path:
        """A download that was left in the middle."""
        folder = Path(self.cache.partial("https://host/a"))
        folder.mkdir()
        (folder / "0.part").write_bytes(bytes(1000))
        os.utime(folder / "0.part", (used, used))
        return folder


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    made = Filled(tmp_path / "cache")
    yield made
    made.cache.holds.close()


NOBODY: frozenset[tuple[str, str | None]] = frozenset()


@pytest.mark.parametrize("count", range(5))
def test_what_was_not_used_for_longest_goes_first(filled: Filled, count: int) -> None:
    """As many as it takes to be within the limit, and no more."""
    trim(filled.cache, count * (1000 + NOTE), NOBODY, 0)
    assert filled.kept() == list(range(4 - count, 4))


def test_without_a_limit_everything_stays(filled: Filled) -> None:
    """Nobody has asked for room."""
    trim(filled.cache, None, NOBODY, 0)
    assert filled.kept() == [0, 1, 2, 3]


def test_using_a_model_makes_it_the_last_to_go(filled: Filled) -> None:
    """Its time is kept with it, so that other processes know too."""
    filled.cache.use(filled.digests[0])
    trim(filled.cache, 2 * (1000 + NOTE), NOBODY, 0)
    assert filled.kept() == [0, 3]


def test_what_is_in_use_stays_whatever_the_limit(filled: Filled) -> None:
    """Named by its digest, by a reference, or held by somebody else."""
    listing = Listing("a", (Remote("a", ""),))
    filled.cache.remember("https://host/a", listing, filled.digests[1])
    other = ModelCache(filled.cache.folder)
    other.use(filled.digests[2])
    trim(filled.cache, 0, frozenset({("x", filled.digests[0]), ("https://host/a", None)}), 0)
    assert filled.kept() == [0, 1, 2]
    other.holds.close()


def test_a_download_left_in_the_middle_takes_its_turn(filled: Filled) -> None:
    """It takes room like the others; the one under way is left alone."""
    folder = filled.partial(used=0.5)
    held = lock(f"{folder}.lock", lambda: None)
    trim(filled.cache, 3 * (1000 + NOTE), NOBODY, 0)
    assert folder.exists()
    os.close(held)
    trim(filled.cache, 2 * (1000 + NOTE), NOBODY, 0)
    assert (folder.exists(), filled.kept()) == (False, [2, 3])


def test_room_is_made_on_a_full_disk(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a download begins, and only as much as it needs."""
    monkeypatch.setattr(cache_room, "_available", lambda _: 1000 * (4 - len(filled.kept())) + 500)
    make_room(filled.cache, 1500, NOBODY)
    assert filled.kept() == [1, 2, 3]
    make_room(filled.cache, 1500, NOBODY)
    assert filled.kept() == [1, 2, 3]


def test_what_cannot_be_made_is_named(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes; what is in use stays."""
    monkeypatch.setattr(cache_room, "_available", lambda _: 500)
    with pytest.raises(Trouble) as caught:
        make_room(filled.cache, 1501, frozenset(("x", digest) for digest in filled.digests))
    assert "short of 1001 bytes for 1501 more" in caught.value.message
    assert caught.value.heals
    assert filled.kept() == [0, 1, 2, 3]


def test_what_a_killed_process_was_moving_is_swept_up(filled: Filled) -> None:
    """But only when it is surely nobody's any more; links are not followed."""
    outside = Path(filled.cache.folder).parent / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    old, new, link = (Path(filled.cache.blobs) / name for name in (".new-old", ".new-new", ".gone-link"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "a").touch()
    link.symlink_to(outside)
    past = old.stat().st_mtime - FORGOTTEN - 1
    os.utime(old, (past, past))
    os.utime(link, (past, past), follow_symlinks=False)
    trim(filled.cache, None, NOBODY, 0)
    assert (old.exists(), new.exists(), link.is_symlink()) == (False, True, False)
    assert (outside / "mine").exists()
