"""A local engine: a process with its tree, its output and its port, from launch until nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress

import attrs
from attrs import frozen

from pool_lifecycle.causes import Cause, Clue, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle, Inspection, StopReport
from pool_lifecycle_drivers import pidfile
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.ending import Ending
from pool_lifecycle_drivers.guardian import Guardian
from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.oom import OomWatch
from pool_lifecycle_drivers.output import Output
from pool_lifecycle_drivers.pinned import POLL, Pinned
from pool_lifecycle_drivers.ports import PortBook, socket_inodes
from pool_lifecycle_drivers.release import until_released
from pool_lifecycle_drivers.spawn import shortage
from pool_lifecycle_drivers.tree import SESSION, Tree

NAME = "local"


@frozen
class Details:
    """What an engine's handle keeps in `details`, as a JSON object of these.

    `log_path` is the file its output goes to, and `log_offset` how many bytes were in it before this
    launch: what this launch wrote begins there. `pid_path` is its pid file. `containment` is what it was to
    be held together by, and `cgroup` the folder of its own cgroup; `Engine.inspect` tells whether that came
    true. Paths are empty where unknown.
    """

    log_path: str = ""
    log_offset: int = 0
    pid_path: str = ""
    containment: str = SESSION
    cgroup: str = ""

    def dump(self) -> str:
        """As kept in a handle."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def load(cls, text: str) -> Details:
        """From a handle; everything unknown where the text is not ours."""
        try:
            kept = json.loads(text)
            place = str(kept.get("containment", SESSION)), str(kept.get("cgroup", ""))
            return cls(str(kept["log_path"]), int(kept["log_offset"]), str(kept["pid_path"]), *place)
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls()


@frozen
class Shared:
    """What all engines of a launcher have in common."""

    ports: PortBook
    census: Census
    guardian: Guardian


