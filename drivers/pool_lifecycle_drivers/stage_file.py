"""Models that are already on this host: they are checked and used where they lie."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from attrs import define

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import ModelInfo, StagedModel, StageProgress
from pool_lifecycle.references import Reference, digest_defect, reference_defect
from pool_lifecycle_drivers.digests import read_digest, short
from pool_lifecycle_drivers.header_bytes import Defect
from pool_lifecycle_drivers.known_files import KnownFiles, identities
from pool_lifecycle_drivers.model_header import Examined, examine
from pool_lifecycle_drivers.offload import in_thread

T = TypeVar("T")

NAME = "file"

EVERY = 0.1
"""Seconds between two reports of progress."""

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

    The model is a file, the first part of a split GGUF file, or a folder of safetensors. All its files have
    to be there, readable, not empty, and as long as their headers say. A missing file does not heal:
    somebody has to put it there; nor does a damaged one.

    With a digest, all bytes are read and compared with it, once: while the files stay as they are, by device,
    inode, size and times of change, what was found is remembered.
    """

    def __init__(self) -> None:
        self._models = KnownFiles[Examined]()
        self._digests = KnownFiles[str]()

    async def resolve(self, *, reference: str) -> ModelInfo:
        """Name, size and details of the model. Raises DriverError with stage STAGING if it cannot be used."""
        path, model = await self._look(reference)
        return ModelInfo(reference, os.path.basename(path), model.size, model.details)

    async def stage(
        self, *, reference: str, digest: str | None, progress: Callable[[StageProgress], None]
    ) -> StagedModel:
        """The model in its place. Raises DriverError with stage STAGING if it cannot be used."""
        if digest is not None and (defect := digest_defect(digest)) is not None:
            raise _unusable(
                f"{digest!r} is no digest: it {defect}", "take what sha256sum prints of the model"
            )
        path, model = await self._look(reference)
        if digest is not None:
            found = await self._digest(path, model, progress)
            if found != digest:
                raise _other_model(path, found, digest)
        progress(StageProgress(model.size, model.size))
        return StagedModel(reference, path, model.size, digest, model.details)

    async def evict(self, *, model: StagedModel) -> bool:  # noqa: ARG002 - part of the protocol
        """False: the file is the user's own."""
        return False

    async def _look(self, reference: str) -> tuple[str, Examined]:
        """Absolute path of a usable model, and what it is."""
        path = _path(reference)
        # In a thread: a disk or a network share that hangs must not stop the loop.
        found = await _of(path, lambda: self._examine(path))
        if isinstance(found, Defect):
            raise _unusable(f"{path!r} {found.message}", found.remedy)
        return path, found

    def _examine(self, path: str) -> Examined | Defect:
        if (known := self._models.get(path)) is not None:
            return known
        since = time.time_ns()
        found = examine(path)
        if isinstance(found, Examined):
            files = (path, *found.files)
            self._models.learn(path, files, identities(files), found, since)
        return found

    async def _digest(self, path: str, model: Examined, progress: Callable[[StageProgress], None]) -> str:
        reading = _Reading(asyncio.get_running_loop(), model.size, progress)
        try:
            return await _of(path, lambda: self._read_digest(path, model, reading))
        finally:
            reading.over = True

    def _read_digest(self, path: str, model: Examined, reading: _Reading) -> str:
        if (known := self._digests.get(path)) is not None:
            return known
        since, before = time.time_ns(), identities(model.files)
        digest = read_digest(model.files, reading.seen)
        if identities(model.files) != before:
            raise _Changed
        self._digests.learn(path, model.files, before, digest, since)
        return digest


class _Changed(Exception):
    """The files changed while their digest was read."""


@define
class _Reading:
    """Carries the progress of a thread that reads to the loop. `over`: nobody waits for it any more."""

    loop: asyncio.AbstractEventLoop
    size: int
    progress: Callable[[StageProgress], None]
    over: bool = False
    _done: int = 0
    _told: float = -EVERY

    def seen(self, count: int) -> None:
        """Called in the thread. Ends the reading if it is over, or if there is more than there was."""
        if self.over or self._done + count > self.size:
            raise _Changed
        self._done += count
        if (now := self.loop.time()) - self._told >= EVERY:
            self._told = now
            with suppress(RuntimeError):  # the loop has been closed
                self.loop.call_soon_threadsafe(self._tell, self._done)

    def _tell(self, done: int) -> None:
        if not self.over:
            self.progress(StageProgress(done, self.size))


async def _of(path: str, work: Callable[[], T]) -> T:
    """Do it in a thread. Raises DriverError for what goes wrong with the files."""
    try:
        return await in_thread(work)
    except _Changed as error:
        message = f"{path!r} changed while its digest was read"
        raise _unusable(message, "try again when it is complete", heals=True) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _path(reference: str) -> str:
    if (defect := reference_defect(reference)) is not None:
        raise _unusable(f"{reference!r} is no model reference: it {defect}", "name a path on this host")
    named = Reference.parse(reference)
    if named.scheme != "file":
        raise _unusable(f"{reference!r} is not a file on this host", "name a path, or use another stager")
    return os.path.abspath(named.location)


def _other_model(path: str, found: str, wanted: str) -> DriverError:
    return _unusable(
        f"{path!r} is not the model that was declared: its digest is {short(found)}, not {short(wanted)}",
        "get the declared model again, or declare the digest of this one",
    )


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
