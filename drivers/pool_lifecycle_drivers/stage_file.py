"""Models that are already on this host: they are checked and used where they lie."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import struct
from collections.abc import Callable

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import ModelInfo, StagedModel, StageProgress

NAME = "file"

GGUF_MAGIC = b"GGUF"
GGUF_HEADER = ("4sIQQ", 24)
"""Magic, version, and how many tensors and metadata entries follow, each described by at least so many bytes:
an entry by the length of its name, its type and a value, a tensor by lengths, type and offset."""
GGUF_ENTRY, GGUF_TENSOR = 13, 24
GGUF_VERSIONS = range(1, 256)
"""Three were there by 2026. A version out of this range belongs to the other byte order, or to no GGUF."""

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

PASSES_BY_ITSELF = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR,
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY,
    }
)  # fmt: skip
"""Troubles of the disk or of this process. All others stay until somebody changes something."""


class FileStager:
    """Stages a model by looking at it: nothing is copied, nothing is ever removed.

    A reference is a path, absolute or relative to the current folder, with or without `file:` in front
    (`/m/a.gguf`, `file:/m/a.gguf`, `file:///m/a.gguf`, `file:a.gguf`). It is taken literally: `~`, `$` and
    `%20` stand for themselves. Symbolic links are followed, but the engine is given the path as it was
    named, since the parts of a split model are looked for beside it.

    The model has to be a regular, readable, non-empty file, and if its name ends in `.gguf` it has to begin
    like one and to have room for what its header counts. A missing file does not heal: somebody has to put
    it there; nor does a damaged one.
    """

    async def resolve(self, *, reference: str) -> ModelInfo:
        """Name and size of the file. Raises DriverError with stage STAGING if it cannot be used."""
        path, size = await asyncio.to_thread(_look, reference)
        return ModelInfo(reference, os.path.basename(path), size)

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """The file in its place. Raises DriverError with stage STAGING if it cannot be used."""
        # In a thread: a disk or a network share that hangs must not stop the loop.
        path, size = await asyncio.to_thread(_look, reference)
        progress(StageProgress(size, size))
        return StagedModel(reference, path, size)

    async def evict(self, *, model: StagedModel) -> bool:  # noqa: ARG002 - part of the protocol
        """False: the file is the user's own."""
        return False


def _look(reference: str) -> tuple[str, int]:
    """Absolute path and size in bytes of a usable model."""
    path = _path(reference)
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        return path, _checked_size(path, descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _path(reference: str) -> str:
    path = reference.removeprefix("file:")
    if path.startswith("///"):
        path = path[2:]
    if SCHEME.match(path) or path.startswith("//"):
        raise _unusable(f"{reference!r} is not a file on this host", "name a path, or use another stager")
    if not path:
        raise _unusable(f"{reference!r} names no file", "name a path, for example file:/models/a.gguf")
    return os.path.abspath(path)


def _checked_size(path: str, descriptor: int) -> int:
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        raise _unusable(f"{path!r} is a folder", f"name the model file inside {path!r}")
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(f"{path!r} is not a regular file", f"put a model file at {path!r}")
    if found.st_size == 0:
        raise _unusable(f"{path!r} is empty", f"get the model again and put it at {path!r}")
    if path.lower().endswith(".gguf"):
        _check_gguf(path, os.pread(descriptor, GGUF_HEADER[1], 0), found.st_size)
    return found.st_size


def _check_gguf(path: str, header: bytes, size: int) -> None:
    """Raise unless this can be how a GGUF file of `size` bytes begins. Every engine gives up on others."""
    magic = header[: len(GGUF_MAGIC)]
    if magic != GGUF_MAGIC:
        raise _unusable(
            f"{path!r} is not a GGUF file: it begins with {magic!r}",
            f"get the model again and put it at {path!r}; perhaps an error page was saved instead",
        )
    if defect := _gguf_defect(header, size):
        raise _unusable(f"{path!r} is damaged: {defect}", f"get the model again and put it at {path!r}")


def _gguf_defect(header: bytes, size: int) -> str:
    layout, length = GGUF_HEADER
    if len(header) < length:
        return f"it ends within its header, after {size} bytes"
    for order in "<>":
        _, version, tensors, entries = struct.unpack(order + layout, header)
        if version == GGUF_VERSIONS.start:  # its counts were half as long; nobody reads it any more
            return ""
        if version in GGUF_VERSIONS:
            needed = length + tensors * GGUF_TENSOR + entries * GGUF_ENTRY
            counted = f"its header counts {tensors} tensors and {entries} entries"
            return f"{counted}, which {size} bytes cannot hold" if needed > size else ""
    return f"no version of GGUF is numbered {header[4:8].hex(' ')}"


def _unreadable(path: str, error: OSError | ValueError) -> DriverError:
    number = getattr(error, "errno", None)
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return _unusable(f"{path!r} does not exist", f"put the model at {path!r}, or correct the reference")
    if number in {errno.EACCES, errno.EPERM}:
        return _unusable(f"{path!r} may not be read", f"let the manager's user read {path!r}")
    what = str(error) if number is None else os.strerror(number)
    heals = number in PASSES_BY_ITSELF
    return _unusable(
        f"{path!r} cannot be read: {what}", f"look at {path!r} and the disk it is on", heals=heals
    )


def _unusable(message: str, remedy: str, *, heals: bool = False) -> DriverError:
    return DriverError(NAME, Cause(FailureClass.STAGING, Stage.STAGING, message, heals=heals, remedy=remedy))
