"""Which processes belong to a launch: its session, its descendants, and whoever carries its token.

Three ways, because each misses some: a child that changed its session is still a descendant; one whose
parent died is still in the session; one that did both still carries the token in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.procfs import Entry, Identity, Table, children, read_entry

CONTAINMENT = "session"


class Tree:
    """The processes of one launch, as far as they have been seen.

    `leader` is the process that was launched; it leads the session. What has once been seen as a member
    stays known until it is gone, so that it is not lost when its parent dies.
    """

    def __init__(self, leader: Identity, token: str, census: Census) -> None:
        self.leader = leader
        self.token = token
        self._census = census
        self._known: frozenset[Identity] = frozenset({leader})

    @property
    def pids(self) -> frozenset[int]:
        """The pids of those that were alive at the last look, and of the leader."""
        return frozenset(who.pid for who in self._known) | {self.leader.pid}

    def holds(self, pid: int) -> bool:
        """Whether a process is a member, as far as can be told by its own row of the table; or is gone."""
        entry = read_entry(pid)
        return entry is None or entry.gone or entry.session == self.leader.pid or entry.who in self._known

    async def look(self) -> frozenset[Identity]:
        """Every member alive now."""
        table = await self._census.processes(self.leader)
        self._known = members(table, self.leader, self.token, self._known)
        return self._known

    def glance(self) -> frozenset[Identity]:
        """The members that can be found without reading the whole table: the leader's descendants."""
        found: dict[int, Identity] = {}
        pending = [self.leader.pid]
        while pending:
            entry = read_entry(pid) if (pid := pending.pop()) not in found else None
            if entry is not None and not entry.gone and self._plausible(entry.who):
                found[pid] = entry.who
                pending.extend(children(pid))
        self._known |= frozenset(found.values())
        return frozenset(found.values())

    def _plausible(self, who: Identity) -> bool:
        same_number = who.pid == self.leader.pid
        return who == self.leader if same_number else who.start_ticks >= self.leader.start_ticks


def members(
    table: Table, leader: Identity, token: str, known: Iterable[Identity] = ()
) -> frozenset[Identity]:
    """The living members of a tree in a process table.

    The session counts only while somebody proves that it is still ours: its number may have been given
    away after everybody in it was gone.
    """

    own = os.getpid()

    def young(found: Iterable[Entry | None]) -> list[Entry]:
        since = leader.start_ticks
        return [one for one in found if one and one.who.start_ticks >= since and one.who.pid != own]

    seen = {*known, leader}
    proven = {one.who.pid: one for one in young(table.by_pid.get(who.pid) for who in seen) if one.who in seen}
    proven.update((one.who.pid, one) for one in young(table.by_token.get(token, ())))
    session = young(table.by_session.get(leader.pid, ()))
    if any(one.who.pid in proven for one in session):
        proven.update((one.who.pid, one) for one in session)
    pending = list(proven)
    while pending:
        children = young(table.by_parent.get(pending.pop(), ()))
        fresh = {one.who.pid: one for one in children if one.who.pid not in proven}
        proven.update(fresh)
        pending.extend(fresh)
    return frozenset(one.who for one in proven.values() if not one.gone)
