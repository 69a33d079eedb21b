"""What is done to stage a model that has to be fetched, with a source that does as it is told."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.interfaces import StagedModel
from pool_lifecycle.references import Reference
from pool_lifecycle_drivers import cache_room
from pool_lifecycle_drivers.fetch_source import Stopped, Trouble, Watch
from pool_lifecycle_drivers.fetching import Fetching
from pool_lifecycle_drivers.model_cache import ModelCache
from pool_lifecycle_drivers.private_files import lock
from tests.scripted_source import Scripted

CONTENT = bytes(range(23))
EMPTY = b"\2\0\0\0\0\0\0\0{}"
"""Safetensors without tensors."""

URL = "https://host/a.bin"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = f"hf:org/repo@{COMMIT}::file=a.bin"
DOWN = Trouble("the source is down", "wait", heals=True, unasked=True)


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ModelCache]:
    cache = ModelCache(str(tmp_path / "cache"))
    yield cache
    cache.holds.close()


def fetching(cache: ModelCache, source: Scripted, reference: str = URL, **more: Any) -> Fetching:
    return Fetching(cache, source, Reference.parse(reference), **more)


def stage(cache: ModelCache, source: Scripted, reference: str = URL, **more: Any) -> StagedModel:
    return fetching(cache, source, reference, **more).stage(Watch())


def trouble(cache: ModelCache, source: Scripted, reference: str = URL, **more: Any) -> Trouble:
    with pytest.raises(Trouble) as caught:
        stage(cache, source, reference, **more)
    return caught.value


def kept(cache: ModelCache) -> list[str]:
    """Every file below the cache, its notes aside."""
    return sorted(
        str(path.relative_to(cache.folder))
        for path in Path(cache.folder).rglob("*")
        if path.is_file() and path.name != ".manifest" and path.parts[-2] != "index"
    )


def test_a_model_is_fetched_once_and_used_again(cache: ModelCache) -> None:
    """It lies under its digest, with its own name; the second time its source is only asked."""
    source = Scripted({"a.bin": CONTENT})
    first = stage(cache, source)
    assert first == stage(cache, source)
    assert first.digest == sha(CONTENT)
    assert Path(first.path).read_bytes() == CONTENT
    assert first.path == os.path.join(cache.blob(sha(CONTENT)), "a.bin")
    assert (source.looked, source.opened) == (2, [("a.bin", 0)])
    assert kept(cache) == [os.path.relpath(first.path, cache.folder)]


@pytest.mark.parametrize("cut", range(len(CONTENT)))
def test_a_download_cut_anywhere_is_gone_on_with(cache: ModelCache, cut: int) -> None:
    """FAULTS: cut at each chunk. Nothing is published, nothing is fetched twice, and the whole is right."""
    source = Scripted({"a.bin": CONTENT}, cut=cut)
    assert trouble(cache, source).heals
    assert not os.listdir(cache.blobs)
    source.cut = None
    assert Path(stage(cache, source).path).read_bytes() == CONTENT
    assert source.opened == [("a.bin", 0), ("a.bin", cut)]


@pytest.mark.parametrize("when", ["before the look", "after the look"])
@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT[:5], CONTENT + CONTENT])
def test_a_changed_content_is_never_mixed_with_what_is_there(
    cache: ModelCache, when: str, content: bytes
) -> None:
    """FAULTS: changed on resume. The download begins again from nothing."""
    source = Scripted({"a.bin": CONTENT}, cut=9)
    trouble(cache, source)

    def change() -> None:
        source.files, source.version, source.cut = {"a.bin": content}, "2", None

    if when == "before the look":
        change()
    source.before_open = change
    staged = stage(cache, source)
    assert (Path(staged.path).read_bytes(), staged.digest) == (content, sha(content))
    assert stage(cache, source) == staged, "the validator that is noted is that of what was read"
    assert len(source.opened) == 2


def test_without_a_validator_nothing_is_gone_on_with(cache: ModelCache) -> None:
    """Nobody could tell whether what is there is of the same content."""
    source = Scripted({"a.bin": CONTENT}, version="", cut=9)
    trouble(cache, source)
    source.cut = None
    stage(cache, source)
    stage(cache, source)
    assert source.opened == [("a.bin", 0)] * 3


def test_with_a_digest_a_model_in_place_needs_no_source(cache: ModelCache) -> None:
    """Nobody is asked for what is known already, under whatever reference it came."""
    stage(cache, Scripted({"a.bin": CONTENT}))
    source = Scripted({}, down=DOWN)
    assert stage(cache, source, "s3://b/a.bin", digest=sha(CONTENT)).size == len(CONTENT)
    assert source.looked == 0


def test_a_wrong_digest_leaves_nothing(cache: ModelCache) -> None:
    """It does not heal: digest or reference are wrong, and nobody can tell which."""
    found = trouble(cache, Scripted({"a.bin": CONTENT}), digest=sha(b"another"))
    assert not found.heals
    assert sha(CONTENT) in found.message
    assert sha(b"another") in found.message
    assert not os.listdir(cache.blobs)
    assert all(
        os.path.getsize(os.path.join(cache.folder, name)) == 0 for name in kept(cache) if "json" not in name
    )


def test_a_digest_that_the_source_denies_is_not_fetched_at_all(cache: ModelCache) -> None:
    """Forty gigabytes are not fetched to be thrown away."""
    source = Scripted({"a.bin": CONTENT}, digests={"a.bin": sha(CONTENT)})
    assert not trouble(cache, source, digest=sha(b"another")).heals
    assert not source.opened


def test_bytes_that_are_not_what_the_source_says_are_fetched_anew(cache: ModelCache) -> None:
    """They were damaged on the way: that may heal, and none of them is used again."""
    source = Scripted({"a.bin": CONTENT}, digests={"a.bin": sha(b"other")})
    assert trouble(cache, source).heals
    source.digests = {"a.bin": sha(CONTENT)}
    assert stage(cache, source).digest == sha(CONTENT)
    assert source.opened == [("a.bin", 0)] * 2


def test_what_the_source_names_by_digest_is_not_fetched_twice(cache: ModelCache) -> None:
    """Another reference to the same bytes finds them."""
    stage(cache, Scripted({"a.bin": CONTENT}))
    source = Scripted({"b.bin": CONTENT}, digests={"b.bin": sha(CONTENT)})
    assert stage(cache, source, "https://other/b.bin").digest == sha(CONTENT)
    assert not source.opened


def test_a_model_of_several_files_is_there_whole_or_not_at_all(cache: ModelCache) -> None:
    """The first file is not published before the last one is there; it need not be fetched again."""
    files = {"a-00001-of-00002.bin": b"first", "a-00002-of-00002.bin": b"second part"}
    source = Scripted(files, cut=8)
    trouble(cache, source)
    assert not os.listdir(cache.blobs)
    source.cut = None
    staged = stage(cache, source)
    folder = Path(staged.path).parent
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".manifest"} == files
    assert (Path(staged.path).name, staged.size) == ("a-00001-of-00002.bin", 16)
    assert source.opened == [
        ("a-00001-of-00002.bin", 0),
        ("a-00002-of-00002.bin", 0),
        ("a-00002-of-00002.bin", 8),
    ]


def test_the_digest_of_several_files_can_be_made_by_hand(cache: ModelCache) -> None:
    """`sha256sum * | sha256sum` in the folder tells it."""
    source = Scripted({"m.safetensors": EMPTY, "c.json": b"{}"}, lead="m", folder=True)
    lines = (f"{sha(source.files[name])[7:]}  {name}\n" for name in ("c.json", "m.safetensors"))
    asked = sha("".join(lines).encode())
    assert stage(cache, source, digest=asked).digest == asked


def test_what_no_engine_can_load_is_not_published(cache: ModelCache) -> None:
    """An error page under a model's name is refused before it takes a model's place."""
    found = trouble(cache, Scripted({"a.gguf": b"<html>sign in</html>"}), "https://host/a.gguf")
    assert not found.heals
    assert "not a GGUF file" in found.message
    assert not [name for name in os.listdir(cache.blobs) if not name.startswith(".")]


def test_a_source_that_changes_while_it_is_read_is_not_used(cache: ModelCache) -> None:
    """Where nothing ties the pieces together they are thrown away."""
    source = Scripted({"a.bin": CONTENT}, settles=Trouble("changed", "", heals=True))
    trouble(cache, source)
    source.settles = None
    stage(cache, source)
    assert source.opened == [("a.bin", 0)] * 2


# --- without its source ----------------------------------------------------------------------------------


def test_a_commit_needs_no_source_once_it_is_there(cache: ModelCache) -> None:
    """It can never mean anything else."""
    first = stage(cache, Scripted({"a.bin": CONTENT}), PINNED)
    source = Scripted({}, down=DOWN)
    assert stage(cache, source, PINNED) == first
    assert fetching(cache, source, PINNED).resolve(Watch()).size == len(CONTENT)
    assert source.looked == 0


def test_a_reference_that_may_have_changed_is_not_guessed(cache: ModelCache) -> None:
    """The error names the digest by which what is there could be used; resolving tells what was known."""
    stage(cache, Scripted({"a.bin": CONTENT}))
    source = Scripted({}, down=DOWN)
    found = trouble(cache, source)
    assert found.heals
    assert sha(CONTENT) in found.remedy
    assert fetching(cache, source).resolve(Watch()).size == len(CONTENT)


def test_who_wants_to_stay_offline_gets_what_was_fetched_last(cache: ModelCache) -> None:
    """It has been said on purpose."""
    first = stage(cache, Scripted({"a.bin": CONTENT}))
    source = Scripted({}, down=DOWN)
    assert stage(cache, source, offline=lambda: True) == first
    assert source.looked == 0


@pytest.mark.parametrize("digest", [None, sha(CONTENT)])
def test_a_model_kept_by_somebody_else_is_used_in_its_place(
    cache: ModelCache, tmp_path: Path, digest: str | None
) -> None:
    """Offline, what another tool has fetched is verified and not copied."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    source = Scripted({}, down=DOWN, here=(str(tmp_path / "a.bin"),))
    staged = stage(cache, source, PINNED, digest=digest)
    assert (staged.path, staged.digest) == (str(tmp_path / "a.bin"), sha(CONTENT))
    assert not trouble(cache, source, PINNED, digest=sha(b"x")).heals


