"""Cancellation among strangers: a driver may swallow ours, or let one of its own escape."""

from __future__ import annotations

import asyncio
from types import TracebackType


def is_cancelled() -> bool:
    """Whether the current task was asked to end, whatever has become of that since."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def heed() -> None:
    """End now if the current task was asked to: to be called after a driver that may have swallowed it."""
    if is_cancelled():
        raise asyncio.CancelledError


class only_ours:  # noqa: N801 - used like a function
    """Within it, a CancelledError that nobody asked this task for is a driver's error like any other.

    It would end whoever awaits the driver in silence; it is raised as a RuntimeError instead. Every engine is
    waited for within one of these, so that it has to be small.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError) and not is_cancelled():
            raise RuntimeError(f"it raised {error!r} by itself") from error
