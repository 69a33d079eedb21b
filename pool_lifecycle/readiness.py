"""Whether an engine is ready: it answers that it is healthy, and the answer is its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from attrs import evolve

from pool_lifecycle import probing
from pool_lifecycle.addressing import reachable
from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.interfaces import (
    Engine,
    Health,
    HealthProbe,
    Inspection,
    ProbeTarget,
    WorkCounter,
    WorkProbe,
)
from pool_lifecycle.launching import Launching
from pool_lifecycle.progress import Progress, Reading
from pool_lifecycle.promises import expected, expected_health
from pool_lifecycle.snapshot import Instance

PROBE_GAP = 0.010
"""At least this many seconds between the begins of two probes, however much an engine logs."""

GAUGE_TAKES = 2.0
"""Seconds a second question may take, at most, to an engine that has just answered the first."""

FIRST_LOOK, LAST_LOOK = 0.05, 5.0
"""The shortest and the longest pause between two looks at who holds the port, in seconds."""


class Readiness:
    """Looks at the engines of one pool."""

    __slots__ = ("_launching",)

    def __init__(self, launching: Launching) -> None:
        self._launching = launching

    async def until_healthy(
        self, engine: Engine, grew: asyncio.Event, see: Callable[[str], None], *, path: str | None = None
    ) -> None:
        """Probe until the answer is healthy: often at first, then less, and at once when output grew."""
        target = self._target(engine, path)
        loop = self._launching.host.loop
        launched = loop.time()
        while True:
            grew.clear()
            began = loop.time()
            health = await self._ask(engine, target)
            if health.ok:
                return
            see(f"{target.path}: {health.detail}")
            took, age = loop.time() - began, loop.time() - launched
            await _either(grew, probing.pause(age, took))
            await asyncio.sleep(max(0.0, PROBE_GAP - (loop.time() - began)))

    async def look(self, instance: Instance) -> Health:
        """Probe the engine of `instance` once."""
        engine = self._launching.engines[instance.token]
        return await self._ask(engine, self._target(engine, None))

    def _probe(self, token: str) -> HealthProbe:
        return self._launching.host.drivers.health_probe(self._launching.health_of(token).probe)

    async def _ask(self, engine: Engine, target: ProbeTarget) -> Health:
        token = engine.handle.token
        limit = self._launching.health_of(token).timeout
        answer = await self._probe(token).check(target=target, timeout=limit)
        heed()
        return expected_health(answer, "check")

    # --- work ------------------------------------------------------------------------------------------

    def work(self, instance: Instance) -> WorkCounter | None:
        """The counter by which the engine's work can be followed, if there is one that the probe can read."""
        able = isinstance(self._probe(instance.token), WorkProbe)
        return getattr(self._launching.profile_of(instance.token), "work", None) if able else None

    async def read(self, instance: Instance, work: WorkCounter, last: Progress | None) -> Reading:
        """Read the counter; where it stands as it stood last, ask whether there is anything to do at all."""
        limit = self._launching.health_of(instance.token).timeout
        count = await self._sum(instance, work, work.names, limit)
        if count is None or last is None or count != last.count or not work.pending:
            return Reading(count)
        pending = await self._sum(instance, work, work.pending, min(limit, GAUGE_TAKES))
        return Reading(count, idle=pending == 0)

    async def _sum(
        self, instance: Instance, work: WorkCounter, names: tuple[str, ...], limit: float
    ) -> float | None:
        probe = self._probe(instance.token)
        assert isinstance(probe, WorkProbe)  # or `work` would be None
        target = self._target(self._launching.engines[instance.token], work.path)
        count = await probe.count(target=target, names=names, timeout=limit)
        heed()
        return float(count) if count is not None and math.isfinite(count) else None

    # --- whose answer it is ----------------------------------------------------------------------------

    async def until_port_held(self, engine: Engine) -> None:
        """Return once the engine's own process tree holds its port. It is looked at ever less often.

        So readiness need not wait for a look at the process table when the healthy answer comes.
        """
        pause = FIRST_LOOK
        while True:
            await asyncio.sleep(pause)
            if await self._holds_port(engine):
                return
            pause = min(2 * pause, LAST_LOOK)

    async def _holds_port(self, engine: Engine) -> bool:
        return engine.handle.port in (await self._inspect(engine)).listening

    async def _inspect(self, engine: Engine) -> Inspection:
        seen = expected(Inspection, await engine.inspect(), "inspect")
        heed()
        return seen

    async def impostor(self, instance: Instance, engine: Engine) -> Cause | None:
        """Why the healthy answer cannot have come from our own engine; None when it did."""
        if await self._holds_port(engine):
            return None
        request = self._launching.request(instance, engine.handle.port)
        causes = await self._launching.launcher.preflight(request=request)
        held = next((one for one in causes if one.kind is FailureClass.PORT_IN_USE), None)
        if held is None:
            return None
        message = f"the healthy answer did not come from our engine: {held.message}"
        return evolve(held, stage=Stage.HEALTH, message=message)

    async def gone_or_usurped(self, instance: Instance, *, healthy: bool) -> Cause | None:
        """The cause when a `healthy` answer was not that of the engine that serves; else None.

        An engine that has ended although nobody told is reported as ended.
        """
        engine = self._launching.engines[instance.token]
        seen = await self._inspect(engine)
        if not seen.alive:
            await self._launching.miss(instance)
        elif healthy and engine.handle.port not in seen.listening:
            impostor = await self.impostor(instance, engine)
            return None if impostor is None else evolve(impostor, stage=Stage.RUN)
        return None

    async def warm_up(self, engine: Engine, grew: asyncio.Event, see: Callable[[str], None]) -> None:
        """Make the first request for the users, if one is configured."""
        path = self._launching.health_of(engine.handle.token).warm_up
        if path is not None:
            see("warming up")
            await self.until_healthy(engine, grew, see, path=path)

    def _target(self, engine: Engine, path: str | None) -> ProbeTarget:
        handle = engine.handle
        health = self._launching.health_of(handle.token)
        wanted = path or health.path or self._launching.profile_of(handle.token).health_path
        return ProbeTarget(reachable(handle.host), handle.port, wanted, health.command)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
