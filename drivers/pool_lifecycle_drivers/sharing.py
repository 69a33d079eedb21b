"""One piece of work in a thread, shared by all who want its result; it ends when nobody does any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from attrs import define, field

from pool_lifecycle.interfaces import StageProgress
from pool_lifecycle_drivers.fetch_source import Watch
from pool_lifecycle_drivers.offload import in_thread

T = TypeVar("T")

Progress = Callable[[StageProgress], None]

EVERY = 0.1
"""Seconds between two reports of progress."""

PATIENCE = 5.0
"""Seconds for which a cancelled caller waits for the thread to notice. One that hangs ends later."""


@define(eq=False)
class _Work(Generic[T]):
    """Work under way, and who wants to hear of it."""

    watch: Watch = field(factory=Watch)
    listeners: dict[object, Progress] = field(factory=dict)
    told: StageProgress | None = None
    task: asyncio.Task[T] = field(init=False)

    def tell(self) -> None:
        """How far it is, if that is news."""
        done = max(self.watch.done, self.told.done if self.told else 0)
        total = self.watch.total
        news = StageProgress(done, None if total is None or total < done else total)
        if news != self.told and done:
            self.told = news
            for listener in list(self.listeners.values()):
                listener(news)


class Sharing(Generic[T]):
    """Work by key. Whoever comes later joins; the last one to be cancelled ends it."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Work[T]] = {}

    async def do(self, key: Hashable, work: Callable[[Watch], T], progress: Progress) -> T:
        """What `work` returns, or raises. `progress` is called from this thread, at most every 0.1 s."""
        loop = asyncio.get_running_loop()
        shared = self._under_way.get((loop, key))
        if shared is None or shared.watch.stopped:
            shared = self._begin(loop, key, work)
        me = object()
        shared.listeners[me] = progress
        if shared.told is not None:
            progress(shared.told)
        try:
            return await asyncio.shield(shared.task)
        finally:
            del shared.listeners[me]
            if not shared.listeners and not shared.task.done():
                await _end(shared)

    def _begin(self, loop: asyncio.AbstractEventLoop, key: Hashable, work: Callable[[Watch], T]) -> _Work[T]:
        shared = self._under_way[loop, key] = _Work()
        shared.task = loop.create_task(_watched(shared, work))

        def over(task: asyncio.Task[T]) -> None:
            if self._under_way.get((loop, key)) is shared:
                del self._under_way[loop, key]
            if not task.cancelled():
                task.exception()  # whoever still wanted it has been told

        shared.task.add_done_callback(over)
        return shared


async def _watched(shared: _Work[T], work: Callable[[Watch], T]) -> T:
    """Do the work in a thread, and tell how far it is."""
    thread = asyncio.ensure_future(in_thread(lambda: work(shared.watch)))
    try:
        while not thread.done():
            await asyncio.wait((thread,), timeout=EVERY)
            shared.tell()
    finally:
        thread.cancel()  # without effect on what is done, and on the thread itself
    return thread.result()


async def _end(shared: _Work[T]) -> None:
    """Nobody wants it any more: wait for the thread to notice, unless it hangs."""
    shared.watch.stop()
    try:
        await asyncio.wait((shared.task,), timeout=PATIENCE)
    finally:
        shared.task.cancel()
