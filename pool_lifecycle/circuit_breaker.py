"""A circuit breaker for any operation, usable alone: from asyncio, from threads, from both at once.

    breaker = CircuitBreaker("catalogue", Breaker(threshold=3, timeout=30))

    @breaker                                  # a function or a coroutine function
    async def fetch(name): ...

    with breaker.acquire() as permit:         # or `async with`
        ...                                   # an exception is a failure, the end a success

It runs on the table of a pool's circuits (`breaker.py`, through `circuits.feed`). A call that has returned
has run as long as it ever will, so the success of a trial closes the circuit at once, and any success clears
the count; `Breaker.stable` is for engines and is not looked at. There are no timers and no tasks: that a
time-out is over is found out by whoever asks next.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from pool_lifecycle.breaker import BreakerEvent, BreakerState
from pool_lifecycle.circuits import feed
from pool_lifecycle.errors import CircuitOpen, ConfigError, Problem
from pool_lifecycle.logs import LOGGER
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.snapshot import CircuitChanged
from pool_lifecycle.wording import plural, seconds

Operation = TypeVar("Operation", bound=Callable[..., Any])
Counts = Callable[[Exception], bool] | type[BaseException] | tuple[type[BaseException], ...]
Settle = Callable[[int, BreakerEvent, BaseException | None], None]

REASON_SHOWN = 200
"""How many characters of the last failure are kept. The exception itself would keep its frames alive."""

E, S = BreakerEvent, BreakerState


class Permit:
    """The right to do the operation once. Its first verdict counts, later ones do nothing.

    As a context manager it passes the verdict on its block, unless the block has passed one itself. A permit
    that is dropped without a verdict is abandoned, so that no trial lasts for ever.
    """

    __slots__ = ("_epochs", "_settle")

    def __init__(self, settle: Settle, epoch: int) -> None:
        self._settle = settle
        self._epochs = [epoch]  # a list, because `pop` lets exactly one of several threads have it

    def succeeded(self) -> None:
        """The operation works. For something that goes on, say so when it has run long enough."""
        self._conclude(E.STABLE)

    def failed(self, error: BaseException | None = None) -> None:
        """The operation failed; with an `error`, the breaker's `counts` decides what that means."""
        self._conclude(E.FAILURE, error)

    def abandon(self) -> None:
        """No verdict: nothing is counted, and the permit of a trial is free again."""
        self._conclude(E.ABANDONED)

    def _conclude(self, event: BreakerEvent, error: BaseException | None = None) -> None:
        try:
            epoch = self._epochs.pop()
        except IndexError:
            return
        self._settle(epoch, event, error)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if error is None:
            self.succeeded()
        else:
            self.failed(error)

    async def __aenter__(self) -> Permit:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, where)

    def __del__(self) -> None:
        if self._epochs:
            self.abandon()


