"""Makes pools be as they are declared: each on its own, the latest declaration only, as soon as it can be.

A declaration is a wish without an order of things: whoever declares three times in a row means the last one.
So a pool has one place for a declaration that waits. It waits while the pool is on its way somewhere: in a
start, a drain, a change of model. What is to be gone need not wait, nor do policies, unless the model is
being changed.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import define, evolve, field, frozen

from pool_lifecycle.errors import (
    EngineStuck,
    IllegalEvent,
    ManagerClosed,
    PoolLifecycleError,
    ReloadRefused,
    Superseded,
)
from pool_lifecycle.events import Target
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.plan import (
    Described,
    Plan,
    PoolChange,
    Shown,
    Way,
    change_between,
    described,
    plan_between,
)
from pool_lifecycle.pool import Pool
from pool_lifecycle.refusals import WATCHED
from pool_lifecycle.snapshot import Intent
from pool_lifecycle.spec import PoolSpec

FREE = (PoolState.STOPPED, PoolState.READY, PoolState.BACKING_OFF, PoolState.FAILED)
"""Where a pool is not on its way anywhere."""


class End(enum.StrEnum):
    """What became of a declaration."""

    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@frozen
class Applied:
    """What became of the declaration of one pool. `state` is how it is now; None where there is none."""

    pool_id: str
    way: Way
    end: End = End.DONE
    error: PoolLifecycleError | None = None
    state: str | None = None


# --- how a pool is --------------------------------------------------------------------------------------


def as_it_is(pool: Pool) -> PoolSpec:
    """The declaration that the pool is as, whatever was declared since and did not come about."""
    return _with(pool.spec, pool.snapshot.target)


def _with(spec: PoolSpec, target: Target) -> PoolSpec:
    same = (spec.model, spec.digest) == (target.model, target.digest)
    return spec if same else evolve(spec, model=target.model, digest=target.digest)


def is_so(pool: Pool, spec: PoolSpec) -> bool:
    """Whether it is as declared, and nobody is about to change that."""
    snapshot = pool.snapshot
    return snapshot.plan is None and snapshot.target == spec.target and as_it_is(pool) == spec


def described_as(spec: PoolSpec, target: Target, key: bytes = b"") -> Described:
    """What may be shown of a pool that is as `spec`, but for `target`; `key` is that of secrets' hashes."""
    known = described(_with(spec, target), key)
    if target.variant == spec.variant:
        return known
    return Described(known.pool_id, {**known.values, "engine": EARLIER})


def described_as_it_is(pool: Pool) -> Described:
    """What may be shown of how the pool is."""
    return described_as(pool.spec, pool.snapshot.target)


EARLIER = Shown("as an earlier manager launched it")
"""What is known of an engine that was adopted and is declared differently by now."""


def plan_for(pools: Iterable[Pool], specs: Iterable[PoolSpec]) -> Plan:
    """What has to be done so that the pools are as declared."""
    wanted, known = {spec.pool_id: spec for spec in specs}, {pool.pool_id: pool for pool in pools}
    same = {name for name, pool in known.items() if name in wanted and is_so(pool, wanted[name])}
    before = (Described(name, {}) if name in same else described_as_it_is(known[name]) for name in known)
    after = (Described(name, {}) if name in same else described(wanted[name]) for name in wanted)
    return plan_between(before, after)


# --- what is wished -------------------------------------------------------------------------------------


class Holder(Protocol):
    """Who has the pools."""

    async def add(self, spec: PoolSpec) -> Pool:
        """A new pool, stopped."""

    async def remove(self, pool_id: str) -> None:
        """Forget a stopped one."""

    def check(self, spec: PoolSpec) -> None:
        """Raise ConfigError where no pool can be so."""

    def get(self, pool_id: str) -> Pool | None:
        """The pool of that name, if there is one."""


@define(eq=False)
class _Wish:
    """That a pool be as declared (None: that there be none)."""

    pool_id: str
    spec: PoolSpec | None
    answer: asyncio.Future[Applied] = field(factory=lambda: asyncio.get_running_loop().create_future())
    change: PoolChange | None = None

    def end(self, end: End, error: PoolLifecycleError | None = None, pool: Pool | None = None) -> None:
        """Tell what became of it, unless that was told before."""
        if not self.answer.done():
            state = None if pool is None else str(pool.state)
            self.answer.set_result(Applied(self.pool_id, self.way, end, error, state))

    @property
    def way(self) -> Way:
        """What it takes, as far as that was found out."""
        if self.change is not None:
            return self.change.way
        return Way.REMOVE if self.spec is None else Way.UNCHANGED

    def look(self, pool: Pool | None) -> Way:
        """Find out what it takes with the pool as it is now."""
        if self.spec is None:
            way = Way.UNCHANGED if pool is None else Way.REMOVE
            self.change = PoolChange(self.pool_id, way)
        elif pool is not None and is_so(pool, self.spec):
            self.change = PoolChange(self.pool_id, Way.UNCHANGED)
        else:
            before = None if pool is None else described_as_it_is(pool)
            self.change = change_between(before, described(self.spec))
        return self.change.way


