"""Cancellation among strangers: a driver may swallow ours, or let one of its own escape."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether the current task was asked to end, whatever has become of that since."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def heed() -> None:
    """End now if the current task was asked to: to be called after a driver that may have swallowed it."""
    if is_cancelled():
        raise asyncio.CancelledError
