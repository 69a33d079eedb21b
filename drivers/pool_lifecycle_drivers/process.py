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
import signal
import socket
import time
from collections.abc import Mapping

import attrs

from pool_lifecycle.causes import LOST, Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Capability, EngineHandle, LaunchRequest, StopReport
from pool_lifecycle_drivers import abilities, pidfile, preflight
from pool_lifecycle_drivers.census import ANYBODY, Census
from pool_lifecycle_drivers.engine import NAME, Details, LocalEngine
from pool_lifecycle_drivers.environment import engine_environment
from pool_lifecycle_drivers.growth import GrowthWatch
from pool_lifecycle_drivers.offload import Batch, in_thread
from pool_lifecycle_drivers.oom import OomKills, OomWatch
from pool_lifecycle_drivers.output import Output, open_for_append
from pool_lifecycle_drivers.pinned import Pinned, pin, pin_child
from pool_lifecycle_drivers.ports import PortBook, addresses
from pool_lifecycle_drivers.procfs import TICKS_PER_SECOND, Identity, boot_id, identify, read_token
from pool_lifecycle_drivers.spawn import launch_cause, spawn
from pool_lifecycle_drivers.tree import Tree


class LocalLauncher:
    """Starts engines as processes of this host. Has no settings and may be used by many pools."""

    def __init__(self) -> None:
        self._ports = PortBook()
        self._growth = GrowthWatch()
        self._census = Census()
        self._oom = OomKills()
        self._preflights = Batch()

    def capabilities(self) -> tuple[Capability, ...]:
        """What this host, and the program we are part of, allow."""
        return abilities.of_host(self._oom)

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
            raise DriverError(NAME, launch_cause(request, environment, error)) from error
        try:
            pidfile.write(request.pid_path, engine.handle)
        except OSError as error:
            await engine.stop(kill_after=0.0)
            raise DriverError(NAME, launch_cause(request, environment, error)) from error
        return engine

    async def recover(self, *, handle: EngineHandle) -> LocalEngine | None:
        """The engine of `handle`, if anything of it provably lives; else None, and its pid file is removed.

        Boot id, pid, start time and, where it can be read, the token have to match. If the leading process
        is gone but others of its tree live, the engine returned has ended and wants to be stopped. A handle
        without a pid, made before a launch that nobody saw succeed, is looked for by its token.
        """
        if handle.driver not in {NAME, ""} or handle.boot_id not in {None, boot_id()}:
            return None
        try:
            return await self._recover(handle)
        except OSError as error:
            message = f"the processes of the host cannot be looked at: {error}"
            raise DriverError(NAME, Cause(FailureClass.UNKNOWN, Stage.LAUNCH, message)) from error

    def _launch(self, request: LaunchRequest, environment: Mapping[str, str]) -> LocalEngine:
        log = open_for_append(request.log_path)
        try:
            before = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)
            details = Details(request.log_path, os.fstat(log).st_size, request.pid_path)
            oom = self._oom.watch_child()
            pid = spawn(request, environment, log)
        finally:
            os.close(log)
        leader = _pin_child(pid, before)
        handle = EngineHandle(
            driver=NAME,
            token=request.token,
            host=request.host,
            port=request.port,
            pid=pid,
            boot_id=boot_id(),
            start_ticks=leader.who.start_ticks,
            details=details.dump(),
        )
        return self._engine(handle, leader, oom)

    def _engine(self, handle: EngineHandle, leader: Pinned, oom: OomWatch) -> LocalEngine:
        details = Details.load(handle.details)
        output = Output(details.log_path, details.log_offset, self._growth)
        tree = Tree(leader.who, handle.token, self._census)
        return LocalEngine(handle, leader, tree, output, ports=self._ports, census=self._census, oom=oom)

    async def _recover(self, handle: EngineHandle) -> LocalEngine | None:
        if handle.pid is None or handle.start_ticks is None:
            found = await self._find(handle)
            if found is None:
                return None
            handle = found
        who = Identity(handle.pid or 0, handle.start_ticks or 0)
        token = await in_thread(lambda: read_token(who.pid) if identify(who.pid) == who else None)
        if token not in {None, handle.token}:
            return None
        oom = await in_thread(lambda: self._oom.watch(who.pid))
        living = await Tree(who, handle.token, self._census).look()
        leader = pin(who, ours=_is_child(who)) or Pinned(who, None)
        if living:
            return self._engine(handle, leader, oom)
        leader.release()
        pidfile.remove(Details.load(handle.details).pid_path, handle)
        return None

    async def _find(self, handle: EngineHandle) -> EngineHandle | None:
        """The handle completed by a look for whoever carries its token; the oldest one leads."""
        table = await self._census.processes(ANYBODY)
        carriers = [one for one in table.by_token.get(handle.token, ()) if one.who.pid != os.getpid()]
        if not carriers:
            return None
        who = min(carriers, key=lambda one: (one.who.start_ticks, one.who.pid != one.session)).who
        return attrs.evolve(handle, pid=who.pid, boot_id=boot_id(), start_ticks=who.start_ticks)


async def stop_by_pid_file(path: str, *, kill_after: float) -> StopReport:
    """End the engine whose pid file is at `path`, if the identity beside it proves that it is the one.

    Raises DriverError naming the file when there is none, or when nothing proves whose pid it holds; then
    nothing is signalled. An engine that is gone already is no error: its files are removed.
    """
    try:
        pid = pidfile.read_pid(path)
    except OSError as error:
        message = f"no pid file can be read at {path!r}: {error.strerror}"
        remedy = "nothing was launched with that file, or it has been stopped already"
        raise DriverError(NAME, _unstoppable(message, remedy)) from error
    handle = pidfile.read_handle(path)
    if handle is None or handle.pid is None or handle.pid != pid:
        message = f"pid file {path!r}: nothing beside it proves whose pid that is, so nothing was signalled"
        raise DriverError(NAME, _unstoppable(message, "look for the engine by hand, then remove the file"))
    engine = await LocalLauncher().recover(handle=handle)
    if engine is not None:
        return await engine.stop(kill_after=kill_after)
    pidfile.remove(path, handle)
    return StopReport(LOST)


def _unstoppable(message: str, remedy: str) -> Cause:
    return Cause(FailureClass.UNKNOWN, Stage.STOP, message, heals=False, remedy=remedy)


def _pin_child(pid: int, before: int) -> Pinned:
    try:
        return pin_child(pid, before)
    except OSError:  # no descriptor is left to look at it with
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _is_child(who: Identity) -> bool:
    try:
        os.waitid(os.P_PID, who.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return identify(who.pid) == who


def _address_cause(host: str, error: OSError) -> Cause:
    heals = not isinstance(error, socket.gaierror) or error.errno == socket.EAI_AGAIN
    message = f"no port can be taken on host {host!r}: {error.strerror or error}"
    remedy = "correct `host`: it must be an address of this machine"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, heals=heals, remedy=remedy)
