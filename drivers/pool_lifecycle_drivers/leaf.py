"""One launch's own cgroup: a leaf below the one we are in, which holds whatever comes of the engine.

A process is put into it right after its birth, in a thread: the kernel may take ten milliseconds for that,
in which neither the loop nor the engine waits. What the engine has started by then is put there as well.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import suppress

from attrs import evolve

from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.leftovers import Leftovers
from pool_lifecycle_drivers.membership import members
from pool_lifecycle_drivers.offload import Batch, in_thread
from pool_lifecycle_drivers.procfs import Identity, Table, all_pids, identify, read_entry, read_token

SETTLING = 1.0
"""Seconds for which who wants to know the whole tree waits for it to be put into its cgroup."""

ROUNDS = 20
"""How often at most somebody is looked for who was born outside, while one before was being put in."""


class Leaf:
    """A cgroup in the folder `folder`, of the tier `tier`. Belongs to the loop it is used in.

    `in_force`: the leading process is known to be there, or to have been. `told` is called with why nobody
    could be put there, or with None once somebody was.
    """

    def __init__(
        self,
        folder: str,
        tier: str,
        batch: Batch,
        leftovers: Leftovers,
        told: Callable[[OSError | None], None],
    ) -> None:
        self.folder = folder
        self.tier = tier
        self.in_force = False
        self._batch = batch
        self._leftovers = leftovers
        self._told = told
        self._entering: asyncio.Task[None] | None = None

    def enter(self, leader: Identity, token: str) -> None:
        """Begin to put a process, and what has come of it, here. Its number must not be given away yet."""
        self._entering = asyncio.get_running_loop().create_task(self._enter(leader, token))

    async def settled(self) -> None:
        """Return when whoever is to be here is here, or it is known that he cannot be; or after a while."""
        if self._entering is not None:
            await asyncio.wait((self._entering,), timeout=SETTLING)

    def members(self) -> frozenset[Identity]:
        """Who is here, or in a cgroup below, and lives; never ourselves.

        A number is only sure to stand for whom it did if it is listed once more after a look at who that is.
        Raises OSError when it cannot be looked at.
        """
        listed = {pid for pid in pids_in(self.folder) if pid not in {0, os.getpid()}}
        rows = [row for pid in listed if (row := read_entry(pid)) is not None and not row.gone]
        still = set(pids_in(self.folder)) if rows else ()
        return frozenset(row.who for row in rows if row.who.pid in still)

    async def kill(self) -> bool:
        """Kill whoever is here, at one instant. False where the kernel cannot: then nobody can fork any more.

        It can from Linux 5.14 on, in cgroups of version 2.
        """
        return await in_thread(lambda: _kill(self.folder))

    async def remove(self) -> None:
        """Nobody is here any more: have the cgroup removed, with those below it. That is not waited for."""
        if self._entering is not None:
            await asyncio.wait((self._entering,))
        self._leftovers.add(self.folder)

    async def _enter(self, leader: Identity, token: str) -> None:
        try:
            await self._batch.do(lambda: enclose(self.folder, leader, token))
        except OSError as error:
            self._told(error)
        else:
            self.in_force = True
            self._told(None)


def enclose(folder: str, leader: Identity, token: str) -> None:
    """Make the cgroup and put a process there, with all that came of it. Raises OSError, with none left."""
    try:
        _enclose(folder, leader, token)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV}:
            raise
        _enclose(folder, leader, token)  # somebody who removes empty cgroups came in between


def _enclose(folder: str, leader: Identity, token: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(folder, 0o755)
    try:
        fd = os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            _fill(fd, folder, leader, token)
        finally:
            os.close(fd)
    except OSError:
        with suppress(OSError):
            os.rmdir(folder)
        raise


def _fill(fd: int, folder: str, leader: Identity, token: str) -> None:
    _put(fd, folder, leader)
    for _ in range(ROUNDS):
        outside = _born_outside(folder, leader, token)
        for who in outside:
            _put(fd, folder, who)
        if not outside:
            return


def _born_outside(folder: str, leader: Identity, token: str) -> list[Identity]:
    """Who has come of the leader and is not here; numbers are given out upwards.

    Where they have begun anew meanwhile, somebody is missed, and stays a member by the other signs.
    """
    rows = [row for pid in all_pids() if pid >= leader.pid and (row := read_entry(pid)) is not None]
    found = members(Table(evolve(row, token=read_token(row.who.pid)) for row in rows), leader, token)
    inside = set(pids_in(folder))
    return [who for who in found if who.pid not in inside]


def _put(fd: int, folder: str, who: Identity) -> None:
    """Write the number down, if it is still that process's; a stranger who got it meanwhile is put out."""
    if identify(who.pid) != who:
        return
    with suppress(ProcessLookupError):
        os.write(fd, b"%d" % who.pid)
    now = identify(who.pid)
    if now is not None and now != who:
        _write(f"{os.path.dirname(folder)}/cgroup.procs", str(who.pid))


def _kill(folder: str) -> bool:
    """With us in it (somebody has put us there) its members are killed one by one."""
    if os.getpid() in pids_in(folder):
        return False
    if _can_write(f"{folder}/cgroup.kill", "1"):
        return True
    _can_write(f"{folder}/pids.max", "0")
    return False


def _can_write(path: str, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
