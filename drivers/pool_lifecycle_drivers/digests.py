"""The digest of a model that is here: of its one file, or of all together as `model_files.digest_of` says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from pool_lifecycle_drivers import model_files

BLOCK = 2**20
"""Bytes read at a time. Between two blocks the reading can be given up."""

SHOWN = len("sha256:") + 12
"""Characters of a digest that are enough to tell it by."""

Seen = Callable[[int], object]
"""Told of bytes as they are read: how many since it was told last. What it raises ends the reading."""


def short(digest: str) -> str:
    """Its first twelve digits, for a person."""
    return f"{digest[:SHOWN]}…"


def read_digest(paths: Sequence[str], seen: Seen) -> str:
    """The digest of a model of these files. Blocking.

    Raises OSError, and ValueError for a name that cannot stand in a list of digests.
    """
    if len(paths) == 1:
        return f"sha256:{_of_file(paths[0], seen)}"
    names = [_listed(path) for path in paths]
    return model_files.digest_of(
        [(name, _of_file(path, seen)) for name, path in zip(names, paths, strict=True)]
    )


def _listed(path: str) -> str:
    name = os.path.basename(path)
    if not name.isprintable() or "\\" in name:  # one could pass for two files, and sha256sum escapes it
        raise ValueError(f"{name!r} has characters in its name that cannot be told in a list of digests")
    return name


def _of_file(path: str, seen: Seen) -> str:
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0, opener=_opener) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            seen(count)
    return digest.hexdigest()


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO, put there since it was looked at, is not waited for
