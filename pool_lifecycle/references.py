"""Model references: which model, from where. Pure.

file:/models/a.gguf, /models/a.gguf     a file on this host
hf:org/repo@revision::file=path         one file of a repository of the Hugging Face hub, or all of it
https://host/a.gguf, s3://bucket/a      whatever fsspec can open
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")

STAGERS = {"": "file", "file": "file", "hf": "hub"}
"""Which driver stages references of which scheme; all others are fsspec's."""


def scheme(reference: str) -> str:
    """The scheme, in small letters; empty for a plain path."""
    found = _SCHEME.match(reference)
    if found is None:
        return ""
    name = found[1].lower()
    return name if found[2] or name in STAGERS else ""


def stager_of(reference: str) -> str:
    """The name of the driver that stages it, unless a pool names another one."""
    return STAGERS.get(scheme(reference), "fsspec")