class CircuitBreaker:
    """Lets calls through while they work, and for a while none when too many in a row have failed.

    `policy` has the numbers. `clock` says the time in seconds and never goes back. `counts` says which
    exceptions are failures: types, or a function of the exception. One that does not count is an answer, and
    so a success. What is no `Exception` (a cancellation, a `KeyboardInterrupt`) never counts and is no
    success either: the permit is abandoned. `on_change` is told each change of state, one after the other,
    in order, in the thread of a caller and with no lock held; what it raises is logged.

    Raises ConfigError for `counts` that are none of these.
    """

    def __init__(
        self,
        name: str,
        policy: Breaker | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        counts: Counts = Exception,
        on_change: Callable[[CircuitChanged], None] | None = None,
    ) -> None:
        self.name = name
        self.policy = policy or Breaker()
        self._clock = clock
        self._counts = _predicate(counts)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._news: deque[CircuitChanged] = deque()
        self._last_failure = ""
        self._now = Circuit(name)
        self._epoch = 0  # grows with every change of state
        # What a call needs while all is well, each to be read without the lock: the epoch while closed, and
        # whether a success changes nothing.
        self._free: int | None = 0
        self._clear = True
        # Epochs of trials that were given up, for whoever looks next. Giving up must not wait for the lock:
        # the garbage collector does it, perhaps in the thread that has the lock.
        self._given_up: deque[int] = deque()

    # --- calls -------------------------------------------------------------------------------------

    def __call__(self, operation: Operation) -> Operation:
        """Guard a function or a coroutine function. Its calls raise CircuitOpen when they are not allowed.

        Raises TypeError for generator functions: their calls do nothing yet. Use `acquire` in their bodies.
        """
        if inspect.isgeneratorfunction(operation) or inspect.isasyncgenfunction(operation):
            raise TypeError(f"{operation!r} only makes a generator: guard its body with `with acquire()`")
        guard = self._guard_async if _is_async(operation) else self._guard
        return cast(Operation, functools.wraps(operation)(guard(operation)))

    def acquire(self) -> Permit:
        """A permit for one call. Raises CircuitOpen when it is not allowed."""
        epoch = self._free
        return Permit(self._settle, self._take() if epoch is None else epoch)

    def allow_one(self) -> Permit:
        """A permit even though the circuit is open: an operator's trial, before its time.

        Raises CircuitOpen when a trial is under way already.
        """
        return Permit(self._settle, self._ask(E.ALLOW_ONE))

    def _guard(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if (epoch := self._free) is None:
                epoch = self._take()
            try:
                result = operation(*args, **kwargs)
            except BaseException as error:
                self._settle(epoch, E.FAILURE, error)
                raise
            if not self._clear:
                self._settle(epoch, E.STABLE)
            return result

        return guarded

    def _guard_async(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if (epoch := self._free) is None:
                epoch = self._take()
            try:
                result = await operation(*args, **kwargs)
            except BaseException as error:
                self._settle(epoch, E.FAILURE, error)
                raise
            if not self._clear:
                self._settle(epoch, E.STABLE)
            return result

        return guarded

    # --- what an operator asks ---------------------------------------------------------------------

    @property
    def state(self) -> BreakerState:
        """Open becomes half-open by the time that has passed; a half-open one is `trial` while one is on."""
        return self._look()[0].state

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._look()[0].failures

    @property
    def retry_in(self) -> float | None:
        """Seconds until a call is let through, 0 if one is now. None: the trial that is on decides."""
        circuit, now = self._look()
        return _retry_in(circuit, now)

    def reset(self) -> None:
        """Close it. Calls begun before count nothing any more."""
        self._command(E.RESET)

    def trip(self) -> None:
        """Open it, for the policy's time-out. An open one stays as it is."""
        self._command(E.TRIP)

    def explain(self) -> str:
        """How it is, why, and what comes next, in one or two sentences."""
        circuit, now = self._look()
        return f"Circuit {self.name!r} {_standing(circuit, self.policy, now)}.{self._why(circuit)}"

    def __repr__(self) -> str:
        circuit = self._now
        return f"CircuitBreaker({self.name!r}, {circuit.state}, failures={circuit.failures})"

    # --- the table, under the lock -----------------------------------------------------------------

    def _take(self) -> int:
        """As `_ask`, without waiting for a lock to hear that an open circuit is open."""
        circuit = self._now
        if circuit.until is not None and (now := self._clock()) < circuit.until:
            raise CircuitOpen(self.name, circuit.until - now, circuit.state)
        return self._ask(E.TAKEN)

    def _ask(self, event: BreakerEvent) -> int:
        """The epoch of the permit that the table gives, if it gives one."""
        with self._lock:
            now = self._catch_up()
            who = _holder(self._epoch + 1)  # a trial is an epoch of its own, and it begins now
            circuit = self._feed(event, who, now)
            epoch = self._epoch
        self._tell()
        if circuit.state is S.CLOSED or circuit.holder == who:
            return epoch
        raise CircuitOpen(self.name, _retry_in(circuit, now), circuit.state)

    def _settle(self, epoch: int, event: BreakerEvent, error: BaseException | None = None) -> None:
        if event is E.STABLE and self._clear:
            return
        if error is not None:
            event = self._meaning(error)
        if event is E.ABANDONED:
            self._give_up(epoch)
        else:
            self._report(epoch, event, error)

    def _meaning(self, error: BaseException) -> BreakerEvent:
        if not isinstance(error, Exception):
            return E.ABANDONED
        try:
            return E.FAILURE if self._counts(error) else E.STABLE
        except Exception:  # noqa: BLE001 - the caller is to get the operation's error, not this one
            LOGGER.exception("circuit %r: `counts` failed, so this counts as a failure", self.name)
            return E.FAILURE

    def _give_up(self, epoch: int) -> None:
        if epoch == self._epoch and self._now.state is S.TRIAL:
            self._given_up.append(epoch)

    def _report(self, epoch: int, event: BreakerEvent, error: BaseException | None) -> None:
        reason = _reason(error)
        with self._lock:
            now = self._catch_up()
            if epoch == self._epoch:  # what began before the circuit last moved says nothing about now
                self._last_failure = reason
                self._feed(event, _holder(epoch), now)
        self._tell()

    def _command(self, event: BreakerEvent) -> None:
        with self._lock:
            now = self._catch_up()
            circuit = self._feed(event, "", now)
            if event is E.RESET:  # a new beginning, also where the state stays
                self._enter(circuit, self._epoch + 1)
        self._tell()

    def _look(self) -> tuple[Circuit, float]:
        with self._lock:
            now = self._catch_up()
            circuit = self._now
        self._tell()
        return circuit, now

    def _catch_up(self) -> float:
        """What has come about while nobody looked. Returns the time."""
        now = self._clock()
        while self._given_up:
            if self._given_up.popleft() == self._epoch:
                self._feed(E.ABANDONED, "", now)
        if self._now.until is not None and now >= self._now.until:
            self._feed(E.TIMEOUT, "", now)
        return now

    def _feed(self, event: BreakerEvent, who: str, now: float) -> Circuit:
        old = self._now
        new = feed(old, event, policy=self.policy, who=who, now=now)
        if new.state is not old.state:
            self._news.append(CircuitChanged(self.name, old.state, new.state, new.failures))
            self._enter(new, self._epoch + 1)
        elif new is not old:
            self._enter(new, self._epoch)
        return new

    def _enter(self, circuit: Circuit, epoch: int) -> None:
        closed = circuit.state is S.CLOSED
        self._free = None  # while this is written, calls come here and wait for the lock
        self._clear = closed and not circuit.failures
        self._now, self._epoch = circuit, epoch
        self._free = epoch if closed else None

    # --- what people are told ----------------------------------------------------------------------

    def _tell(self) -> None:
        """Whoever comes first tells everything; who comes meanwhile, also from within, leaves it to that."""
        while self._news and self._telling.acquire(blocking=False):
            try:
                while self._news:
                    self._tell_one(self._news.popleft())
            finally:
                self._telling.release()

    def _tell_one(self, change: CircuitChanged) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(change)
        except Exception:  # noqa: BLE001 - an observer may not decide what becomes of a call
            LOGGER.exception("circuit %r: its observer failed", self.name)

    def _why(self, circuit: Circuit) -> str:
        last = self._last_failure
        return f" Last failure: {last}." if last and circuit.failures else ""


def _holder(epoch: int) -> str:
    return f"trial {epoch}"


def _predicate(counts: Counts) -> Callable[[Exception], bool]:
    if isinstance(counts, type | tuple):
        kinds = counts if isinstance(counts, tuple) else (counts,)
        if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            return lambda error: isinstance(error, kinds)
    elif callable(counts):
        return counts
    raise ConfigError([Problem("counts", counts, "an exception type, a tuple of them, or a function")])


def _is_async(operation: Callable[..., Any]) -> bool:
    """Objects with an `async def __call__` are meant too."""
    call = getattr(operation, "__call__", None)  # noqa: B004 - what it is matters, not whether it is there
    return inspect.iscoroutinefunction(operation) or inspect.iscoroutinefunction(call)


def _retry_in(circuit: Circuit, now: float) -> float | None:
    if circuit.state is S.TRIAL:
        return None
    return 0.0 if circuit.until is None else max(0.0, circuit.until - now)


def _standing(circuit: Circuit, policy: Breaker, now: float) -> str:
    match circuit.state:
        case S.CLOSED:
            return f"is closed, with {circuit.failures} of {plural(policy.threshold, 'failure')} in a row"
        case S.OPEN:
            after = f" after {plural(circuit.failures, 'failure')} in a row" if circuit.failures else ""
            return f"is open{after}; it allows one trial in {seconds(_retry_in(circuit, now) or 0.0)}"
        case S.HALF_OPEN:
            return "is half-open; the next call is the trial that decides"
        case S.TRIAL:
            return "is half-open; the trial under way decides"


def _reason(error: BaseException | None) -> str:
    """In one short line, also of an exception that cannot say what it is."""
    if error is None:
        return ""
    line = " ".join(traceback.format_exception_only(error)[-1].split()).rstrip(".")
    return line if len(line) <= REASON_SHOWN else line[: REASON_SHOWN - 3] + "..."
