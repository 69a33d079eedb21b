"""How a process ended that is not our child: the kernel remembers it for whoever holds a pidfd.

Numbers and layout are those of Linux's include/uapi/linux/pidfd.h. `PIDFD_GET_INFO` came with 6.13; since
6.15 it tells the wait status of a process that was reaped. Until its parent gets round to that, which lasts
as long as the parent likes, the status stands in /proc: that is believed on the same kernels only, as older
ones show 0 for a program whose first thread ended before it.
"""

from __future__ import annotations

import fcntl
import functools
import os
import select
import struct
from typing import Final

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle_drivers.procfs import Identity, read_stat

INFO: Final = struct.Struct("=QQ11Ii")
"""`struct pidfd_info` in its first version: mask, cgroup, eleven numbers of the process, wait status."""

PIDFD_GET_INFO: Final = 3 << 30 | INFO.size << 16 | 0xFF << 8 | 11
"""`_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`."""

PIDFD_INFO_EXIT: Final = 1 << 3
"""In the mask: the wait status is asked for, or told."""


@functools.cache
def is_told() -> bool:
    """Whether this kernel tells how a process ended that is not our child."""
    try:
        release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        fd = os.pidfd_open(os.getpid())
    except (OSError, ValueError):
        return False
    try:
        return release >= (6, 15) and _ask(fd) is not None
    finally:
        os.close(fd)


def exit_status(fd: int, who: Identity) -> ExitStatus | None:
    """How the ended process behind a pidfd ended; None as long as the kernel does not say."""
    if not is_told():
        return None
    status = _remembered(fd)
    if status is None:
        status = _of_zombie(who)
        if _is_reaped(fd):  # meanwhile, so that its number may have been somebody else's when we looked
            status = _remembered(fd)
    return None if status is None else ExitStatus.from_wait(os.waitstatus_to_exitcode(status))


def _remembered(fd: int) -> int | None:
    """The wait status of a process that was reaped."""
    told = _ask(fd)
    return told[-1] if told is not None and told[0] & PIDFD_INFO_EXIT else None


def _ask(fd: int) -> tuple[int, ...] | None:
    buffer = bytearray(INFO.size)
    struct.pack_into("=Q", buffer, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(fd, PIDFD_GET_INFO, buffer)
    except OSError:  # an older kernel; or one that has forgotten, because nobody held a pidfd at the end
        return None
    return INFO.unpack(buffer)


def _is_reaped(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _of_zombie(who: Identity) -> int | None:
    """The wait status of a process that nobody has reaped yet, if we may see it.

    The kernel shows 0 to those who may not: then it is only believed beside a file that they may not open.
    """
    try:
        fields = read_stat(who.pid)
        if not fields or fields[0] not in b"ZX" or int(fields[19]) != who.start_ticks:
            return None
        status = int(fields[49])
        if status == 0:
            os.close(os.open(f"/proc/{who.pid}/io", os.O_RDONLY | os.O_CLOEXEC))
    except (OSError, IndexError, ValueError):
        return None
    return status
