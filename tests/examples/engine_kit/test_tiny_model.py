"""The tiny model is the same every time, and whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFReader

from engine_kit.tiny_model import make_tiny_model


def test_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    """The same bytes for the same seed, other bytes for another."""
    first = make_tiny_model(tmp_path / "a.gguf", seed=1).read_bytes()
    assert make_tiny_model(tmp_path / "b.gguf", seed=1).read_bytes() == first
    assert make_tiny_model(tmp_path / "c.gguf", seed=2).read_bytes() != first


def test_is_a_small_llama_model(tmp_path: Path) -> None:
    """About half a megabyte, two layers, its own vocabulary."""
    path = make_tiny_model(tmp_path / "a.gguf")
    assert 400_000 < path.stat().st_size < 700_000
    fields = GGUFReader(path).fields
    assert fields["general.architecture"].contents() == "llama"
    assert fields["llama.block_count"].contents() == 2
    assert "<unk>" in fields["tokenizer.ggml.tokens"].contents()


def test_width_makes_it_larger(tmp_path: Path) -> None:
    """A wider model is a larger file."""
    sizes = [make_tiny_model(tmp_path / f"{n}", n_embd=n).stat().st_size for n in (8, 64, 128)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("n_embd", [0, -8, 12])
def test_impossible_width_is_refused(tmp_path: Path, n_embd: int) -> None:
    """A width the heads cannot share is an error that says so, and leaves no file."""
    with pytest.raises(ValueError, match="multiple of 8"):
        make_tiny_model(tmp_path / "a.gguf", n_embd=n_embd)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_one_that_could_not_be_written(tmp_path: Path) -> None:
    """If the place is taken by a folder, nothing is left beside it."""
    (tmp_path / "a.gguf").mkdir()
    with pytest.raises(IsADirectoryError):
        make_tiny_model(tmp_path / "a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
