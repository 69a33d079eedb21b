"""Runs the activities of a pool: one at a time, as long as nothing ignores being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pool_lifecycle.activities import RUNNERS, STAGE_OF, Subject, failure
from pool_lifecycle.awake import SLICES
from pool_lifecycle.cancelling import only_ours
from pool_lifecycle.events import Failed, Outcome
from pool_lifecycle.lifecycle import ENDING, Activity

CANCEL_PATIENCE = 5.0
"""How long a cancelled activity may take to end before the next begins without it, in seconds."""

PROMPT = 0.05
"""How long the end of an engine may be put off for the sake of what is cancelled, in seconds."""


class Work:
    """The activity under way of one pool. `report` is told the one outcome of each that was not cancelled."""

    __slots__ = ("_pool", "_report", "tasks")

    def __init__(self, pool: Subject, report: Callable[[Outcome], None]) -> None:
        self._pool = pool
        self._report = report
        self.tasks: tuple[asyncio.Task[None], ...] = ()

    def begin(self, activity: Activity, epoch: int) -> None:
        """Begin an activity once those before it have ended.

        All of them: one that was cancelled while it still waited for the one before it ended first.
        """
        if activity in RUNNERS:
            previous = tuple(task for task in self.tasks if not task.done())
            work = self._run(activity, epoch, previous)
            loop, name = self._pool.host.loop, f"{self._pool.spec.pool_id}: {activity}"
            self.tasks = (*previous, loop.create_task(work, name=name))

    def cancel(self) -> None:
        """Ask the activity under way to end."""
        for task in self.tasks[-1:]:
            task.cancel()

    async def _run(self, activity: Activity, epoch: int, previous: tuple[asyncio.Task[None], ...]) -> None:
        if previous:
            await self._end_of_all(previous, activity)
        outcome = await self._outcome(activity, epoch)
        # It is over: the step it causes has nothing to cancel.
        me = asyncio.current_task()
        self.tasks = tuple(task for task in self.tasks if task is not me and not task.done())
        self._report(outcome)

    async def _outcome(self, activity: Activity, epoch: int) -> Outcome:
        try:
            with only_ours():
                return await RUNNERS[activity](self._pool, epoch)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises becomes a cause
            return Failed(epoch=epoch, cause=failure(error, STAGE_OF[activity]))

    async def _end_of_all(self, previous: tuple[asyncio.Task[None], ...], activity: Activity) -> None:
        """Wait for them all. Engines that are to end hear of it in time, whatever else is slow (S11)."""
        loop = self._pool.host.loop
        soon = loop.call_later(PROMPT, self._end_engines) if activity in ENDING else None
        try:
            for task in previous:
                await self._end_of(task)
        finally:
            if soon is not None:
                soon.cancel()

    def _end_engines(self) -> None:
        now = self._pool.host.clock()
        for one in self._pool.snapshot.engines:
            self._pool.launching.end_soon(one, max(0.0, (one.kill_at or now) - now))

    async def _end_of(self, previous: asyncio.Task[None]) -> None:
        """Wait for a cancelled activity. Who is cancelled meanwhile waits on, for the sake of the next."""
        slices = SLICES
        interrupted: asyncio.CancelledError | None = None
        while not previous.done() and slices:
            try:
                await asyncio.wait((previous,), timeout=CANCEL_PATIENCE / SLICES)
                slices -= 1
            except asyncio.CancelledError as error:
                interrupted = error
        if not previous.done():
            what = f"{previous.get_name()} did not end within {CANCEL_PATIENCE:g} s of being cancelled"
            self._pool.host.misbehaved(self._pool.spec.pool_id, what)
        if interrupted is not None:
            raise interrupted
