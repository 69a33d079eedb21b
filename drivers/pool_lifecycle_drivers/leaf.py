"""One launch's own cgroup: a leaf below the one we are in, which holds whatever comes of the engine.

A process is put into it right after its birth, in a thread: the kernel may take ten milliseconds for that,
in which neither the loop nor the engine waits. What the engine has started by then is put there as well: see
`enclosing`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.enclosing import Enclosing, write
from pool_lifecycle_drivers.leftovers import Leftovers
from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.procfs import Identity, read_entry

SETTLING = 1.0
"""Seconds for which who wants to know the whole tree waits for it to be put into its cgroup."""


class Leaf:
    """A cgroup in the folder `folder`, of the tier `tier`. Belongs to the loop it is used in.

    `in_force`: the leading process is known to be there, or to have been. `told` is called with why nobody
    could be put there, or with None once somebody was.
    """

    def __init__(
        self,
        folder: str,
        tier: str,
        enclosing: Enclosing,
        leftovers: Leftovers,
        told: Callable[[OSError | None], None],
    ) -> None:
        self.folder = folder
        self.tier = tier
        self.in_force = False
        self._enclosing = enclosing
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
            await self._enclosing.enclose(self.folder, leader, token)
        except OSError as error:
            self._told(error)
        else:
            self.in_force = True
            self._told(None)


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
        write(path, text)
    except OSError:
        return False
    return True
