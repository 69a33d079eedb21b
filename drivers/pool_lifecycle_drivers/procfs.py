"""What /proc says about processes: who they are, and one table of them all.

Raises OSError only where the host cannot be looked at, for example when no descriptors are left.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

from attrs import frozen

from pool_lifecycle_drivers.environment import TOKEN

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The unit of start times in /proc."""


@frozen
class Identity:
    """One process of this boot: a pid alone may be given to somebody else, with its start time it is not."""

    pid: int
    start_ticks: int


@frozen
class Entry:
    """One row of the process table. `token` is None where it could not, or was not to be, read."""

    who: Identity
    parent: int
    session: int
    gone: bool
    token: str | None = None


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
    fields = (_read(f"/proc/{pid}/stat") or b"").rpartition(b")")[2].split()
    if not fields:
        return None
    state, threads = fields[0], int(fields[17])
    return Entry(
        who=Identity(pid, int(fields[19])),
        parent=int(fields[1]),
        session=int(fields[3]),
        gone=state in b"ZXx" and threads <= 1,
    )


def identify(pid: int) -> Identity | None:
    """Who has this pid now, zombies included."""
    entry = read_entry(pid)
    return None if entry is None else entry.who


def read_token(pid: int) -> str | None:
    """The launch token a process carries; None when it carries none, or we may not look."""
    variables = (_read(f"/proc/{pid}/environ") or b"").split(b"\0")
    prefix = TOKEN.encode() + b"="
    return next((os.fsdecode(v[len(prefix) :]) for v in variables if v.startswith(prefix)), None)


def program_name(pid: int) -> str:
    """The short name of a program, empty when it is gone."""
    return (_read(f"/proc/{pid}/comm") or b"").decode(errors="replace").strip()


def all_pids() -> list[int]:
    """Every pid we can see, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def process_table(since: int) -> list[Entry]:
    """Every process; those started at `since` (ticks) or later with their token.

    An older process cannot carry a token made later. Reading an environment waits for the process's
    memory lock, which a hung device driver may hold: never call this in an event loop's thread.
    """
    return list(_rows(since))


def _rows(since: int) -> Iterator[Entry]:
    for pid in all_pids():
        row = read_entry(pid)
        if row is None:
            continue
        token = read_token(pid) if row.who.start_ticks >= since and not row.gone else None
        yield Entry(row.who, row.parent, row.session, row.gone, token)


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
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