class LocalEngine:
    """One launched process and everything that came of it. Made by `LocalLauncher`; belongs to its loop.

    Once ended it has to be stopped all the same: what it left is looked for, and it is reaped only then.
    """

    def __init__(
        self,
        handle: EngineHandle,
        leader: Pinned,
        tree: Tree,
        output: Output,
        *,
        oom: OomWatch,
        shared: Shared,
    ) -> None:
        self._home = os.getpid()
        self._handle = handle
        self._leader = leader
        self._tree = tree
        self._output = output
        self._oom = oom
        self._ports, self._census, self._guardian = shared.ports, shared.census, shared.guardian
        self._sockets: frozenset[int] = frozenset()
        self._status: ExitStatus | None = None
        self._exited = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._ending: Ending | None = None
        self._stopping: asyncio.Task[StopReport] | None = None
        self._ports.hold(handle.port)
        self._census.leads(leader.who, handle.token)
        leader.on_end(self._read_status)

    @property
    def handle(self) -> EngineHandle:
        """Who it is: boot id, pid, start time and token; `details` is described in `Details`."""
        return self._handle

    @property
    def containment(self) -> str:
        """The tier that holds its tree together."""
        return self._tree.containment

    async def wait(self) -> ExitStatus:
        """Return when the leading process has ended, with how; LOST where nobody can know.

        That is so when it is not our child, or the program we are part of ignores SIGCHLD or reaps children
        that are not its own. What the host knows of an OOM kill is in `clues`. It is told at once, but for a
        SIGKILL that may be the kernel's: its log is asked first, for at most a quarter of a second.
        """
        while self._status is None:
            await self._exited.wait()
        return self._status

    async def stop(self, *, kill_after: float) -> StopReport:
        """End the tree; see `Engine.stop`. The first SIGTERM has been sent before this first waits.

        Raises DriverError in a forked child: the engine is its parent's.
        """
        if os.getpid() != self._home:
            raise DriverError(NAME, _NOT_OURS)
        if self._stopping is None or _failed(self._stopping):
            self._ending = Ending(self._leader, self._tree, self._learn_sockets)
            self._ending.kill_after(kill_after)
            self._ending.ask()
            self._stopping = asyncio.get_running_loop().create_task(self._end(self._ending))
        elif self._ending is not None:
            self._ending.kill_after(kill_after)
        return await asyncio.shield(self._stopping)

    async def inspect(self) -> Inspection:
        """Look at the tree now. `alive` is about the leading process; `pids` are of all that live."""
        await self._tree.settled()
        try:
            found = await self._tree.look()
            pids = tuple(sorted(who.pid for who in found))
            listening = await self._census.listeners()
            held, look = await in_thread(lambda: (socket_inodes(pids), self._oom.look(self._leader.who.pid)))
        except OSError as error:
            message = f"the processes of the host cannot be looked at: {error}"
            cause = Cause(FailureClass.UNKNOWN, Stage.RUN, message, remedy=shortage(error))
            raise DriverError(NAME, cause) from error
        if self._leader.alive():  # after the look: an ended process shows another cgroup than it was in
            self._oom.remember(look)
        own = [one for one in listening if one.inode in held]
        self._sockets |= {one.inode for one in own if one.port == self._handle.port}
        return Inspection(
            alive=self._leader.who in found,
            pids=pids,
            listening=tuple(sorted({one.port for one in own})),
            containment=self._tree.containment,
        )

    async def output(self, *, after: int) -> int:
        """Wait until this launch has written more than `after` bytes; return how many it has.

        An engine that has ended writes no more: what it did not write is waited for until cancelled.
        """
        return await self._output.more_than(after)

    def _read_status(self) -> None:
        status = self._leader.exit_status()
        if status is None:  # a debugger that traces it gets to know first
            asyncio.get_running_loop().call_later(POLL, self._read_status)
            return
        clue = None if self._killed() else self._oom.counted(status, self._tree)
        if self._may_be_logged(status, clue):
            self._asking = asyncio.get_running_loop().create_task(self._ask_log(status, clue))
        else:
            self._tell(status, clue)

    def _killed(self) -> bool:
        """Whether we did it."""
        return self._ending is not None and self._ending.killed

    def _may_be_logged(self, status: ExitStatus, clue: Clue | None) -> bool:
        """Whether the kernel's log may know more of this ending: it only tells of its own kills."""
        unexplained = not (self._killed() or (clue is not None and clue.proof))
        could_be = status.signal == signal.SIGKILL or not status.known
        return unexplained and could_be and self._oom.may_be_logged()

    async def _ask_log(self, status: ExitStatus, clue: Clue | None) -> None:
        logged = None
        try:
            logged = await self._oom.logged(self._tree)
        finally:
            self._tell(status, logged, clue)

    def _tell(self, status: ExitStatus, *clues: Clue | None) -> None:
        known = tuple(clue for clue in clues if clue is not None)
        self._status = attrs.evolve(status, clues=known) if known else status
        self._exited.set()

    async def _end(self, ending: Ending) -> StopReport:
        await ending.run()
        status = await self.wait()
        await until_released(self._census, self._handle.host, self._handle.port, self._sockets)
        suspects = await self._tree.suspects(self._output.path, self._handle.port)
        await self._tree.dissolve()
        self._leader.release()
        self._output.close()
        pidfile.remove(Details.load(self._handle.details).pid_path, self._handle)
        self._ports.release(self._handle.port)
        self._census.gone(self._leader.who)
        await self._guardian.forget(self._handle.token)
        ended = tuple(sorted(ending.ended))
        return StopReport(status, killed=ending.killed, ended=ended, suspects=suspects)

    async def _learn_sockets(self) -> None:
        """Look which sockets it has, should one of them outlive it."""
        with suppress(DriverError):
            await self.inspect()


_NOT_OURS = Cause(
    FailureClass.UNKNOWN,
    Stage.STOP,
    "the engine belongs to the process that launched it, and this is a forked child of that",
    heals=False,
    remedy="end it there",
)


def _failed(task: asyncio.Task[StopReport]) -> bool:
    """Done without a result, so that it has to be done again."""
    return task.done() and (task.cancelled() or task.exception() is not None)
