"""Who waits for a pool to get somewhere, and how they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from pool_lifecycle.answers import Judge
from pool_lifecycle.errors import PoolLifecycleError
from pool_lifecycle.snapshot import Notify, Snapshot


class Waiters:
    """Judges, each with the future of whoever waits for its answer."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Judge, asyncio.Future[None]]] | None = None

    @contextlib.contextmanager
    def one(self, judge: Judge) -> Iterator[asyncio.Future[None]]:
        """While it lasts, `judge` looks at every row taken; the future is done when it has an answer."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = [*(self._waiting or ()), (judge, waiter)]
        try:
            yield waiter
        finally:
            self._waiting = [one for one in self._waiting or () if one[1] is not waiter] or None

    def answer(self, snapshot: Snapshot, notice: Notify) -> None:
        """A row was taken: whoever waited for that is told."""
        for judge, waiter in self._waiting or ():
            answer = None if waiter.done() else judge(snapshot, notice)
            if answer is None:
                continue
            if answer.error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(answer.error)

    def fail(self, error: Callable[[], PoolLifecycleError]) -> None:
        """No row will be taken any more: everybody is told so."""
        for _, waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_exception(error())
