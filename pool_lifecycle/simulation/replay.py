"""Replays a trace against a configuration: a real manager and its pools, simulated engines and time."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from attrs import define, evolve, field

from pool_lifecycle.agenda import next_due
from pool_lifecycle.config import Config
from pool_lifecycle.errors import IllegalEvent, PoolLifecycleError
from pool_lifecycle.events import Start
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import Moved, Record
from pool_lifecycle.simulation.engines import SimulatedHost, simulated
from pool_lifecycle.simulation.history import History
from pool_lifecycle.simulation.timeline import Act, Timeline
from pool_lifecycle.simulation.trace import WEEK, Action, Trace
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.table import Kind
from pool_lifecycle.testing import virtual_time

AFTERMATH = 10.0
"""Seconds that a simulation goes on after its end, so that how everything ended is there to be seen."""

MARGIN = 86400.0
"""Virtual seconds after the end of a simulation in which everything has to have ended."""

SELDOM = 7 * 86400.0
"""Seconds between two regular looks at simulated devices, at which there is nothing to be seen."""


def replay(config: Config, trace: Trace, seed: int = 0, until: float = WEEK) -> Timeline:
    """What would become of the pools of `config` that `trace` is about, from their first start on.

    It ends when nothing is left that could happen, or `until` seconds after the begin. `seed` fixes the
    jitter: the same arguments always give the same timeline. Engines are not launched, no file that the pools
    name is looked at; only a temporary folder is written to.
    """
    with tempfile.TemporaryDirectory(prefix="pool-lifecycle-") as folder:
        return virtual_time.run(_replay(config, trace, seed, until, folder), limit=WEEK + MARGIN)


async def _replay(config: Config, trace: Trace, seed: int, until: float, folder: str) -> Timeline:
    asyncio.get_running_loop().set_default_executor(AtOnce())
    host, settings = SimulatedHost.of(trace), config.manager
    specs = tuple(simulated((one for one in config.pools if one.pool_id in trace.pools), trace))
    begin = asyncio.get_running_loop().time()
    manager = PoolManager(
        folder,
        drivers=host.drivers(specs),
        store=MemoryStore(),
        seed=seed,
        wall=lambda: asyncio.get_running_loop().time() - begin,
        restarts=settings.restarts,
        blame=settings.blame,
        devices=DevicePolicy(look=SELDOM),
    )
    play = Play(host, History(begin, specs, lambda name: manager[name].snapshot))
    async with manager:
        manager.observe(play.observe)
        for spec in specs:
            play.pools.append(await manager.add(spec))
        rested = await play.run(trace.actions, until)
        timeline = play.history.timeline(
            play.history.after(asyncio.get_running_loop().time()), rested=rested, seed=seed, unused=host.left
        )
        play.over = True
    await play.ended()
    return timeline


class AtOnce(ThreadPoolExecutor):
    """Does at once what is given to threads: they would take real time, and end in any order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Done when this returns."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            done.set_exception(error)
        return done


@define(eq=False)
class Play:
    """One simulation under way."""

    host: SimulatedHost
    history: History
    pools: list[Pool] = field(factory=list)
    over: bool = False
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _coming: int = 0
    _tasks: list[asyncio.Task[None]] = field(factory=list)

    def observe(self, record: Record) -> None:
        """Something happened."""
        if self.over:
            return
        self.history.observe(record)
        if isinstance(record, Moved) and record.notice.target is PoolState.READY != record.notice.source:
            self.host.served(record.pool_id)
        self._changed.set()

    async def run(self, actions: tuple[Action, ...], until: float) -> bool:
        """Start every pool and do what operators do; return whether all came to rest before `until`."""
        self._coming = len(actions)
        self._tasks = [asyncio.create_task(self._act(one)) for one in actions]
        for pool in self.pools:
            pool.tell(Start())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until):
                while self._coming or not all(map(self._rests, self.pools)):
                    await self._changed.wait()
                    self._changed.clear()
                await asyncio.sleep(AFTERMATH)
                return True
        return False

    async def ended(self) -> None:
        """Return once nobody waits any more for what pools were asked for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _rests(self, pool: Pool) -> bool:
        """Whether nothing can happen to it any more unless somebody acts."""
        state = LIFECYCLE.states[pool.state]
        lasts = state.kind is Kind.STABLE and not (state.live and self.host.doomed(pool.pool_id))
        return lasts and next_due(pool.snapshot) is None

    async def _act(self, action: Action) -> None:
        await asyncio.sleep(action.at)
        self._coming -= 1
        self._changed.set()
        acts = self.history.pools[action.pool_id].acts
        acts.append(Act(action.at, action.wish))
        pool = next(pool for pool in self.pools if pool.pool_id == action.pool_id)
        try:
            await getattr(pool, action.wish)()
        except IllegalEvent as error:
            acts[-1] = evolve(acts[-1], refused=f"not possible while {error.state}")
        except PoolLifecycleError:
            return  # what became of it is in the timeline
