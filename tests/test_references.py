"""A model reference says where a model comes from, and so who stages it."""

from __future__ import annotations

import pytest

from pool_lifecycle.references import scheme, stager_of


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
    ],
)
def test_the_scheme_says_who_stages_it(reference: str, expected: str, driver: str) -> None:
    """What has none is a path; a colon alone makes no scheme."""
    assert (scheme(reference), stager_of(reference)) == (expected, driver)
