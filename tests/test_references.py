"""A model reference says where a model comes from, and so who stages it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.errors import ConfigError
from pool_lifecycle.references import (
    Reference,
    digest_defect,
    path_defect,
    reference_defect,
    scheme,
    stager_of,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("reference", "expected", "driver"),
    [
        ("/models/a.gguf", "", "file"),
        ("a.gguf", "", "file"),
        ("odd:name.gguf", "", "file"),
        ("file:/models/a.gguf", "file", "file"),
        ("hf:org/repo@main::file=a.gguf", "hf", "hub"),
        ("https://host/a.gguf", "https", "fsspec"),
        ("S3://bucket/a.gguf", "s3", "fsspec"),
        ("zip://a.gguf::https://host/a.zip", "zip", "fsspec"),
    ],
)
def test_the_scheme_says_who_stages_it(reference: str, expected: str, driver: str) -> None:
    """What has none is a path; a colon alone makes no scheme."""
    assert (scheme(reference), stager_of(reference)) == (expected, driver)
    assert Reference.parse(reference).stager == driver


@pytest.mark.parametrize("text", ["/m/a.gguf", "file:/m/a.gguf", "file:///m/a.gguf", "FILE:/m/a.gguf"])
def test_a_path_may_be_written_in_several_ways(text: str) -> None:
    """All of them mean the same place; what was written is kept beside."""
    assert Reference.parse(text) == Reference(text, "file", location="/m/a.gguf")


@pytest.mark.parametrize(
    ("text", "repository", "revision", "files"),
    [
        ("hf:gpt2", "gpt2", "main", ()),
        ("hf:org/repo", "org/repo", "main", ()),
        ("hf:org/repo@refs/pr/1", "org/repo", "refs/pr/1", ()),
        ("hf:org/repo@v1.0::file=Q4/a b.gguf", "org/repo", "v1.0", ("Q4/a b.gguf",)),
        ("hf:org/repo::file=a.gguf::file=b.gguf", "org/repo", "main", ("a.gguf", "b.gguf")),
    ],
)
def test_a_hub_reference_is_taken_apart(
    text: str, repository: str, revision: str, files: tuple[str, ...]
) -> None:
    """Repository, revision and files; without a revision the newest is meant."""
    found = Reference.parse(text)
    assert found == Reference(text, "hf", repository=repository, revision=revision, files=files)


def test_only_a_commit_is_immutable() -> None:
    """A branch or a tag may stand for something else tomorrow, and so may a URL."""
    assert Reference.parse(f"hf:org/repo@{COMMIT}").immutable
    for text in ("hf:org/repo", "hf:org/repo@v1", "https://host/a.gguf", "/m/a.gguf", f"hf:a/b@{COMMIT[1:]}"):
        assert not Reference.parse(text).immutable


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not empty"),
        ("a\0b", "NUL"),
        (7, "model reference"),
        ("x" * 4097, "at most 4096"),
        ("file:", "must name a path"),
        ("file://host/a.gguf", "on this host"),
        ("https://", "after ://"),
        ("https:///a.gguf", "after ://"),
        ("https://[::1/a.gguf", "IPv6"),
        ("https://host:65536/a.gguf", "65535"),
        ("s3://a b", "without spaces"),
        ("https://host/a\n", "control characters"),
        ("https://me:secret@host/a.gguf", "password"),
        ("hf:", "hf:org/repo@revision::file=path"),
        ("hf://org/repo", "hf:org/repo@revision::file=path"),
        ("hf:org/repo/more", "hf:org/repo@revision::file=path"),
        ("hf:../repo", "hf:org/repo@revision::file=path"),
        ("hf:org/..", "hf:org/repo@revision::file=path"),
        ("hf:org/a--b", "hf:org/repo@revision::file=path"),
        ("hf:org/re%2fpo", "hf:org/repo@revision::file=path"),
        ("hf:org/repo@", "a branch, a tag or a commit"),
        ("hf:org/repo@a..b", "a branch, a tag or a commit"),
        ("hf:org/repo@a?b", "a branch, a tag or a commit"),
        ("hf:org/repo::name=a", "hf:org/repo@revision::file=path"),
        ("hf:org/repo::file=", "relative path"),
        ("hf:org/repo::file=../a.gguf", "relative path"),
        ("hf:org/repo::file=/etc/passwd", "relative path"),
        ("hf:org/repo::file=a/../../b", "relative path"),
        ("hf:org/repo::file=a\\b", "backslashes"),
        ("hf:org/repo::file=" + "x" * 256, "255 bytes"),
    ],
)
def test_a_bad_reference_is_refused_with_what_would_be_valid(text: object, words: str) -> None:
    """One sentence for configuration and for whoever builds it by hand."""
    sentence = reference_defect(text)
    assert sentence is not None
    assert sentence.startswith("must ")
    assert words in sentence
    with pytest.raises(ConfigError) as caught:
        Reference.parse(text)
    assert words in str(caught.value)


@given(st.text() | st.text("hf:/@.=file \0x-").map("hf:".__add__) | st.text("ab:/?@#").map("s3://".__add__))
def test_anything_is_either_refused_or_understood(text: str) -> None:
    """No text makes the parser fail in another way, and no accepted path leaves its folder."""
    if reference_defect(text) is None:
        found = Reference.parse(text)
        assert found.text == text
        assert all(".." not in path.split("/") and path[:1] != "/" for path in found.files)
        assert ".." not in found.repository
    else:
        with pytest.raises(ConfigError):
            Reference.parse(text)


@pytest.mark.parametrize("path", ["a", "a/b.gguf", "...", "a b", "ä"])
def test_a_path_within_a_model_is_accepted(path: str) -> None:
    """Whatever stays inside."""
    assert path_defect(path) is None


@pytest.mark.parametrize("path", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "a\0", "a\n", "\ud800"])
def test_a_path_that_may_leave_a_model_is_refused(path: str) -> None:
    """Absolute, upwards, empty, or not to be printed."""
    assert path_defect(path) is not None


def test_a_digest_is_of_one_kind() -> None:
    """SHA-256 in small letters: one model has one name."""
    assert digest_defect("sha256:" + "0a" * 32) is None
    for wrong in (
        None,
        "",
        "0a" * 32,
        "sha256:" + "0A" * 32,
        "md5:" + "0a" * 32,
        "sha256:" + "0a" * 32 + "\n",
    ):
        assert digest_defect(wrong) is not None
