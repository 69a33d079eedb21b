"""Fixed scenarios, in which the manager is killed at every call of a driver and of the store, a run for each.

After each kill another manager goes on, whoever was not answered asks again, and the scenario has to come to
its end, with every invariant holding on the way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from attrs import evolve, frozen

from pool_lifecycle.errors import ReloadFailed
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.pool import Pool
from pool_lifecycle.restart.blame import Blame
from pool_lifecycle.restart.budget import Budget
from pool_lifecycle.spec import EngineSpec, HealthSpec, Limits, PoolSpec
from tests.whole import liveness
from tests.whole.drivers import NAME, path_of
from tests.whole.life import Life
from tests.whole.plan import Plan
from tests.whole.processes import SEGFAULT, WORKS, Nature
from tests.whole.world import World

PATIENCE = 60
"""Seconds in which a part of a scenario comes to its end, however often it has to be asked for."""

OLD, NEW, BAD, DAMAGED = (f"file:/p0/{name}" for name in ("a", "b", "bad", "damaged"))
"""Models: the first one, a good one, one that fails while it proves itself, one that no engine can load."""

NATURES = {
    BAD: evolve(WORKS, ends_after=0.6, end=SEGFAULT),
    DAMAGED: evolve(WORKS, ready_after=None, ends_after=0.3),
}


@frozen
class Part:
    """Something asked of the pool (None: the engine crashes), and what it has come to when it is done.

    `fails`: somebody has to be told, too, that it has failed.
    """

    name: str | None
    done: Callable[[Pool], bool]
    arguments: tuple[tuple[str, object], ...] = ()
    fails: bool = False


def _is(state: PoolState) -> Callable[[Pool], bool]:
    return lambda pool: pool.state is state


def _serves(model: str) -> Callable[[Pool], bool]:
    return lambda pool: pool.state is PoolState.READY and pool.snapshot.target.model == model


START, STOP = Part("start", _is(PoolState.READY)), Part("stop", _is(PoolState.STOPPED))
LEASE = Part("grant", lambda pool: pool.book.count > 0)
DRAIN = Part("drain", _is(PoolState.STOPPED), (("deadline", 1.0),))
CRASH = Part(None, lambda pool: pool.state is PoolState.READY and pool.snapshot.generation > 1)


def _reload(strategy: str, model: str = NEW) -> Part:
    """To a good model; or to another one, whose change fails: the old one serves."""
    asked = (("model", model), ("strategy", strategy), ("drain_deadline", 1.0))
    return Part("reload", _serves(NEW if model is NEW else OLD), asked, fails=model is not NEW)


SCENARIOS: dict[str, tuple[Part, ...]] = {
    "launch, lease, drain": (START, LEASE, DRAIN),
    "launch, stop": (START, STOP),
    "launch, reload with drain_first, stop": (START, _reload("drain_first"), STOP),
    "launch, reload with stage_first, stop": (START, _reload("stage_first"), STOP),
    "launch, crash, back-off, restart, stop": (START, CRASH, STOP),
    "launch, lease, surge, stop": (START, LEASE, _reload("surge"), STOP),
    "launch, surge to what cannot be loaded, stop": (START, _reload("surge", DAMAGED), STOP),
    "launch, surge to what fails soon, stop": (START, _reload("surge", BAD), STOP),
    "launch, reload to what cannot be loaded, stop": (START, _reload("drain_first", DAMAGED), STOP),
    "launch, reload to what fails soon, stop": (START, _reload("stage_first", BAD), STOP),
}


class Scenario(World):
    """A world in which one scenario is played, however many managers that takes."""

    def __init__(
        self, parts: tuple[Part, ...], on_manager_exit: str, kills: tuple[int, ...], how: str
    ) -> None:
        super().__init__(_plan(on_manager_exit))
        self.parts, self.kills, self.how = deque(parts), deque(kills), how
        self.crashed = self.failed = False
        self.lives: list[Life] = []

    async def play(self, life: Life) -> None:
        """Go on with the scenario, and come to rest."""
        while self.parts:
            if not await self._part(self.parts[0]):
                return
            self.parts.popleft()
        await liveness.rest(self, life, settles=30.0, quiet=15.0)
        self.done = True

    async def _part(self, part: Part) -> bool:
        pool = self.pool("p0")
        assert pool is not None  # it was added when the manager opened
        for _ in range(PATIENCE):
            if part.name is None:
                self._crash()
            elif part.fails or not part.done(pool):
                await self._ask(pool, part)
            await asyncio.sleep(1.0)
            if part.done(pool) and (self.failed or not part.fails):
                return True
        self.fail("v1_settles", f"{part.name or 'the restart'} has not come to its end: {pool.explain()}")
        return False

    async def _ask(self, pool: Pool, part: Part) -> None:
        arguments = dict(part.arguments)
        if part.name == "grant":
            await self._asked(pool, "grant", lambda pool: self.leases.grant(pool, None), arguments)
        else:
            name = str(part.name)
            await self._asked(
                pool, name, lambda pool: self._telling(getattr(pool, name)(**arguments)), arguments
            )

    async def _telling(self, asking: Awaitable[object]) -> None:
        """What is asked, noting whether it was said that a change of model has failed."""
        try:
            await asking
        except ReloadFailed:
            self.failed = True
            raise

    def nature_of(self, request: LaunchRequest) -> Nature:
        """An engine is as its model is."""
        of_models = (nature for model, nature in NATURES.items() if path_of(model) in request.command.argv)
        return next(of_models, WORKS)

    def _crash(self) -> None:
        process = next(iter(self.host.of("p0")), None)
        if not self.crashed and process is not None and process.listening:
            self.crashed = True
            process.end(SEGFAULT)

    def reached(self, life: Life, name: str) -> None:
        """The instants at which this life is to end come from outside."""
        if life not in self.lives:
            self.lives.append(life)
            self.kill_at = self.kills.popleft() if self.kills else None
        if self.kill_at == life.points:
            self.downtime, self.reboots = 0.2, self.how
        super().reached(life, name)


def _plan(on_manager_exit: str) -> Plan:
    spec = PoolSpec(
        "p0",
        EngineSpec("engine", profile=NAME),
        model="file:/p0/a",
        slots=2,
        health=HealthSpec(NAME, timeout=2.0, interval=5.0),
        limits=Limits(
            staging=20.0, start=20.0, start_hard=20.0, drain=2.0, stop_grace=1.0, reclaim=5.0, proving=1.0
        ),
        launcher=NAME,
        stager=NAME,
        gpu_probe=NAME,
        on_manager_exit=on_manager_exit,
    )
    return Plan(1, (spec,), (), 0.0, Budget(), Blame())


@frozen
class Run:
    """One run: which scenario, for which policy, where the managers were killed, and what did not hold."""

    scenario: str
    policy: str
    how: str
    kills: tuple[int, ...]
    points: int
    violation: str = ""
    last: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.how or 'kill'} at points {self.kills}, policy {self.policy}"
        return "\n  ".join((f"{self.scenario}: {where}: {self.violation}", *self.last))


def run(scenario: str, policy: str, kills: tuple[int, ...] = (), how: str = "") -> Run:
    """Play a scenario, killing the first managers at these points of theirs."""
    world = Scenario(SCENARIOS[scenario], policy, kills, how)
    world.run()
    points = world.lives[len(kills)].points if len(world.lives) > len(kills) else 0
    done = Run(scenario, policy, how, kills, points)
    if world.violation is None:
        return done
    return evolve(done, violation=str(world.violation), last=tuple(world.words(20)))


def every_point(scenario: str, policy: str, how: str = "") -> Iterator[Run]:
    """The scenario undisturbed, then with the manager killed at each point there was."""
    whole = run(scenario, policy)
    yield whole
    for at in range(1, whole.points + 1):
        yield run(scenario, policy, (at,), how)


def every_pair(scenario: str, policy: str) -> Iterator[Run]:
    """The second manager is killed too, at each of its points until it has rested for a while."""
    for first in every_point(scenario, policy):
        for at in range(1, first.points + 1) if first.kills else ():
            yield run(scenario, policy, (*first.kills, at))
