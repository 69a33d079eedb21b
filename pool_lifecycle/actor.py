"""The single writer of a pool's snapshot, and what obeys the effects of its steps.

Everything that happens comes in through `tell`, one event at a time, on the loop's thread. A step is taken
at once; its effects are obeyed in order; then the next event is looked at. There is no task and no timer
for a pool that has nothing to wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from pool_lifecycle import loading
from pool_lifecycle.activities import clear, hand_back
from pool_lifecycle.addressing import url_of
from pool_lifecycle.agenda import next_due
from pool_lifecycle.answers import judge_of
from pool_lifecycle.causes import Cause, Stage
from pool_lifecycle.device_memory import HOLDING
from pool_lifecycle.errors import ConfigError, EngineStuck, ManagerClosed, Problem, StoreError
from pool_lifecycle.events import (
    Declared,
    Event,
    Failed,
    Halt,
    Outcome,
    Overdue,
    Target,
    Unhealthy,
    Wish,
)
from pool_lifecycle.host import FORKED, Host
from pool_lifecycle.kept import Kept, KeptLease, Passage
from pool_lifecycle.launching import Launching
from pool_lifecycle.lease import GateReason
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import ENDS, LIFECYCLE, Activity, PoolEvent, PoolState
from pool_lifecycle.recovery import Found
from pool_lifecycle.refusals import refusal
from pool_lifecycle.snapshot import (
    Cancel,
    CloseGate,
    Effect,
    Emit,
    Instance,
    Invoke,
    Notify,
    OpenGate,
    Persist,
    Snapshot,
    rules_of,
)
from pool_lifecycle.staff import Staff
from pool_lifecycle.step import step
from pool_lifecycle.working import CANCEL_PATIENCE

if TYPE_CHECKING:
    from pool_lifecycle.spec import PoolSpec


UNFINISHED = (PoolEvent.FAILED, PoolEvent.STUCK)
"""What a deadline can send that says of work that it has not succeeded, which may not be so."""

LATE = 1.0
"""Seconds by which a timer comes too late only where the loop was blocked."""


def _with_engine(spec: PoolSpec, other: PoolSpec) -> PoolSpec:
    """The policies of `spec`, and the engine of the other one, with how that is asked for its health."""
    health = spec.health if spec.variant == other.variant else other.health
    return evolve(spec, engine=other.engine, slots=other.slots, health=health)


ONLY_ANEW = ("pool_id", "device_mask", "replica_id", "launcher", "gpu_probe", "gpu_only", "on_manager_exit")
"""What a pool is made with, and keeps: who holds its engines, which devices' circuits it shares."""


def _only_anew(old: PoolSpec, new: PoolSpec) -> Iterator[Problem]:
    for name in ONLY_ANEW:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Problem(name, after, f"must stay {before!r}: remove the pool, and add it as declared now")


