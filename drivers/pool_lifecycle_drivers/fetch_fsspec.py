"""Models in whatever fsspec can open: object stores, other hosts, archives, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

from attrs import define, field, frozen

from pool_lifecycle_drivers.fetch_source import Body, Listing, Remote, Trouble, Watch
from pool_lifecycle_drivers.model_files import (
    INDEX,
    Incomplete,
    parts_of,
    read_index,
    safe_name,
    whole_model,
)

BLOCK = 8 << 20
"""Bytes asked for at once: stores answer each time anew."""

MOST_INDEX = 64 << 20
"""Bytes that an index of safetensors may have."""

T = TypeVar("T")


@frozen
class FsspecSource:
    """A file, all parts of a split one, or a folder with a model in safetensors."""

    url: str

    def look(self, watch: Watch) -> Listing:
        """Ask for size and validator of each file."""
        return self._told(lambda: self._look(watch))

    def open(self, file: Remote, offset: int, watch: Watch) -> Body:
        """A file that is read in big pieces, each of them a question of its own."""
        watch.check()
        return self._told(lambda: self._open(file, offset))

    def settle(self, listing: Listing) -> None:
        """See that every file still is what it was before it was read."""
        now = self._told(lambda: [self._remote(file.name, file.address) for file in listing.files])
        for before, after in zip(listing.files, now, strict=True):
            if before.validator != after.validator:
                remedy = "try again when it is complete"
                raise Trouble(f"{before.name!r} changed while it was read", remedy, heals=True)

    def in_place(self) -> None:
        """It is nowhere but there."""

    def _look(self, watch: Watch) -> Listing:
        filesystem, path = _filesystem(self.url)
        watch.check()
        filesystem.invalidate_cache()
        if filesystem.info(path)["type"] == "directory":
            return self._folder(filesystem, path.rstrip("/"))
        before, slash, name = path.rpartition("/")
        parts = parts_of(name)
        lead = safe_name(name) if len(parts) == 1 else parts[0]
        names = (lead,) if len(parts) == 1 else parts
        addresses = (path,) if len(parts) == 1 else tuple(before + slash + part for part in parts)
        return Listing(lead, tuple(map(self._remote, names, addresses)))

    def _folder(self, filesystem: Any, path: str) -> Listing:
        found = filesystem.ls(path, detail=True)
        names = {one["name"].rpartition("/")[2] for one in found if one["type"] == "file"}
        index = None
        if INDEX in names:
            if filesystem.info(f"{path}/{INDEX}")["size"] > MOST_INDEX:
                raise Incomplete(f"{INDEX} has more than {MOST_INDEX} bytes")
            index = read_index(filesystem.cat_file(f"{path}/{INDEX}"))
        files = tuple(self._remote(name, f"{path}/{name}") for name in whole_model(names, index))
        return Listing(safe_name(path.rpartition("/")[2]), files, folder=True)

    def _remote(self, name: str, path: str) -> Remote:
        filesystem, _ = _filesystem(self.url)
        filesystem.invalidate_cache()
        size = filesystem.info(path).get("size")
        return Remote(name, path, size, _validator(filesystem, path))

    def _open(self, file: Remote, offset: int) -> Body:
        filesystem, _ = _filesystem(self.url)
        opened = filesystem.open(file.address, "rb", block_size=BLOCK, cache_type="none")
        if offset:
            try:
                opened.seek(offset)
            except (OSError, ValueError, NotImplementedError):
                offset = 0
                opened.close()
                opened = filesystem.open(file.address, "rb")
        return _FsspecBody(opened, file.size, file.validator, offset, self)

    def _told(self, ask: Callable[[], T]) -> T:
        """What is asked for, with every error of whatever driver of fsspec's as Trouble."""
        try:
            return ask()
        except Trouble:
            raise
        except Exception as error:  # stores raise what they like
            raise _trouble(self.url, error) from error


@define(eq=False)
class _FsspecBody:
    _opened: Any
    size: int | None
    validator: str
    offset: int
    _source: FsspecSource
    _at: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._at = self.offset

    def read(self) -> bytes:
        """Some more bytes, none at the end. Raises Trouble when the end comes too early."""
        left = BLOCK if self.size is None else min(BLOCK, self.size - self._at)
        piece: bytes = self._source._told(lambda: self._opened.read(left)) if left > 0 else b""  # noqa: SLF001
        self._at += len(piece)
        if not piece and left > 0 and self.size is not None:
            raise Trouble(
                f"{self._source.url!r} ends after {self._at} of {self.size} bytes",
                "look at the source: it is damaged, or being written",
                heals=True,
            )
        return piece

    def close(self) -> None:
        """Close it, whatever it has to say about that."""
        with suppress(Exception):
            self._opened.close()


def _filesystem(url: str) -> tuple[Any, str]:
    filesystem, path = _fsspec().url_to_fs(url)
    return filesystem, path


def _fsspec() -> ModuleType:
    try:
        import fsspec.core  # noqa: PLC0415 - only who needs it has it
    except ImportError as error:
        remedy = "pip install 'pool-lifecycle[staging]'"
        raise Trouble("fsspec is not installed", remedy, heals=False) from error
    return fsspec.core  # type: ignore[no-any-return]


def _validator(filesystem: Any, path: str) -> str:
    """Whatever the filesystem tells contents apart by; empty if it does not."""
    info = filesystem.info(path)
    keys = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created", "modified", "md5")
    if not isinstance(info, Mapping) or not any(info.get(key) for key in keys):
        return ""
    return f"{filesystem.ukey(path)}:{info.get('size')}"


def _trouble(url: str, error: Exception) -> Trouble:
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, Incomplete):
        return Trouble(f"{url!r} is no whole model: {error}", "put all of it there", heals=False)
    if isinstance(error, FileNotFoundError):
        remedy = "correct the reference, or put the model there"
        return Trouble(f"{url!r} does not exist", remedy, heals=False)
    if isinstance(error, PermissionError):
        remedy = "see that whoever runs the manager may read it there"
        return Trouble(f"{url!r} may not be read: {words}", remedy, heals=False)
    if isinstance(error, ImportError | ValueError | NotImplementedError):
        remedy = "install what the message names, or correct the reference"
        return Trouble(f"{url!r} cannot be opened: {words}", remedy, heals=False)
    return Trouble(
        f"{url!r} cannot be read: {words}", "look at the source and the way to it", heals=True, unasked=True
    )
