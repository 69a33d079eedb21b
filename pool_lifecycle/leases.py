"""The lease book: who works on a pool's engine at the moment, and who waits to.

A lease is one unit of admitted work on one generation of the engine. The book grants at most `slots` of
them at a time, and only while its gate is open. Leases on an engine that another one has taken over from
go on beside these, and take no slot of the new one. Everything here may be called from any thread;
nothing but the two waiting calls ever waits.

    gate    open(generation, url) … close(reason)
    leases  acquire → release, or the end of their time (expire), or the end of their engine (lose)
    slots   a free slot goes to whoever waited longest; nobody overtakes
    drain   when_empty(generation, callback): called by whoever ended the last lease
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pool_lifecycle.checks import seconds, whole
from pool_lifecycle.errors import ConfigError, NoFreeSlot, Problem
from pool_lifecycle.kept import KeptLease
from pool_lifecycle.lease import RELEASED, Blocker, GateReason, LastingLease, Lease, LeaseState, Serving
from pool_lifecycle.wake import Call, LoopWaker, ThreadWaker, Waker, call_each

_check_ttl = seconds(0.001)
_check_slots = whole(1, 65536)


class _Waiter:
    """Somebody who waits for a slot. The book sets `outcome`, once, under its lock, and then wakes."""

    __slots__ = ("holder", "kind", "lease", "outcome", "ttl", "waker")

    def __init__(
        self, holder: str, kind: str, ttl: float | None, waker: Waker | None, lease: type[Lease] = Lease
    ) -> None:
        self.holder = holder
        self.kind = kind
        self.ttl = ttl
        self.waker = waker
        self.lease = lease
        self.outcome: Lease | GateReason | None = None

    def wake(self) -> bool:
        return self.waker is not None and self.waker.wake()


def _problems(waiter: _Waiter) -> Iterator[Problem]:
    for name in ("holder", "kind"):
        if not isinstance(value := getattr(waiter, name), str):
            yield Problem(name, value, "must be a string")
    if waiter.ttl is not None and (sentence := _check_ttl(waiter.ttl)):
        yield Problem("ttl", waiter.ttl, sentence)


class _Watch:
    """Somebody's wish to hear when a generation has no lease left. `left` is how many it still has."""

    __slots__ = ("callback", "generation", "left")

    def __init__(self, generation: int, left: int, callback: Call) -> None:
        self.generation = generation
        self.left = left
        self.callback = callback


NEVER_OPENED = GateReason("stopped")


