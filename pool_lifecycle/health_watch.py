"""Asks the engine that serves, again and again, whether it still does: this is how a hang is noticed.

The watch belongs to the engine, as the wait for its exit does, and not to a state of the pool. It begins when
an engine becomes the one that serves and goes on through drains and changes of model, so that no failed
check is forgotten on the way; it ends when that engine is to end, or another one serves.

A check alone cannot tell a busy engine from a hanging one: both say nothing. Nor can it tell one that serves
from one that only answers. Where the profile knows a counter of work, that is read as well while somebody
holds a lease, or the last check failed: who gets on with the work is busy, however silent; who does not get
on with it for long hangs, however healthy the answers.

Between two checks there is no task and no timer for the pool alone: its checks come at the host's ticks.
The first one comes after a random part of the interval, so that a thousand pools do not all ask at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias, TypeVar

from attrs import evolve, frozen

from pool_lifecycle.awake import Awake
from pool_lifecycle.cancelling import is_cancelled, only_ours
from pool_lifecycle.causes import Cause
from pool_lifecycle.errors import DriverError
from pool_lifecycle.events import Unhealthy
from pool_lifecycle.interfaces import Health
from pool_lifecycle.launching import Launching
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.own_words import Finding
from pool_lifecycle.progress import Progress, Reading
from pool_lifecycle.readiness import Readiness
from pool_lifecycle.records import EngineUnhealthy
from pool_lifecycle.snapshot import Instance, Snapshot
from pool_lifecycle.spec import HealthSpec
from pool_lifecycle.ticks import TICK
from pool_lifecycle.verdict import FailedCheck
from pool_lifecycle.wording import plural

T = TypeVar("T")

Report: TypeAlias = Callable[[str, str], None]
"""Takes a pool id and what went wrong."""

PATIENCE = 5.0
"""Seconds after its time-out at which a probe that does not keep to it is given up."""

HEARD = 0.9
"""The share of a time-out in which the loop has to have run for silence to be the engine's."""

LEFT = 8
"""How many checks of one pool may hang, deaf to being cancelled, before no other begins: each is a task."""

EVERY = 120.0
"""Seconds between two looks at the process tree behind the healthy answers, and at who holds its port.

The first check after each multiple of it looks, so that pools look together and share one list of processes:
for 500 engines, 0.3 s of CPU, or a quarter of a percent of a core. So is who is about to be given up."""


@frozen
class Sight:
    """What one check came to. `reading` None: the counter was not to be read, or that was not possible."""

    health: Health
    leases: int
    reading: Reading | None = None
    usurped: Cause | None = None


