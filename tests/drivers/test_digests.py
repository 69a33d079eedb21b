"""The digest of a model that is here."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from pool_lifecycle_drivers import digests
from pool_lifecycle_drivers.digests import read_digest, short


def unheard(_: int) -> None:
    """Nobody listens."""


def test_of_one_file_it_is_that_of_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many blocks they are read in."""
    monkeypatch.setattr(digests, "BLOCK", 7)
    seen: list[int] = []
    for length in (0, 6, 7, 20):
        (tmp_path / "a").write_bytes(b"x" * length)
        seen.clear()
        expected = "sha256:" + hashlib.sha256(b"x" * length).hexdigest()
        assert read_digest([str(tmp_path / "a")], seen.append) == expected
        assert sum(seen) == length


@pytest.mark.slow
def test_of_several_files_it_is_what_sha256sum_prints(tmp_path: Path) -> None:
    """So that anybody can tell it, whatever order they are named in."""
    names = ["b.json", "A.json", "a b.json", "ä.json", "-x.json"]
    for name in names:
        (tmp_path / name).write_text(name)
    command = "LC_ALL=C; export LC_ALL; sha256sum -- * | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = read_digest([str(tmp_path / name) for name in names], unheard)
    assert found == f"sha256:{printed.stdout.split()[0]}"


def test_every_name_and_every_byte_counts(tmp_path: Path) -> None:
    """A renamed or changed file makes another model."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    first = read_digest([str(one), str(two)], unheard)
    assert read_digest([str(two), str(one)], unheard) == first
    two.write_text("3")
    assert read_digest([str(one), str(two)], unheard) != first
    two.write_text("2")
    two.rename(tmp_path / "three")
    assert read_digest([str(one), str(tmp_path / "three")], unheard) != first


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\rb", os.fsdecode(b"\xff")])
def test_a_name_that_no_list_can_tell_is_refused(tmp_path: Path, name: str) -> None:
    """One file could pass for two."""
    (tmp_path / name).touch()
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match=r"name|encode"):
        read_digest([str(tmp_path / "a"), str(tmp_path / name)], unheard)


def test_what_hears_of_the_bytes_can_end_it(tmp_path: Path) -> None:
    """Between two blocks."""
    (tmp_path / "a").write_bytes(b"x")

    def enough(count: int) -> None:
        raise KeyError(count)

    with pytest.raises(KeyError, match="1"):
        read_digest([str(tmp_path / "a")], enough)


def test_a_person_is_shown_twelve_digits() -> None:
    """Enough to tell two apart."""
    assert short("sha256:" + "0123456789abcdef" * 4) == "sha256:0123456789ab…"
