"""A real pool, driven at random: wishes, crashes, cancellations, awkward engines, and time, in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pool_lifecycle import actor
from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import LeaseRefused
from pool_lifecycle.events import Event, Strategy
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.lease import Lease
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.manager import PoolManager
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.snapshot import Effect, Instance, Snapshot
from pool_lifecycle.spec import Limits, PoolSpec
from pool_lifecycle.step import step
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryStager,
    StageScript,
)
from pool_lifecycle.testing.virtual_time import VirtualTimeLoop
from tests import laws
from tests.worlds import BROKEN, HOPELESS, NEVER_READY, STUBBORN, UNKILLABLE, WORKS, a_spec, drivers_of

SLOTS = 2
LIMITS = Limits(staging=50.0, start=20.0, start_hard=60.0, stall=5.0, drain=8.0, stop_grace=3.0, reclaim=6.0)

SCRIPTS = (
    WORKS,
    EngineScript(ready_after=2.0, term_takes=1.0),
    EngineScript(ready_after=1.0, exits_after=1.0, exit=ExitStatus(code=1)),
    EngineScript(exits_after=4.0, exit=ExitStatus(signal=11)),
    EngineScript(exits_after=4.0, exit=ExitStatus(code=0)),
    EngineScript(launch_takes=2.0),
    EngineScript(ready_after=30.0, output=tuple((float(at), 5) for at in range(30))),
    EngineScript(preflight=(Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, "no room"),)),
    evolve(NEVER_READY, ignores_term=True),
    STUBBORN,
    UNKILLABLE,
    BROKEN,
    HOPELESS,
)
STAGINGS = (
    StageScript(),
    StageScript(takes=5.0, steps=5),
    StageScript(takes=100.0),
    StageScript(takes=1.0, error=Cause(FailureClass.STAGING, Stage.STAGING, "cut off")),
)
STATUSES = (ExitStatus(code=0), ExitStatus(code=1), ExitStatus(signal=9), ExitStatus())
MODELS = ("file:/a", "file:/b", "file:/c")
ARGS: tuple[tuple[str, ...], ...] = ((), ("--one",), ("--two",))


def lawful_step(before: Snapshot, event: Event, now: float) -> tuple[Snapshot, tuple[Effect, ...]]:
    """`step`, with every one it takes held against the laws (S1, S2, S3, S15 and more)."""
    after, effects = step(before, event, now)
    laws.step_is_sound(before, event, after, effects)
    return after, effects


class PoolMachine(RuleBasedStateMachine):
    """Whatever is done to a pool, what it shows is true, and whoever asked is answered in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch.object(actor, "step", lawful_step)
        self.patch.start()
        self.script, self.staging = WORKS, StageScript()
        self.errors: list[dict[str, Any]] = []
        self.asked: list[asyncio.Task[Any]] = []
        self.leases: list[Lease] = []
        self.folder = Path(tempfile.mkdtemp())
        self.launcher = MemoryLauncher(self._next_script, files=True)
        stager = MemoryStager(script=lambda _: self.staging)
        drivers = drivers_of(self.launcher, MemoryHealthProbe(self.launcher), stager)
        self.manager = PoolManager(self.folder, drivers=drivers, seed=1)
        self.loop = VirtualTimeLoop()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.run(self._open())

    def _next_script(self, _request: LaunchRequest) -> EngineScript:
        return self.script

    async def _open(self) -> None:
        await self.manager.__aenter__()
        self.pool = await self.manager.add(self.spec(ARGS[0], SLOTS, 4.0))

    def spec(self, args: tuple[str, ...], slots: int, proving: float) -> PoolSpec:
        breaker, limits = Breaker(threshold=3, timeout=40.0, stable=15.0), evolve(LIMITS, proving=proving)
        return a_spec(model=MODELS[0], slots=slots, limits=limits, breaker=breaker, engine={"args": args})

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def ask(self, wish: Coroutine[Any, Any, Any]) -> None:
        """Ask in the background, and let happen what happens at once."""
        self.asked.append(self.loop.create_task(wish))
        self.run(self.loop.settle())

    @property
    def engine(self) -> MemoryEngine:
        return self.launcher.engines[-1]

    # --- what may happen -------------------------------------------------------------------------------

    @rule(script=st.sampled_from(SCRIPTS))
    def engines_become(self, script: EngineScript) -> None:
        self.script = script

    @rule(staging=st.sampled_from(STAGINGS))
    def stagings_become(self, staging: StageScript) -> None:
        self.staging = staging

    @rule()
    def start(self) -> None:
        self.ask(self.pool.start())

    @rule(grace=st.sampled_from((None, 0.0, 1.0, 50.0)))
    def stop(self, grace: float | None) -> None:
        self.ask(self.pool.stop(grace=grace))

    @rule(deadline=st.sampled_from((None, 0.0, 2.0, 50.0)))
    def drain(self, deadline: float | None) -> None:
        self.ask(self.pool.drain(deadline))

    @rule(
        model=st.sampled_from(MODELS),
        strategy=st.sampled_from(Strategy),
        otherwise=st.sampled_from((None, "stage_first")),
    )
    def reload(self, model: str, strategy: Strategy, otherwise: str | None) -> None:
        self.ask(self.pool.reload(model, strategy=strategy, otherwise=otherwise, drain_deadline=5.0))

    @rule(args=st.sampled_from(ARGS), slots=st.integers(1, SLOTS), proving=st.sampled_from((0.0, 4.0)))
    def redeclare(self, args: tuple[str, ...], slots: int, proving: float) -> None:
        self.ask(self.pool.redeclared(self.spec(args, slots, proving), strategy="surge"))

    @rule(wish=st.sampled_from(("resume", "reset", "allow_one")))
    def operate(self, wish: str) -> None:
        self.ask(getattr(self.pool, wish)())

    @rule(ttl=st.sampled_from((None, 3.0)))
    def acquire(self, ttl: float | None) -> None:
        try:
            self.leases.append(self.pool.acquire("somebody", ttl=ttl))
        except LeaseRefused:
            serving = LIFECYCLE.states[self.pool.state].serving
            assert not serving or self.pool.book.free == 0

    @rule()
    def wait_for_a_lease(self) -> None:
        async def hold() -> None:
            async with self.pool.lease("a waiter", wait=10.0):
                await asyncio.sleep(1.0)

        self.ask(hold())

    @precondition(lambda self: self.leases)
    @rule()
    def release(self) -> None:
        self.leases.pop(0).release()

    @precondition(lambda self: self.launcher.engines)
    @rule(status=st.sampled_from(STATUSES))
    def crash(self, status: ExitStatus) -> None:
        self.engine.crash(status)

    @precondition(lambda self: self.launcher.engines)
    @rule(what=st.sampled_from(("hang", "heal", "release")))
    def engine_changes(self, what: str) -> None:
        getattr(self.engine, what)()

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3))
    def cancel_a_caller(self, which: int) -> None:
        self.asked[-1 - which % len(self.asked)].cancel()

    @rule(seconds=st.sampled_from((0.0, 0.5, 1.0, 5.0, 30.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # --- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def what_it_shows_is_true(self) -> None:
        self.run(self.loop.settle())
        pool, snapshot = self.pool, self.pool.snapshot
        declared = LIFECYCLE.states[pool.state]
        laws.snapshot_is_sound(snapshot)
        self._engines_fit(snapshot)
        self._leases_fit(snapshot)
        entry = self.manager.registry.get("chat")
        assert entry is not None
        assert (entry.live, entry.ready) == (declared.live, declared.serving)
        assert pool.status().explanation
        assert self.errors == []

    def _engines_fit(self, snapshot: Snapshot) -> None:
        """S3 SingleLive, S5 NoForgotten, S6 NoEarlyStopped, S8 ReadyTruth."""
        known = {one.token for one in (*snapshot.engines, *snapshot.quarantine)}
        living = {engine.request.token for engine in self.launcher.engines if engine.alive}
        assert living <= known
        assert len(living - {one.token for one in snapshot.quarantine}) <= 2
        if LIFECYCLE.states[snapshot.state].live:
            assert snapshot.server is not None
            assert snapshot.server.token in living
            assert (self.folder / "engines/chat.json").exists()
            self._is_launched_as_declared(snapshot.server)
        if snapshot.state is PoolState.STOPPED:
            assert living <= {one.token for one in snapshot.quarantine}
            assert not (self.folder / "engines/chat.json").exists()

    def _is_launched_as_declared(self, server: Instance) -> None:
        """What is known of the engine that serves is what it was launched with."""
        (engine,) = [one for one in self.launcher.engines if one.request.token == server.token]
        spec, status = self.pool.spec_of(server.target), self.pool.status()
        assert engine.request.command.argv[1:] == spec.engine.args
        assert status.model == server.target.model

    def _leases_fit(self, snapshot: Snapshot) -> None:
        """S9 LeaseBound, S10 NoGrantAfterDrain: the gate is open where the table says, on the server."""
        book = self.pool.book
        for one in snapshot.engines:
            assert book.count_on(one.generation) <= SLOTS
        generations = {one.generation for one in snapshot.engines}
        assert {lease.generation for lease in book.active()} <= generations
        assert (book._limit > 0) == LIFECYCLE.states[snapshot.state].serving
        if book._limit and book.free:
            lease = book.acquire("probe")
            assert lease.generation == snapshot.serving
            lease.release()

    # --- the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.script = WORKS  # one may still be launched before the manager is closed
            for engine in self.launcher.engines:
                engine.release()
            self.run(self.manager.close())
            self.run(asyncio.sleep(1.0))  # who got a lease holds it for a second
            assert all(task.done() for task in self.asked), "V4: somebody was never answered"
            for task in self.asked:
                task.cancelled() or task.exception()
            assert self.pool.state is PoolState.STOPPED
            assert not [
                engine for engine in self.launcher.engines if engine.alive and not self._quarantined(engine)
            ]
            assert asyncio.all_tasks(self.loop) == set()
            assert self.errors == []
        finally:
            self.patch.stop()
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    def _quarantined(self, engine: MemoryEngine) -> bool:
        return engine.request.token in {one.token for one in self.pool.snapshot.quarantine}


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_a_pool_driven_at_random = PoolMachine.TestCase
