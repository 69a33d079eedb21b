"""One process, pinned by a pidfd: watched by the kernel's word, signalled without hitting a stranger.

Where `pidfd_open` is not available (Linux before 5.3, some seccomp profiles) the end is looked for every
`POLL` seconds, and only our own unreaped children, with their process groups, can be signalled: their
numbers cannot be given away before we reap them.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from pool_lifecycle import forks
from pool_lifecycle.causes import LOST, ExitStatus
from pool_lifecycle_drivers import pidfd_info
from pool_lifecycle_drivers.procfs import Identity, identify, read_entry

POLL = 0.1
"""Seconds between two looks at a process that has no pidfd."""

SAFETY = 60.0
"""Seconds between two looks at a process that has one, should the kernel's word ever get lost on its way."""

PATIENCE = 1.0
"""Seconds that the kernel is asked how a process ended that is not our child, before that counts as lost.

It knows at once, unless the process was another user's: then only when its parent has reaped it.
"""


class Pinned:
    """A process that stays the one it was, whatever becomes of its number.

    Belongs to the running loop. `ours` says that it is our child, so that its exit status is ours to read.
    `taken`: somebody has read one of those in our place, since this program began.
    """

    taken: ClassVar[bool] = False

    def __init__(self, who: Identity, fd: int | None, *, ours: bool = False) -> None:
        self.who = who
        self.ours = ours
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._on_end: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lost_at: float | None = None
        forks.register(self)

    @property
    def can_be_signalled(self) -> bool:
        """Whether a signal is sure to reach this process and no other."""
        return self._fd is not None or self.ours

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        if self._fd is None:
            return self._listed()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        try:
            return not poll.poll(0)
        except OSError:  # not even one descriptor is allowed any more
            return self._listed()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, in the loop, when the process has ended."""
        self._on_end.append(callback)
        if len(self._on_end) > 1:
            return
        if self._fd is None:
            self._look()
        else:
            self._loop.add_reader(self._fd, self._ended)
            self._look_again()

    def send(self, number: int) -> bool:
        """Signal it if it still runs. False when it does not, or cannot be signalled safely."""
        if not self.alive():
            return False
        try:
            if self._fd is not None:
                signal.pidfd_send_signal(self._fd, number)
                return True
        except (ProcessLookupError, PermissionError):
            return False
        return self.send_to_group(number)

    def send_to_group(self, number: int) -> bool:
        """Signal the process group it leads, only while it is our own unreaped child.

        The kernel does this at one instant, so that no member escapes by forking meanwhile.
        """
        if not self._holds_its_number():
            return False
        try:
            os.killpg(self.who.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def exit_status(self) -> ExitStatus | None:
        """How it ended, leaving it to be reaped; LOST where that cannot be known, None while it may yet be.

        Never read from `Popen`, which makes 0 of a status that somebody else took.
        """
        result = self._wait(os.WNOWAIT) if self.ours else LOST
        if result is None:
            return None
        if isinstance(result, ExitStatus):
            Pinned.taken = Pinned.taken or self.ours
            return self._told()
        killed = result.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
        return ExitStatus(signal=result.si_status) if killed else ExitStatus(code=result.si_status)

    def _told(self) -> ExitStatus | None:
        """What the kernel says to somebody who is not its parent."""
        if self._fd is None or not pidfd_info.is_told():
            return LOST
        if self.alive():
            return None
        now = self._loop.time()
        self._lost_at = now + PATIENCE if self._lost_at is None else self._lost_at
        status = pidfd_info.exit_status(self._fd, self.who)
        return LOST if status is None and now >= self._lost_at else status

    def release(self) -> None:
        """Reap it if it is our child and has ended; watch and hold it no more."""
        if self.ours:
            self._wait(0)
        if self._timer is not None:
            self._timer.cancel()
        self._on_end.clear()
        self._close()

    def forked(self) -> None:
        """In a forked child it is nobody's to signal or to reap.

        The loop's selector is shared with the parent, whose news would be called off with ours.
        """
        fd, self._fd, self.ours = self._fd, None, False
        self._on_end.clear()
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        """Give the descriptor back when a manager leaves its engines running."""
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._loop.remove_reader(fd)
            os.close(fd)

    def _wait(self, more: int) -> os.waitid_result | ExitStatus | None:
        kind, name = (os.P_PID, self.who.pid) if self._fd is None else (os.P_PIDFD, self._fd)
        try:
            return os.waitid(kind, name, os.WEXITED | os.WNOHANG | more)
        except ChildProcessError:  # SIGCHLD is ignored, or somebody else waits for any child
            return LOST

    def _listed(self) -> bool:
        try:
            entry = read_entry(self.who.pid)
        except OSError:  # nothing can be seen, so nothing says that it has ended
            return True
        return entry is not None and entry.who == self.who and not entry.gone

    def _holds_its_number(self) -> bool:
        """The kernel says that it is our child and unreaped; without a pidfd, /proc says which one."""
        if not self.ours or self._wait(os.WNOWAIT) is LOST:
            return False
        return self._fd is not None or identify(self.who.pid) == self.who

    def _look(self) -> None:
        if self.alive():
            self._look_again()
        else:
            self._ended()

    def _look_again(self) -> None:
        self._timer = self._loop.call_later(POLL if self._fd is None else SAFETY, self._look)

    def _ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback()


def pin_child(pid: int, before: int) -> Pinned:
    """Hold on to our new child, which leads a group; nobody else can get its number before we reap it.

    If the kernel has reaped it already (SIGCHLD is ignored), `before` bounds its start (ticks). Raises
    OSError when it cannot be looked at, for want of descriptors; then it is killed.
    """
    try:
        who = identify(pid)
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    if who is None:
        return Pinned(Identity(pid, before), None, ours=True)
    try:
        return Pinned(who, os.pidfd_open(pid), ours=True)
    except OSError:  # not available, no descriptors left, or reaped by the kernel in this instant
        return Pinned(who, None, ours=True)


def pin(who: Identity, *, ours: bool = False) -> Pinned | None:
    """Hold on to a process; None when it is no longer there.

    Our own child is pinned also as a zombie, because its status is still to be read.
    """
    try:
        fd: int | None = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return None
    except OSError:  # not available, or no descriptors left
        fd = None
    if identify(who.pid) == who:  # checked after opening: what the pidfd refers to is proven
        return Pinned(who, fd, ours=ours)
    if fd is not None:
        os.close(fd)
    return None
