"""One pool at run time: the single writer of its snapshot, and what obeys the effects of its steps.

Everything that happens comes in through `tell`, one event at a time, on the loop's thread. A step is taken
at once; its effects are obeyed in order; then the next event is looked at. There is no task and no timer
for a pool that has nothing to wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from attrs import evolve

from pool_lifecycle.accounts import DrainKeeper, PreloadKeeper
from pool_lifecycle.activities import RUNNERS, STAGE_OF, Runner, failure
from pool_lifecycle.agenda import next_due
from pool_lifecycle.answers import DONE, JUDGES, Judge
from pool_lifecycle.errors import ManagerClosed
from pool_lifecycle.events import (
    AllowOne,
    Drain,
    Event,
    Failed,
    Halt,
    Outcome,
    Overdue,
    Reload,
    Reset,
    Resume,
    Start,
    Stop,
    Strategy,
    Target,
    Wish,
)
from pool_lifecycle.explain import explain
from pool_lifecycle.host import Host
from pool_lifecycle.launching import Launching
from pool_lifecycle.lease import GateReason, Lease
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import LIFECYCLE, Activity, PoolState
from pool_lifecycle.records import (
    CircuitMoved,
    DrainOutcome,
    DriverMisbehaved,
    LateOutcome,
    LeasesEnded,
    Moved,
)
from pool_lifecycle.snapshot import (
    Cancel,
    CircuitChanged,
    CloseGate,
    Dropped,
    Effect,
    Emit,
    Invoke,
    Notify,
    OpenGate,
    Persist,
    Snapshot,
)
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.step import step

if TYPE_CHECKING:
    from pool_lifecycle.interfaces import Engine
    from pool_lifecycle.spec import PoolSpec

CANCEL_PATIENCE = 5.0
"""How long a cancelled activity may take to end before the next begins without it, in seconds."""


class Pool:
    """A pool of a manager. Made by `PoolManager.add`; every method is for the loop's thread, but `acquire`.

    Cancelling a caller cancels its wait, never the pool's work.
    """

    __slots__ = (
        "_activity",
        "_closed",
        "_drains",
        "_lease_timer",
        "_mailbox",
        "_observed",
        "_preloads",
        "_snapshot",
        "_stepping",
        "_timer",
        "_waiters",
        "book",
        "engines",
        "host",
        "launching",
        "spec",
    )

    def __init__(self, spec: PoolSpec, host: Host, *, lineage: str) -> None:
        self.spec = spec
        self.host = host
        self.engines: dict[str, Engine] = {}
        self.book = LeaseBook(spec.pool_id, spec.slots, host.loop.time)
        self.book.on_timed = self._lease_timed
        self.book.on_reclaimed = self._leases_expired
        self.launching = Launching(spec, host, self.engines, self.tell)
        self._drains = DrainKeeper(spec.pool_id)
        self._preloads = PreloadKeeper(spec.pool_id)
        self._snapshot = Snapshot.new(spec, lineage=lineage, now=host.loop.time())
        self._mailbox: deque[Event] | None = None
        self._stepping = False
        self._closed = False
        self._observed = ""
        self._activity: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lease_timer: asyncio.TimerHandle | None = None
        self._waiters: list[tuple[Judge, asyncio.Future[None]]] | None = None

    # --- what people ask -------------------------------------------------------------------------------

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

    async def start(self) -> None:
        """Bring it up; return when it is ready. Joins a start under way.

        Raises StartFailed with the cause when it did not become ready (it may still be retried under
        back-off), Superseded when it was stopped meanwhile, EngineStuck when an old engine cannot be ended.
        """
        await self._ask(Start())

    async def stop(self, *, grace: float | None = None) -> None:
        """End it now; return when nothing is left: tree empty, port free. Joins a stop under way.

        `grace`: seconds from SIGTERM to SIGKILL. Raises EngineStuck when something cannot be killed.
        """
        await self._ask(Stop(grace))

    async def drain(self, deadline: float | None = None) -> DrainOutcome:
        """Take no new leases, let those in flight finish for at most `deadline` seconds, then stop.

        Returns how it ended, when it has. A second drain joins; the shorter deadline wins. Raises
        EngineStuck when something cannot be killed.
        """
        began = self.host.loop.time()
        await self._ask(Drain(deadline))
        return self._drains.outcome(since=began, now=self.host.loop.time())

    async def resume(self) -> None:
        """Call off a drain or a change of model: the pool serves again. Raises IllegalEvent if it cannot."""
        await self._ask(Resume())

    async def reload(
        self,
        model: str,
        *,
        digest: str | None = None,
        strategy: Strategy | str = Strategy.DRAIN_FIRST,
        drain_deadline: float | None = None,
    ) -> None:
        """Change the model; return when the new one serves (or is configured, if nothing runs).

        Raises ReloadFailed with the cause when the old one serves instead, ReloadRefused when another
        change is under way or no start would be allowed, Superseded when a drain or stop overtook it.
        """
        await self._ask(Reload(Target(model, digest), Strategy(strategy), drain_deadline))

    async def reset(self) -> None:
        """Close its circuits and forget their counts; a failed pool starts again."""
        await self._ask(Reset())

    async def allow_one(self) -> None:
        """Allow one start past an open circuit."""
        await self._ask(AllowOne())

    def acquire(self, holder: str, *, kind: str = "request", ttl: float | None = None) -> Lease:
        """A lease at once, from any thread. Raises PoolNotReady, PoolDraining or NoFreeSlot."""
        return self.book.acquire(holder, kind, ttl)

    @contextlib.asynccontextmanager
    async def lease(
        self, holder: str, *, kind: str = "request", ttl: float | None = None, wait: float | None = 0.0
    ) -> AsyncIterator[Lease]:
        """`async with pool.lease("req-17") as lease:` holds a lease as long as the block lasts.

        `wait`: how long to wait for a free slot, in seconds; None: as long as it takes. Raises what
        `acquire` raises.
        """
        if wait == 0.0:
            lease = self.book.acquire(holder, kind, ttl)
        else:
            lease = await self.book.acquire_within(holder, kind, ttl, timeout=wait)
        try:
            yield lease
        finally:
            lease.release()

    async def reached(self, *states: PoolState) -> PoolState:
        """Wait until it is in one of the states; returns at once if it is already."""
        while self.state not in states:
            await self._wait(lambda _snapshot, _notice: DONE)
        return self.state

    def status(self) -> PoolStatus:
        """Everything about it that people ask for, as a value."""
        return PoolStatus.of(self)

    def explain(self) -> str:
        """Why it is in this state, what blocks it, what comes next and when, and what would help."""
        return explain(self._snapshot, self.book, self.host.loop.time(), self._observed)

    # --- steps -----------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Take a step for `event`, after those under way. An event that is not possible is a defect."""
        if self._stepping:
            self._mailbox = self._mailbox or deque()
            self._mailbox.append(event)
            return
        self._take(event)

    def see(self, observed: str) -> None:
        """Note what was last seen of the work under way."""
        self._observed = observed

    def _take(self, event: Event) -> None:
        self._stepping = True
        try:
            before = self._snapshot
            self._snapshot, effects = step(before, event, self.host.loop.time())
            for effect in effects:
                self._obey(effect, before)
            self._settle(before)
        finally:
            self._stepping = False
        if self._mailbox:
            self._take(self._mailbox.popleft())

    def _obey(self, effect: Effect, before: Snapshot) -> None:
        match effect:
            case CloseGate():
                self._close_gate()
            case Cancel():
                self._cancel()
            case Persist():
                self.host.store.save(self._snapshot)
            case OpenGate(generation):
                self._open_gate(generation)
            case Invoke(activity, epoch):
                self._invoke(activity, epoch)
            case Notify():
                self._notify(effect, before)
            case Emit(news):
                self._emit(news)

    def _settle(self, before: Snapshot) -> None:
        """What follows from the new snapshot whatever the effects were."""
        after = self._snapshot
        if after.engines is not before.engines:
            self._hurry(before, after)
            self._lose_leases(before, after)
        self._arm()

    def _arm(self) -> None:
        due = next_due(self._snapshot)
        if self._timer is not None:
            if due is not None and self._timer.when() == due[0] and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self.host.loop.call_at(due[0], self._become_due)

    def _become_due(self) -> None:
        """Several things may be due at once; each step leaves the next at the head of the agenda."""
        self._timer = None
        due = next_due(self._snapshot)
        if due is None or due[0] > self.host.loop.time():
            self._arm()
            return
        event = due[1]
        if isinstance(event, Overdue):
            event = evolve(event, chance=self.host.chance(), observed=self._observed)
        self.tell(event)

    # --- effects ---------------------------------------------------------------------------------------

    def _close_gate(self) -> None:
        state = self._snapshot.state
        self.book.close(GateReason(state, draining="draining" in state))

    def _open_gate(self, generation: int) -> None:
        server = self._snapshot.server
        assert server is not None  # the step that asks for it has just found it healthy
        self.book.open(generation, self.launching.url(self.engines[server.token]))

    def _cancel(self) -> None:
        if self._activity is not None:
            self._activity.cancel()

    def _invoke(self, activity: Activity, epoch: int) -> None:
        runner = RUNNERS.get(activity)
        if runner is None or self._closed:
            return
        work = self._run(runner, activity, epoch, self._activity)
        self._activity = self.host.loop.create_task(work, name=f"{self.pool_id}: {activity}")

    async def _run(
        self, runner: Runner, activity: Activity, epoch: int, previous: asyncio.Task[None] | None
    ) -> None:
        if previous is not None and not previous.done():
            await self._end_of(previous)
        try:
            outcome = await runner(self, epoch)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises becomes a cause
            outcome = Failed(epoch=epoch, cause=failure(error, STAGE_OF[activity]))
        if self._activity is asyncio.current_task():
            self._activity = None  # it is over: the step it causes has nothing to cancel
        self._report(outcome)

    async def _end_of(self, previous: asyncio.Task[None]) -> None:
        _, left = await asyncio.wait((previous,), timeout=CANCEL_PATIENCE)
        if left:
            what = f"{previous.get_name()} did not end within {CANCEL_PATIENCE:g} s of being cancelled"
            self._observe_misbehaviour(what)

    def _report(self, outcome: Outcome) -> None:
        """Tell the outcome. Work that may not fail is left to its state's deadline when it did."""
        possible = (self._snapshot.state, outcome.kind) in LIFECYCLE.rows
        if isinstance(outcome, Failed) and outcome.epoch == self._snapshot.epoch and not possible:
            self.see(outcome.cause.message)
            self._observe_misbehaviour(outcome.cause.message)
            return
        self.tell(evolve(outcome, chance=self.host.chance()))

    def _observe_misbehaviour(self, what: str) -> None:
        self.host.observe(DriverMisbehaved(self.pool_id, self.host.loop.time(), what))

    def _notify(self, notice: Notify, before: Snapshot) -> None:
        after, now = self._snapshot, self.host.loop.time()
        if after.epoch != before.epoch:
            self._observed = ""
            if not LIFECYCLE.states[after.state].serving:
                self._close_gate()
        self._publish(before)
        self.host.observe(
            Moved(self.pool_id, now, now - before.since, after.generation, self.book.count, notice)
        )
        for ended in self._preloads.follow(before, after, now):
            self.host.observe(ended)
        for record in self._drains.follow(notice, self.book.count, before, after, now):
            self.host.observe(record)
        self._answer(notice)

    def _emit(self, news: CircuitChanged | Dropped) -> None:
        now = self.host.loop.time()
        if isinstance(news, CircuitChanged):
            self.host.observe(CircuitMoved(self.pool_id, now, news))
        else:
            self.host.observe(LateOutcome(self.pool_id, now, news))

    def _publish(self, before: Snapshot) -> None:
        """The registry shows what readers are to know."""
        after = self._snapshot
        state = LIFECYCLE.states[after.state]
        if state.serving and after.serving != before.serving:
            self.host.registry.beat(self.pool_id)
        self.host.registry.update(
            self.pool_id,
            live=state.live,
            ready=state.serving,
            draining=after.state in (PoolState.DRAINING, PoolState.RELOADING_DRAINING),
            last_error=str(after.cause) if after.cause else None,
            engine_version=self.spec.engine.version if state.live else None,
        )

    # --- what follows for engines and leases ---------------------------------------------------------------

    def _hurry(self, before: Snapshot, after: Snapshot) -> None:
        """A kill that has moved earlier is passed on to the engine it concerns."""
        old = {one.token: one.kill_at for one in before.engines}
        now = self.host.loop.time()
        for one in after.engines:
            known = old.get(one.token)
            if known is not None and one.kill_at is not None and one.kill_at < known:
                engine = self.engines.get(one.token)
                if engine is not None:
                    self.launching.end_soon(engine, max(0.0, one.kill_at - now))

    def _lose_leases(self, before: Snapshot, after: Snapshot) -> None:
        kept = {one.generation for one in after.engines}
        for one in before.engines:
            if one.generation not in kept and (lost := self.book.lose(one.generation)):
                holders = tuple(lease.holder for lease in lost)
                self.host.observe(LeasesEnded(self.pool_id, self.host.loop.time(), "lost", holders))

    def _lease_timed(self, _when: float) -> None:
        """A lease with a time to live was taken, on whichever thread."""
        self.host.loop.call_soon_threadsafe(self._arm_leases)

    def _arm_leases(self) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        due = self.book.next_expiry()
        self._lease_timer = None
        if due is not None and not self._closed:
            self._lease_timer = self.host.loop.call_at(due, self._expire_leases)

    def _expire_leases(self) -> None:
        self.book.expire(self.host.loop.time())
        self._arm_leases()

    def _leases_expired(self, leases: tuple[Lease, ...]) -> None:
        holders = tuple(lease.holder for lease in leases)
        record = LeasesEnded(self.pool_id, self.host.loop.time(), "expired", holders)
        self.host.loop.call_soon_threadsafe(self.host.observe, record)

    # --- waiting ---------------------------------------------------------------------------------------

    async def _ask(self, wish: Wish) -> None:
        """Take the step for a wish, and wait for its answer if there is more than the row to wait for."""
        if self._closed:
            raise ManagerClosed("its manager has been closed", pool_id=self.pool_id, state=self.state)
        judge = JUDGES.get(wish.kind)
        if judge is None:
            self.tell(wish)
            return
        waiter = self._enrol(judge)
        try:
            self.tell(wish)
            await waiter
        finally:
            self._dismiss(waiter)

    async def _wait(self, judge: Judge) -> None:
        waiter = self._enrol(judge)
        try:
            await waiter
        finally:
            self._dismiss(waiter)

    def _enrol(self, judge: Judge) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self.host.loop.create_future()
        self._waiters = [*(self._waiters or ()), (judge, waiter)]
        return waiter

    def _dismiss(self, waiter: asyncio.Future[None]) -> None:
        self._waiters = [one for one in self._waiters or () if one[1] is not waiter] or None

    def _answer(self, notice: Notify) -> None:
        for judge, waiter in self._waiters or ():
            answer = None if waiter.done() else judge(self._snapshot, notice)
            if answer is None:
                continue
            if answer.error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(answer.error)

    # --- the end ---------------------------------------------------------------------------------------

    async def halt(self, *, grace: float | None = None) -> None:
        """The manager leaves: end it now, keeping the wish that it runs. Returns when stopped or stuck."""
        await self._ask(Halt(grace))

    async def close(self) -> None:
        """Let go of everything that could still come: timers, work under way, whoever waits."""
        self._closed = True
        for timer in (self._timer, self._lease_timer):
            if timer is not None:
                timer.cancel()
        for _, waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_exception(
                    ManagerClosed("its manager was closed", pool_id=self.pool_id, state=self.state)
                )
        tasks = [task for task in (self._activity, *self.launching.close()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_PATIENCE)
