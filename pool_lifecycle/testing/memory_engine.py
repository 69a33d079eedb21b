"""Engines that exist only in memory. Public by way of `pool_lifecycle.testing.memory`."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field, frozen

from pool_lifecycle.causes import Cause, ExitStatus
from pool_lifecycle.interfaces import EngineHandle, Inspection, LaunchRequest, StopReport

NAME = "memory"

CLEAN = ExitStatus(code=0)
TERMINATED = ExitStatus(signal=int(signal.SIGTERM))
KILLED = ExitStatus(signal=int(signal.SIGKILL))
SEGFAULT = ExitStatus(signal=int(signal.SIGSEGV))


@frozen
class EngineScript:
    """How one engine behaves; times in seconds after its launch, unless said otherwise.

    `preflight` is what is known beforehand. `launch` lasts `launch_takes` and then fails with
    `launch_error`, if there is one. The engine is ready `ready_after` (None: never), and ends by itself
    with `exit` after `exits_after` (None: never). It writes `output`: pairs of time and bytes. Asked to
    end, it takes `term_takes` seconds and ends with `term_exit`, unless it `ignores_term`. `unkillable`:
    no signal has an effect until `release()`, like a process in uninterruptible sleep.
    """

    ready_after: float | None = 0.0
    exits_after: float | None = None
    exit: ExitStatus = CLEAN
    ignores_term: bool = False
    term_takes: float = 0.0
    term_exit: ExitStatus = TERMINATED
    unkillable: bool = False
    launch_takes: float = 0.0
    launch_error: Cause | None = None
    output: tuple[tuple[float, int], ...] = ()
    preflight: tuple[Cause, ...] = ()


@define(eq=False)
class MemoryEngine:
    """An engine that is only pretended. Made by `MemoryLauncher.launch`.

    It costs no task, and at most one timer: for the next thing that its script lets happen.
    """

    request: LaunchRequest
    script: EngineScript
    pid: int
    _on_end: Callable[[MemoryEngine], None]
    _loop: asyncio.AbstractEventLoop
    _born: float
    _ready_at: float | None
    _held: bool
    exit: ExitStatus | None = field(default=None, init=False)
    _ended_at: float | None = field(default=None, init=False)
    _term_at: float | None = field(default=None, init=False)
    _kill_at: float | None = field(default=None, init=False)
    _killed: bool = field(default=False, init=False)
    _hanging: bool = field(default=False, init=False)
    _written: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _waiters: set[asyncio.Future[None]] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._set_timer()

    @property
    def handle(self) -> EngineHandle:
        """What `MemoryLauncher.recover` needs. There is no process, hence no boot id and no start time."""
        asked = self.request
        return EngineHandle(NAME, asked.token, asked.host, asked.port, pid=self.pid)

    @property
    def containment(self) -> str:
        """There is nothing that could escape."""
        return NAME

    @property
    def alive(self) -> bool:
        """False once it ended; it never lives again."""
        return self.exit is None

    @property
    def ready(self) -> bool:
        """Whether it lives, listens and answers."""
        return self.listening and not self._hanging

    @property
    def listening(self) -> bool:
        """Whether it holds its port: from the moment it is ready until it ends, also while it hangs."""
        return self.alive and self._ready_at is not None and self._ready_at <= self._loop.time()

    @property
    def hanging(self) -> bool:
        """Whether it was told to hang."""
        return self._hanging

    @property
    def written(self) -> int:
        """Bytes of output so far."""
        until = self._loop.time() if self._ended_at is None else self._ended_at
        return self._written + sum(count for at, count in self.script.output if self._born + at <= until)

    async def wait(self) -> ExitStatus:
        """Return when it has ended, with how."""
        while self.exit is None:
            await self._change()
        return self.exit

    async def stop(self, *, kill_after: float) -> StopReport:
        """Ask it to end, and kill it after `kill_after` seconds; a later call can only kill earlier."""
        if self.exit is not None and self._term_at is None:
            return StopReport(self.exit)
        self._escalate(self._loop.time(), kill_after)
        exit_ = await self.wait()
        return StopReport(exit_, killed=self._killed, ended=(self.pid,))

    async def inspect(self) -> Inspection:
        """What there is to see: its pid while it lives, its port while it listens."""
        pids = (self.pid,) if self.alive else ()
        ports = (self.request.port,) if self.listening else ()
        return Inspection(self.alive, pids, ports, containment=NAME)

    async def output(self, *, after: int) -> int:
        """Wait for more than `after` bytes of output; for ever, if it ends without having written them."""
        while (written := self.written) <= after:
            await self._change()
        return written

    def crash(self, how: ExitStatus = SEGFAULT) -> None:
        """It ends, now. Nothing happens if it had ended before."""
        if self.alive:
            self._end(how)

    def hang(self) -> None:
        """It lives and holds its port, but no longer answers."""
        self._hanging = True

    def heal(self) -> None:
        """It is ready now, whether it hung or was never to be ready."""
        self._hanging = False
        self._ready_at = self._loop.time()

    def write(self, nbytes: int) -> None:
        """It writes output, now. Nothing happens if it has ended."""
        if self.alive:
            self._written += nbytes
            self._wake()

    def say(self, text: str) -> None:
        """It writes a line of text, now, to the real file at `log_path`. Nothing happens if it has ended."""
        if self.alive:
            write_text(self.request.log_path, f"{text}\n", mode="a")
            self.write(len(text.encode()) + 1)

    def release(self) -> None:
        """It can be ended by signals from now on; a kill that it has already got ends it at once."""
        self._held = False
        if self.alive and self._kill_at is not None and self._kill_at <= self._loop.time():
            self._killed = True
            self._end(KILLED)
        else:
            self._proceed()

    def _escalate(self, now: float, kill_after: float) -> None:
        if self._term_at is None:
            self._term_at = now + self.script.term_takes
        kill_at = now + kill_after
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self._proceed()

    def _endings(self) -> Iterator[tuple[float, ExitStatus]]:
        """When it will end, and how, as things stand; at one time, the gentler ending wins."""
        if self.script.exits_after is not None:
            yield self._born + self.script.exits_after, self.script.exit
        if self._held:
            return
        if self._term_at is not None and not self.script.ignores_term:
            yield self._term_at, self.script.term_exit
        if self._kill_at is not None:
            yield self._kill_at, KILLED

    def _next_ending(self) -> tuple[float, ExitStatus]:
        return min(self._endings(), key=lambda ending: ending[0], default=(math.inf, CLEAN))

    def _proceed(self) -> None:
        """End if that is due, else set the timer anew. The timer calls it, and every change does."""
        at, how = self._next_ending()
        if self.alive and at <= self._loop.time():
            self._killed = at == self._kill_at and how is KILLED
            self._end(how)
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        """For the next ending, and for the next output if anybody waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = (self._next_ending()[0], *self._next_outputs()) if self.alive else ()
        soonest = min(moments, default=math.inf)
        if soonest < math.inf:
            self._timer = self._loop.call_at(soonest, self._on_timer)

    def _next_outputs(self) -> Iterator[float]:
        now = self._loop.time()
        written = (self._born + at for at, _ in self.script.output) if self._waiters else ()
        return (at for at in written if at > now)

    def _on_timer(self) -> None:
        self._wake()
        self._proceed()

    def _end(self, how: ExitStatus) -> None:
        self.exit = how
        self._ended_at = self._loop.time()
        self._set_timer()
        self._on_end(self)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        """Wait until something may have changed."""
        waiter = self._loop.create_future()
        if self._waiters is None:
            self._waiters = set()
        self._waiters.add(waiter)
        if self.script.output:
            self._set_timer()
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


def write_text(path: str, text: str, *, mode: str) -> None:
    """Write to a real file, and make its folder if there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, mode, encoding="utf-8") as file:
        file.write(text)
