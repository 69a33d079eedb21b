"""NVIDIA's GPUs, through its management library, NVML.

The library can hang with its driver, in a way that no signal ends. So another process talks to it, which can
be left behind: an answer that does not come in time is a DriverError, that process is killed, and the next
question goes to a new one. It is started at the first question, and ends when we do.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Device, DeviceFault, DeviceProcess, DriverVersions, FaultKind

T = TypeVar("T")

NAME = "nvml"
HELPER = Path(__file__).with_name("gpu_nvml_helper.py")

PATIENCE = 5.0
"""Seconds for an answer. A busy driver takes some hundred milliseconds."""

FIRST_PATIENCE = 15.0
"""Seconds for the first answer of a new process: without persistence mode a driver wakes its GPUs first."""

LEFT_BEHIND = 3
"""So many processes that cannot be killed are left behind; then no more is asked until one has ended."""

WATCH_EVERY = 5.0
"""Seconds between two looks for faults that no device reports by itself."""

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD")
PREFIXES = ("PYTHON", "NVIDIA_", "POOL_NVML_")
"""Of our environment the process sees what finds the library, no more: there may be secrets in the rest."""

LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED, NO_PERMISSION, NO_PYNVML = 12, 9, 4, -1
"""NVML's codes, and one of our own."""

REMEDIES = {
    NO_PYNVML: "pip install 'pool-lifecycle[nvml]'",
    LIBRARY_NOT_FOUND: "install NVIDIA's driver; in a container, start it with its GPUs (--gpus all)",
    DRIVER_NOT_LOADED: "load the driver (modprobe nvidia), or start the host anew",
    NO_PERMISSION: "give the user that runs this access to /dev/nvidia*",
}


class NvmlGpuProbe:
    """See the module. `patience`: seconds for an answer; `every`: between looks for faults."""

    def __init__(self, *, patience: float = PATIENCE, every: float = WATCH_EVERY) -> None:
        self._patience = patience
        self._every = every
        self._helper: _Helper | None = None
        self._left: list[subprocess.Popen[bytes]] = []

    async def devices(self) -> tuple[Device, ...]:
        """Every GPU in the order of the PCI bus, each followed by its MIG instances."""
        return tuple(_device(one) for one in await self._ask("devices"))

    async def processes(self) -> tuple[DeviceProcess, ...]:
        """Every process with memory on a GPU; in a container only those that are in it, too."""
        return tuple(DeviceProcess(*one) for one in await self._ask("processes"))

    async def faults(self) -> tuple[DeviceFault, ...]:
        """Wait for a report of a device."""
        helper = self._running()
        helper.watch()
        found = await helper.faults()
        return tuple(DeviceFault(uuid, code, text, FaultKind(kind)) for uuid, kind, code, text in found)

    async def versions(self) -> DriverVersions:
        """Of the driver, and of the newest CUDA that it supports."""
        driver, cuda = await self._ask("versions")
        return DriverVersions(driver, None if cuda is None else (cuda[0], cuda[1]))

    async def close(self) -> None:
        """End the process that talks to the library."""
        if self._helper is not None:
            self._leave(self._helper, "the probe was closed")
        await asyncio.to_thread(_reaped, tuple(self._left))
        self._left = [one for one in self._left if one.poll() is None]

    async def _ask(self, what: str) -> Any:
        helper = self._running()
        patience = self._patience if helper.has_answered else max(self._patience, FIRST_PATIENCE)
        try:
            async with asyncio.timeout(patience):
                return await helper.ask(what)
        except TimeoutError:
            why = f"the GPU driver has not answered for {patience:g} s"
            if helper is self._helper:
                self._leave(helper, why)
            raise _error(
                why, "look at the kernel's log (dmesg); a hanging driver needs a new start"
            ) from None

    def _running(self) -> _Helper:
        self._left = [one for one in self._left if one.poll() is None]
        loop = asyncio.get_running_loop()
        if self._helper is not None and (self._helper.dead or self._helper.loop is not loop):
            self._leave(self._helper, "the process that talked to the GPU driver has ended")
        if self._helper is None:
            if len(self._left) >= LEFT_BEHIND:
                what = f"the GPU driver hangs: {len(self._left)} processes wait in it and cannot be killed"
                raise _error(what, "start the host anew")
            self._helper = _Helper.start(loop, self._every)
        return self._helper

    def _leave(self, helper: _Helper, why: str) -> None:
        helper.end(why)
        self._left.append(helper.process)
        if helper is self._helper:
            self._helper = None


