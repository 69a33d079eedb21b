"""One run of the simulation: the host, the disk, one manager's life after the other, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any
from unittest import mock

from attrs import frozen

from pool_lifecycle import actor
from pool_lifecycle.errors import PoolLifecycleError
from pool_lifecycle.events import Event, Wish
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle.kept import Kept
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.pool import Pool
from pool_lifecycle.records import Moved, Record
from pool_lifecycle.snapshot import Effect, Snapshot
from pool_lifecycle.spec import PoolSpec
from pool_lifecycle.step import step
from tests.whole import invariants, liveness, watching
from tests.whole.deeds import DOING, NEEDS_MANAGER
from tests.whole.devices import Devices
from tests.whole.disk import Disk
from tests.whole.drivers import private
from tests.whole.faults import Faults
from tests.whole.lasting import Lasting
from tests.whole.ledger import Ledger
from tests.whole.life import Life
from tests.whole.plan import Deed, Plan
from tests.whole.processes import MANAGER, WORKS, Nature, Process, SimulatedHost
from tests.whole.restarts import Restarts

Asking = Callable[[Pool], Awaitable[Any]]

SHOWN = 40
"""How many of the last records are shown of a run that failed."""


@frozen
class Violation:
    """An invariant that did not hold."""

    what: str
    message: str

    def __str__(self) -> str:
        return f"{self.what}: {self.message}"


class World:
    """Runs a plan. Then `violation` says what did not hold, `history` what happened, `seen` how often."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.seed = plan, plan.seed
        self.deeds = deque(plan.deeds)
        self.specs = {spec.pool_id: spec for spec in plan.specs}
        self.declared = dict(self.specs)
        self.most_slots = {spec.pool_id: spec.slots for spec in plan.specs}
        self.seen: Counter[str] = Counter()
        self.host = SimulatedHost(self.note, self._signalled, self._launched)
        self.disk, self.faults, self.devices = Disk(), Faults(self.count), Devices()
        self.natures: defaultdict[str, list[Nature]] = defaultdict(list)
        self.staged: set[str] = set()
        self.ledger = Ledger()
        self.history: list[tuple[float, object]] = []
        self.violation: Violation | None = None
        self.restarts = Restarts(plan.budget, self.specs)
        self.wished: Counter[tuple[str, str]] = Counter()
        self.kill_at: int | None = None
        self.on_point: Callable[[Life, str], None] = lambda _life, _name: None
        self.on_entry: dict[str, Callable[[PoolState], bool]] = {}
        self.leases = Lasting(lambda: self.life.over)
        self.reboots = ""
        self.downtime = 0.0
        self.done = self.jumped = False
        self.folder = ""
        self.life: Life
        self._chance: dict[str, Random] = {}
        self._tokens = private(self.seed, "tokens")

    # --- a run -----------------------------------------------------------------------------------------

    def run(self) -> World:
        """All of it."""
        with self._environment():
            number = 0
            while not self.done and self.violation is None:
                number += 1
                self.life = Life(self, number)
                self.ledger.begin()
                self.check(watching.s17_prefix, self)
                self.life.run()
                if not self.done and self.violation is None:
                    self._between()
        return self

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """What the library takes from elsewhere comes from here; what it does is looked at."""
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        loggers = [logging.getLogger(name) for name in ("pool_lifecycle", "asyncio")]
        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(tempfile.TemporaryDirectory(dir=base))
            for patch in self._patches():
                stack.enter_context(patch)
            for logger in loggers:
                stack.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
            yield

    def _patches(self) -> Iterator[contextlib.AbstractContextManager[Any]]:
        yield mock.patch.object(actor, "step", self._step)
        yield mock.patch.object(
            secrets, "token_hex", lambda n=8: f"{self._tokens.getrandbits(8 * n):0{2 * n}x}"
        )
        granted = LeaseBook._grant
        world = self

        def grant(book: LeaseBook, *arguments: Any) -> Any:
            world.check(watching.granted, world, book.pool_id)
            lease = granted(book, *arguments)
            if not world.life.over:
                world.check(world.leases.s9_tokens_grow, book.pool_id, lease)
            return lease

        yield mock.patch.object(LeaseBook, "_grant", grant)
        goes_on = actor.Actor.go_on

        def go_on(pool: actor.Actor, kept: Kept, found: Any) -> None:
            world.check(watching.s17_goes_on, world, kept, pool.snapshot)
            world.ledger.loaded(pool.snapshot, world.host.now)
            goes_on(pool, kept, found)

        yield mock.patch.object(actor.Actor, "go_on", go_on)

    async def play(self, life: Life) -> None:
        """Do what is planned, until the manager is to leave, or all is done and came to rest."""
        while self.deeds:
            await asyncio.sleep(max(0.0, self.deeds[0].at - self.host.true))
            if not life.leaving:
                self._do(self.deeds.popleft())
            if life.leaving:
                return
        await liveness.rest(self, life)
        self.done = True

    def _do(self, deed: Deed) -> None:
        self.note(f"deed: {deed.kind} {deed.pool_id}")
        self.count(f"deed {deed.kind}")
        DOING[deed.kind](self, deed, private(deed.seed, deed.kind))
        self.check(watching.sweep, self)

    def _between(self) -> None:
        """No manager lives."""
        self.kill_at = None
        self.restarts.forgotten()
        self.on_entry.clear()
        if self.reboots:
            if self.reboots == "power cut":
                self.disk.power_cut(private(self.seed, "power", self.life.number))
            self.host.reboot(self.downtime)
            self.devices.reboot()
            self.leases.given.clear()  # their engines are gone
            if self.jumped or self.reboots == "power cut":
                self.restarts.excused()
            self.disk.heal()
            self.reboots = ""
        until = self.host.now + self.downtime
        self.downtime = 0.0
        while self.deeds and self.deeds[0].at <= self.host.true + until - self.host.now:
            deed = self.deeds.popleft()
            self.host.pass_time(max(0.0, deed.at - self.host.true))
            if deed.kind not in NEEDS_MANAGER:
                self._do(deed)
        self.host.pass_time(until - self.host.now)

    # --- what happens ----------------------------------------------------------------------------------

    def note(self, what: object) -> None:
        """Something for the history, which ends with the first violation."""
        if self.violation is None:
            self.history.append((self.host.true, what))

    def observe(self, record: Record) -> None:
        """The manager told its observers."""
        if not self.life.over:
            self.note(record)

    def count(self, what: str) -> None:
        """Something to be counted."""
        self.seen[what] += 1

    def opened(self, life: Life) -> None:
        """A manager has all its pools."""
        self.note(f"{life} is open")
        self.check(watching.opened, self, life)
        for pool in life.manager or ():
            self.check(self.leases.s17_leases_last, self.host, pool)

    def died(self, life: Life, why: str) -> None:
        """A manager dies."""
        self.note(f"{life} dies: {why}")
        if self.violation is not None:
            return
        kind = why.partition(" ")[0]
        self.count(kind)
        for pool in life.manager or ():
            self.count(f"{kind} in {pool.state}")
        if not self.reboots:
            self.host.manager_died()

    def reached(self, life: Life, name: str) -> None:
        """An instant at which it could be killed."""
        self.count(f"point {name}")
        self.check(watching.glance, self)
        self.on_point(life, name)
        if self.kill_at is not None and life.points >= self.kill_at:
            life.die(f"killed at {name}")

    def _step(self, before: Snapshot, event: Event, now: float) -> tuple[Snapshot, tuple[Effect, ...]]:
        if isinstance(event, Wish):
            self.check(watching.s20_authority, self, before.pool_id, event)
        after, effects = step(before, event, now)
        if not self.life.over:
            taken = invariants.Step(self, before, event, after, effects, now)
            for one in invariants.OF_STEPS:
                self.check(one, taken)
            self.ledger.stepped(after, effects)
            if taken.entered is not None:
                self._entered(after.pool_id, taken.entered)
        return after, effects

    def _entered(self, pool_id: str, state: PoolState) -> None:
        entered = self.on_entry.get(pool_id)
        if entered is not None and entered(state):
            del self.on_entry[pool_id]

    def _launched(self, process: Process) -> None:
        for one in watching.OF_LAUNCHES:
            self.check(one, self, process)

    def _signalled(self, process: Process, signal: str, by: str) -> None:
        self.note(f"{process} gets SIG{signal} from {by}")
        if by == MANAGER and not self.life.over:
            for one in watching.OF_SIGNALS:
                self.check(one, self, process)

    # --- what holds ------------------------------------------------------------------------------------

    def check(self, invariant: Callable[..., None], *about: Any) -> None:
        """Hold an invariant against something; the first that fails ends the run."""
        if self.violation is not None:
            return
        try:
            invariant(*about)
        except AssertionError as error:
            self.fail(invariant.__name__, str(error) or invariants.place(error))
        except Exception as error:  # noqa: BLE001 - a fault of the simulation must not hide within the library
            self.fail(invariant.__name__, f"could not be judged: {error!r}")

    def fail(self, what: str, message: str) -> None:
        """Something did not hold: the run is over."""
        if self.violation is None:
            violation = Violation(what, message.replace(self.folder, "STATE"))
            self.note(f"VIOLATION of {violation}")
            self.violation = violation
            self.life.die("the end of the run")

    # --- asking ----------------------------------------------------------------------------------------

    def pool(self, pool_id: str) -> Pool | None:
        """The pool, if it has been added."""
        manager = self.life.manager
        return manager[pool_id] if manager is not None and pool_id in manager else None

    def ask(self, pool_id: str, name: str, asking: Asking, arguments: object = "") -> None:
        """Somebody asks something, and waits for the answer."""
        pool = self.pool(pool_id)
        if pool is not None and not self.life.leaving:
            self.life.begin(self._asked(pool, name, asking, arguments))

    async def _asked(self, pool: Pool, name: str, asking: Asking, arguments: object) -> None:
        self.wished[pool.pool_id, name] += 1
        began, index = self.life.loop.time(), self.ledger.length(pool.pool_id)
        self.note(f"asked of {pool.pool_id}: {name} {arguments}")
        try:
            answer = await asking(pool)
        except PoolLifecycleError as error:
            self.note(f"{pool.pool_id} refused {name}: {type(error).__name__}: {error}")
        else:
            if self.life.over:
                return  # nobody has been told
            self.note(f"{pool.pool_id} answered {name}: {answer}")
            self.check(watching.s17_acknowledged, self, pool.pool_id, name, index, arguments)
        self.check(watching.answered_in_time, name, self.life.loop.time() - began)

    def hold_lease(self, pool_id: str, held: float, ttl: float | None, wait: float) -> None:
        """Somebody takes a lease, works, and gives it back."""
        pool = self.pool(pool_id)
        if pool is not None:
            self.life.begin(self._hold(pool, held, ttl, wait), cancel=True)

    async def _hold(self, pool: Pool, held: float, ttl: float | None, wait: float) -> None:
        try:
            async with pool.lease("somebody", ttl=ttl, wait=wait) as lease:
                self.note(f"{pool.pool_id} grants a lease on generation {lease.generation}")
                await asyncio.sleep(held)
        except PoolLifecycleError as error:
            self.note(f"{pool.pool_id} refused a lease: {type(error).__name__}")
            if not wait:
                self.check(watching.refused, self, pool, error)

    def remove(self, pool_id: str) -> None:
        """Its manager is to forget the pool."""

        async def remove(pool: Pool) -> None:
            assert self.life.manager is not None
            await self.life.manager.remove(pool.pool_id)
            self.declared.pop(pool_id, None)
            self.ledger.forget(pool_id)
            self.leases.forget(pool_id)

        self.ask(pool_id, "remove", remove)

    def declare(self, spec: PoolSpec) -> None:
        """It is declared otherwise from now on, whatever comes."""
        self.specs[spec.pool_id] = self.declared[spec.pool_id] = spec
        self.most_slots[spec.pool_id] = max(self.most_slots[spec.pool_id], spec.slots)

    def add(self, pool_id: str) -> None:
        """It is declared again."""
        if pool_id not in self.declared and self.life.manager is not None:
            self.declared[pool_id] = self.specs[pool_id]
            self.life.begin(self._add(pool_id))

    async def _add(self, pool_id: str) -> None:
        assert self.life.manager is not None
        with contextlib.suppress(PoolLifecycleError):
            await self.life.manager.add(self.specs[pool_id])

    # --- what drivers ask ------------------------------------------------------------------------------

    def nature_of(self, request: LaunchRequest) -> Nature:
        """How the next engine of a pool is to be."""
        planned = self.natures[request.pool_id]
        return planned.pop(0) if planned else WORKS

    def dawdle(self, pool_id: str, upto: tuple[float, ...] = (0.0, 0.0, 0.001, 0.02, 0.1)) -> float:
        """Seconds that a driver takes for nothing in particular; one pool's do not depend on others."""
        chance = self._chance.get(pool_id)
        if chance is None:
            chance = self._chance[pool_id] = private(self.seed, "delays", pool_id)
        return chance.choice(upto)

    def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self.host.wall_offset += seconds
        self.jumped = True

    # --- afterwards ------------------------------------------------------------------------------------

    def words(self, count: int | None = None) -> list[str]:
        """What happened, in words; the last `count` of it."""
        last = self.history if count is None else self.history[-count:]
        return [f"{at:10.3f}  {_worded(what)}".replace(self.folder, "STATE") for at, what in last]

    def digest(self) -> str:
        """The same for the same history."""
        return hashlib.sha256("\n".join(self.words()).encode()).hexdigest()


def _worded(what: object) -> str:
    if not isinstance(what, Moved):
        return str(what)
    notice = what.notice
    mark, cause = f" [{notice.mark}]" if notice.mark else "", f"; {notice.cause}" if notice.cause else ""
    arrow = f"{notice.source} -- {notice.event} -> {notice.target}"
    return f"{what.pool_id} (generation {what.generation}): {arrow}{mark}: {notice.why}{cause}"
