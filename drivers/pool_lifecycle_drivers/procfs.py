"""What /proc says about processes: who they are, and one table of them all.

Raises OSError only where the host cannot be looked at, for example when no descriptors are left.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import NamedTuple

from attrs import frozen

from pool_lifecycle_drivers.environment import TOKEN, variable

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The unit of start times in /proc."""

FORKED = 0x40
"""`PF_FORKNOEXEC` among a process's flags (Linux's include/linux/sched.h)."""

CHUNK = 65536
"""How much of a file is read at once, in bytes: nearly always all there is."""


@frozen
class Identity:
    """One process of this boot: a pid alone may be given to somebody else, with its start time it is not."""

    pid: int
    start_ticks: int


@frozen
class Entry:
    """One row of the process table. `token` is None where it could not, or was not to be, read.

    `executed`: False for a process that was forked and goes on with its parent's program, for now or ever.
    """

    who: Identity
    parent: int
    session: int
    gone: bool
    token: str | None = None
    executed: bool = True


class Instance(NamedTuple):
    """One process, by the number of its folder in /proc.

    Another process of the same pid has another `inode`, as the kernel makes it a folder of its own. The same
    process may come to have another one too, when the kernel is short of memory.
    """

    pid: int
    inode: int


class Table:
    """Rows of the process table, found by pid, parent, session and token."""

    def __init__(self, rows: Iterable[Entry]) -> None:
        self.rows = tuple(rows)
        self.by_pid = {one.who.pid: one for one in self.rows}
        self.by_parent: dict[int, list[Entry]] = {}
        self.by_session: dict[int, list[Entry]] = {}
        self.by_token: dict[str, list[Entry]] = {}
        for one in self.rows:
            self.by_parent.setdefault(one.parent, []).append(one)
            self.by_session.setdefault(one.session, []).append(one)
            if one.token is not None:
                self.by_token.setdefault(one.token, []).append(one)


@functools.cache
def boot_id() -> str:
    """A name of this boot of the host; it differs after every reboot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read_entry(pid: int) -> Entry | None:
    """The row of one process, without its token; None when there is no such process.

    A zombie counts as gone: it holds nothing but its number, and PID 1 may reap late. The exception is a
    process whose first thread ended before the others: it looks like a zombie, but has threads left.
    """
    fields = read_stat(pid)
    if not fields:
        return None
    state, threads = fields[0], int(fields[17])
    return Entry(
        who=Identity(pid, int(fields[19])),
        parent=int(fields[1]),
        session=int(fields[3]),
        gone=state in b"ZXx" and threads <= 1,
        executed=not int(fields[6]) & FORKED,
    )


def read_stat(pid: int) -> list[bytes]:
    """The fields of a process's row from its state on, which is the third; empty when it is gone."""
    return (_read(f"/proc/{pid}/stat") or b"").rpartition(b")")[2].split()


def identify(pid: int) -> Identity | None:
    """Who has this pid now, zombies included."""
    fields = read_stat(pid)
    return Identity(pid, int(fields[19])) if fields else None


def read_token(pid: int) -> str | None:
    """The launch token a process carries; None when it carries none, or we may not look."""
    return token_in(read_environment(pid))


def read_environment(pid: int) -> bytes:
    """The environment a process was executed with; empty when it is gone or not for our eyes.

    This waits for the process's memory lock, which a hung device driver may hold: never call it in an event
    loop's thread.
    """
    return _read(f"/proc/{pid}/environ") or b""


def token_in(environment: bytes) -> str | None:
    """The launch token in an environment."""
    return variable(TOKEN, environment)


def program_name(pid: int) -> str:
    """The short name of a program, empty when it is gone."""
    return (_read(f"/proc/{pid}/comm") or b"").decode(errors="replace").strip()


def all_pids() -> list[int]:
    """Every pid we can see, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def instances() -> list[Instance]:
    """Every process we can see, at a fraction of the cost of reading its row.

    One call of the kernel's lists hundreds; a process table of a busy host is thousands of files.
    """
    with os.scandir("/proc") as entries:
        return [Instance(int(one.name), one.inode()) for one in entries if one.name.isdecimal()]


def children(pid: int) -> list[int]:
    """The direct children of a process, from its own list: cheap, but empty on kernels without one."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    lists = (_read(f"/proc/{pid}/task/{thread}/children") or b"" for thread in threads)
    return [int(child) for one in lists for child in one.split()]


def _read(path: str) -> bytes | None:
    """A file of /proc; None when its process is gone or not for our eyes.

    Any other OSError is raised: to be out of descriptors must not look like an empty host.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(iter(lambda: os.read(descriptor, CHUNK), b""))
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
