"""Telling others: waking a coroutine on its own loop or a thread, and calling callbacks, from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

_log = logging.getLogger(__name__)

Call: TypeAlias = Callable[[], object]
"""A callback; what it returns is ignored."""


class Waker(Protocol):
    """One waiter's alarm clock. It rings once."""

    def wake(self) -> bool:
        """End the wait, from any thread. False when nobody is there any more to be woken."""


class LoopWaker:
    """Wakes a coroutine of the loop that runs where this is made."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        """False when the loop has been closed: its coroutines will never go on."""
        try:
            self._loop.call_soon_threadsafe(self._ring)
        except RuntimeError:
            return False
        return True

    def _ring(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Return when woken, or after `timeout` seconds."""
        await asyncio.wait((self._future,), timeout=timeout)


class ThreadWaker:
    """Wakes a thread."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> bool:
        """Always True: a thread that waits is there."""
        self._event.set()
        return True

    def wait(self, timeout: float | None = None) -> None:
        """Return when woken, or after `timeout` seconds."""
        self._event.wait(timeout)


def call_each(calls: Iterable[Call]) -> None:
    """Call each. What one raises is logged: neither the others nor our own caller suffer for it."""
    for call in calls:
        try:
            call()
        except Exception:  # noqa: BLE001 - logged, and that is the purpose
            _log.exception("a callback raised")
