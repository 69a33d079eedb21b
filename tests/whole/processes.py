"""The simulated host: its clocks, its processes, their ports. It outlives every manager.

It is the judge, too. It knows which processes live, whatever anybody's records say, and notes what is done to
them, so that the invariants can hold what the library believes against what is so.

All of it runs on one monotonic clock, that of the boot, which is the clock of the event loop while a manager
lives. `true` time goes on through reboots, and nothing but the simulation sees it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from attrs import define, field, frozen

from pool_lifecycle.causes import LOST, Cause, Clue, ClueKind, ExitStatus
from pool_lifecycle.interfaces import LaunchRequest

Call: TypeAlias = Callable[[], object]

FIRST_BOOT_AT, LATER_BOOT_AT = 1000.0, 20.0
"""What the monotonic clock says at the begin: of the simulation, and after a reboot."""

PIDS = range(2**22 + 1, 2**22 + 400)
"""Few, so that numbers come round again and belong to somebody else by then."""

PORTS = range(20000, 20200)

MANAGER, GUARDIAN = "the manager", "its guardian"
"""Who signals."""

EXIT_1, TERMINATED, KILLED, SEGFAULT = (
    ExitStatus(code=1),
    ExitStatus(signal=15),
    ExitStatus(signal=9),
    ExitStatus(signal=11),
)
OOM = ExitStatus(signal=9, clues=(Clue(ClueKind.OOM_KILL, "the simulated kernel killed it", proof=True),))


@frozen
class Nature:
    """How a launched process behaves. Times in seconds after its begin; None: never.

    `workers` are further processes of its tree, which live on when only the leader ends; `keeps_memory` is
    how long a device's memory stays taken after everything has ended.
    """

    ready_after: float | None = 0.05
    ends_after: float | None = None
    end: ExitStatus = EXIT_1
    last_words: str = ""
    ignores_term: bool = False
    term_takes: float = 0.01
    unkillable: bool = False
    workers: int = 0
    launch_error: Cause | None = None
    keeps_memory: float = 0.0


WORKS = Nature()


@define(eq=False)
class Process:
    """One launch: a leader, and perhaps workers. One-shot."""

    host: SimulatedHost
    request: LaunchRequest
    nature: Nature
    pid: int
    boot_id: str
    start_ticks: int
    born: float
    exit: ExitStatus | None = None
    workers: int = 0
    hanging: bool = False
    ill: bool = False
    stopped: bool = False
    term_at: float | None = None
    kill_at: float | None = None
    gone_at: float | None = None
    ended_at: float | None = None
    lost_status: bool = False
    answered: list[tuple[float, float]] = field(factory=list)
    held: bool = field(init=False)
    waiting: list[asyncio.Future[None]] = field(factory=list)
    ready_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        after = self.nature.ready_after
        self.held, self.workers = self.nature.unkillable, self.nature.workers
        self.ready_at = math.inf if after is None else self.born + after
        if self.nature.ends_after is not None:
            self.host.at(self.born + self.nature.ends_after, lambda: self.end(self.nature.end))

    def __repr__(self) -> str:
        return f"process {self.pid} ({self.request.token})"

    @property
    def token(self) -> str:
        """The launch's."""
        return self.request.token

    @property
    def pool_id(self) -> str:
        """The pool's."""
        return self.request.pool_id

    @property
    def leads(self) -> bool:
        """Whether its leader lives."""
        return self.exit is None

    @property
    def lives(self) -> bool:
        """Whether anything of its tree does."""
        return self.gone_at is None

    @property
    def holds_memory(self) -> bool:
        """Whether it has memory of a device."""
        if self.gone_at is None or self.boot_id != self.host.boot_id:
            return self.gone_at is None
        return self.gone_at + self.nature.keeps_memory > self.host.now

    @property
    def listening(self) -> bool:
        """Whether its tree holds its port."""
        return self.lives and self.ready_at <= self.host.now and not self.host.usurped(self.request.port)

    @property
    def answers(self) -> bool:
        """Whether its leader answers that it is well."""
        return self.listening and self.leads and not (self.hanging or self.stopped or self.ill)

    def end(self, how: ExitStatus, *, tree: bool = True) -> None:
        """Its leader ends, with its workers or without. Nothing happens to what has ended."""
        if self.exit is None:
            self.host.note(f"{self} ends: {how}")
            if self.nature.last_words:
                self.host.say(self, self.nature.last_words)
            self.exit, self.ended_at = how, self.host.now
        if tree:
            self.workers = 0
        if not self.workers and self.gone_at is None:
            self.gone_at = self.host.now
            self.host.freed(self)
        self._wake()

    def term(self, by: str = MANAGER) -> None:
        """SIGTERM to all of the tree."""
        self.host.signalled(self, "TERM", by)
        if self.term_at is None and self.lives and not self._deaf:
            self.term_at = self.host.now + self.nature.term_takes
            self.host.at(self.term_at, self._termed)

    def kill(self, by: str = MANAGER) -> None:
        """SIGKILL to all of the tree."""
        self.host.signalled(self, "KILL", by)
        self.kill_at = self.host.now if self.kill_at is None else self.kill_at
        if self.lives and not self.held:
            self.end(KILLED)

    def release(self) -> None:
        """From now on it ends as it is told; a kill that it has got already ends it."""
        self.held = self.stopped = False
        if self.lives and self.kill_at is not None:
            self.end(KILLED)

    @property
    def _deaf(self) -> bool:
        return self.nature.ignores_term or self.held or self.stopped

    def _termed(self) -> None:
        if self.lives and not (self.held or self.stopped):
            self.end(TERMINATED)

    async def change(self) -> None:
        """Wait until something of it has ended."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self.waiting:
                self.waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def status(self) -> ExitStatus:
        """What its waiter learns of how its leader ended."""
        assert self.exit is not None
        return LOST if self.lost_status else self.exit


@frozen
class Stranger:
    """A process that is not ours: it must never be hurt."""

    pid: int
    port: int | None = None


@define(eq=False)
class SimulatedHost:
    """Processes, ports, clocks. `note` is told what happens; `signalled` judges every signal."""

    note: Callable[[str], None]
    signalled: Callable[[Process, str, str], None]
    launched: Callable[[Process], None]
    loop: asyncio.AbstractEventLoop | None = None
    boots: int = 1
    wall_offset: float = 1_700_000_000.0
    processes: list[Process] = field(factory=list)
    strangers: list[Stranger] = field(factory=list)
    _now: float = FIRST_BOOT_AT
    _gone_before: float = -FIRST_BOOT_AT
    _agenda: list[tuple[float, int, Call]] = field(factory=list)
    _number: Iterator[int] = field(factory=itertools.count)
    _pids: Iterator[int] = field(factory=lambda: itertools.cycle(PIDS))
    _ports: Iterator[int] = field(factory=lambda: itertools.cycle(PORTS))
    _timer: asyncio.TimerHandle | None = None

    # --- clocks ----------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The monotonic clock of this boot."""
        return self._now if self.loop is None else self.loop.time()

    @property
    def true(self) -> float:
        """Seconds since the simulation began, whatever was booted meanwhile."""
        return self.now + self._gone_before

    @property
    def boot_id(self) -> str:
        """The name of this boot."""
        return f"boot-{self.boots}"

    def wall(self) -> float:
        """The wall clock, which may be wrong."""
        return self.true + self.wall_offset

    def at(self, when: float, call: Call) -> None:
        """Call at that time of this boot, whether a manager lives then or not."""
        heapq.heappush(self._agenda, (when, next(self._number), call))
        self._arm()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """A manager begins to live; from now on its loop says what time it is."""
        self.loop = loop
        self._arm()

    def detach(self) -> None:
        """It lives no more."""
        self._now = self.now
        self.loop = self._timer = None
        for one in self.processes:
            one.waiting.clear()

    def pass_time(self, seconds: float) -> None:
        """Nobody manages for so long."""
        until = self._now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            when, _, call = heapq.heappop(self._agenda)
            self._now = max(self._now, when)
            call()
        self._now = until

    def _arm(self) -> None:
        if self.loop is None or not self._agenda:
            return
        due = self._agenda[0][0]
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._run_due)

    def _run_due(self) -> None:
        self._timer = None
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()
        self._arm()

    # --- processes -------------------------------------------------------------------------------------

    @property
    def living(self) -> list[Process]:
        """Every process of ours of which anything lives."""
        return [one for one in self.processes if one.lives]

    def of(self, pool_id: str) -> list[Process]:
        """Those of one pool that live."""
        return [one for one in self.living if one.pool_id == pool_id]

    def by_token(self, token: str) -> Process | None:
        """The process of a launch, whether it lives or not."""
        return next((one for one in reversed(self.processes) if one.token == token), None)

    def free_port(self) -> int:
        """One that nobody holds and that was not handed out just before."""
        taken = {one.request.port for one in self.living}
        return next(port for port in self._ports if port not in taken and not self.usurped(port))

    def usurped(self, port: int) -> bool:
        """Whether a stranger holds it."""
        return any(one.port == port for one in self.strangers)

    def holder(self, port: int) -> Process | None:
        """Which of our processes has that port, or will have it as soon as it is ready."""
        return next((one for one in self.living if one.request.port == port), None)

    def fork(self, request: LaunchRequest, nature: Nature) -> Process:
        """A process begins to live."""
        taken = {one.pid for one in self.living} | {one.pid for one in self.strangers}
        pid = next(pid for pid in self._pids if pid not in taken)
        process = Process(self, request, nature, pid, self.boot_id, round(self.now * 100), self.now)
        self.processes.append(process)
        self.note(f"{process} begins on port {request.port}: {nature}")
        self.launched(process)
        return process

    def leave(self, stranger: Stranger) -> None:
        """A stranger goes."""
        if stranger in self.strangers:
            self.strangers.remove(stranger)

    def say(self, process: Process, text: str) -> None:
        """It writes a line to its log."""
        with open(process.request.log_path, "a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    def freed(self, process: Process) -> None:
        """Nothing is left of it; its pid is somebody else's as soon as that is possible."""
        if process.pid % 2:
            self.strangers.append(Stranger(process.pid))

    def manager_died(self) -> None:
        """The guardians of the engines that are not to outlive their manager end them."""
        for one in self.living:
            if (grace := one.request.orphan_grace) is not None:
                one.term(GUARDIAN)
                self.at(self.now + grace, partial(self._guarded, one))

    def _guarded(self, process: Process) -> None:
        if process.lives:
            process.kill(GUARDIAN)

    def reboot(self, down: float) -> None:
        """Everything dies; the monotonic clock begins anew."""
        for one in self.living:
            one.held = False
            one.end(KILLED)
            one.lost_status = True
        self.strangers.clear()
        self._agenda.clear()
        self._gone_before += self._now + down - LATER_BOOT_AT
        self._now = LATER_BOOT_AT
        self.boots += 1
