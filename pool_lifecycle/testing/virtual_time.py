"""An event loop whose time is virtual: waiting costs nothing, and waiting for nothing is an error.

Whenever nothing is ready, the loop looks once at its real file descriptors and, if they are quiet too,
jumps to its next timer. 300 seconds of sleep cost microseconds, and every run of a program sees the same
times. When there is no timer either, nobody could ever wake the program: that is a `Deadlock`, and the
error says which task waits where.

    from pool_lifecycle.testing import virtual_time

    virtual_time.run(main())

Time passes only while the program waits; computing takes none, unless `block` says how much. What happens
in threads or other processes takes real time, which the loop cannot see, so it has to be told: while the
program is `outside()`, virtual time stands still and the loop really waits. Work given to
`asyncio.to_thread` or `loop.run_in_executor` counts as outside by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from types import FrameType
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = 1000.0
"""Where virtual time begins, in seconds: away from 0, so that a forgotten time shows."""

LIMIT = 30 * 86400.0
"""How many virtual seconds a program may last, if it does not say otherwise."""


class Deadlock(RuntimeError):
    """Nothing can ever happen again, or nothing but timers did for longer than the limit.

    `tasks` has one line for each pending task: its name and where it waits, innermost call first.
    """

    def __init__(self, what: str, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        super().__init__("\n".join((what, *(f"  {line}" for line in tasks))))


class LeakedTasks(AssertionError):
    """The program returned while tasks of its own were still at work. `tasks` is as in `Deadlock`."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        super().__init__("\n".join(("tasks outlived the program:", *(f"  {line}" for line in tasks))))


class UnhandledErrors(AssertionError):
    """Errors that nobody waited for: in callbacks, or in tasks whose result was never asked for."""

    def __init__(self, contexts: list[dict[str, Any]]) -> None:
        self.contexts = contexts
        lines = (f"  {one.get('message')}: {one.get('exception')!r}" for one in contexts)
        super().__init__("\n".join(("nobody handled these errors:", *lines)))


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop itself, for those who need more than `run`. `start` and `limit` in seconds."""

    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self, *, start: float = START, limit: float = LIMIT) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.wait = self._wait
        self._end = start + limit
        self._outside = 0
        self._settling: list[asyncio.Future[None]] = []
        self._set_time(start)

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """While it lasts, virtual time stands still and the loop really waits for descriptors and threads.

        Timers that are not yet due do not fire, so guard a wait that could last forever by real means.
        """
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def block(self, seconds: float) -> None:
        """As if whoever calls computed for so long: time has passed, and nothing was called meanwhile."""
        self._set_time(self._now + seconds)

    async def settle(self) -> None:
        """Return once everything that is ready has run and nobody is outside; time does not advance."""
        settled = self.create_future()
        self._settling.append(settled)
        await settled

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As ever, and counted as outside until the work is done or its waiter cancelled."""
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._come_back)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As ever; the threads that are left end in real time, however long they take."""
        del timeout  # it would be measured in virtual time, in which the threads do not live
        with self.outside():
            await super().shutdown_default_executor()

    def _come_back(self, _: object) -> None:
        self._outside -= 1

    def _set_time(self, now: float) -> None:
        self._now = now
        # Timers due at exactly `now` fire and later ones do not, however large the number has grown.
        self._clock_resolution = math.ulp(now)

    def _wait(self) -> float | None:
        """Called when nothing is ready: how long to wait for descriptors, in real seconds."""
        if self._outside:
            return None
        if self._settling:
            self._wake_settling()
        else:
            self._jump()
        return 0

    def _wake_settling(self) -> None:
        settling, self._settling = self._settling, []
        for settled in settling:
            if not settled.done():
                settled.set_result(None)

    def _jump(self) -> None:
        due = self._scheduled[0].when() if self._scheduled else math.inf
        if due == math.inf:
            raise Deadlock(f"deadlock at {self._now:g} s: nothing ready, no timer set", pending(self))
        if due > self._end:
            raise Deadlock(f"still at work after the limit, {self._end:g} s", pending(self))
        self._set_time(max(due, self._now))


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: it asks the loop what to do instead."""

    wait: Callable[[], float | None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        wait = self.wait()
        return super().select(wait) if wait is None else events


def run(main: Coroutine[Any, Any, T], *, start: float = START, limit: float = LIMIT) -> T:
    """Like `asyncio.run`, in virtual time that begins at `start` and may last `limit` seconds.

    When `main` has returned, what is ready still runs; then nothing may be left. Raises LeakedTasks for
    tasks that are still pending (they are cancelled), UnhandledErrors for errors nobody asked about, and
    Deadlock when nothing could ever happen again.
    """
    errors: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start=start, limit=limit)) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: errors.append(context))
        result = runner.run(main)
        runner.run(settle())
        leaked = pending(runner.get_loop())
    if leaked:
        raise LeakedTasks(leaked)
    if errors:
        raise UnhandledErrors(errors)
    return result


async def settle() -> None:
    """Let everything run that is ready, until only timers remain; time does not advance."""
    await _running().settle()


async def timed(work: Awaitable[T]) -> tuple[T, float]:
    """What `work` returns, and how many seconds it took, to the microsecond."""
    begun = asyncio.get_running_loop().time()
    result = await work
    return result, round(asyncio.get_running_loop().time() - begun, 6)


def block(seconds: float) -> None:
    """Keep the running loop from everything for so many virtual seconds, as a program that computes does."""
    _running().block(seconds)


def outside() -> contextlib.AbstractContextManager[None]:
    """`with outside():` the running loop really waits, for threads or processes; its time stands still."""
    return _running().outside()


def _running() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        raise TypeError(f"the running loop's time is real ({type(loop).__name__}); use virtual_time.run")
    return loop


def pending(loop: asyncio.AbstractEventLoop) -> tuple[str, ...]:
    """One line for each pending task of the loop: its name and where it waits, innermost call first."""
    return tuple(sorted(f"{task.get_name()}: {_waits_in(task)}" for task in asyncio.all_tasks(loop)))


def _waits_in(task: asyncio.Task[Any]) -> str:
    frames = [f"{frame.f_code.co_qualname} ({_place(frame)})" for frame in _frames(task.get_coro())]
    return " < ".join(reversed(frames)) or "code without Python frames"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _frames(awaited: object) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            return
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            yield frame
        awaited = getattr(awaited, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await")
