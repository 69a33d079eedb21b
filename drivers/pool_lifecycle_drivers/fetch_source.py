"""Where models are fetched from, and what may go wrong there: what every source has to say.

All of this happens in worker threads. A source may block, but not for ever: `Watch.abort` wakes it, or its
own time-outs do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

from attrs import define, frozen

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError


class Trouble(Exception):
    """A model cannot be fetched. `heals`: trying again may help without anybody changing anything.

    `unasked`: the source could not be asked at all, so that what was fetched before may still be right.
    """

    def __init__(self, message: str, remedy: str, *, heals: bool, unasked: bool = False) -> None:
        self.message = message
        self.remedy = remedy
        self.heals = heals
        self.unasked = unasked
        super().__init__(message)


class Stopped(Exception):
    """Everybody who waited for this has been cancelled."""


@frozen
class Remote:
    """A file as its source has it now.

    `name` is its path within the model. `validator` changes whenever the content does; empty: the source has
    none, so a download cannot be gone on with. `digest` is what the source says, if it does.
    """

    name: str
    address: str
    size: int | None = None
    validator: str = ""
    digest: str | None = None


@frozen
class Listing:
    """A model as its source has it now. `lead` is the name under which an engine is given it.

    `folder`: the engine is given a folder of that name with all the files, not the first of them.
    """

    lead: str
    files: tuple[Remote, ...]
    folder: bool = False

    @property
    def size(self) -> int | None:
        """Bytes of all files, if all are known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


class Body(Protocol):
    """The bytes of a file, from `offset` on: 0, whatever was asked for, if they begin anew.

    `size` is that of the whole file, None if nobody knows; `validator` is the content's that is being read.
    """

    @property
    def offset(self) -> int:
        """Where the bytes begin."""

    @property
    def size(self) -> int | None:
        """Bytes of the whole file."""

    @property
    def validator(self) -> str:
        """Of what is being read."""

    def read(self) -> bytes:
        """Some more bytes, none at the end. Raises Trouble when the end comes too early."""

    def close(self) -> None:
        """Let go of it."""


class Source(Protocol):
    """One model at its source."""

    def look(self, watch: Watch) -> Listing:
        """What is there now. Raises Trouble."""

    def open(self, file: Remote, offset: int, watch: Watch) -> Body:
        """Its bytes from `offset` on, if its validator still holds, else all of them. Raises Trouble."""

    def settle(self, listing: Listing) -> None:
        """Raise Trouble if what has been read from `listing` may be of more than one content."""

    def in_place(self) -> tuple[str, ...] | None:
        """All files of the model, where somebody else keeps them on this host; they stay theirs."""


@define(eq=False)
class Watch:
    """What the loop's thread and the worker's tell each other: bytes done, and whether to stop."""

    done: int = 0
    total: int | None = None
    stopped: bool = False
    _aborts: Callable[[], None] | None = None

    def check(self) -> None:
        """Raise Stopped if nobody wants this any more."""
        if self.stopped:
            raise Stopped

    def interruptible(self, abort: Callable[[], None] | None) -> None:
        """`abort`, called by another thread, wakes this one out of a read; None: there is none to wake."""
        self._aborts = abort
        if abort is not None:
            self.check()

    def stop(self) -> None:
        """Nobody wants this any more."""
        self.stopped = True
        if (abort := self._aborts) is not None:
            abort()


FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
PASSING = frozenset(
    (
        errno.EIO,
        errno.EAGAIN,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EBUSY,
        errno.ESTALE,
    )
)


def disk_trouble(error: OSError, folder: str) -> Trouble:
    """What went wrong with the folder in which models are kept."""
    what = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL:
        return Trouble(f"the disk of {folder!r} is full: {what}", "free some space there", heals=True)
    remedy = f"look at {folder!r}: it has to belong to the manager's user, on a disk that works"
    return Trouble(f"{folder!r} cannot be used: {what}", remedy, heals=error.errno in PASSING)


def refused(driver: str, trouble: Trouble) -> DriverError:
    """The one way in which trouble leaves these drivers."""
    return DriverError(
        driver,
        Cause(
            FailureClass.STAGING, Stage.STAGING, trouble.message, heals=trouble.heals, remedy=trouble.remedy
        ),
    )
