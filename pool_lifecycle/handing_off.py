"""Keeps a pool's handoff document as it was last wished for, whoever wished what in the meantime.

Writing takes a disk, so it happens in a thread; taking the document away must not wait for that. So each wish
has a number: what is written for one that is no longer the last is not written, or is taken away again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pool_lifecycle import handoff

T = TypeVar("T")


class HandingOff:
    """The document at `path`. One write at a time; not for several loops."""

    __slots__ = ("_latest", "_lock", "_withdrawn", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._latest = 0
        self._withdrawn = False
        self._lock: asyncio.Lock | None = None

    def wish(self) -> int:
        """The number of a wish for a document, which is to be written once it is known what is in it."""
        self._latest += 1
        self._withdrawn = False
        return self._latest

    async def write(self, document: handoff.Handoff, wish: int) -> None:
        """Write it, unless something else has been wished for since. Raises StateDirError."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if wish == self._latest:
                await in_thread(partial(self._write, document, wish))

    def _write(self, document: handoff.Handoff, wish: int) -> None:
        document.write(self.path)
        if wish != self._latest and self._withdrawn:  # meanwhile; it may have been just before the writing
            handoff.remove(self.path)

    @property
    def exists(self) -> bool:
        """Whether there is one, of whatever is said in it."""
        return os.path.lexists(self.path)

    async def url(self) -> str | None:
        """The address in the document that is there; None where there is none."""
        return await in_thread(partial(handoff.url_at, self.path))

    def withdraw(self) -> None:
        """Take it away, without waiting for whoever writes it. Raises OSError."""
        self._latest += 1
        self._withdrawn = True
        handoff.remove(self.path)


async def in_thread(work: Callable[[], T]) -> T:
    """Do it in a thread. A thread cannot be cancelled: who is cancelled meanwhile goes when it has ended."""
    doing = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait((doing,))
        raise
