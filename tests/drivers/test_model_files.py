"""Which files make up a model, and what they are called."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.references import path_defect
from pool_lifecycle_drivers.model_files import (
    INDEX,
    Incomplete,
    digest_of,
    parts_of,
    read_index,
    safe_name,
    url_name,
    whole_model,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.gguf", ["a.gguf"]),
        ("a-00002-of-00002.gguf", ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]),
        ("a-00001-of-00001.gguf", ["a-00001-of-00001.gguf"]),
        ("a-00003-of-00002.gguf", ["a-00003-of-00002.gguf"]),
        ("a-00000-of-00002.gguf", ["a-00000-of-00002.gguf"]),
        ("a-00001-of-99999.gguf", ["a-00001-of-99999.gguf"]),
        ("a-00001-of-00002.bin", ["a-00001-of-00002.bin"]),
    ],
)
def test_a_part_stands_for_all_parts(name: str, parts: list[str]) -> None:
    """The first one first, since engines are given that; a number that makes no sense is part of a name."""
    assert list(parts_of(name)) == parts


@given(st.text())
def test_any_name_becomes_a_safe_one(name: str) -> None:
    """A single part of a path, neither hidden nor an option, and not too long."""
    safe = safe_name(name)
    assert path_defect(safe) is None
    assert "/" not in safe
    assert safe[0] not in ".-"
    assert len(safe) <= 128
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/x/a.gguf?sig=1#f", "a.gguf"),
        ("https://h/a%20b%2Fc.gguf/", "a_b_c.gguf"),
        ("https://h/" + "x" * 4096 + ".gguf", "x" * 123 + ".gguf"),
        ("https://h", "model"),
        ("https://h/..%2f..", "_.."),
    ],
)
def test_a_url_names_what_it_leads_to(url: str, name: str) -> None:
    """By its last part, whose ending stays."""
    assert url_name(url) == name


INDEXED = {"weight_map": {"x": "m-2.safetensors", "y": "m-1.safetensors", "z": "m-1.safetensors"}}


def test_a_whole_model_is_its_weights_and_what_lies_beside() -> None:
    """Not other formats, other folders, or anything hidden in names."""
    names = {
        "m.safetensors",
        "config.json",
        "chat.jinja",
        "README.md",
        "x/m.safetensors",
        "m.gguf",
        "../a.json",
    }
    assert whole_model(names, None) == ("chat.jinja", "config.json", "m.safetensors")


def test_an_index_says_which_weights_are_meant() -> None:
    """Others are the same once more."""
    names = {INDEX, "m-1.safetensors", "m-2.safetensors", "consolidated.safetensors"}
    assert whole_model(names, INDEXED) == ("m-1.safetensors", "m-2.safetensors", INDEX)


@pytest.mark.parametrize(
    ("names", "index", "words"),
    [
        ({"m-1.safetensors", INDEX}, INDEXED, "1 of 2 parts are missing, 'm-2.safetensors' first"),
        ({"m-00001-of-00002.safetensors"}, None, "'m-00002-of-00002.safetensors' first"),
        ({"a.gguf", "b.gguf"}, None, "no safetensors; name one of its files: a.gguf, b.gguf"),
        (set(), None, "no safetensors"),
        ({"m.safetensors"}, {}, "has no weight_map"),
        ({"m.safetensors"}, {"weight_map": {"x": "../m.safetensors"}}, "lies elsewhere"),
        ({"m.safetensors"}, {"weight_map": {}}, "no safetensors"),
    ],
)
def test_what_is_not_whole_is_told(names: set[str], index: dict[str, object] | None, words: str) -> None:
    """Complete or not at all."""
    with pytest.raises(Incomplete) as caught:
        whole_model(names, index)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000, b"1"])
def test_an_index_that_is_none_is_refused(text: bytes) -> None:
    """Whatever was found under its name."""
    with pytest.raises(Incomplete):
        read_index(text)


def test_an_index_is_read() -> None:
    """As it is."""
    assert read_index(json.dumps(INDEXED).encode()) == INDEXED


def test_the_digest_of_files_is_that_of_their_list() -> None:
    """In the order of their names, whatever order they come in."""
    files = [("b", "sha256:" + "b" * 64), ("a", "sha256:" + "a" * 64)]
    listed = ("a" * 64 + "  a\n" + "b" * 64 + "  b\n").encode()
    assert digest_of(files) == digest_of(files[::-1]) == f"sha256:{hashlib.sha256(listed).hexdigest()}"
