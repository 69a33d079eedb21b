"""The processes of one launch, by every sign there is: its cgroup, its session, descent, and its token.

A cgroup holds whatever came of a process, and cannot be left by accident. The other signs are looked at
beside it all the same: a process may have been born in the milliseconds before the leader was put into the
cgroup, and somebody else may move processes out of it, as systemd and container engines do.
"""

from __future__ import annotations

from contextlib import suppress

from pool_lifecycle_drivers import subreaper
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.leaf import Leaf
from pool_lifecycle_drivers.membership import members
from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.procfs import Identity, Table, children, read_entry
from pool_lifecycle_drivers.suspects import suspects

SESSION, SUBREAPER = "session", "subreaper"
"""What holds a tree together that has no cgroup."""


class Tree:
    """The processes of one launch, as far as they have been seen.

    `leader` is the process that was launched; it leads the session. What has once been seen as a member
    stays known until it is gone, so that it is not lost when its parent dies. `leaf` is the launch's cgroup,
    `floor` what holds it together without one.
    """

    def __init__(
        self, leader: Identity, token: str, census: Census, leaf: Leaf | None = None, floor: str = SESSION
    ) -> None:
        self.leader = leader
        self.token = token
        self.leaf = leaf
        self._floor = floor
        self._census = census
        self._known: frozenset[Identity] = frozenset({leader})
        self._empty: Table | None = None

    @property
    def pids(self) -> frozenset[int]:
        """The pids of those that were alive at the last look, and of the leader."""
        return frozenset(who.pid for who in self._known) | {self.leader.pid}

    def holds(self, pid: int) -> bool:
        """Whether a process is a member, as far as can be told by its own row of the table; or is gone."""
        entry = read_entry(pid)
        return entry is None or entry.gone or entry.session == self.leader.pid or entry.who in self._known

    @property
    def containment(self) -> str:
        """What holds it together."""
        return self.leaf.tier if self.leaf is not None and self.leaf.in_force else self._floor

    async def settled(self) -> None:
        """Return when the cgroup has whoever it is to have."""
        if self.leaf is not None:
            await self.leaf.settled()

    async def kill(self) -> bool:
        """Kill everybody in the cgroup at once, whether seen or not. False where that cannot be done."""
        return self.leaf is not None and await self.leaf.kill()

    async def dissolve(self) -> None:
        """Nobody is left: remove the cgroup."""
        if self.leaf is not None:
            await self.leaf.remove()

    async def look(self) -> frozenset[Identity]:
        """Every member alive now."""
        table = await self._census.processes(self.leader)
        inside = self._inside()
        if self._floor == SUBREAPER:
            subreaper.reap(table, self.leader, self._known)
        self._known = members(table, self.leader, self.token, self._known | inside) | inside
        self._empty = None if self._known else table
        return self._known

    async def suspects(self, log_path: str, port: int) -> tuple[int, ...]:
        """Who may have been a member, as far as the look shows that found nobody; nobody of a cgroup has."""
        table, self._empty = self._empty, None
        if table is None or self.containment not in {SESSION, SUBREAPER}:
            return ()
        with suppress(OSError):  # the host cannot be looked at
            return await in_thread(lambda: suspects(table, self.leader, log_path, port))
        return ()

    def glance(self) -> frozenset[Identity]:
        """The members that can be found without reading the whole table: descendants, and by the cgroup."""
        found: dict[int, Identity] = {}
        pending = [self.leader.pid]
        while pending:
            entry = read_entry(pid) if (pid := pending.pop()) not in found else None
            if entry is not None and not entry.gone and self._plausible(entry.who):
                found[pid] = entry.who
                pending.extend(children(pid))
        seen = frozenset(found.values()) | self._inside()
        self._known |= seen
        return seen

    def _inside(self) -> frozenset[Identity]:
        return self.leaf.members() if self.leaf is not None else frozenset()

    def _plausible(self, who: Identity) -> bool:
        same_number = who.pid == self.leader.pid
        return who == self.leader if same_number else who.start_ticks >= self.leader.start_ticks