# --- the disk --------------------------------------------------------------------------------------------


def test_the_shortfall_is_named_before_a_byte_is_fetched(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS: disk full. What is there of the model already is not needed again."""
    source = Scripted({"a.bin": CONTENT}, cut=9)
    trouble(cache, source)
    monkeypatch.setattr(cache_room, "_available", lambda _: 13)
    found = trouble(cache, source)
    assert found.heals
    assert "short of 1 bytes for 14 more" in found.message
    assert len(source.opened) == 1
    monkeypatch.setattr(cache_room, "_available", lambda _: 14)
    source.cut = None
    stage(cache, source)


def test_a_disk_that_is_full_in_the_middle_heals(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write there too; what is there is gone on with."""
    source, write = Scripted({"a.bin": CONTENT}), os.write
    written: list[int] = []

    def fills(descriptor: int, data: bytes) -> int:
        if len(data) == 4:
            written.append(1)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", fills)
    found = trouble(cache, source)
    assert found.heals
    assert "is full" in found.message
    stage(cache, source)
    assert source.opened == [("a.bin", 0), ("a.bin", 8)]


def test_everything_is_private(cache: ModelCache) -> None:
    """Others on this host may not read a model that needed a token."""
    stage(cache, Scripted({"m.safetensors": EMPTY, "c.json": b"{}"}, lead="m", folder=True))
    for path in (Path(cache.folder), *Path(cache.folder).rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "..", "a/b", "a\0b", ".manifest", "x" * 4096, "\ud800"]
)
@pytest.mark.parametrize("as_lead", [True, False])
def test_a_hostile_name_never_becomes_a_path(cache: ModelCache, name: str, as_lead: bool) -> None:
    """FAULTS: hostile names. Nothing is fetched under one."""
    source = (
        Scripted({"a.bin": b"1"}, lead=name) if as_lead else Scripted({name: b"1"}, lead="m", folder=True)
    )
    assert not trouble(cache, source).heals
    assert not source.opened


