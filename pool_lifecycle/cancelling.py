"""Cancellation among strangers: a driver may swallow ours, or let one of its own escape."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


def is_cancelled() -> bool:
    """Whether the current task was asked to end, whatever has become of that since."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def heed() -> None:
    """End now if the current task was asked to: to be called after a driver that may have swallowed it."""
    if is_cancelled():
        raise asyncio.CancelledError


@contextlib.contextmanager
def only_ours() -> Iterator[None]:
    """Within it, a CancelledError that nobody asked this task for is a driver's error like any other.

    It would end whoever awaits the driver in silence; it is raised as a RuntimeError instead.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise RuntimeError(f"it raised {error!r} by itself") from error
