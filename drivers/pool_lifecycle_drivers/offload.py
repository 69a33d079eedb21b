"""Blocking looks at the host, kept out of the event loop's thread, and shared by all who want the same."""

from __future__ import annotations

import _thread
import asyncio
import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Call `work` in a thread of its own and return what it returns.

    A look that hangs in the kernel holds up whoever asked for it, but neither the loop nor the end of the
    program; asyncio's own pool of threads would be waited for at both. `threading.Thread.start` is not
    used because it blocks the loop until the thread has had its turn, which takes long beside busy ones.
    Raises what `work` raises, and OSError when the host is short of threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    try:
        _thread.start_new_thread(_run, (work, loop, future))
    except RuntimeError as error:  # the host is short of threads
        raise OSError(errno.EAGAIN, f"{error}") from error
    return await future


def _run(work: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
    try:
        outcome: T | BaseException = work()
    except BaseException as error:  # noqa: BLE001 - carried over to the caller
        outcome = error
    with suppress(RuntimeError):  # the loop has been closed; nobody waits any more
        loop.call_soon_threadsafe(_settle, future, outcome)


def _settle(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    if future.done():  # whoever asked was cancelled
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Shared(Generic[T]):
    """A look taken in a thread by one reader at a time, however many ask.

    Nobody gets what was begun before they asked: that a tree is empty is only proven by a look that began
    after its last known member ended. `prepare` is called when a look begins, and returns the look.
    """

    def __init__(self, prepare: Callable[[], Callable[[], T]]) -> None:
        self._prepare = prepare
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """What a look sees that begins from now on. Raises what the look raises."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._current, self._next = loop, None, None
        if self._next is None or self._next.done():  # done without a look: it was cancelled
            self._next = loop.create_task(self._look(self._current))
        return await asyncio.shield(self._next)

    async def _look(self, previous: asyncio.Task[T] | None) -> T:
        if previous is not None:
            await asyncio.wait([previous])
        self._current, self._next = self._next, None
        return await in_thread(self._prepare())