@define(eq=False)
class _Line:
    """The declarations of one pool: the one being carried out, and the latest after it.

    `pool` is the one they are about: should that be removed by somebody, then by a later word than theirs.
    """

    pool: Pool | None = None
    doing: _Wish | None = None
    waiting: _Wish | None = None
    pause: asyncio.Task[None] | None = None
    task: asyncio.Task[None] | None = None

    def supersede(self, by: str, pool: Pool | None) -> None:
        """Nothing comes of the one that waits."""
        wish, self.waiting = self.waiting, None
        if wish is not None:
            wish.end(End.SUPERSEDED, _superseded(wish, by, pool), pool)

    def stir(self) -> None:
        """What it waits for may be something else by now."""
        if self.pause is not None:
            self.pause.cancel()


@define(eq=False)
class Applying:
    """Carries out declarations for the pools of one manager."""

    _holder: Holder
    _lines: dict[str, _Line] = field(factory=dict)

    @property
    def pool_ids(self) -> tuple[str, ...]:
        """The pools of which something declared is still to be carried out."""
        return tuple(self._lines)

    async def make(
        self, pool_id: str, spec: PoolSpec | None, told: Callable[[Applied], None] | None = None
    ) -> Applied:
        """Make the pool be as declared (None: gone); return what became of that, having `told` it.

        Whoever stops waiting for it stops nothing else.
        """
        applied = await asyncio.shield(self._wish(pool_id, spec).answer)
        if told is not None:
            told(applied)
        return applied

    def _wish(self, pool_id: str, spec: PoolSpec | None) -> _Wish:
        """The wish to wait for: one of the same kind that is there already, or a new one."""
        line, pool = self._lines.get(pool_id) or _Line(), self._holder.get(pool_id)
        if line.doing is None:
            line.pool = pool
        if line.waiting is not None and line.waiting.spec == spec:
            return line.waiting
        line.supersede("a later declaration", pool)
        line.stir()
        if line.doing is not None and line.doing.spec == spec:
            return line.doing
        wish = _Wish(pool_id, spec)
        if line.doing is None and (pool is None if spec is None else pool is not None and is_so(pool, spec)):
            wish.change = PoolChange(pool_id, Way.UNCHANGED)
            wish.end(End.DONE, None, pool)
            return wish
        line.waiting = wish
        if line.task is None:
            self._lines[pool_id] = line
            line.task = asyncio.create_task(self._work(pool_id, line), name=f"{pool_id}: declarations")
        return wish

    async def withdraw(self) -> None:
        """Give up what was declared and is not carried out; return when nothing is under way any more."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for pool_id, line in list(self._lines.items()):
            self._end(pool_id, line)  # work that was cancelled before its first step

    # --- one after the other ----------------------------------------------------------------------------

    async def _work(self, pool_id: str, line: _Line) -> None:
        try:
            while line.waiting is not None:
                pool = self._holder.get(pool_id)
                if pool is not line.pool and line.waiting.spec is not None:
                    line.supersede("its removal", pool)
                elif pool is None or _can_begin(pool, line.waiting):
                    await self._begin(line)
                else:
                    await self._pause(pool, line)
        finally:
            self._end(pool_id, line)

    def _end(self, pool_id: str, line: _Line) -> None:
        """Leave nobody to wait in vain, should the work have been cancelled."""
        if self._lines.get(pool_id) is line:
            del self._lines[pool_id]
        for wish in filter(None, (line.doing, line.waiting)):
            pool = self._holder.get(wish.pool_id)
            wish.end(End.SUPERSEDED, _superseded(wish, "the end of the manager", pool), pool)

    async def _pause(self, pool: Pool, line: _Line) -> None:
        """Until the pool may be free, or something else is declared."""
        line.pause = asyncio.create_task(pool.reached(*FREE, PoolState.STUCK))
        try:
            await asyncio.wait((line.pause,))
            gone = not line.pause.cancelled() and line.pause.exception() is not None
        finally:
            line.pause.cancel()
            line.pause = None
        if gone and line.waiting is not None and self._holder.get(pool.pool_id) is pool:
            wish, line.waiting = line.waiting, None
            wish.end(End.FAILED, ManagerClosed("its manager has been closed", pool_id=pool.pool_id), pool)

    async def _begin(self, line: _Line) -> None:
        assert line.waiting is not None  # that is why it was begun
        wish, line.doing, line.waiting = line.waiting, line.waiting, None
        try:
            await self._carry_out(wish)
        except PoolLifecycleError as error:
            self._failed(line, wish, error)
        except Exception as defect:  # noqa: BLE001 - whoever asked is told, and later ones have their turn
            wish.answer.set_exception(defect)
        else:
            wish.end(End.DONE, None, self._holder.get(wish.pool_id))
        line.doing, line.pool = None, self._holder.get(wish.pool_id)

    def _failed(self, line: _Line, wish: _Wish, error: PoolLifecycleError) -> None:
        pool = self._holder.get(wish.pool_id)
        if isinstance(error, Superseded):
            wish.end(End.SUPERSEDED, error, pool)
        elif not _was_in_the_way(pool, error):
            wish.end(End.FAILED, error, pool)
        elif line.waiting is not None:
            wish.end(End.SUPERSEDED, _superseded(wish, "a later declaration", pool), pool)
        else:
            line.waiting = wish  # somebody was faster: when that is over

    # --- what is done -----------------------------------------------------------------------------------

    async def _carry_out(self, wish: _Wish) -> None:
        pool, spec = self._holder.get(wish.pool_id), wish.spec
        way = wish.look(pool)
        if spec is not None and way is not Way.UNCHANGED:
            self._holder.check(spec)
        if pool is None:
            await self._add(spec)
        elif way is Way.REMOVE:
            await self._remove(pool)
        elif pool.state is PoolState.STUCK and way is not Way.UNCHANGED:
            what = "cannot be as declared while something of it cannot be ended"
            raise EngineStuck(what, pool_id=pool.pool_id, state=pool.state, remedy=WATCHED)
        elif spec is not None:
            await self._change(pool, spec, way)

    async def _change(self, pool: Pool, spec: PoolSpec, way: Way) -> None:
        if way is Way.ADJUST:
            pool.redeclare(spec)
            await _try_again(pool)
        elif way is Way.RELOAD:
            await _reload(pool, spec)
            await _start_anew(pool)
        elif way is Way.REPLACE:
            runs = pool.snapshot.intent is Intent.RUN
            await self._remove(pool)
            new = await self._holder.add(spec)
            if runs:
                await new.start()

    async def _add(self, spec: PoolSpec | None) -> None:
        if spec is not None:
            pool = await self._holder.add(spec)
            await pool.start()

    async def _remove(self, pool: Pool) -> None:
        await pool.drain()
        await self._holder.remove(pool.pool_id)


def _can_begin(pool: Pool, wish: _Wish) -> bool:
    if wish.spec is None or pool.state in FREE or pool.state is PoolState.STUCK:
        return True
    return pool.snapshot.plan is None and wish.look(pool) in {Way.UNCHANGED, Way.ADJUST}


def _was_in_the_way(pool: Pool | None, error: PoolLifecycleError) -> bool:
    """Whether it failed only since somebody else's wish was there first."""
    refused = isinstance(error, IllegalEvent | ReloadRefused)
    return refused and pool is not None and pool.state not in FREE


async def _reload(pool: Pool, spec: PoolSpec) -> None:
    """All of it or nothing: an engine that goes on as it was does so under the policies that it had."""
    before = as_it_is(pool)
    try:
        await pool.redeclared(spec)
    except PoolLifecycleError:
        pool.redeclare(before)
        raise


async def _try_again(pool: Pool) -> None:
    """What could not help until somebody acts may do so now: somebody has acted."""
    snapshot = pool.snapshot
    hopeless = snapshot.cause is not None and not snapshot.cause.heals
    if pool.state is PoolState.FAILED and snapshot.intent is Intent.RUN and hopeless:
        await pool.start()


async def _start_anew(pool: Pool) -> None:
    """The failures of another engine say nothing of this one: neither its delay nor its circuits count."""
    failed = pool.state is PoolState.FAILED
    if pool.snapshot.intent is Intent.RUN and (failed or pool.state is PoolState.BACKING_OFF):
        if failed:
            await pool.reset()
        await pool.start()


def _superseded(wish: _Wish, by: str, pool: Pool | None) -> Superseded:
    state = "gone" if pool is None else str(pool.state)
    what = "its declaration" if wish.spec is not None else "its removal"
    return Superseded(what, by=by, pool_id=wish.pool_id, state=state)
