"""All pools of a file under one manager, until there is nothing left to wait for or somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from attrs import define, field

from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.errors import EngineStuck, PoolLifecycleError
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.logs import LOGGER
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.pool import Pool
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.wording import seconds


def over(pool: Pool) -> bool:
    """Whether it does not run and will not by itself."""
    cause = pool.snapshot.cause
    return pool.state is PoolState.STOPPED or (
        pool.state is PoolState.FAILED and cause is not None and not cause.heals
    )


ECHO = 0.05
"""Within so many seconds a second signal is taken for the first one, delivered twice."""


@define(eq=False)
class Foreground:
    """One run of a manager. The first wish to stop drains the pools, a second one kills what still runs.

    `lasting`: it goes on when no pool can run any more, as what is declared may change.
    """

    manager: PoolManager
    lasting: bool = False
    _wanted: frozenset[str] = field(default=frozenset(), init=False)
    _stops: list[int] = field(factory=list, init=False)
    _stopped_at: float = field(default=0.0, init=False)
    _changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    _stuck: bool = field(default=False, init=False)

    @contextlib.contextmanager
    def signals(self, hung_up: Callable[[], None] | None = None) -> Iterator[None]:
        """Within it, Ctrl-C and SIGTERM are wishes to stop; so is SIGHUP, unless `hung_up` says more."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.stop, signal.SIGINT)
        loop.add_signal_handler(signal.SIGTERM, self.stop, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, hung_up or self.unheard)
        try:
            yield
        finally:
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(signum)

    def stop(self, signum: int) -> None:
        """Somebody wants it to end.

        A supervisor may signal the process and its group, as `timeout` does: that is one wish, not two.
        """
        now = asyncio.get_running_loop().time()
        if self._stops and now - self._stopped_at < ECHO:
            return
        self._stopped_at = now
        self._stops.append(signum)
        self._changed.set()

    def unheard(self) -> None:
        """Nobody reads what it says any more: a wish to stop, unless it is stopping already.

        A terminal that goes away is noticed in several ways at once, which must not count as several wishes.
        """
        if not self._stops:
            self.stop(signal.SIGHUP)

    @property
    def stopping(self) -> bool:
        """Whether somebody wants it to end."""
        return bool(self._stops)

    def declare(self, specs: Iterable[PoolSpec]) -> None:
        """These are the pools that it is about."""
        self._wanted = frozenset(spec.pool_id for spec in specs)

    async def run(
        self, specs: tuple[PoolSpec, ...], begun: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> int:
        """Bring every pool up, in parallel; return the exit code when all is over.

        What an earlier run has left of pools that are declared no more is ended. `begun` is called once every
        pool is there.
        """
        self.manager.observe(lambda _: self._changed.set())
        self.declare(specs)
        pools = [await self.manager.add(spec) for spec in specs]
        if begun is not None:
            await begun()
        if left := self.manager.unclaimed:
            LOGGER.warning("no longer declared, and ended if it still runs: %s", ", ".join(left))
            self.begin(self.manager.end_unclaimed())
        self.begin(*map(_start, pools))
        while not self._stops and (self.lasting or self._tasks or not all(map(over, self._pools()))):
            await self._change()
        if self._stops:
            await self.manager.withdraw()
            await self._stop_all(list(self.manager))
        return self._code(self._pools())

    def _pools(self) -> list[Pool]:
        return [pool for pool in self.manager if pool.pool_id in self._wanted]

    async def _stop_all(self, pools: list[Pool]) -> None:
        """But for those that are to outlive this."""
        if staying := [pool.pool_id for pool in pools if pool.stays]:
            self._say(f"left running, to be found again by the next run: {', '.join(staying)}")
        pools = [pool for pool in pools if not pool.stays]
        if not pools:
            return
        limit = seconds(max(pool.spec.limits.drain for pool in pools))
        self._say(f"stopping; leases in flight have up to {limit}, a second signal kills at once")
        self.begin(*(self._ending(pool.drain()) for pool in pools))
        while self._tasks and len(self._stops) == 1:
            await self._change()
        if self._tasks:
            self._say("killing what is left")
            self.begin(*(self._ending(pool.stop(grace=0.0)) for pool in pools))
        while self._tasks:
            await self._change()

    async def _ending(self, end: Coroutine[Any, Any, object]) -> None:
        try:
            await end
        except EngineStuck:
            self._stuck = True
        except PoolLifecycleError as error:
            LOGGER.debug("%s", error)

    def begin(self, *work: Coroutine[Any, Any, None]) -> None:
        """Do this meanwhile; while it lasts, the run does."""
        for one in work:
            task = asyncio.create_task(one)
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (defect := task.exception()) is not None:
            LOGGER.error("a defect: %r", defect, exc_info=defect)

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _say(self, what: str) -> None:
        name = signal.Signals(self._stops[-1]).name
        fields = {"event": "StopRequested", "signal": name}
        LOGGER.log(logging.INFO, "%s: %s", name, what, extra={"pool_lifecycle": fields})

    def _code(self, pools: list[Pool]) -> int:
        if self._stuck:
            return Exit.STUCK
        if len(self._stops) > 1:
            return BY_SIGNAL + self._stops[1]
        failed = any(pool.state is PoolState.FAILED for pool in pools)
        return Exit.NOTHING_CAN_RUN if failed else Exit.OK


async def _start(pool: Pool) -> None:
    with contextlib.suppress(PoolLifecycleError):  # it is told as a record, and a retry may follow
        await pool.start()
