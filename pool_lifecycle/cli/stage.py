"""`pool-lifecycle stage`: one model put in place, and what it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
from attrs import define, field, frozen
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from pool_lifecycle.cli.exits import BY_SIGNAL, Exit
from pool_lifecycle.cli.words import console, printable
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Caching, ModelStager, StagedModel, StageProgress
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.references import Reference
from pool_lifecycle.staging import HERE
from pool_lifecycle.transfer import Meter
from pool_lifecycle.wording import amount, plural, size

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]+)?) ?(?:([KMGT])(?:iB)?)?", re.IGNORECASE)


def bytes_of(text: str | None) -> int | None:
    """`500GiB`, `1.5T` or a plain number, in bytes; None for nothing. Raises ValueError."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text)
    if found is None or not (
        count := int(float(found[1]) * 1024 ** " KMGT".index((found[2] or " ").upper()))
    ):
        raise ValueError(text)
    return count


def usual_folder() -> Path:
    """Where fetched models are kept when nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pool-lifecycle" / "models"


@frozen
class Wanted:
    """Which model, and where fetched ones are kept: at most `limit` bytes of them."""

    reference: Reference
    digest: str | None
    folder: Path
    limit: int | None


def run(wanted: Wanted, *, as_json: bool, drivers: Drivers | None = None) -> int:
    """Put it in place; return the exit code. Raises ConfigError when there is no such driver."""
    stager = (drivers or Drivers()).stager(wanted.reference.stager)
    if isinstance(stager, Caching):
        stager.keep_in(folder=str(wanted.folder.absolute()), limit=wanted.limit, in_use=frozenset)
    return asyncio.run(_Staging(wanted, stager, as_json=as_json).run())


@define(eq=False)
class _Staging:
    """One run of the command: how it gets on goes to standard error, what comes of it to standard output."""

    wanted: Wanted
    stager: ModelStager
    as_json: bool
    _signum: int = field(default=0, init=False)
    _begun: bool = field(default=False, init=False)

    async def run(self) -> int:
        """The exit code."""
        to = console(sys.stderr)
        work = asyncio.ensure_future(self._stage(to))
        with self._signals(work):
            await asyncio.wait((work,))
        if work.cancelled():
            to.print(Text(self._interrupted()), soft_wrap=True)
            return BY_SIGNAL + self._signum
        try:
            sys.stdout.write(_as_json(work.result()) if self.as_json else _as_text(work.result()))
        except DriverError as error:
            if self.as_json:
                sys.stdout.write(_refusal(error))
            to.print(Text(printable(f"{error.cause.message}; {error.remedy}"), "bold red"), soft_wrap=True)
            return Exit.NO_MODEL
        return Exit.OK

    @contextlib.contextmanager
    def _signals(self, work: asyncio.Future[StagedModel]) -> Iterator[None]:
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

    def _interrupted(self) -> str:
        name = signal.Signals(self._signum).name
        if self._begun and self.wanted.reference.stager != HERE:
            return f"{name}: what was fetched so far is kept; the same command goes on from there"
        return f"{name}: nothing was changed"

    async def _stage(self, to: Console) -> StagedModel:
        text = self.wanted.reference.text
        clock = asyncio.get_running_loop().time
        with _showing(to, text, clock) as show:
            meter = Meter(text, clock())

            def look(seen: StageProgress) -> None:
                self._begun = True
                meter.look(clock(), seen.done, seen.total)
                show(meter)

            await self.stager.resolve(reference=text)
            return await self.stager.stage(reference=text, digest=self.wanted.digest, progress=look)


@contextlib.contextmanager
def _showing(to: Console, reference: str, clock: Callable[[], float]) -> Iterator[Callable[[Meter], None]]:
    """On a terminal a bar, else a line now and then."""
    if not to.is_terminal or to.is_dumb_terminal:
        yield lambda meter: _line(to, meter, clock())
        return
    columns = (BarColumn(bar_width=None), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=to, transient=True, refresh_per_second=4) as progress:
        task = progress.add_task(printable(reference), total=None)

        def show(meter: Meter) -> None:
            seen = meter.at(clock())
            progress.update(task, completed=seen.done, total=seen.total, description=str(seen))

        yield show


def _line(to: Console, meter: Meter, now: float) -> None:
    if meter.milestone(now):
        to.print(Text(printable(f"{meter.reference}: {meter.at(now)}")), soft_wrap=True)


def _as_json(model: StagedModel) -> str:
    return json.dumps({"ok": True, **attrs.asdict(model)}, indent=2) + "\n"


def _refusal(error: DriverError) -> str:
    cause = error.cause
    told = {"ok": False, "message": cause.message, "remedy": cause.remedy, "heals": cause.heals}
    return json.dumps(told, indent=2) + "\n"


def _as_text(model: StagedModel) -> str:
    return "".join(f"{name:<12} {printable(value)}\n" for name, value in _facts(model) if value)


def _facts(model: StagedModel) -> Iterator[tuple[str, str]]:
    """What there is to say of it; what nobody knows is empty."""
    yield "path", model.path
    exactly = "" if model.size < 1024 else f" ({plural(model.size, 'byte')})"
    yield "size", f"{size(model.size)}{exactly}"
    yield "digest", model.digest or ""
    if (details := model.details) is None:
        return
    yield "format", details.format
    yield "architecture", details.architecture
    yield "quantisation", details.quantisation
    yield "parameters", "" if details.parameters is None else amount(details.parameters)
    yield "context", "" if details.context is None else plural(details.context, "token")
    yield "memory", "" if details.memory is None else f"about {size(details.memory)} to serve it"
