"""Supervisors side by side: each keeps the same tiny engines running, and we kill them.

A supervisor is a process of its own, whoever wrote it. Its engines say into a FIFO when they were executed,
on the clock that we read before we kill, so that nothing is polled and nothing depends on when we look.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from attrs import define, field, frozen

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds within which every engine has to be executing."""

LEAVING = 10.0
"""Seconds that a supervisor told to end may take, before it is killed."""


@frozen
class Workshop:
    """Where all of it is kept: a folder, with the engine compiled in it. `respawn` is the C loop."""

    folder: Path

    @property
    def engine(self) -> Path:
        """What every supervisor keeps running."""
        return self.folder / "engine"

    @property
    def respawn(self) -> Path:
        """The least that a supervisor can do, in C."""
        return self.folder / "respawn"


@frozen
class Contender:
    """A way to supervise. `command` makes the files it needs in a folder of its own, and its command line.

    `obeys` says that it says "up", and begins at a line on its standard input: others begin at once. `tells`
    says that it says "ready" whenever all its engines are.
    """

    name: str
    command: Callable[[Workshop, Path, Path, int], list[str]]
    obeys: bool = False
    tells: bool = False


@contextmanager
def workshop() -> Iterator[Workshop]:
    """Compile the programs; afterwards nothing runs them any more. Raises OSError without a C compiler."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        made = Workshop(Path(name))
        for source, program in (("tiny_engine.c", made.engine), ("respawn.c", made.respawn)):
            command = ["cc", "-O2", "-static", "-o", str(program), str(HERE / source)]
            subprocess.run(command, check=True)
        try:
            yield made
        finally:
            _kill_all(made.engine)


def _kill_all(program: Path) -> None:
    """Kill whoever executes the program, until nobody does: what a supervisor that was killed has left."""
    while found := [pid for pid in psutil.pids() if _runs(pid, program)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _runs(pid: int, program: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == str(program)
    except OSError:  # gone, or a zombie
        return False


@define
class Supervised:
    """A supervisor at work on `count` engines. `pids` are those executing, as far as has been heard."""

    contender: Contender
    count: int
    process: subprocess.Popen[str]
    fifo: int
    pids: list[int] = field(factory=list)
    _heard: str = ""

    def begin(self) -> float:
        """Seconds until all engines are executing; with one that does not obey, since it was executed."""
        began = time.monotonic()
        if self.contender.obeys:
            self._write("go")
        return self._until_executing(began)

    def kill(self) -> float:
        """Kill every engine; seconds until as many are executing again."""
        victims, self.pids = self.pids, []
        began = time.monotonic()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return self._until_executing(began)

    def settle(self) -> None:
        """Wait until its engines are ready, where that is more than to be executing."""
        if self.contender.tells:
            self.said("ready")

    def said(self, word: str) -> None:
        """Wait until it says so on its standard output."""
        assert self.process.stdout is not None  # as it was made
        line = self.process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"{self.contender.name} said {line!r} instead of {word!r}")

    def _write(self, word: str) -> None:
        assert self.process.stdin is not None  # as it was made
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def _until_executing(self, began: float) -> float:
        last, give_up_at = 0.0, time.monotonic() + PATIENCE
        while len(self.pids) < self.count:
            for pid, at in self._news(give_up_at):
                self.pids.append(pid)
                last = max(last, at)
        return last - began

    def _news(self, until: float) -> Iterator[tuple[int, float]]:
        ready, _, _ = select.select([self.fifo], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError(f"{self.contender.name}: {len(self.pids)} of {self.count} engines run")
        *lines, self._heard = (self._heard + os.read(self.fifo, 65536).decode()).split("\n")
        for line in lines:
            pid, nanoseconds = line.split()
            yield int(pid), int(nanoseconds) / 1e9


@contextmanager
def supervised(contender: Contender, made: Workshop, count: int) -> Iterator[Supervised]:
    """The supervisor, started; `begin` comes next. Nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(dir=made.folder))
    path = folder / "fifo"
    os.mkfifo(path)
    with ExitStack() as stack:
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, fifo)
        command = contender.command(made, folder, path, count)
        talks = subprocess.PIPE if contender.obeys else subprocess.DEVNULL
        process = stack.enter_context(_started(command, folder, talks))
        stack.callback(_kill_all, made.engine)
        stack.callback(_ended, process)
        one = Supervised(contender, count, process, fifo)
        if contender.obeys:
            one.said("up")
        yield one


def _started(command: list[str], folder: Path, talks: int) -> subprocess.Popen[str]:
    with open(folder / "errors", "wb") as errors:
        return subprocess.Popen(
            command, stdin=talks, stdout=talks, stderr=errors, cwd=folder, text=True,
            start_new_session=True,
        )  # fmt: skip


def _ended(process: subprocess.Popen[str]) -> None:
    """Told to end, and then its session killed: a supervisor of the shell has helpers."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVING)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- who takes part -----------------------------------------------------------------------------------------


def our_contender(*, health: Mapping[str, object], modes: Sequence[str] = ("",)) -> Contender:
    """Pools of ours. `health` is how they are probed; their engines are in these `modes`, by turns."""

    def command(made: Workshop, folder: Path, fifo: Path, count: int) -> list[str]:
        program = str(HERE / "our_pools.py")
        settings = json.dumps(health), ",".join(modes)
        return [
            sys.executable,
            program,
            str(count),
            str(folder / "state"),
            *settings,
            str(made.engine),
            str(fifo),
        ]

    return Contender("ours", command, obeys=True, tells=True)


def _c_loop(made: Workshop, _folder: Path, fifo: Path, count: int) -> list[str]:
    return [str(made.respawn), str(count), str(made.engine), str(fifo), "0"]


def _bare_loop(made: Workshop, _folder: Path, fifo: Path, count: int) -> list[str]:
    return [sys.executable, str(HERE / "bare_loop.py"), str(count), str(made.engine), str(fifo), "0"]


OURS = our_contender(health={"probe": "tcp"})
C_LOOP = Contender("C posix_spawn + waitpid", _c_loop, obeys=True)
BARE_LOOP = Contender("bare asyncio relauncher", _bare_loop, obeys=True)
