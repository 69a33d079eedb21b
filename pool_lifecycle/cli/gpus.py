"""`pool-lifecycle gpus`: the GPUs of this host, once or again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import psutil
from attrs import define, field
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.gpu_table import Seen, picture
from pool_lifecycle.cli.words import console, printable
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Device, DeviceProcess, DriverTelling, DriverVersions, GpuProbe
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.promises import expected

NO_GPU = Cause(
    FailureClass.PREFLIGHT,
    Stage.PREFLIGHT,
    "there is no GPU that can be seen from here",
    heals=False,
    remedy="install one, or give this container its GPUs (docs/gpus.md)",
)


def run(
    name: str, *, every: float | None = None, as_json: bool = False, drivers: Drivers | None = None
) -> int:
    """Show them as the probe of that name tells them; return the exit code.

    `every` so many seconds (None: once). Raises ConfigError when there is no such probe.
    """
    probe = (drivers or Drivers()).gpu_probe(name)
    return asyncio.run(_Showing(probe, every, as_json, console()).run())


async def look(probe: GpuProbe) -> Seen:
    """The GPUs now. Raises DriverError when there is none, or nobody can say."""
    devices = tuple(expected(Device, one, "devices") for one in await probe.devices())
    if not devices:
        raise DriverError("gpus", NO_GPU)
    processes = tuple(expected(DeviceProcess, one, "processes") for one in await probe.processes())
    programs = {one.pid: name for one in processes if (name := _program(one.pid)) is not None}
    return Seen(devices, processes, await _versions(probe), programs)


async def _versions(probe: GpuProbe) -> DriverVersions:
    return await probe.versions() if isinstance(probe, DriverTelling) else DriverVersions("")


def _program(pid: int) -> str | None:
    """Its name; None when it has ended, or lives where it cannot be seen."""
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, ValueError):
        return None


@define(eq=False)
class _Showing:
    """One run of the command: everything goes to standard output, but why nothing can be shown."""

    probe: GpuProbe
    every: float | None
    as_json: bool
    to: Console
    _signum: int = field(default=0, init=False)

    async def run(self) -> int:
        """The exit code."""
        work = asyncio.ensure_future(self._once() if self.every is None else self._watch(self.every))
        try:
            with self._signals(work):
                await asyncio.wait((work,))
        finally:
            if isinstance(self.probe, DriverTelling):
                await self.probe.close()
        if work.cancelled():
            return Exit.OK if self.every is not None else BY_SIGNAL + self._signum
        return work.result()

    @contextlib.contextmanager
    def _signals(self, work: asyncio.Future[int]) -> Iterator[None]:
        """Within it, Ctrl-C and SIGTERM end the work in order."""
        loop = asyncio.get_running_loop()

        def interrupt(signum: int) -> None:
            self._signum = signum
            work.cancel()

        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, interrupt, signum)
        try:
            yield
        finally:
            for signum in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(signum)

    # --- once ------------------------------------------------------------------------------------------

    async def _once(self) -> int:
        try:
            seen = await look(self.probe)
        except DriverError as error:
            return self._refused(error)
        if self.as_json:
            sys.stdout.write(as_json(seen))
        else:
            self.to.print(picture(seen, self.to.width))
        return Exit.OK

    def _refused(self, error: DriverError) -> int:
        if self.as_json:
            sys.stdout.write(refusal(error))
        console(sys.stderr).print(why_not(error), soft_wrap=True)
        return Exit.NO_GPU

    # --- again and again -------------------------------------------------------------------------------

    async def _watch(self, every: float) -> int:
        """Until it is interrupted. What cannot be looked at later on may be again: that is told instead."""
        try:
            seen = await look(self.probe)
        except DriverError as error:
            return self._refused(error)
        with self._shown() as show:
            show(seen)
            while True:
                await asyncio.sleep(every)
                try:
                    show(await look(self.probe))
                except DriverError as error:
                    show(error)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Callable[[Seen | DriverError], None]]:
        """On a terminal one picture that changes, on a plain one picture below picture, else JSON lines."""
        if self.as_json or not self.to.is_terminal:
            yield _write_line
        elif self.to.is_dumb_terminal:
            yield lambda found: self.to.print(self._picture(found))
        else:
            with Live(
                console=self.to, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                yield lambda found: live.update(self._picture(found), refresh=True)

    def _picture(self, found: Seen | DriverError) -> Any:
        return why_not(found) if isinstance(found, DriverError) else picture(found, self.to.width)


def why_not(error: DriverError) -> Text:
    """Why nothing can be shown, and what would help."""
    return Text(printable(f"{error.cause.message}; {error.cause.remedy}".removesuffix("; ")), "bold red")


# --- for programs --------------------------------------------------------------------------------------


def as_json(seen: Seen) -> str:
    """One document."""
    return json.dumps(_document(seen), indent=2) + "\n"


def refusal(error: DriverError) -> str:
    """Why there is none."""
    return json.dumps(_no_document(error), indent=2) + "\n"


def _write_line(found: Seen | DriverError) -> None:
    document = _no_document(found) if isinstance(found, DriverError) else _document(found)
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _document(seen: Seen) -> dict[str, Any]:
    devices = [
        {**attrs.asdict(one), "memory_used": one.memory_total - one.memory_free} for one in seen.devices
    ]
    processes = [{**attrs.asdict(one), "program": seen.programs.get(one.pid)} for one in seen.processes]
    return {"ok": True, **attrs.asdict(seen.versions), "devices": devices, "processes": processes}


def _no_document(error: DriverError) -> dict[str, Any]:
    cause = error.cause
    return {"ok": False, "message": cause.message, "remedy": cause.remedy, "heals": cause.heals}