class HealthWatch:
    """Watches one pool's serving engine. Enough failed checks in a row become the fact `Unhealthy`."""

    __slots__ = (
        *(
            "_awake",
            "_book",
            "_busy",
            "_engine",
            "_erred",
            "_failed",
            "_hung",
            "_launching",
            "_left",
            "_limit",
        ),
        *("_listened", "_muted", "_progress", "_said", "_task", "_thorough", "_tick", "_tried"),
    )

    def __init__(self, launching: Launching, book: LeaseBook) -> None:
        self._launching = launching
        self._book = book
        self._tick = self._limit = 0
        self._task: asyncio.Task[None] | None = None
        self._awake: Awake | None = None
        self._left: tuple[asyncio.Task[None], ...] = ()
        self._forget()

    def _forget(self) -> None:
        self._engine: Instance | None = None
        self._failed: tuple[FailedCheck, ...] = ()
        self._progress: Progress | None = None
        self._said: Finding | None = None
        self._listened = 0.0
        self._busy = self._erred = self._hung = self._muted = self._thorough = self._tried = False

    def follow(self, snapshot: Snapshot) -> None:
        """Watch the engine that serves now, and no other. A check under way on another counts nothing."""
        server = snapshot.server if LIFECYCLE.states[snapshot.state].live else None
        if (server and server.token) == (self._engine and self._engine.token):
            return
        self.close()
        self._engine = server
        if server is not None:
            host, interval = self._launching.host, self._health.interval
            self._tick = host.ticks.at(host.loop.time() + interval * host.random.random(), self._begin)

    def close(self) -> None:
        """Watch nothing any more."""
        self._launching.host.ticks.forget(self._tick, self._begin)
        self._call_off()
        self._forget()

    @property
    def doubts(self) -> str:
        """What speaks against the engine so far; empty when the last check found it healthy."""
        return "; ".join(self._doubts())

    def _doubts(self) -> Iterator[str]:
        health, now = self._health, self._launching.host.loop.time()
        if self._failed:
            yield f"{len(self._failed)} of {health.failures} health checks failed: {self._failed[-1].detail}"
        if self._hung:
            yield f"its health probe hangs: {self._how_hung()}"
        if self._busy:
            yield "it is busy: it does not answer, but gets on with its work"
        if self._progress is not None and (still := self._progress.stood_still(now)):
            yield f"no progress with its work for {still:.0f} s; {health.stall:g} s of that are a hang"
        if self._said is not None:
            yield f"its log says: {self._said.line!r}"

    # --- one check -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._engine is None:  # as it is when another call of the same tick has ended it
            return
        if len(self._hanging()) >= LEFT:
            self._hangs()
            self._wait()
            return
        host = self._launching.host
        self._awake = Awake(host.ticks, host.clock)
        self._limit = host.ticks.at(host.loop.time() + self._patience, self._give_up_check)
        self._task = self._launching.keep(self._check(self._engine))

    @property
    def _health(self) -> HealthSpec:
        """How the engine is declared to be asked."""
        return self._launching.health_of(None if self._engine is None else self._engine.token)

    @property
    def _patience(self) -> float:
        return self._health.timeout + 3 * PATIENCE

    async def _check(self, engine: Instance) -> None:
        await asyncio.sleep(0)  # where tasks begin at once, `_task` is not this one before
        sight = await self._look(engine)
        if self._task is not asyncio.current_task():
            return  # called off, whatever the driver has made of that
        self._task = None  # what is over is not kept, and not cancelled by the step that it causes
        self._hung = False
        heard = sight is not None and self._heard(sight.health)
        self._over(engine)
        if sight is not None and heard:
            self._judge(engine, sight)
        if self._engine is engine:
            self._wait()

    def _heard(self, health: Health) -> bool:
        """Whether somebody listened: silence beside a block counts once as much was heard as of a stall.

        Of a program that blocks its loop during every check nothing better can be had.
        """
        declared = self._health
        if health.ok or not health.silent or self._seconds >= HEARD * declared.timeout:
            self._listened = 0.0
            return True
        self._listened += self._seconds
        if self._listened < declared.stall:
            return False
        self._listened = 0.0
        return True

    def _over(self, engine: Instance) -> None:
        self._call_off()
        self._muted, self._erred = self._erred, False
        self._said = self._launching.follow(engine)

    def _give_up_check(self) -> None:
        """The check under way has had time to end, and to heed that it was cancelled for its lateness.

        That is a driver's fault and no news of the engine, which is asked again as if this had not been.
        """
        if self._awake is not None and (left := self._patience - self._awake.seconds) > 0:
            host = self._launching.host
            self._limit = host.ticks.at(host.loop.time() + left, self._give_up_check)
        elif self._task is not None and self._engine is not None:
            self._over(self._engine)
            self._hangs()
            self._wait()

    def _call_off(self) -> None:
        self._launching.host.ticks.forget(self._limit, self._give_up_check)
        if self._awake is not None:
            self._awake.close()
            self._awake = None
        if self._task is not None:
            self._task.cancel()
            self._left = (*self._hanging(), self._task)
        self._task = None

    def _hanging(self) -> tuple[asyncio.Task[None], ...]:
        """The checks that were called off and still go on, of this engine and of those before it."""
        self._left = tuple(one for one in self._left if not one.done())
        return self._left

    def _hangs(self) -> None:
        if not self._hung:
            self._launching.misbehaved(f"a health check hangs: {self._how_hung()}")
        self._hung = True

    def _how_hung(self) -> str:
        hanging = len(self._hanging())
        stop = "; no other begins before one of them has ended" if hanging >= LEFT else ""
        return f"{plural(hanging, 'question')} did not end when cancelled{stop}"

    def _wait(self) -> None:
        host, last = self._launching.host, self._tick
        when = max(last * TICK + self._health.interval, host.loop.time())
        self._tick = host.ticks.at(when, self._begin)
        self._thorough = last * TICK // EVERY != self._tick * TICK // EVERY

    async def _look(self, engine: Instance) -> Sight | None:
        limit, look = self._health.timeout + PATIENCE, Readiness(self._launching)
        leases = self._book.count_on(engine.generation)
        reading = self._begin_reading(engine, look, limit, leases)
        try:
            health = await self._asked("a health check", limit, look.look(engine))
            read = await reading if reading is not None else None
        finally:
            if reading is not None:
                reading.cancel()
        if health is None:
            return None
        sight = Sight(health, leases, read)
        if not (self._thorough or self._is_last_doubt(sight)):
            return sight
        inspection = look.gone_or_usurped(engine, healthy=sight.health.ok)
        return evolve(sight, usurped=await self._asked("a look at its processes", PATIENCE, inspection))

    def _begin_reading(
        self, engine: Instance, look: Readiness, limit: float, leases: int
    ) -> asyncio.Task[Reading | None] | None:
        """Read the counter beside the check, so that one time-out is enough for both; only if it matters."""
        work = look.work(engine) if leases or self._failed or not self._tried else None
        if work is None:
            return None
        reading = look.read(engine, work, self._progress)
        return self._launching.keep(self._asked("reading its counter of work", limit, reading))

    def _is_last_doubt(self, sight: Sight) -> bool:
        """Whether the engine is about to be given up: it may have ended without anybody's being told."""
        enough = len(self._failed) + 1 >= self._health.failures
        return enough and not sight.health.ok and not self._got_on(sight)

    async def _asked(self, what: str, limit: float, asking: Coroutine[Any, Any, T]) -> T | None:
        """The answer; None when it could not be asked for: that is no news of the engine."""
        host = self._launching.host
        until = self._seconds + limit - TICK
        try:
            async with asyncio.timeout(limit) as waiting:
                with only_ours():
                    return await asking
        except DriverError as error:
            self._once(host.trouble, f"its health could not be asked for: {error.cause.message}")
        except Exception as error:  # noqa: BLE001 - a driver's broken promise must not end the watch
            if waiting.expired() and self._seconds < until:
                return None  # the loop was blocked, which is not the driver's fault
            self._once(host.misbehaved, f"{what} failed: {error!r}")
        return None

    @property
    def _seconds(self) -> float:
        return 0.0 if self._awake is None else self._awake.seconds

    def _once(self, report: Report, what: str) -> None:
        """Report it, but not again at every check; not at all what comes of a check that was called off."""
        if is_cancelled():
            return
        if not self._muted and not self._erred:
            report(self._launching.spec.pool_id, what)
        self._erred = True

    # --- what it means ---------------------------------------------------------------------------------

    def _judge(self, engine: Instance, sight: Sight) -> None:
        health, declared = sight.health, self._health
        self._tried = True
        self._busy = not health.ok and health.silent and self._got_on(sight)
        self._follow_work(sight.reading)
        if sight.usurped is not None:
            self._give_up(engine, (self._failure(health.detail),), sight.usurped)
        elif self._stalled():
            self._give_up(engine, (self._failure(self._how_stalled(sight), silent=True),))
        elif health.ok or self._busy:
            self._failed = ()
        else:
            self._failed = (*self._failed, self._failure(health.detail, silent=health.silent))
            if len(self._failed) >= declared.failures:
                self._give_up(engine, self._failed)

    def _failure(self, detail: str, *, silent: bool = False) -> FailedCheck:
        return FailedCheck(self._launching.host.wall(), detail, silent)

    def _got_on(self, sight: Sight) -> bool:
        return self._progress is not None and self._progress.grown(sight.reading)

    def _follow_work(self, reading: Reading | None) -> None:
        if self._progress is None:
            self._progress = Progress.begun(reading)
        else:
            self._progress = self._progress.after(reading, self._launching.host.loop.time())

    def _stalled(self) -> bool:
        health, now, progress = self._health, self._launching.host.loop.time(), self._progress
        if progress is None or progress.looks < health.failures:
            return False
        return progress.stood_still(now) >= health.stall

    def _how_stalled(self, sight: Sight) -> str:
        progress, now = self._progress, self._launching.host.loop.time()
        assert progress is not None  # or it would not be stalled
        held = "1 lease is" if sight.leases == 1 else f"{sight.leases} leases are"
        unread = sight.reading is not None and sight.reading.count is None
        what = "its counter of work cannot be read" if unread else f"its work stands at {progress.count:g}"
        seconds = f"{progress.stood_still(now):.0f} s"
        return f"it says {sight.health.detail!r}, but for {seconds} {what}, while {held} held"

    def _give_up(self, engine: Instance, failed: tuple[FailedCheck, ...], cause: Cause | None = None) -> None:
        host, pool_id = self._launching.host, self._launching.spec.pool_id
        cause = cause or self._launching.unhealthy(engine, failed)
        times = tuple(one.at for one in failed)
        host.observe(EngineUnhealthy(pool_id, host.loop.time(), engine.generation, cause, times))
        self._launching.pool.tell(Unhealthy(engine.token, cause))
