"""Has our engines ended when we are gone, however that comes about: a process of its own that outlives us.

    guardian = Guardian()
    guardian.expect(handle, grace)       # before the launch, when nobody knows yet who it will be
    guardian.expect(complete, grace)     # after it
    await guardian.forget(handle.token)  # when nothing is left of it

It lives only as long as there is somebody to be ended, or it is held. What it has to know stands in a
`Ledger`, what it waits for is the end of a pipe; see `guarding`. Nothing of ours has to go on for that,
neither a thread nor a loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from pool_lifecycle import forks
from pool_lifecycle.interfaces import Capability, EngineHandle
from pool_lifecycle_drivers import guarding
from pool_lifecycle_drivers.ledger import Ledger, Ward
from pool_lifecycle_drivers.pinned import Pinned, pin, pin_child
from pool_lifecycle_drivers.procfs import TICKS_PER_SECOND

FIRST_PAUSE, LAST_PAUSE = 0.1, 60.0
"""Seconds before a guardian is replaced that follows one that was lost; the first one lost is at once."""

DISMISSAL = 5.0
"""Seconds for which the end of a guardian is waited for that was killed, which takes a millisecond."""

DEAF_TO = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What is sent to end programs."""

PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH")
"""The variables that a Python program may not start without, or that say how it reads names of files."""


class Guardian:
    """Keeps one guardian process for the engines of one launcher. Belongs to whichever loop runs.

    Where no guardian can be started, launches go on without: `capability` says so, and it is tried again.
    """

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self._process: Pinned | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life = -1
        self._losses = 0
        self._holders = 0
        self._again: asyncio.TimerHandle | None = None
        self._trouble = ""
        forks.register(self)

    def expect(self, handle: EngineHandle, grace: float) -> None:
        """End that engine if we go without having done so: ask it, and kill it `grace` seconds later.

        Never waits, and raises nothing where the host is short of something.
        """
        try:
            if self._ledger is None:
                self._ledger = Ledger()
            self._ledger.write(Ward(handle, grace))
        except OSError as error:
            self._trouble = f"{error}"
        else:
            self._watch()

    async def forget(self, token: str) -> None:
        """Nothing is left of that launch. After the last one the guardian is dismissed, unless it is held."""
        if self._ledger is not None:
            self._ledger.clear(token)
            await self._dismiss_unused()

    def hold(self) -> None:
        """Dismiss nobody who may soon be needed again, until `let_go`."""
        self._holders += 1

    async def let_go(self) -> None:
        """The end of one `hold`."""
        self._holders -= 1
        await self._dismiss_unused()

    def capability(self) -> Capability:
        """Whether engines are ended when we are killed."""
        if not self._trouble:
            return Capability("orphans", "guardian")
        remedy = "let this program start processes with its own Python interpreter (`sys.executable`)"
        return Capability("orphans", "none", self._trouble, "guardian", remedy)

    def forked(self) -> None:
        """In a forked child: the engines are the parent's, who is not to be thought alive on our account."""
        self._process, life, self._life = None, self._life, -1
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()
        if life >= 0:
            os.close(life)

    def _watch(self) -> None:
        """See to it that there is a guardian, and that this loop is told when there is none any more."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._again = loop, None
            former, self._process = self._process, None
            if former is not None:
                self._hold(pin(former.who, ours=True))
        if self._process is None and self._again is None:
            self._start()

    def _start(self) -> None:
        self._again = None
        if not self._ledger:
            return
        self._close_pipe()
        try:
            before = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)
            pid, self._life = _spawn(self._ledger.fd)
            self._hold(pin_child(pid, before))
        except OSError as error:
            self._lost(f"no guardian can be started: {error}")
        else:
            self._trouble = ""

    def _hold(self, process: Pinned | None) -> None:
        self._process = process
        if process is not None:
            process.on_end(partial(self._ended, process))

    def _ended(self, process: Pinned) -> None:
        """Somebody has killed it, or it could not do its work."""
        if process is not self._process:
            return
        self._process = None
        status = process.exit_status()
        process.release()
        self._lost(f"the guardian has ended: {status}")

    def _lost(self, why: str) -> None:
        """Try again: at once the first time, then later and later."""
        self._trouble = why
        pause = FIRST_PAUSE * 2**self._losses if self._losses else 0.0
        self._losses += 1
        self._again = asyncio.get_running_loop().call_later(min(pause, LAST_PAUSE), self._start)

    async def _dismiss_unused(self) -> None:
        if self._ledger is not None and not (self._ledger or self._holders):
            await self._dismiss()

    async def _dismiss(self) -> None:
        """There is nothing left for it to do; nothing that it would leave undone by being killed."""
        self._watch()
        process, self._process = self._process, None
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        self._close_pipe()
        if self._ledger is not None:
            self._ledger.close()
        self._ledger, self._losses, self._trouble = None, 0, ""
        if process is not None:
            await _end(process)

    def _close_pipe(self) -> None:
        life, self._life = self._life, -1
        if life >= 0:
            os.close(life)


async def _end(process: Pinned) -> None:
    ended = asyncio.Event()
    process.on_end(ended.set)
    process.send(signal.SIGKILL)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(DISMISSAL):
                await ended.wait()
    finally:
        process.release()


def _spawn(ledger: int) -> tuple[int, int]:
    """Start a guardian; return its pid, and our end of its pipe. Raises OSError, with nothing left."""
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    try:
        with _deaf():
            child = subprocess.Popen(
                [sys.executable or "python3", "-I", "-S", guarding.__file__, f"{ledger}", *_where()],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                pass_fds=(ledger,),
                start_new_session=True,
            )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    child.returncode = 0  # else its destructor would reap the child, which is for us to do
    return child.pid, ours


def _where() -> tuple[str, str]:
    """Where our two packages lie, and everything else: as it is here, however it has been installed."""
    files = {"pool_lifecycle": forks.__file__, "pool_lifecycle_drivers": guarding.__file__}
    packages = {name: os.path.dirname(os.path.abspath(file)) for name, file in files.items()}
    return json.dumps(packages), json.dumps([os.path.abspath(entry) for entry in sys.path])


@contextmanager
def _deaf() -> Iterator[None]:
    """Whoever is started within it is deaf for good, as what is blocked is inherited."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
