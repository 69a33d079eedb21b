"""The launch itself: one child in a session of its own, and what its failures mean."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle_drivers import signals
from pool_lifecycle_drivers.environment import find_program

TRANSIENT = frozenset(
    {
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ETXTBSY,
        errno.EINTR,
    }
)
"""Errors that may be over by the next try: the host is short of something. Others need somebody's hand."""


def spawn(request: LaunchRequest, environment: Mapping[str, str], log: int) -> int:
    """Execute the engine and return its pid. Raises OSError or ValueError, with nothing left.

    No shell, no function between fork and exec: then the child is made by `vfork`, which is fast however
    much memory we use. It holds the interpreter's lock until the exec, so a thread would not free the loop.
    """
    if signals.passed_on() and signals.can_reset():
        return signals.spawn_reset(request.command.argv, environment, request.cwd, log)
    child = subprocess.Popen(
        request.command.argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=request.cwd,
        env=environment,
        close_fds=True,
        start_new_session=True,
    )
    child.returncode = 0  # else its destructor would reap the child, and its status were lost
    return child.pid


def launch_cause(request: LaunchRequest, environment: Mapping[str, str], error: Exception) -> Cause:
    """What an error from `spawn`, or from opening its files, means for the pool."""
    number = error.errno if isinstance(error, OSError) else None
    heals = number in TRANSIENT
    return Cause(
        FailureClass.PREFLIGHT,
        Stage.LAUNCH,
        f"cannot execute {request.command.argv[:1]!r}: {_reason(request, environment, error)}",
        heals=heals,
        remedy=_REMEDIES.get(
            number or 0, "" if heals else "correct the engine's command and working directory"
        ),
        evidence=(f"{type(error).__name__}: {error}",)
        if number is None
        else (errno.errorcode.get(number, ""),),
    )


def shortage(error: OSError) -> str:
    """What would help where the host is short of something; empty where it is not that."""
    return _REMEDIES.get(error.errno or 0, "") if error.errno in TRANSIENT else ""


def _reason(request: LaunchRequest, environment: Mapping[str, str], error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"{error}"
    named = f": {os.fsdecode(error.filename)!r}" if isinstance(error.filename, str | bytes) else ""
    name = request.command.argv[0]
    if (
        error.errno == errno.ENOENT
        and error.filename == name
        and find_program(name, environment, request.cwd)
    ):
        return "its interpreter or program loader does not exist"
    return f"{error.strerror or error}{named}"


_REMEDIES = {
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "raise the host's limit on open files (fs.file-max)",
    errno.EAGAIN: "raise the limit on processes (`ulimit -u`)",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.ENOENT: "install the binary, or correct `binary` and `cwd`",
    errno.EACCES: "correct the permissions of the binary, its folder or the log file",
    errno.ENOEXEC: "name a program for this machine, or a script with a #! line, as `binary`",
    errno.ELOOP: "replace the symbolic link by a regular file",
    errno.ENXIO: "replace the FIFO by a regular file",
}
