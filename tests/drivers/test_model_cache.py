"""Models that were fetched, kept by what they hold."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_lifecycle_drivers.fetch_source import Listing, Remote
from pool_lifecycle_drivers.model_cache import MANIFEST, Memory, ModelCache, default_folder

REFERENCE = "https://host/a.bin"


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ModelCache]:
    cache = ModelCache(str(tmp_path / "cache"))
    cache.prepare()
    yield cache
    cache.holds.close()


def publish(cache: ModelCache, content: bytes, name: str = "a.bin") -> str:
    """Put a model in place; its digest."""
    path = Path(cache.folder) / "partial" / "part"
    path.write_bytes(content)
    digest = sha(content)
    cache.publish(Listing(name, (Remote(name, ""),)), digest, {name: str(path)}, lambda _: None)
    return digest


def test_by_default_it_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As XDG has it; a folder that is not absolute does not count."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert default_folder() == "/x/cache/pool-lifecycle/models"
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        monkeypatch.setenv("HOME", "/home/me")
        assert default_folder() == "/home/me/.cache/pool-lifecycle/models"


def test_a_model_is_there_once_it_is_published(cache: ModelCache) -> None:
    """Under its digest, with its size."""
    digest = sha(b"model")
    assert cache.find(digest) is None
    assert publish(cache, b"model") == digest
    found = cache.use(digest)
    assert found is not None
    assert (found.size, found.lead) == (5, "a.bin")
    assert Path(cache.path(found, "")).read_bytes() == b"model"


def test_the_same_bytes_may_be_published_twice(cache: ModelCache) -> None:
    """Two processes may have fetched them: whoever is later throws its own away."""
    first = publish(cache, b"model")
    inode = (Path(cache.blob(first)) / "a.bin").stat().st_ino
    assert publish(cache, b"model") == first
    assert (Path(cache.blob(first)) / "a.bin").stat().st_ino == inode
    assert os.listdir(cache.blobs) == [os.path.basename(cache.blob(first))]


def test_what_is_damaged_makes_room_for_what_is_whole(cache: ModelCache) -> None:
    """A folder without the file it is to have is no model."""
    digest = publish(cache, b"model")
    (Path(cache.blob(digest)) / "a.bin").write_bytes(b"mo")
    assert cache.find(digest) is None
    publish(cache, b"model")
    assert cache.find(digest) is not None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"lead": 1}', b'{"files": 7}', b"[" * 9999]
)
def test_a_damaged_note_is_no_note(cache: ModelCache, content: bytes) -> None:
    """Of a model and of a reference."""
    digest = publish(cache, b"model")
    listing = Listing("a.bin", (Remote("a.bin", "", 5, "v"),))
    cache.remember(REFERENCE, listing, digest)
    (note,) = (Path(cache.folder) / "index").iterdir()
    note.write_bytes(content)
    assert cache.recall(REFERENCE) is None
    (Path(cache.blob(digest)) / MANIFEST).write_bytes(content)
    assert cache.find(digest) is None


def test_a_link_in_place_of_a_model_is_no_model(cache: ModelCache, tmp_path: Path) -> None:
    """What it leads to was never verified."""
    digest = publish(cache, b"model")
    (tmp_path / "other").write_bytes(b"other")
    file = Path(cache.blob(digest)) / "a.bin"
    file.unlink()
    file.symlink_to(tmp_path / "other")
    assert cache.find(digest) is None


def test_an_engine_finds_the_ending_it_goes_by(cache: ModelCache) -> None:
    """The same bytes under a name that ends otherwise get a second one."""
    found = cache.use(publish(cache, b"model"))
    assert found is not None
    path = cache.path(found, ".gguf")
    assert path.endswith(".gguf")
    assert Path(path).read_bytes() == b"model"
    assert cache.path(found, ".gguf") == path


def test_what_a_reference_stood_for_is_remembered(cache: ModelCache) -> None:
    """With its validators: the same again only if all are there and equal."""
    digest = publish(cache, b"model")
    listing = Listing("a.bin", (Remote("a.bin", "", 5, "v1"),))
    cache.remember(REFERENCE, listing, digest)
    memory = cache.recall(REFERENCE)
    assert memory == Memory(digest, (("a.bin", "v1"),))
    assert memory.holds(listing)
    assert not memory.holds(Listing("a.bin", (Remote("a.bin", "", 5, "v2"),)))
    assert not Memory(digest, (("a.bin", ""),)).holds(Listing("a.bin", (Remote("a.bin", "", 5, ""),)))
    assert cache.recall("https://host/b.bin") is None


def test_a_model_in_use_is_not_removed(cache: ModelCache) -> None:
    """By this stager, or by any other one of this host."""
    digest = publish(cache, b"model")
    other = ModelCache(cache.folder)
    assert other.use(digest)
    assert not cache.remove(digest)
    other.holds.close()
    assert cache.remove(digest)
    assert not cache.remove(digest)
    assert os.listdir(cache.blobs) == []


def test_using_a_model_twice_is_released_once(cache: ModelCache) -> None:
    """The lock is one for each model, however often it is staged."""
    digest = publish(cache, b"model")
    assert cache.use(digest) == cache.use(digest)
    cache.holds.release(digest)
    assert cache.remove(digest)


def test_what_was_just_staged_is_held_for_a_while(cache: ModelCache) -> None:
    """Its engine is only about to start; what is used is held on."""
    first, second = publish(cache, b"1"), publish(cache, b"2")
    for digest in (first, second):
        cache.use(digest)
    cache.holds.release_unused(frozenset(), 3600)
    assert not cache.remove(first)
    cache.holds.release_unused(frozenset((second,)), 0)
    assert cache.remove(first)
    assert not cache.remove(second)


def test_what_is_in_use_is_known_by_digest(cache: ModelCache) -> None:
    """A reference without a digest stands for what was fetched from it."""
    digest = publish(cache, b"model")
    cache.remember(REFERENCE, Listing("a.bin", (Remote("a.bin", ""),)), digest)
    assert cache.digests(frozenset({(REFERENCE, None), ("x", None)})) == {digest}
    assert cache.digests(frozenset({(REFERENCE, sha(b"x"))})) == {sha(b"x")}


@pytest.mark.slow
def test_a_model_that_another_process_uses_is_not_removed(cache: ModelCache) -> None:
    """Its lock lasts as long as that process, and no longer."""
    digest = publish(cache, b"model")
    program = (
        "import sys; from pool_lifecycle_drivers.model_cache import ModelCache\n"
        "cache = ModelCache(sys.argv[1])\n"
        "assert cache.use(sys.argv[2]); print('up', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, cache.folder, digest]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        meanwhile = cache.remove(digest)
        process.communicate(b"")
    assert not meanwhile
    assert cache.remove(digest)