# --- an end in the middle --------------------------------------------------------------------------------


def test_a_stopped_download_is_gone_on_with(cache: ModelCache) -> None:
    """Whoever wants it later finds what is there."""
    source = Scripted({"a.bin": CONTENT})

    class Stopping(Watch):
        pieces = 0

        def check(self) -> None:
            self.pieces += len(source.opened)
            self.stopped = self.pieces > 2
            super().check()

    with pytest.raises(Stopped):
        fetching(cache, source).stage(Stopping())
    assert source.closed == 1
    assert stage(cache, source).digest == sha(CONTENT)
    assert source.opened[1][1] >= 8


def test_progress_counts_what_is_there_already(cache: ModelCache) -> None:
    """It goes on from there, and ends with all bytes."""
    source, watch = Scripted({"a.bin": CONTENT}, cut=9), Watch()
    trouble(cache, source)
    source.cut = None
    fetching(cache, source).stage(watch)
    assert (watch.done, watch.total) == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_a_model_that_was_damaged_in_the_cache_is_fetched_again(
    cache: ModelCache, damage: Callable[[Path], object]
) -> None:
    """Somebody cleaned up by hand: what is missing or has another length is not used."""
    source = Scripted({"a.bin": CONTENT})
    damage(Path(stage(cache, source).path))
    assert Path(stage(cache, source).path).read_bytes() == CONTENT


def test_whoever_waits_for_another_hears_how_far_that_is(cache: ModelCache) -> None:
    """Two processes, one download: bytes that somebody else fetches are news as well."""
    source = Scripted({"a.bin": CONTENT}, cut=9)
    trouble(cache, source)
    source.cut = None
    held = lock(f"{cache.partial(URL)}.lock", lambda: None)
    seen: list[int] = []

    class Waiting(Watch):
        def check(self) -> None:
            seen.append(self.done)
            if len(seen) == 3:
                os.close(held)
            super().check()

    assert fetching(cache, source).stage(Waiting()).size == len(CONTENT)
    assert seen[:3] == [0, 9, 9]
