"""Puts processes into cgroups of their own, many at a time, with all that has come of them meanwhile.

It is done in a thread: the kernel may take ten milliseconds for the first, and next to nothing for those that
come right after it. So all that are asked for in one turn of the loop are put there first. Then the host is
looked at, once for all of them, for whoever was born outside before that.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import evolve, frozen

from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.membership import members
from pool_lifecycle_drivers.offload import Batch
from pool_lifecycle_drivers.procfs import Identity, Table, all_pids, identify, read_entry, read_token

ROUNDS = 20
"""How often at most somebody is looked for who was born outside, while one before was being put in."""


@frozen
class _Seen:
    """The host as it was some time after `began` (monotonic seconds), from the number `lowest` on."""

    began: float
    lowest: int
    table: Table


class Enclosing:
    """What the launches of a launcher share to get into their cgroups. Belongs to the running loop."""

    def __init__(self) -> None:
        self._batch = Batch()
        self._leaders: set[int] = set()
        self._seen: _Seen | None = None

    async def enclose(self, folder: str, leader: Identity, token: str) -> None:
        """Make the cgroup and put a process there, with all that came of it.

        Raises OSError, with no cgroup left.
        """
        self._leaders.add(leader.pid)
        try:
            await self._enclose(folder, leader, token)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise
            await self._enclose(folder, leader, token)  # somebody who removes empty cgroups came in between
        finally:
            self._leaders.discard(leader.pid)
            if not self._leaders:
                self._seen = None

    async def _enclose(self, folder: str, leader: Identity, token: str) -> None:
        await self._batch.do(lambda: _begin(folder, leader))
        for _ in range(ROUNDS):
            since = time.monotonic()
            if not await self._batch.do(lambda: self._gather(folder, leader, token, since)):  # noqa: B023
                return

    def _gather(self, folder: str, leader: Identity, token: str, since: float) -> bool:
        """Put there who has come of the leader, as a look shows that begins after `since`; was there anybody?

        Numbers are given out upwards. Where they have begun anew meanwhile, somebody is missed, and stays a
        member by the other signs.
        """
        with _nothing_left(folder):
            found = members(self._table(leader, since), leader, token)
            inside = set(pids_in(folder))
            outside = [who for who in found if who.pid not in inside]
            for who in outside:
                _put(folder, who)
        return bool(outside)

    def _table(self, leader: Identity, since: float) -> Table:
        seen = self._seen
        if seen is None or seen.began < since or seen.lowest > leader.pid:
            lowest = min((leader.pid, *self._leaders))
            seen = self._seen = _Seen(time.monotonic(), lowest, _look(lowest))
        return seen.table


def _look(lowest: int) -> Table:
    rows = [row for pid in all_pids() if pid >= lowest and (row := read_entry(pid)) is not None]
    return Table(evolve(row, token=read_token(row.who.pid)) for row in rows)


def _begin(folder: str, leader: Identity) -> None:
    with suppress(FileExistsError):
        os.mkdir(folder, 0o755)
    with _nothing_left(folder):
        _put(folder, leader)


@contextmanager
def _nothing_left(folder: str) -> Iterator[None]:
    """What cannot be used is removed, as long as nobody is in it."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            os.rmdir(folder)
        raise


def _put(folder: str, who: Identity) -> None:
    """Write the number down, if it is still that process's; a stranger who got it meanwhile is put out."""
    fd = os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        if identify(who.pid) != who:
            return
        with suppress(ProcessLookupError):
            os.write(fd, b"%d" % who.pid)
    finally:
        os.close(fd)
    now = identify(who.pid)
    if now is not None and now != who:
        write(f"{os.path.dirname(folder)}/cgroup.procs", str(who.pid))


def write(path: str, text: str) -> None:
    """Into a file of a cgroup. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
