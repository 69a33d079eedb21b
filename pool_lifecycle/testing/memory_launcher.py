"""The launcher of engines that exist only in memory. Public by way of `pool_lifecycle.testing.memory`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle, LaunchRequest
from pool_lifecycle.testing.memory_engine import NAME, EngineScript, MemoryEngine, write_text

FIRST_PID = 2**22 + 1
"""Linux gives no process a number this high, so the pid of a memory engine never names a real process."""

PORTS = range(20000, 65536)

WORKS = EngineScript()
"""Ready at once, until it is stopped."""

Asked = TypeVar("Asked")
Script = TypeVar("Script")


def scripted(scripts: Sequence[Script] | Callable[[Asked], Script], nth: int, asked: Asked) -> Script:
    """The script for the `nth` call, counted from 0."""
    return scripts(asked) if callable(scripts) else scripts[min(nth, len(scripts) - 1)]


class MemoryLauncher:
    """Launches engines that exist only in memory.

    `launched` has every request, `engines` every engine there has been, in order. With `files`, a real pid
    file is there while an engine lives; without, nothing but `MemoryEngine.say` touches the disk. Two
    launchers are two hosts: they share no ports. A manager that "restarts" in a test finds its engines
    again if it is given the same launcher, in the same event loop.
    """

    def __init__(
        self,
        script: EngineScript | Sequence[EngineScript] | Callable[[LaunchRequest], EngineScript] = WORKS,
        *,
        files: bool = False,
    ) -> None:
        self.launched: list[LaunchRequest] = []
        self.engines: list[MemoryEngine] = []
        self._scripts = (script,) if isinstance(script, EngineScript) else script
        self._files = files
        self._pids = itertools.count(FIRST_PID)
        self._ports = itertools.cycle(PORTS)
        self._on_end = self._forget  # bound once for all engines
        self._by_port: dict[int, MemoryEngine] = {}
        self._by_token: dict[str, MemoryEngine] = {}

    async def reserve_port(self, *, host: str) -> int:
        """The next port that no engine holds; the host makes no difference here."""
        for port in itertools.islice(self._ports, len(PORTS)):
            if port not in self._by_port:
                return port
        raise DriverError(NAME, _port_in_use(f"no free port on {host}"))

    async def preflight(self, *, request: LaunchRequest) -> tuple[Cause, ...]:
        """What the script says, and whether another engine holds the port."""
        return self._next_script(request).preflight + self._port_taken(request)

    async def launch(self, *, request: LaunchRequest) -> MemoryEngine:
        """Begin to live by the next script. Raises DriverError if the script says so or the port is taken."""
        script = self._next_script(request)
        self.launched.append(request)
        await asyncio.sleep(script.launch_takes)
        causes = (script.launch_error,) if script.launch_error is not None else self._port_taken(request)
        if causes:
            raise DriverError(NAME, causes[0])
        return self._begin(request, script)

    async def recover(self, *, handle: EngineHandle) -> MemoryEngine | None:
        """The living engine of that token."""
        return self._by_token.get(handle.token)

    def on_port(self, port: int) -> MemoryEngine | None:
        """The living engine that was given that port."""
        return self._by_port.get(port)

    def _forget(self, engine: MemoryEngine) -> None:
        """It has ended: its port is free, and it can no longer be recovered."""
        self._by_port.pop(engine.request.port, None)
        self._by_token.pop(engine.request.token, None)
        if self._files:
            Path(engine.request.pid_path).unlink(missing_ok=True)

    def _next_script(self, request: LaunchRequest) -> EngineScript:
        return scripted(self._scripts, len(self.launched), request)

    def _port_taken(self, request: LaunchRequest) -> tuple[Cause, ...]:
        holder = self.on_port(request.port)
        if holder is None:
            return ()
        return (_port_in_use(f"port {request.port} is held by pid {holder.pid}"),)

    def _begin(self, request: LaunchRequest, script: EngineScript) -> MemoryEngine:
        loop = asyncio.get_running_loop()
        now = loop.time()
        ready_at = None if script.ready_after is None else now + script.ready_after
        engine = MemoryEngine(
            request, script, next(self._pids), self._on_end, loop, now, ready_at, script.unkillable
        )
        self.engines.append(engine)
        self._by_port[request.port] = self._by_token[request.token] = engine
        if self._files:
            write_text(request.pid_path, str(engine.pid), mode="w")
        return engine


def _port_in_use(message: str) -> Cause:
    return Cause(FailureClass.PORT_IN_USE, Stage.LAUNCH, message)