class LeaseBook:
    """The leases of one pool, and the gate that admits new ones. It begins closed.

    `clock` gives monotonic seconds. The first lease gets `first_token`. Four hooks may be set; each is
    called outside the lock, on the thread that caused it, so it should only hand the news on; what it
    raises is logged and goes no further:

    `on_change()`             the number of active leases has changed: look at `count`
    `on_timed(when)`          `next_expiry()` has become `when`, earlier than before: call `expire` then
    `on_reclaimed(leases)`    these leases expired, whoever noticed it
    `on_ended(lease)`         a lasting lease ended, in whatever way
    """

    __slots__ = (
        "_active",
        "_clock",
        "_earliest",
        "_gate",
        "_handing_over",
        "_limit",
        "_lock",
        "_old",
        "_token",
        "_waiting",
        "_watches",
        "on_change",
        "on_ended",
        "on_reclaimed",
        "on_timed",
        "pool_id",
        "slots",
    )

    def __init__(self, pool_id: str, slots: int, clock: Callable[[], float], *, first_token: int = 1) -> None:
        if sentence := _check_slots(slots):
            raise ConfigError([Problem("slots", slots, sentence)])
        self.pool_id = pool_id
        self.slots = slots
        self.on_change: Call | None = None
        self.on_timed: Callable[[float], object] | None = None
        self.on_reclaimed: Callable[[tuple[Lease, ...]], object] | None = None
        self.on_ended: Callable[[Lease], object] | None = None
        self._clock = clock
        self._token = first_token
        self._active: dict[int, Lease] = {}
        self._old = 0  # leases on other generations than the one the gate was opened on last
        self._limit = 0  # `slots` and `_old` while the gate is open, 0 while closed: one comparison tells all
        self._gate: Serving | GateReason = NEVER_OPENED
        self._earliest: float | None = None  # no lease expires before
        self._waiting: OrderedDict[_Waiter, None] | None = None  # never empty, and only while full
        self._handing_over = False
        self._watches: list[_Watch] | None = None  # never empty
        # Re-entrant, because the garbage collector may close a forgotten `with lease:` at any point of
        # this thread, also in the middle of another call to the same book.
        self._lock = threading.RLock()

    # --- the gate ----------------------------------------------------------------------------------

    def open(self, generation: int, url: str, slots: int | None = None) -> None:
        """Grant leases on `generation`, reached at `url`; it has so many slots (None: as many as before).

        An open gate moves on to the new generation, where whoever waits may find a slot.
        """
        with self._lock:
            self._gate = Serving(generation, url)
            self.slots = self.slots if slots is None else slots
            self._old = len(self._active) - self.count_on(generation)
            self._limit = self.slots + self._old
            calls = self._serve()
        call_each(calls)

    def close(self, reason: GateReason) -> None:
        """Grant nothing more, and fail whoever waits, with `reason`.

        Once this has returned no lease is granted, on any thread, until the gate is opened again. Leases
        already granted go on.
        """
        with self._lock:
            self._gate = reason
            self._limit = self._old = 0
            waiting, self._waiting = self._waiting, None
            for waiter in waiting or ():
                waiter.outcome = reason
                waiter.wake()

    def restore(self, kept: Iterable[KeptLease]) -> None:
        """Take up lasting leases that another book granted; they hold slots, though there be fewer now."""
        with self._lock:
            for one in kept:
                self._active[one.token] = LastingLease.of(self, one)
            when = self.next_expiry()
        if when is not None and self.on_timed:
            self.on_timed(when)

    def forked(self, reason: GateReason) -> None:
        """In a forked child: grant nothing and tell nobody; a thread that is not there may hold the lock."""
        self._lock = threading.RLock()
        self._gate, self._limit = reason, 0
        self._waiting = self._watches = None
        self.on_change = self.on_timed = self.on_reclaimed = self.on_ended = None

    # --- taking a lease ----------------------------------------------------------------------------

    def acquire(self, holder: str, kind: str = "request", ttl: float | None = None) -> Lease:
        """A lease at once, for `holder`, ended after `ttl` seconds unless that is None.

        Raises PoolNotReady or PoolDraining while the gate is closed, NoFreeSlot when every slot is taken,
        ConfigError when `holder` or `kind` is no string or `ttl` no duration.
        """
        if ttl is None and type(holder) is type(kind) is str:
            now = self._clock()
            with self._lock:
                lease = (
                    self._grant(holder, kind, None, now, Lease) if len(self._active) < self._limit else None
                )
            if lease is not None:
                if self.on_change is not None:
                    call_each((self.on_change,))
                return lease
        waiter = _Waiter(holder, kind, ttl, None)
        self._ask(waiter)
        return self._conclude(waiter, 0.0)

    async def acquire_within(
        self,
        holder: str,
        kind: str = "request",
        ttl: float | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        lasting: bool = False,
    ) -> Lease:
        """A lease as soon as a slot is free, at most after `timeout` seconds (None: however long it takes).

        Who came first is served first. A `lasting` one is a LastingLease. Raises what `acquire` raises;
        NoFreeSlot when the time is over.
        """
        began = self._clock()
        waiter = _Waiter(holder, kind, ttl, waker := LoopWaker(), LastingLease if lasting else Lease)
        try:
            self._ask(waiter)
            if waiter.outcome is None:
                await waker.wait(timeout)
        except BaseException:
            self._withdraw(waiter)
            raise
        return self._conclude(waiter, self._clock() - began)

    def acquire_blocking(
        self, holder: str, kind: str = "request", ttl: float | None = None, *, timeout: float | None = None
    ) -> Lease:
        """Like `acquire_within`, for threads. Never call it on the thread of an event loop."""
        began = self._clock()
        waiter = _Waiter(holder, kind, ttl, waker := ThreadWaker())
        try:
            self._ask(waiter)
            if waiter.outcome is None:
                waker.wait(timeout)
        except BaseException:
            self._withdraw(waiter)
            raise
        return self._conclude(waiter, self._clock() - began)

    def _ask(self, waiter: _Waiter) -> None:
        """Settle what `waiter` wants at once, or put it at the end of the queue if it has a waker."""
        if problems := [*_problems(waiter)]:
            raise ConfigError(problems)
        now = self._clock()
        with self._lock:
            _, calls = self._reclaim(now)
            if isinstance(self._gate, GateReason):
                waiter.outcome = self._gate
            elif len(self._active) < self._limit:
                calls += self._grant_to(waiter, now)
            elif waiter.waker is not None:
                self._waiting = self._waiting or OrderedDict()
                self._waiting[waiter] = None
        call_each(calls)

    def _conclude(self, waiter: _Waiter, waited: float) -> Lease:
        outcome = self._leave(waiter)
        if isinstance(outcome, Lease):
            return outcome
        if outcome is not None:
            raise outcome.error(self.pool_id, self._clock())
        what = f"all {self.slots} slots are taken" + (f", also after {waited:.3g} s" if waited else "")
        raise NoFreeSlot(what, slots=self.slots, waited=waited, pool_id=self.pool_id)

    def _withdraw(self, waiter: _Waiter) -> None:
        """The caller gave up. What it was granted in the same moment goes on to the next."""
        outcome = self._leave(waiter)
        if isinstance(outcome, Lease):
            self.release(outcome)

    def _leave(self, waiter: _Waiter) -> Lease | GateReason | None:
        """Out of the queue; from here on the outcome is final."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.pop(waiter, None)
                self._waiting = self._waiting or None
            return waiter.outcome

    def _grant(self, holder: str, kind: str, ttl: float | None, now: float, of: type[Lease]) -> Lease:
        serving, token = self._gate, self._token
        assert isinstance(serving, Serving)  # the limit is 0 while it is closed
        self._token = token + 1
        lease = of(self, serving, holder, kind, token, now, ttl)
        self._active[token] = lease
        if self._watches is not None:
            self._watched(serving.generation, +1)
        return lease

    def _grant_to(self, waiter: _Waiter, now: float) -> list[Call]:
        lease = waiter.outcome = self._grant(waiter.holder, waiter.kind, waiter.ttl, now, waiter.lease)
        calls: list[Call] = [self.on_change] if self.on_change else []
        when = lease.expires_at
        if when is not None and (self._earliest is None or when < self._earliest):
            self._earliest = when
            if self.on_timed:
                calls.append(partial(self.on_timed, when))
        return calls

    # --- ending leases -----------------------------------------------------------------------------

    def release(self, lease: Lease) -> bool:
        """End `lease`; its slot goes to whoever waited longest.

        False, and nothing happens, when it has ended before (its time may have run out just now) or is
        not a lease of this book.
        """
        if lease.expires_at is not None:
            self.expire(self._clock())
        with self._lock:
            if self._active.get(lease.token) is not lease:
                return False
            del self._active[lease.token]
            lease.state = RELEASED
            # Most releases concern nobody else; they end here.
            concerns = self._old or self._waiting or self._watches or self.on_change or lease.lasting
            if not concerns:
                return True
            calls = self._settle((lease,))
        call_each(calls)
        return True

    def expire(self, now: float) -> tuple[Lease, ...]:
        """End every lease whose time is over at `now`, and return them."""
        with self._lock:
            expired, calls = self._reclaim(now)
        call_each(calls)
        return expired

    def lose(self, generation: int) -> tuple[Lease, ...]:
        """End the leases on `generation`, whose engine is gone, as lost, and return them.

        The gate must not be open on it any more (ValueError), or waiters would be granted slots there.
        """
        with self._lock:
            if isinstance(self._gate, Serving) and self._gate.generation == generation:
                raise ValueError(f"generation {generation} of pool {self.pool_id!r} still grants leases")
            there = [lease for lease in self.active() if lease.generation == generation]
            lost, calls = self._end(there, LeaseState.LOST)
        call_each(calls)
        return lost

    def next_expiry(self) -> float | None:
        """When the next lease expires; None when none will."""
        with self._lock:
            times = [lease.expires_at for lease in self.active() if lease.expires_at is not None]
            self._earliest = min(times, default=None)
            return self._earliest

    def _reclaim(self, now: float) -> tuple[tuple[Lease, ...], list[Call]]:
        if self._earliest is None or now < self._earliest:
            return (), []
        due = [one for one in self.active() if one.expires_at is not None and one.expires_at <= now]
        expired, calls = self._end(due, LeaseState.EXPIRED)
        if expired and self.on_reclaimed:
            calls.append(partial(self.on_reclaimed, expired))
        return expired, calls

    def _end(self, leases: Iterable[Lease], state: LeaseState) -> tuple[tuple[Lease, ...], list[Call]]:
        ended = tuple(lease for lease in leases if self._active.pop(lease.token, None))
        for lease in ended:
            lease.state = state
        self.next_expiry()  # before slots are handed over: a new lease may well be the next to expire
        return ended, self._settle(ended) if ended else []

    def _settle(self, ended: Iterable[Lease]) -> list[Call]:
        """After leases ended: give their slots to waiters; return what is to be called without the lock."""
        if self._old:
            self._forget_old(ended)
        calls = self._serve()  # before counting off: a generation whose slot changes hands is not empty
        for lease in ended:
            calls += self._watched(lease.generation, -1)
            if lease.lasting and self.on_ended:
                calls.append(partial(self.on_ended, lease))
        if self.on_change:
            calls.append(self.on_change)
        return calls

    def _forget_old(self, ended: Iterable[Lease]) -> None:
        """A lease on an engine that no longer serves leaves no slot behind."""
        if isinstance(self._gate, Serving):
            gone = sum(lease.generation != self._gate.generation for lease in ended)
            self._old -= gone
            self._limit -= gone

    def _serve(self) -> list[Call]:
        """Free slots to those who wait, longest first. One whose event loop was closed is passed over."""
        calls: list[Call] = []
        if self._handing_over:  # a finalizer released a lease within the loop below, which will see it
            return calls
        self._handing_over = True
        try:
            while self._waiting and len(self._active) < self._limit:
                waiter, _ = self._waiting.popitem(last=False)
                if waiter.wake():
                    calls += self._grant_to(waiter, self._clock())
        finally:
            self._handing_over = False
        self._waiting = self._waiting or None
        return calls

    # --- the drained generation --------------------------------------------------------------------

    def when_empty(self, generation: int, callback: Call) -> Call:
        """Call `callback` once, as soon as no lease is active on `generation`: now, if none is.

        It is called on the thread that ended the last lease, outside the lock. Returns a function that
        takes the wish back; after that the callback is not called any more, unless it was already due.
        """
        with self._lock:
            watch = _Watch(generation, self.count_on(generation), callback)
            if watch.left:
                self._watches = [*(self._watches or ()), watch]
        if not watch.left:
            call_each((callback,))
        return partial(self._unwatch, watch)

    def _unwatch(self, watch: _Watch) -> None:
        with self._lock:
            self._watches = [one for one in self._watches or () if one is not watch] or None

    def _watched(self, generation: int, change: int) -> list[Call]:
        """Count a lease on or off for those who watch `generation`; return the callbacks that are due."""
        watches = [watch for watch in self._watches or () if watch.generation == generation]
        for watch in watches:
            watch.left += change
        empty = [watch for watch in watches if not watch.left]
        for watch in empty:
            self._unwatch(watch)
        return [watch.callback for watch in empty]

    # --- looking -----------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many leases are active."""
        return len(self._active)

    @property
    def free(self) -> int:
        """How many slots are free, whether or not the gate is open."""
        return max(0, self.slots + self._old - len(self._active))

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting or ())

    @property
    def next_token(self) -> int:
        """The token of the next lease; the `first_token` of a book that goes on where this one ended."""
        return self._token

    def active(self) -> tuple[Lease, ...]:
        """The active leases, oldest first."""
        with self._lock:
            return tuple(self._active.copy().values())  # a copy, as a finalizer may release meanwhile

    def held(self, token: int) -> Lease | None:
        """The active lease with this token."""
        return self._active.get(token)

    def count_on(self, generation: int) -> int:
        """How many leases are active on `generation`."""
        return sum(lease.generation == generation for lease in self.active())

    def blockers(self, now: float) -> tuple[Blocker, ...]:
        """Who holds a lease at `now`, oldest first: what a drain waits for."""
        return tuple(Blocker.of(lease, now) for lease in self.active())