def _reaped(processes: tuple[subprocess.Popen[bytes], ...]) -> None:
    """Wait a moment for those that were killed; one that hangs in the kernel stays."""
    for one in processes:
        try:
            one.wait(1.0)
        except subprocess.TimeoutExpired:
            continue


def _device(fields: list[Any]) -> Device:
    compute = None if fields[6] is None else tuple(fields[6])
    return Device(*(*fields[:6], compute, *fields[7:]))


def _error(message: str, remedy: str) -> DriverError:
    return DriverError(NAME, Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, remedy=remedy))


@define(eq=False)
class _Helper:
    """One such process, and what it has been asked. It belongs to one loop."""

    process: subprocess.Popen[bytes]
    loop: asyncio.AbstractEventLoop
    dead: bool = field(default=False, init=False)
    has_answered: bool = field(default=False, init=False)
    listens: bool = field(default=False, init=False)
    _asked: dict[int, asyncio.Future[Any]] = field(factory=dict, init=False)
    _told: list[list[Any]] = field(factory=list, init=False)
    _news: asyncio.Future[None] | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _rest: bytes = field(default=b"", init=False)

    @classmethod
    def start(cls, loop: asyncio.AbstractEventLoop, every: float) -> _Helper:
        """Raises DriverError when it cannot be started."""
        command = [sys.executable, "-P", str(HELPER), str(every)]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(os.environ),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            what = f"the process that talks to the GPU driver cannot be started: {error.strerror}"
            raise _error(what, "free processes, memory or descriptors") from error
        helper = cls(process, loop)
        assert process.stdout is not None  # it is a pipe
        os.set_blocking(process.stdout.fileno(), False)
        loop.add_reader(process.stdout.fileno(), helper._read)
        return helper

    async def ask(self, what: str) -> Any:
        """What it answers. Raises DriverError when it ends before that, or answers with an error."""
        self._number += 1
        number, answer = self._number, self.loop.create_future()
        self._asked[number] = answer
        try:
            self._write({"id": number, "ask": what})
            return await answer
        finally:
            self._asked.pop(number, None)

    def watch(self) -> None:
        """Have it tell of faults from now on; asked again, nothing changes."""
        self._write({"ask": "watch"})

    async def faults(self) -> list[list[Any]]:
        """What it has told of faults since the last call; waits until there is something."""
        while not self._told:
            if self.dead:
                raise _error("the process that talked to the GPU driver has ended", "")
            self._news = self.loop.create_future()
            await self._news
        told, self._told = self._told, []
        return told

    def end(self, why: str) -> None:
        """Kill it. Whoever waits for an answer is told why there is none."""
        self._over(why)
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # both are
            pipe.close()

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None  # it is a pipe
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
        except OSError:
            self._over("the process that talked to the GPU driver has ended")

    def _read(self) -> None:
        assert self.process.stdout is not None  # it is a pipe
        try:
            read = os.read(self.process.stdout.fileno(), 1 << 20)
        except BlockingIOError:
            return
        if not read:
            self._over("the process that talked to the GPU driver has ended")
            return
        *lines, self._rest = (self._rest + read).split(b"\n")
        try:
            for line in lines:
                self._take(json.loads(line))
        except (ValueError, LookupError, TypeError):  # something else writes to this pipe
            self._over("the process that talks to the GPU driver says nonsense")

    def _take(self, message: dict[str, Any]) -> None:
        self.has_answered = True
        if "faults" in message:
            self.listens = True
            self._told += message["faults"]
            self._wake()
        elif (answer := self._asked.get(message["id"])) is not None and not answer.done():
            if "error" in message:
                code, text = message["error"]
                answer.set_exception(
                    _error(f"the GPU driver cannot be asked: {text}", REMEDIES.get(code, ""))
                )
            else:
                answer.set_result(message["answer"])

    def _over(self, why: str) -> None:
        if self.dead:
            return
        self.dead = True
        if self.process.stdout is not None and not self.loop.is_closed():
            self.loop.remove_reader(self.process.stdout.fileno())
        for answer in self._asked.values():
            if not answer.done() and not self.loop.is_closed():
                answer.set_exception(_error(why, "it is started anew at the next question"))
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done() and not self.loop.is_closed():
            self._news.set_result(None)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in ours.items() if name in PASSED_ON or name.startswith(PREFIXES)}
