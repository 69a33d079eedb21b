"""Blocking looks at the host, kept out of the event loop's thread, and shared by all who want the same."""

from __future__ import annotations

import _thread
import asyncio
import errno
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")


SPARE = 2
"""Threads that stay when they have nothing more to do: to make one takes ten times as long as to wake it."""


class _Worker:
    """A thread that does one thing after another, as long as not enough others wait for something to do."""

    __slots__ = ("_awake", "_work")

    idle: ClassVar[list[_Worker]] = []

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._awake = _thread.allocate_lock()
        self._awake.acquire()

    def run(self) -> None:
        """What it does in its thread."""
        while True:
            self._work()
            del self._work  # nothing of it is kept while there is nothing to do
            if len(self.idle) >= SPARE:
                return
            self.idle.append(self)
            self._awake.acquire()

    def give(self, work: Callable[[], object]) -> None:
        """Wake it with something to do."""
        self._work = work
        self._awake.release()


os.register_at_fork(after_in_child=_Worker.idle.clear)  # no thread but the forking one is in the child


def hand_over(work: Callable[[], object]) -> None:
    """Have it done in a thread, whatever all others do. It may not raise, and nobody is told of its end.

    What hangs in the kernel holds up neither the loop nor the end of the program; asyncio's own pool of
    threads would be waited for at both. `threading.Thread.start` is not used because it blocks the loop until
    the thread has had its turn, which takes long beside busy ones. Raises OSError when the host is short of
    threads.
    """
    try:
        _Worker.idle.pop().give(work)
        return
    except IndexError:
        pass
    try:
        _thread.start_new_thread(_Worker(work).run, ())
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"{error}") from error


async def in_thread(work: Callable[[], T]) -> T:
    """Call `work` in a thread and return what it returns; a look that hangs holds up who asked for it only.

    Raises what `work` raises, and OSError when the host is short of threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    hand_over(lambda: _run(work, loop, future))
    return await future


def _run(work: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
    outcome = _outcome(work)
    with suppress(RuntimeError):  # the loop has been closed; nobody waits any more
        loop.call_soon_threadsafe(_settle, future, outcome)


def _outcome(work: Callable[[], T]) -> T | BaseException:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - carried over to the caller
        return error


def _settle(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    if future.done():  # whoever asked was cancelled
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


STUCK = 0.1
"""Seconds without progress after which a batch gets one more thread."""

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Batch:
    """Work that is asked for in one turn of the loop, done in one thread: making one takes longer than most.

    Whatever hangs keeps the others of its batch waiting for a moment, until another thread goes on with them.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Job] = deque()

    async def do(self, work: Callable[[], T]) -> T:
        """As `in_thread`."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._jobs = loop, deque()
        if not self._jobs:
            loop.call_soon(self._begin)
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append((work, future))
        return await future

    def _begin(self) -> None:
        jobs, self._jobs = self._jobs, deque()
        _Doing(jobs, asyncio.get_running_loop()).go_on()


class _Doing:
    """A batch under way. `_done` has the outcomes that the loop's thread has not taken yet."""

    def __init__(self, jobs: deque[Job], loop: asyncio.AbstractEventLoop) -> None:
        self._jobs = jobs
        self._loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Any]] = deque()

    def go_on(self) -> None:
        """In one thread more; and later in another, if this one does not get on."""
        try:
            hand_over(self._run)
        except OSError as error:
            for _, future in self._jobs:
                _settle(future, OSError(*error.args))
        else:
            self._loop.call_later(STUCK, self._look, len(self._jobs))

    def _look(self, before: int) -> None:
        self._settle()
        if len(self._jobs) == before:
            self.go_on()
        elif self._jobs:
            self._loop.call_later(STUCK, self._look, len(self._jobs))

    def _run(self) -> None:
        with suppress(IndexError):
            while True:
                work, future = self._jobs.popleft()
                self._done.append((future, _outcome(work)))
        with suppress(RuntimeError):  # the loop has been closed; nobody waits any more
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._done:
            _settle(*self._done.popleft())


class Shared(Generic[T]):
    """A look taken once at a time, however many ask.

    Nobody gets what was begun before they asked: that a tree is empty is only proven by a look that began
    after its last known member ended. `look` is called when one begins.
    """

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._take = look
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
        return await self._take()
