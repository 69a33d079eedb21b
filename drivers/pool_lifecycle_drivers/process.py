"""The launcher of local processes.

    launcher = LocalLauncher()
    port = await launcher.reserve_port(host="127.0.0.1")
    engine = await launcher.launch(request=LaunchRequest(...))
    report = await engine.stop(kill_after=5.0)

An engine gets a session of its own, an environment built from nothing, /dev/null as its input and a file
as its output, so that it outlives us if it is meant to. Its end is learnt from the kernel through a pidfd;
it is found again by boot id, pid, start time and launch token; it is ended with everything it started.

Needs Linux. Without `pidfd_open` (before 5.3, or hidden by a sandbox) ends are looked for ten times a
second, and only processes of our own launch and their groups can be ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import attrs
from attrs import frozen

from pool_lifecycle.causes import LOST, Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Capability, EngineHandle, LaunchRequest, StopReport
from pool_lifecycle_drivers import abilities, adoption, pidfile, preflight
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.containment import AUTO, Containment
from pool_lifecycle_drivers.engine import NAME, Details, LocalEngine, Shared
from pool_lifecycle_drivers.environment import LAUNCH, Note, engine_environment
from pool_lifecycle_drivers.growth import GrowthWatch
from pool_lifecycle_drivers.guardian import Guardian
from pool_lifecycle_drivers.offload import Batch
from pool_lifecycle_drivers.oom import Look, OomKills, OomWatch
from pool_lifecycle_drivers.output import Output, open_for_append
from pool_lifecycle_drivers.pinned import Pinned, pin, pin_child
from pool_lifecycle_drivers.ports import PortBook, addresses
from pool_lifecycle_drivers.procfs import TICKS_PER_SECOND, Identity, boot_id, identify, read_token
from pool_lifecycle_drivers.spawn import launch_cause, shortage, spawn
from pool_lifecycle_drivers.tree import Tree


class LocalLauncher:
    """Starts engines as processes of this host. May be used by many pools.

    `containment` are the tiers that may hold an engine together, best first: those that the host does not
    allow are passed over, and a session is always there. `cgroup` is the folder of the cgroup below which
    every engine gets its own, instead of the one this program is in.
    """

    def __init__(self, *, containment: Iterable[str] = AUTO, cgroup: str | None = None) -> None:
        self._containment = Containment(containment, parent=cgroup)
        self._ports = PortBook()
        self._growth = GrowthWatch()
        self._census = Census()
        self._oom = OomKills()
        self._preflights = Batch()
        self._looks = Batch()
        self._guardian = Guardian()

    def capabilities(self) -> tuple[Capability, ...]:
        """What this host, and the program we are part of, allow."""
        return (
            self._containment.capability(),
            self._guardian.capability(),
            *abilities.of_host(self._oom),
        )

    def hold(self) -> Callable[[], Awaitable[None]]:
        """Keep the guardian and the watch on logs, once there are any, until what is returned is called.

        Each takes as long to make and to unmake as all else that replaces a crashed engine.
        """
        let_watch_go = self._growth.hold()
        self._guardian.hold()

        async def let_go() -> None:
            let_watch_go()
            await self._guardian.let_go()

        return let_go

    async def reserve_port(self, *, host: str) -> int:
        """A port free on every address of `host`; it is not handed out again for an hour, or while in use."""
        try:
            found = await addresses(host)
            return self._ports.reserve(found, asyncio.get_running_loop().time())
        except OSError as error:
            raise DriverError(NAME, _address_cause(host, error)) from error

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """What is wrong with program, directory, files and port, in a thread: a disk may be slow."""
        environment = engine_environment(request, os.environ)
        try:
            found = await addresses(request.host)
        except OSError as error:
            return (_address_cause(request.host, error),)
        return await self._preflights.do(lambda: preflight.check_all(request, environment, found))

    async def launch(self, *, request: LaunchRequest) -> LocalEngine:
        """Start the engine. Nothing is waited for, so it cannot be cancelled half-way.

        Raises DriverError with stage LAUNCH when it cannot be executed, or its files cannot be written.
        """
        environment = engine_environment(request, os.environ)
        try:
            engine = self._launch(request, environment)
        except (OSError, ValueError, IndexError) as error:
            await self._guardian.forget(request.token)
            raise DriverError(NAME, launch_cause(request, environment, error)) from error
        try:
            pidfile.write(request.pid_path, engine.handle)
        except OSError as error:
            await engine.stop(kill_after=0.0)
            raise DriverError(NAME, launch_cause(request, environment, error)) from error
        return engine

    async def recover(self, *, handle: EngineHandle) -> LocalEngine | None:
        """The engine of `handle`, if anything of it provably lives; else None, and its pid file is removed.

        Boot id, pid and start time have to match: together they name one process for all time, whatever
        program it has become. The token has to match as well, where it can be read. It cannot of a program
        that wiped its environment or changed its user: then the other three decide.

        If the leading process is gone but others of its tree live, the engine returned has ended and wants to
        be stopped. A handle without a pid, made before a launch that nobody saw succeed (its `driver` may be
        empty), is looked for by its token; port and `details` then come from the engine's environment.
        """
        if handle.driver not in {NAME, ""} or handle.boot_id not in {None, boot_id()}:
            return None
        try:
            return await self._recover(handle)
        except OSError as error:
            raise DriverError(NAME, _unseen(error)) from error

    async def find(self, *, pid_path: str) -> EngineHandle | None:
        """The handle of the engine launched with that pid file, if anything of it provably lives, else None.

        Its proof is the identity that lies beside the pid file. Nothing is changed.
        """
        handle = pidfile.read_proven(pid_path)
        if handle is None or handle.driver != NAME or handle.boot_id != boot_id():
            return None
        leader, tree = _pin(handle), self._tree(handle, Details.load(handle.details))
        try:
            is_another = (await self._see(tree)).is_another
            return handle if not is_another and await _lives(leader, tree) else None
        except OSError as error:
            raise DriverError(NAME, _unseen(error)) from error
        finally:
            leader.release()

    def _launch(self, request: LaunchRequest, environment: Mapping[str, str]) -> LocalEngine:
        log = open_for_append(request.log_path)
        try:
            before = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)
            leaf = self._containment.leaf(request.token)
            place = (leaf.tier, leaf.folder) if leaf is not None else (self._containment.floor, "")
            handle = _expected(request, os.fstat(log).st_size, *place)
            note = Note(handle.host, handle.port, handle.details, before)
            oom = self._oom.watch_child()
            self._guard(handle, request.orphan_grace)
            pid = spawn(request, {**environment, LAUNCH: note.dump()}, log)
        finally:
            os.close(log)
        leader = pin_child(pid, before)
        handle = attrs.evolve(handle, pid=pid, boot_id=boot_id(), start_ticks=leader.who.start_ticks)
        self._guard(handle, request.orphan_grace)
        if leaf is not None:
            leaf.enter(leader.who, handle.token)
        tree = Tree(leader.who, handle.token, self._census, leaf, self._containment.floor)
        return self._engine(handle, Details.load(handle.details), leader, tree, oom)

    def _guard(self, handle: EngineHandle, grace: float | None) -> None:
        """Before the launch and, when it is known who it is, after it."""
        if grace is not None:
            self._guardian.expect(handle, grace)

    def _engine(
        self, handle: EngineHandle, details: Details, leader: Pinned, tree: Tree, oom: OomWatch
    ) -> LocalEngine:
        output = Output(details.log_path, details.log_offset, self._growth)
        shared = Shared(self._ports, self._census, self._guardian)
        return LocalEngine(handle, leader, tree, output, oom=oom, shared=shared)

    async def _recover(self, handle: EngineHandle) -> LocalEngine | None:
        if handle.pid is None or handle.start_ticks is None:
            found = await adoption.find(handle, self._census, self._looks)
            if found is None:
                return None
            handle = found
        leader = _pin(handle)
        engine = None
        try:
            engine = await self._adopt(handle, leader)
        finally:
            if engine is None:
                leader.release()
        return engine

    async def _adopt(self, handle: EngineHandle, leader: Pinned) -> LocalEngine | None:
        details = Details.load(handle.details)
        tree = self._tree(handle, details)
        seen = await self._see(tree)
        if seen.is_another:
            return None
        if await _lives(leader, tree):
            if tree.leaf is not None and leader.alive():
                tree.leaf.in_force = seen.placed
                if not seen.placed:
                    tree.leaf.enter(leader.who, handle.token)
            pidfile.restore(details.pid_path, handle)
            return self._engine(handle, details, leader, tree, self._oom.since(seen.oom))
        await tree.dissolve()
        await self._guardian.forget(handle.token)
        pidfile.remove(details.pid_path, handle)
        return None

    def _tree(self, handle: EngineHandle, details: Details) -> Tree:
        leaf = self._containment.recovered(details.cgroup, handle.token)
        return Tree(_leader(handle), handle.token, self._census, leaf)

    async def _see(self, tree: Tree) -> Seen:
        return await self._looks.do(lambda: Seen.of(tree, self._oom))


@frozen
class Seen:
    """What a recovery has to know of a leading process, which it may take the kernel a while to say.

    `is_another`: it carries another token. `placed`: it is in the cgroup of its launch.
    """

    is_another: bool
    placed: bool
    oom: Look

    @classmethod
    def of(cls, tree: Tree, oom: OomKills) -> Seen:
        """Look, in a thread of its own."""
        who = tree.leader
        token, look = read_token(who.pid), oom.look(who.pid)
        is_another = token not in {None, tree.token} and identify(who.pid) == who
        return cls(is_another, tree.leaf is not None and who.pid in pids_in(tree.leaf.folder), look)


async def _lives(leader: Pinned, tree: Tree) -> bool:
    """Whether anything of a launch does. The whole host is only looked at where its leader is gone."""
    return leader.alive() or bool(await tree.look())


def _leader(handle: EngineHandle) -> Identity:
    return Identity(handle.pid or 0, handle.start_ticks or 0)


def _pin(handle: EngineHandle) -> Pinned:
    who = _leader(handle)
    return pin(who, ours=_is_child(who)) or Pinned(who, None)


def _expected(request: LaunchRequest, offset: int, containment: str, cgroup: str) -> EngineHandle:
    """What is known of an engine before it is launched."""
    details = Details(request.log_path, offset, request.pid_path, containment, cgroup)
    return EngineHandle(NAME, request.token, request.host, request.port, details=details.dump())


async def stop_by_pid_file(path: str, *, kill_after: float) -> StopReport:
    """End the engine whose pid file is at `path`, if the identity beside it proves that it is the one.

    Raises DriverError naming the file when there is none, or when nothing proves whose pid it holds; then
    nothing is signalled. An engine that is gone already is no error: its files are removed.
    """
    try:
        pidfile.read_pid(path)
    except OSError as error:
        message = f"no pid file can be read at {path!r}: {error.strerror}"
        remedy = "nothing was launched with that file, or it has been stopped already"
        raise DriverError(NAME, _unstoppable(message, remedy)) from error
    handle = pidfile.read_proven(path)
    if handle is None:
        message = f"pid file {path!r}: nothing beside it proves whose pid that is, so nothing was signalled"
        raise DriverError(NAME, _unstoppable(message, "look for the engine by hand, then remove the file"))
    engine = await LocalLauncher().recover(handle=handle)
    if engine is not None:
        return await engine.stop(kill_after=kill_after)
    pidfile.remove(path, handle)
    return StopReport(LOST)


def _unseen(error: OSError) -> Cause:
    message = f"the processes of the host cannot be looked at: {error}"
    return Cause(FailureClass.UNKNOWN, Stage.LAUNCH, message, remedy=shortage(error))


def _unstoppable(message: str, remedy: str) -> Cause:
    return Cause(FailureClass.UNKNOWN, Stage.STOP, message, heals=False, remedy=remedy)


def _is_child(who: Identity) -> bool:
    try:
        os.waitid(os.P_PID, who.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return identify(who.pid) == who


def _address_cause(host: str, error: OSError) -> Cause:
    heals = not isinstance(error, socket.gaierror) or error.errno == socket.EAI_AGAIN
    message = f"no port can be taken on host {host!r}: {error.strerror or error}"
    remedy = shortage(error) or "correct `host`: it must be an address of this machine"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, heals=heals, remedy=remedy)
