"""A health probe that runs a program: exit code 0 counts as healthy."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import threading

from pool_lifecycle.causes import LOST, ExitStatus
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle_drivers.connecting import bad_target, cannot_ask, no_answer

NAME = "command"

MAY_PASS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})
"""Errors of starting a program that say nothing about the program."""

KILL_TAKES = 1.0
"""Seconds a killed program is waited for. Only one in uninterruptible sleep needs longer."""

POLL = 0.01
"""Seconds between looks where the kernel cannot notify us."""


class CommandProbe:
    """Runs `target.command` (a list, no shell) in its own session and looks at nothing but its exit code.

    The program gets PATH, POOL_HOST and POOL_PORT as its whole environment; what it writes is thrown away.
    When it has ended, or its time is over, everything left in its process group is killed.
    """

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109 - see the protocol
        """Healthy if the program ends with exit code 0 within `timeout` seconds.

        Raises DriverError if it cannot be started.
        """
        process = _start(target)
        in_time = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await _ended(process.pid)
                    in_time = True
        finally:
            status = await _finish(process)
        return Health(ok=status.success, detail=str(status)) if in_time else no_answer(timeout)


def _start(target: ProbeTarget) -> subprocess.Popen[bytes]:
    """Start the program. A thread would not help: the interpreter stands still until the exec anyway."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "POOL_HOST": target.host,
        "POOL_PORT": str(target.port),
    }
    if not target.command:
        raise DriverError(NAME, bad_target("no command is given"))
    try:
        return subprocess.Popen(  # the command is configuration, and no shell reads it
            target.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in MAY_PASS:
            raise DriverError(NAME, cannot_ask(error)) from error
        message = f"{target.command[0]!r} cannot be run: {getattr(error, 'strerror', None) or error}"
        raise DriverError(NAME, bad_target(message)) from error


def _look(pid: int) -> object:
    """None while our child runs. It is not reaped, so that its number still names it afterwards.

    Raises ChildProcessError if it is not ours any more: the host program may reap, or ignore, all children.
    """
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


async def _ended(pid: int) -> None:
    """Return when our child has ended. (asyncio's own wait can miss the end of a child that others reap.)"""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # an old kernel, no descriptor left, or gone already
        with contextlib.suppress(ChildProcessError):
            while _look(pid) is None:  # noqa: ASYNC110 - nothing here could set an event
                await asyncio.sleep(POLL)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _finish(process: subprocess.Popen[bytes]) -> ExitStatus:
    """Kill what is left of the group and reap the program. Its own exit status, if it had ended before."""
    with contextlib.suppress(ChildProcessError, ProcessLookupError, PermissionError):
        _look(process.pid)  # raises where the number may have become somebody else's
        os.killpg(process.pid, signal.SIGKILL)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_TAKES):
                await _ended(process.pid)
    finally:
        status = _reap(process)
    return status


def _reap(process: subprocess.Popen[bytes]) -> ExitStatus:
    """How the program ended. `Popen` is told, since by itself it takes a lost status for exit code 0."""
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        process.returncode = -1
        return LOST
    if pid == 0:  # unkillable for now: a thread waits for it, so that no zombie is left
        threading.Thread(target=process.wait, daemon=True).start()
        return LOST
    process.returncode = os.waitstatus_to_exitcode(status)
    return ExitStatus.from_wait(process.returncode)
