"""Asks the engine that serves, again and again, whether it still does: this is how a hang is noticed.

The watch belongs to the engine, as the wait for its exit does, and not to a state of the pool. It begins when
an engine becomes the one that serves and goes on through drains and changes of model, so that no failed
check is forgotten on the way; it ends when that engine is to end, or another one serves.

Between two checks there is no task and no timer for the pool alone: its checks come at the host's ticks.
The first one comes after a random part of the interval, so that a thousand pools do not all ask at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from pool_lifecycle import verdict
from pool_lifecycle.cancelling import only_ours
from pool_lifecycle.errors import DriverError
from pool_lifecycle.events import Unhealthy
from pool_lifecycle.interfaces import Health
from pool_lifecycle.launching import Launching
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.readiness import Readiness
from pool_lifecycle.records import EngineUnhealthy
from pool_lifecycle.snapshot import Instance, Snapshot
from pool_lifecycle.ticks import TICK
from pool_lifecycle.verdict import FailedCheck

Report: TypeAlias = Callable[[str, str], None]
"""Takes a pool id and what went wrong."""

PATIENCE = 5.0
"""Seconds after its time-out at which a probe that does not keep to it is given up."""


class HealthWatch:
    """Watches one pool's serving engine. Enough failed checks in a row become the fact `Unhealthy`."""

    __slots__ = ("_engine", "_failed", "_launching", "_muted", "_task", "_tick")

    def __init__(self, launching: Launching) -> None:
        self._launching = launching
        self._engine: Instance | None = None
        self._failed: tuple[FailedCheck, ...] = ()
        self._muted = False
        self._task: asyncio.Task[None] | None = None
        self._tick = 0

    def follow(self, snapshot: Snapshot) -> None:
        """Watch the engine that serves now, and no other. A check under way on another counts nothing."""
        server = snapshot.server if LIFECYCLE.states[snapshot.state].live else None
        if (server and server.token) == (self._engine and self._engine.token):
            return
        self.close()
        self._engine = server
        if server is not None:
            host, interval = self._launching.host, self._launching.spec.health.interval
            self._wait_until(host.loop.time() + interval * host.random.random())

    def close(self) -> None:
        """Watch nothing any more."""
        self._launching.host.ticks.forget(self._tick, self._begin)
        if self._task is not None:
            self._task.cancel()
        self._engine, self._failed, self._muted, self._task = None, (), False, None

    @property
    def doubts(self) -> str:
        """What speaks against the engine so far; empty when the last check found it healthy."""
        if not self._failed:
            return ""
        needed = self._launching.spec.health.failures
        return f"{len(self._failed)} of {needed} health checks failed: {self._failed[-1].detail}"

    def _wait_until(self, when: float) -> None:
        self._tick = self._launching.host.ticks.at(when, self._begin)

    def _begin(self) -> None:
        if self._engine is not None:  # as it is when another call of the same tick has ended it
            self._task = self._launching.keep(self._check(self._engine))

    async def _check(self, engine: Instance) -> None:
        await asyncio.sleep(0)  # where tasks begin at once, `_task` is not this one before
        health = await self._answer(engine)
        if self._task is not asyncio.current_task():
            return  # called off, whatever the driver has made of that
        self._task = None  # what is over is not kept, and not cancelled by the step that it causes
        if health is not None:
            self._count(engine, health)
        if self._engine is engine:
            loop, interval = self._launching.host.loop, self._launching.spec.health.interval
            self._wait_until(max(self._tick * TICK + interval, loop.time()))

    async def _answer(self, engine: Instance) -> Health | None:
        """The answer of one check; None when it could not be asked for: that is no news of the engine."""
        host, spec = self._launching.host, self._launching.spec
        try:
            async with asyncio.timeout(spec.health.timeout + PATIENCE):
                with only_ours():
                    return await Readiness(self._launching).look(engine)
        except DriverError as error:
            self._once(host.trouble, f"its health could not be asked for: {error.cause.message}")
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not end the watch
            self._once(host.misbehaved, f"a health check failed: {error!r}")
        return None

    def _once(self, report: Report, what: str) -> None:
        """Report it, but not again at every check."""
        if not self._muted:
            self._muted = True
            report(self._launching.spec.pool_id, what)

    def _count(self, engine: Instance, health: Health) -> None:
        self._muted = False
        if health.ok:
            self._failed = ()
            return
        self._failed = (*self._failed, FailedCheck(self._launching.host.wall(), health.detail))
        if len(self._failed) >= self._launching.spec.health.failures:
            self._give_up(engine)

    def _give_up(self, engine: Instance) -> None:
        host, pool_id = self._launching.host, self._launching.spec.pool_id
        cause = verdict.unhealthy(self._failed, log=host.paths.log(pool_id))
        times = tuple(one.at for one in self._failed)
        host.observe(EngineUnhealthy(pool_id, host.loop.time(), engine.generation, cause, times))
        self._launching.tell(Unhealthy(engine.token, cause))