class Actor:
    """One pool at run time, but for what people ask of it."""

    __slots__ = (
        "_closed",
        "_declared",
        "_leaving",
        "_lenient",
        "_mailbox",
        "_observed",
        "_snapshot",
        "_staff_",
        "_stage",
        "_stepping",
        "_timer",
        "book",
        "host",
        "spec",
    )

    def __init__(self, spec: PoolSpec, host: Host, *, lineage: str, kept: Kept | None = None) -> None:
        self.spec = spec
        self._declared: tuple[PoolSpec, ...] = ()
        self.host = host
        self.book = LeaseBook(spec.pool_id, spec.slots, host.clock, first_token=host.tokens_from)
        new = Snapshot.new(
            spec,
            lineage=lineage,
            now=host.loop.time(),
            shared=host.shared.join(spec.pool_id, spec.devices, self._catch_up),
            shared_breaker=host.blame.breaker,
        )
        self._snapshot = new if kept is None else loading.goes_on(kept, spec, new)
        self._mailbox: deque[Event] | None = None
        self._stepping = False
        self._leaving = False
        self._closed = False
        self._observed, self._stage = "", Stage.HEALTH
        self._timer: asyncio.TimerHandle | None = None
        self._lenient = (self._snapshot.epoch, 0.0)  # a new manager extends no deadline
        self._staff_: Staff | None = None
        host.faults.join(spec, self._device_failed)
        self._arm()  # a circuit that it shares may be open

    def go_on(self, kept: Kept, found: Mapping[str, Found]) -> None:
        """Take up where an earlier manager left off; `found` has what became of its engines, by token.

        First the engines are known, then the gate opens and work begins, then their endings are told.
        """
        staff, snapshot = self._staff, self._snapshot
        self._restore_leases(kept.leases)
        staff.announcer.go_on(snapshot)
        self._stepping = True
        try:
            for one in (*snapshot.engines, *snapshot.quarantine):
                staff.launching.adopt(one, found.get(one.token))
            for effect in loading.effects(snapshot):
                self._obey(effect, snapshot, ())
            staff.health.follow(snapshot)
        finally:
            self._stepping = False
        self._clear()
        if LIFECYCLE.states[snapshot.state].serving and not staff.launching.document.exists:
            staff.launching.keep(hand_back(self))  # a manager that was killed in a stop had withdrawn it
        if (passage := staff.announcer.adopted(kept, snapshot, found)) is not None:
            self._keep_adopted(kept, passage)
        self._catch_up()
        server = snapshot.server if LIFECYCLE.states[snapshot.state].live else None
        if server is not None and (unsure := staff.launching.unsure(server)) is not None:
            self.tell(Unhealthy(server.token, unsure))
        for event in loading.events(snapshot, self.spec):
            if isinstance(event, Halt):
                staff.launching.leave()  # whoever asks for it next, it was not they who had it ended
            self.tell(event)
        self._arm()

    def _keep_adopted(self, kept: Kept, passage: Passage) -> None:
        """Of a pool that is as it was only the passage: thousands may be taken over at once."""
        if loading.is_as_kept(kept, now := self._kept()):
            self.host.note(passage)
        else:
            self.host.keep(now, passage)

    def _restore_leases(self, kept: Iterable[KeptLease]) -> None:
        """Those on engines that are still kept; what has become of these is told later."""
        generations = {one.generation for one in self._snapshot.engines}
        for one in kept:
            if one.generation in generations:
                self.book.restore((one,))
            else:
                self.host.store.end_lease(self.pool_id, one.token)

    @property
    def _staff(self) -> Staff:
        if self._staff_ is None:
            self._staff_ = Staff.of(self, self._report)
        return self._staff_

    # --- what it is declared as ------------------------------------------------------------------------

    @property
    def declared(self) -> PoolSpec:
        """As it was declared last, whether or not an engine of that kind serves by now."""
        return self._declared[-1] if self._declared else self.spec

    def spec_of(self, target: Target) -> PoolSpec:
        """What an engine for this target is launched from."""
        for one in self._declared:
            if one.variant == target.variant:
                return one
        return self.spec

    def redeclare(self, spec: PoolSpec) -> None:
        """From now on its policies are those of `spec`; its engine and model are once it is reloaded.

        A change under way goes on to the engine that it was to bring. Raises ConfigError where only a new
        pool can be as declared, and for a driver there is not.
        """
        self.host.know(spec)
        if problems := [*_only_anew(self.spec, spec)]:
            raise ConfigError(problems)
        awaited = {one.variant for one in self._snapshot.targets} - {self.spec.variant, spec.variant}
        under_way = (_with_engine(spec, one) for one in self._declared if one.variant in awaited)
        self._declared = (*under_way, spec)
        self.spec = _with_engine(spec, self.spec)
        self._commit(self._snapshot.target)

    def _commit(self, target: Target) -> None:
        """The engine is now declared as what its target says."""
        if not self._declared:
            return
        self.spec = spec = self.spec_of(target)
        latest, awaited = self._declared[-1], {one.variant for one in self._snapshot.targets}
        others = (one for one in self._declared[:-1] if one is not spec and one.variant in awaited)
        self._declared = declared if (declared := (*others, latest)) != (spec,) else ()
        self.tell(Declared(rules_of(self.spec, self.host.blame.breaker)))

    @property
    def launching(self) -> Launching:
        """Its way to its drivers."""
        return self._staff.launching

    @property
    def pool_id(self) -> str:
        """Its name."""
        return self.spec.pool_id

    @property
    def snapshot(self) -> Snapshot:
        """Everything the state machine knows, as a frozen value."""
        return self._snapshot

    @property
    def state(self) -> PoolState:
        """Where it is in its life."""
        return self._snapshot.state

    @property
    def observed(self) -> str:
        """What was last seen of the work under way; empty when nothing was."""
        return self._observed

    # --- steps -----------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Take a step for `event`, after those under way; none after the pool was closed."""
        if self._closed:
            return
        self._mailbox = self._mailbox or deque()
        self._mailbox.append(event)
        self._catch_up()

    def _catch_up(self) -> None:
        """Take the steps that are due, unless one is under way: then they come after it."""
        while not self._stepping and (event := self._next_event()) is not None:
            self._take(event)

    def _next_event(self) -> Event | None:
        """News of shared circuits come first: no step may be taken on what is no longer so."""
        news = None if self._closed else self.host.shared.news(self._snapshot.circuits)
        if news is not None or not self._mailbox:
            return news
        event = self._mailbox.popleft()
        if not self._mailbox:
            self._mailbox = None  # an empty one has room for 64 events
        return event

    def see(self, observed: str, stage: Stage = Stage.HEALTH) -> None:
        """Note what was last seen of the work under way, and how far an engine that starts has come."""
        self._observed, self._stage = observed, stage

    def _take(self, event: Event) -> None:
        self._stepping = True
        try:
            before = self._snapshot
            self._snapshot, effects = step(before, event, self.host.loop.time())
            self._share_circuits(before, self._snapshot)
            self._lose_leases(before, self._snapshot)
            for effect in effects:
                self._obey(effect, before, effects)
            self._settle(before)
        finally:
            self._stepping = False

    def _obey(self, effect: Effect, before: Snapshot, effects: tuple[Effect, ...]) -> None:
        match effect:
            case CloseGate():
                self._close_gate()
            case Cancel():
                self._staff.work.cancel()
            case Persist():
                self.host.keep(self._kept(), self._passage(effects))
            case OpenGate(generation):
                self._open_gate(generation)
            case Invoke(activity, epoch):
                self._staff.work.begin(activity, epoch)
            case Notify():
                self._notify(effect, before)
            case Emit(news):
                self._staff.announcer.news(news)

    def _kept(self) -> Kept:
        spec, book = self.spec, self.book
        return Kept(self._snapshot, self.host.now(), spec.launcher, self.declared.target, book.next_token)

    def _passage(self, effects: tuple[Effect, ...]) -> Passage | None:
        """The row that was taken, if it changed the pool's state or answered somebody."""
        for effect in effects:
            if isinstance(effect, Notify) and (effect.target is not effect.source or effect.mark):
                return Passage.of(effect, self._snapshot, self.host.wall())
        return None

    def _settle(self, before: Snapshot) -> None:
        """What follows from the new snapshot whatever the effects were."""
        after = self._snapshot
        if after.engines is not before.engines:
            self._hurry(before, after)
        if after.quarantine is not before.quarantine:
            self._clear(before.quarantine)
        if after.epoch != before.epoch:
            self._staff.health.follow(after)
            if after.state not in HOLDING:
                self.host.gpus.turns.give_back(self.pool_id)
        if after.crashes is not before.crashes:
            self._blame(after)
        if after.holds_on is not before.holds_on:
            self.host.shared.hold(self.pool_id, stuck=after.holds_on)
        if after.target is not before.target:
            self._commit(after.target)
        self._arm()

    def _clear(self, known: tuple[Instance, ...] = ()) -> None:
        """See to the end of what could not be killed, but for what was `known` before."""
        tokens = {one.token for one in known}
        for one in self._snapshot.quarantine:
            if one.token not in tokens:
                self.launching.keep(clear(self, one))

    def _device_failed(self, cause: Cause) -> None:
        """A device of its engines is at fault, and in quarantine by now."""
        server, state = self._snapshot.server, LIFECYCLE.states[self.state]
        if server is not None and state.live:
            self.tell(Unhealthy(server.token, cause))
        elif state.activity is Activity.LAUNCH:
            self.tell(Failed(epoch=self._snapshot.epoch, cause=cause))

    def _share_circuits(self, before: Snapshot, after: Snapshot) -> None:
        if after.circuits is not before.circuits:
            old = set(map(id, before.circuits))
            self.host.shared.follow((one for one in after.circuits if id(one) not in old), self.pool_id)

    def _blame(self, after: Snapshot) -> None:
        if after.crashes and after.rules.treatment(after.crashes[-1].kind).blames_device:
            self.host.shared.failed(self.pool_id)

    def _arm(self) -> None:
        due = next_due(self._snapshot)
        if self._timer is not None:
            if due is not None and self._timer.when() == due[0]:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self.host.loop.call_at(due[0], self._become_due)

    def _become_due(self) -> None:
        """Several things may be due at once; each step leaves the next at the head of the agenda."""
        self._timer = None
        due, now = next_due(self._snapshot), self.host.loop.time()
        if due is None or due[0] > now:
            self._arm()
            return
        event = due[1]
        if isinstance(event, Overdue):
            if (until := self._lenience(due[0], now)) > now:
                self._timer = self.host.loop.call_at(until, self._become_due)
                return
            event = self._overdue(event)
        self.tell(event)

    def _lenience(self, due: float, now: float) -> float:
        """Until when work may succeed whose time ran out in a blocked loop: one question's time, once."""
        epoch, until = self._lenient
        if epoch == self._snapshot.epoch:
            return until
        if now - due < LATE or LIFECYCLE.states[self.state].on_deadline not in UNFINISHED:
            return due
        self._lenient = self._snapshot.epoch, now + self.spec.health.timeout
        return self._lenient[1]

    def _overdue(self, event: Overdue) -> Overdue:
        """The news that time is up, with all that makes a good cause of it."""
        newest = self._snapshot.newest
        log = self.host.paths.log(self.pool_id, aside=newest is not None and newest.aside)
        chance, seen, stage = self.host.chance(), self._observed, self._stage
        return evolve(event, chance=chance, observed=seen, stage=stage, log=log)

    # --- effects ---------------------------------------------------------------------------------------

    def _close_gate(self) -> None:
        self.book.close(refusal(self._snapshot))

    def _open_gate(self, generation: int) -> None:
        server = self._snapshot.server
        assert server is not None  # the step that asks for it has just found it healthy
        assert server.handle is not None  # it was launched before it was found healthy
        slots = self.spec_of(server.target).slots
        if slots != self.book.slots:
            self.host.registry.update(self.pool_id, slots_total=slots)
        self.book.open(generation, url_of(server.handle), slots)

    def _report(self, outcome: Outcome) -> None:
        """Tell the outcome. Work that may not fail is left to its state's deadline when it did."""
        possible = (self._snapshot.state, outcome.kind) in LIFECYCLE.rows
        if isinstance(outcome, Failed) and outcome.epoch == self._snapshot.epoch and not possible:
            self.see(outcome.cause.message)
            self.host.misbehaved(self.pool_id, outcome.cause.message)
            return
        self.tell(evolve(outcome, chance=self.host.chance()))

    def _notify(self, notice: Notify, before: Snapshot) -> None:
        after = self._snapshot
        if after.epoch != before.epoch:
            self.see("")
        if after is not before and not LIFECYCLE.states[after.state].serving:
            self._close_gate()  # again, as the reason is another one
        self._staff.announcer.moved(notice, before, after)
        self._staff.waiters.answer(after, notice)

    # --- what follows for engines and leases ---------------------------------------------------------------

    def _hurry(self, before: Snapshot, after: Snapshot) -> None:
        """A kill that has moved earlier is passed on to the engine it concerns."""
        old = {one.token: one.kill_at for one in before.engines}
        now = self.host.loop.time()
        for one in after.engines:
            known = old.get(one.token)
            if known is not None and one.kill_at is not None and one.kill_at < known:
                self.launching.end_soon(one, max(0.0, one.kill_at - now))

    def _lose_leases(self, before: Snapshot, after: Snapshot) -> None:
        """Before anybody is told of the new state, so that its count of leases is true."""
        if after.engines is before.engines:
            return
        kept = {one.generation for one in after.engines}
        for one in before.engines:
            if one.generation not in kept and (lost := self.book.lose(one.generation)):
                self._staff.announcer.leases_lost(tuple(lease.holder for lease in lost))

    # --- waiting ---------------------------------------------------------------------------------------

    async def _ask(self, wish: Wish) -> None:
        """Take the step for a wish, and wait for its answer if there is more than the row to wait for."""
        while self._stepping:  # noqa: ASYNC110 - somebody asks from within a step, in an eager task
            await asyncio.sleep(0)
        if self._closed or (self._leaving and not isinstance(wish, Halt)):
            raise self._gone()
        judge = judge_of(wish, self.host.clock)
        if judge is None:
            self.tell(wish)
        else:
            with self._staff.waiters.one(judge) as answered:
                self.tell(wish)
                await answered
        await self.host.durable(self.pool_id)

    # --- the end ---------------------------------------------------------------------------------------

    async def halt(self) -> None:
        """The manager leaves: end it now, keeping the wish that it runs. Returns when stopped or stuck.

        From now on nothing else can be asked of it. A pool that is to outlive its manager is left as it is.
        """
        self._leaving = True
        if self.stays:
            return
        with contextlib.suppress(EngineStuck, StoreError):
            await self._ask(Halt())

    @property
    def stays(self) -> bool:
        """Whether it is left as it is when its manager leaves: to be kept, and not ending already."""
        return self.spec.on_manager_exit == "keep" and self._snapshot.state not in ENDS

    def hurry(self) -> None:
        """Kill now what `halt` has only asked to end."""
        if not self.stays:
            self.tell(Halt(grace=0.0))

    async def kill(self) -> None:
        """End its engines past the state machine, whose every task is being cancelled; bounded in time."""
        self._closed = True
        if self._staff_ is not None and not self.stays:
            await self._staff_.launching.kill(within=self.spec.limits.reclaim)

    async def close(self) -> None:
        """Let go of everything that could still come: timers, work under way, whoever waits."""
        self._closed = True
        self.host.shared.leave(self.pool_id)
        self.host.turns.used(self.pool_id)
        self.host.gpus.turns.give_back(self.pool_id)
        self.host.faults.leave(self.pool_id)
        if self._timer is not None:
            self._timer.cancel()
        if self._staff_ is None:
            return
        staff = self._staff_
        staff.lease_timer.close()
        staff.health.close()
        staff.waiters.fail(self._gone)
        tasks = [*staff.work.tasks, *staff.launching.tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_PATIENCE)

    def forked(self) -> None:
        """In a forked child its parent has it: take no step, grant no lease."""
        self._closed = True
        self.book.forked(GateReason(self.state, what=FORKED, remedy="use it there"))

    def _gone(self) -> ManagerClosed:
        if self.host.forked:
            return ManagerClosed(FORKED, pool_id=self.pool_id, state=self.state, remedy="use it there")
        if self._leaving:
            return ManagerClosed("its manager has been closed", pool_id=self.pool_id, state=self.state)
        what, remedy = "has been removed from its manager", "add it again, and use the pool that this returns"
        return ManagerClosed(what, pool_id=self.pool_id, state=self.state, remedy=remedy)
