"""Room for models: on the disk, and within the limit. What was not used for longest goes first."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress

from attrs import frozen

from pool_lifecycle_drivers.fetch_source import Trouble
from pool_lifecycle_drivers.model_cache import MANIFEST, ModelCache, Used
from pool_lifecycle_drivers.private_files import locked

FORGOTTEN = 86400.0
"""Seconds after which what a killed process was just moving is nobody's any more."""


@frozen
class Entry:
    """Something that takes room, last used at `used`, in nanoseconds. A part of a model has no `digest`."""

    path: str
    size: int
    used: int
    digest: str = ""


def entries(cache: ModelCache) -> list[Entry]:
    """Everything kept, what was not used for longest first."""
    return sorted((*_models(cache), *_parts(cache)), key=lambda entry: entry.used)


def trim(cache: ModelCache, limit: int | None, in_use: Used, grace: float) -> None:
    """Remove what is above the limit, is not in use and was not staged within the last `grace` seconds."""
    used = cache.digests(in_use)
    cache.holds.release_unused(used, grace)
    _sweep(cache)
    if limit is not None:
        everything = entries(cache)
        _free(cache, everything, sum(entry.size for entry in everything) - limit, used)


def make_room(cache: ModelCache, needed: int, in_use: Used) -> None:
    """See that `needed` more bytes can be written. Raises Trouble, which names the shortfall."""
    short = needed - _available(cache.folder)
    if short > 0:
        _free(cache, entries(cache), short, cache.digests(in_use))
        short = needed - _available(cache.folder)
    if short > 0:
        words = f"the disk of {cache.folder!r} is short of {short} bytes for {needed} more of the model"
        raise Trouble(words, f"free {short} bytes there, or keep models elsewhere", heals=True)


def _free(cache: ModelCache, everything: list[Entry], wanted: int, used: frozenset[str]) -> None:
    for entry in everything:
        if wanted <= 0:
            return
        if entry.digest not in used and _remove(cache, entry):
            wanted -= entry.size


def _remove(cache: ModelCache, entry: Entry) -> bool:
    with suppress(OSError):
        return cache.remove(entry.digest) if entry.digest else _remove_part(entry.path)
    return False


def _remove_part(path: str) -> bool:
    """Unless somebody is fetching it."""
    descriptor = locked(f"{path}.lock", make=True)
    if descriptor is None:
        return False
    try:
        shutil.rmtree(path)
        os.unlink(f"{path}.lock")
    finally:
        os.close(descriptor)
    return True


def _models(cache: ModelCache) -> Iterator[Entry]:
    for name in os.listdir(cache.blobs):
        digest = name.replace("-", ":", 1)
        place = os.path.join(cache.blobs, name)
        if not name.startswith("."):
            with suppress(OSError):
                used = os.lstat(os.path.join(place, MANIFEST)).st_mtime_ns
                yield Entry(place, _size(place), used, digest)


def _parts(cache: ModelCache) -> Iterator[Entry]:
    folder = os.path.join(cache.folder, "partial")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            times = [os.lstat(os.path.join(path, file)).st_mtime_ns for file in _listed(path)]
            yield Entry(path, _size(path), max(times, default=0))


def _sweep(cache: ModelCache) -> None:
    """Remove what processes left that were killed while they moved it."""
    for folder in (cache.blobs, os.path.join(cache.folder, "index"), os.path.join(cache.folder, "partial")):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            with suppress(OSError):
                if name.startswith((".new-", ".gone-")) and time.time() - os.lstat(path).st_mtime > FORGOTTEN:
                    cache.discard(path)


def _size(path: str) -> int:
    """Bytes of all files below."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _listed(path: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(path)
    return []


def _available(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
