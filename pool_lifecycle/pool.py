"""A pool as people have it: what can be asked of it, and what it answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pool_lifecycle.actor import Actor
from pool_lifecycle.answers import DONE
from pool_lifecycle.causes import Cause
from pool_lifecycle.checks import Check, one_of, optional, seconds
from pool_lifecycle.errors import ConfigError, NoRoomForTwo, Problem
from pool_lifecycle.events import (
    AllowOne,
    Drain,
    Reload,
    Reset,
    Resume,
    Start,
    Stop,
    Strategy,
    Target,
)
from pool_lifecycle.explain import explain
from pool_lifecycle.lease import LastingLease, Lease
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.records import DrainOutcome
from pool_lifecycle.references import digest_defect, reference_defect
from pool_lifecycle.spec import STRATEGIES, PoolSpec
from pool_lifecycle.status import PoolStatus

_duration = optional(seconds())


class Pool(Actor):
    """A pool of a manager. Made by `PoolManager.add`; every method is for the loop's thread, but `acquire`.

    Cancelling a caller cancels its wait, never the pool's work. Durations are in seconds; one that is none
    is a ConfigError. Once the manager closes, whatever is asked raises ManagerClosed, and leases are refused.
    """

    __slots__ = ()

    async def start(self) -> None:
        """Bring it up; return when it is ready. Joins a start under way.

        Raises StartFailed with the cause when it did not become ready (it may still be retried under
        back-off), Superseded when it was stopped meanwhile, EngineStuck when an old engine cannot be ended.
        """
        await self._ask(Start())

    async def stop(self, *, grace: float | None = None) -> None:
        """End it now; return when nothing is left: tree empty, port free. Joins a stop under way.

        `grace`: seconds from SIGTERM to SIGKILL. Raises EngineStuck when something cannot be killed,
        Superseded when a start was asked for before the stop was over.
        """
        _check("grace", grace, _duration)
        await self._ask(Stop(grace))

    async def drain(self, deadline: float | None = None) -> DrainOutcome:
        """Take no new leases, let those in flight finish for at most `deadline` seconds, then stop.

        Returns how it ended, when it has. A second drain joins; the shorter deadline wins. Raises what
        `stop` raises.
        """
        _check("deadline", deadline, _duration)
        asked = self._staff.announcer.accounts.asked(self.host.loop.time())
        await self._ask(Drain(deadline))
        return self._staff.announcer.accounts.outcome(asked, self.host.loop.time())

    async def resume(self) -> None:
        """Call off a drain or a change of model: the pool serves again. Raises IllegalEvent if it cannot."""
        await self._ask(Resume())

    async def reload(
        self,
        model: str,
        *,
        digest: str | None = None,
        strategy: Strategy | str | None = None,
        otherwise: Strategy | str | None = None,
        drain_deadline: float | None = None,
    ) -> None:
        """Change the model; return when the new one has proven itself (or is configured, if nothing runs).

        `digest` is the new model's (`sha256:…`): no other is taken. `strategy` is how it is done and
        `otherwise` how it is where two engines do not fit; without them, as the pool is declared. `surge`
        refuses no lease.

        Raises ReloadFailed with the cause when the old one serves instead, ReloadRefused when another
        change is under way, no start would be allowed, or two engines do not fit, with the shortfall;
        Superseded when a drain, stop or resume overtook it.
        """
        _check("model", model, reference_defect)
        _check("digest", digest, optional(digest_defect))
        target = Target(model, digest, self.spec_of(self._snapshot.target).variant)
        await self._change(target, strategy, otherwise, drain_deadline)

    async def redeclared(
        self,
        spec: PoolSpec,
        *,
        strategy: Strategy | str | None = None,
        otherwise: Strategy | str | None = None,
        drain_deadline: float | None = None,
    ) -> None:
        """Go by another declaration: its policies at once, its model and engine as by `reload`.

        Raises what `reload` raises, and ConfigError where only a new pool can be as declared.
        """
        self.redeclare(spec)
        await self._change(spec.target, strategy, otherwise, drain_deadline)

    async def _change(
        self,
        target: Target,
        strategy: Strategy | str | None,
        otherwise: Strategy | str | None,
        drain_deadline: float | None,
    ) -> None:
        declared = self.declared.reload
        _check("strategy", strategy, optional(one_of(STRATEGIES)))
        _check("otherwise", otherwise, optional(one_of(STRATEGIES[:2])))
        _check("drain_deadline", drain_deadline, _duration)
        wanted = Strategy(strategy or declared.strategy)
        instead = otherwise or (declared.otherwise if strategy is None else None)
        try:
            await self._ask(await self._reload(target, wanted, drain_deadline))
        except NoRoomForTwo:
            if instead is None:
                raise
            await self._ask(Reload(target, Strategy(instead), drain_deadline))

    async def _reload(self, target: Target, strategy: Strategy, drain_deadline: float | None) -> Reload:
        """The wish; for a surge that could begin now, with why two engines do not fit, if they do not."""
        begins = self.state is PoolState.READY and target != self._snapshot.target and not self._closed
        short = await self._shortfall(target) if begins and strategy is Strategy.SURGE else None
        return Reload(target, strategy, drain_deadline, short)

    async def _shortfall(self, target: Target) -> Cause | None:
        """Why two engines do not fit. None also where nobody can say: the change itself will find out."""
        try:
            async with asyncio.timeout(self.spec.limits.staging):
                causes = await self.launching.preflight_beside(target)
        except Exception as error:  # noqa: BLE001 - whatever drivers raise
            self.host.trouble(self.pool_id, f"whether two engines fit is not known beforehand: {error!r}")
            return None
        return min(causes, key=lambda cause: cause.heals, default=None)

    async def reset(self) -> None:
        """Close its own circuits and forget their counts; a failed pool starts again.

        Raises StartBarred when a circuit that it shares with other pools still allows no start.
        """
        await self._ask(Reset())

    async def allow_one(self) -> None:
        """Allow one start past every open circuit of a failed pool.

        Raises StartBarred when one of them is not to be overridden, IllegalEvent where none is in the way.
        """
        await self._ask(AllowOne())

    def acquire(self, holder: str, *, kind: str = "request", ttl: float | None = None) -> Lease:
        """A lease at once, from any thread. Raises PoolNotReady, PoolDraining or NoFreeSlot."""
        return self.book.acquire(holder, kind, ttl)

    async def grant(
        self, holder: str, *, kind: str = "request", ttl: float | None = None, wait: float | None = 0.0
    ) -> Lease:
        """A lease for somebody outside this program: it is kept, and goes on under a later manager.

        It ends when it is released (by its token, see `release`), after `ttl` seconds, or with its engine.
        `wait` as with `lease`. Raises what `acquire` raises, and StoreError when it cannot be kept.
        """
        _check("wait", wait, _duration)
        if self._closed:
            raise self._gone()
        lease = await self.book.acquire_within(holder, kind, ttl, timeout=wait, lasting=True)
        assert isinstance(lease, LastingLease)
        try:
            if self._closed:  # meanwhile
                raise self._gone()
            self.host.store.save_lease(self.pool_id, lease.to_keep())
        except BaseException:
            lease.release()
            raise
        return lease

    def release(self, token: int) -> bool:
        """End the lease with this token, whoever granted it; False when there is none any more."""
        lease = self.book.held(token)
        return lease is not None and lease.release()

    @contextlib.asynccontextmanager
    async def lease(
        self, holder: str, *, kind: str = "request", ttl: float | None = None, wait: float | None = 0.0
    ) -> AsyncIterator[Lease]:
        """`async with pool.lease("req-17") as lease:` holds a lease as long as the block lasts.

        `wait`: how long to wait for a free slot, in seconds; None: as long as it takes. Raises what
        `acquire` raises.
        """
        _check("wait", wait, _duration)
        if wait == 0:
            lease = self.book.acquire(holder, kind, ttl)
        else:
            lease = await self.book.acquire_within(holder, kind, ttl, timeout=wait)
        try:
            yield lease
        finally:
            lease.release()

    async def reached(self, *states: PoolState | str) -> None:
        """Return as soon as it is, or was in the meantime, in one of the states."""
        for state in states:
            _check("state", state, one_of(tuple(map(str, PoolState))))
        if self.state in states:
            return
        if self._closed:
            raise self._gone()
        with self._staff.waiters.one(lambda snapshot, _: DONE if snapshot.state in states else None) as there:
            await there

    def status(self) -> PoolStatus:
        """Everything about it that people ask for, as a value."""
        return PoolStatus.of(self)

    def explain(self) -> str:
        """Why it is in this state, what blocks it, what comes next and when, and what would help."""
        doubts = self._staff_.health.doubts if self._staff_ else ""
        kept, now = self.host.paths.crash_logs(self.pool_id), self.host.clock()
        return explain(self._snapshot, self.book, now, self._observed, doubts=doubts, crash_logs=kept)


def _check(name: str, value: object, check: Check) -> None:
    """Raise ConfigError unless `value` is valid."""
    if sentence := check(value):
        raise ConfigError([Problem(name, value, sentence)])
