"""Which processes belong to a launch: its session, its descendants, and whoever carries its token.

Three ways, because each misses some: a child that changed its session is still a descendant; one whose
parent died is still in the session; one that did both still carries the token in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.procfs import Entry, Identity, children, read_entry

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
        table = await self._census.processes(since=self.leader.start_ticks)
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
    table: Iterable[Entry], leader: Identity, token: str, known: Iterable[Identity] = ()
) -> frozenset[Identity]:
    """The living members of a tree in a process table.

    The session counts only while somebody proves that it is still ours: its number may have been given
    away after everybody in it was gone.
    """
    seen = frozenset(known) | {leader}
    young = [one for one in table if one.who.start_ticks >= leader.start_ticks and one.who.pid != os.getpid()]
    proven = {one.who.pid for one in young if one.who in seen or one.token == token}
    session = [one for one in young if one.session == leader.pid]
    if any(one.who.pid in proven for one in session):
        proven.update(one.who.pid for one in session)
    _add_descendants(proven, young)
    return frozenset(one.who for one in young if one.who.pid in proven and not one.gone)


def _add_descendants(pids: set[int], table: list[Entry]) -> None:
    by_parent: dict[int, list[int]] = {}
    for one in table:
        by_parent.setdefault(one.parent, []).append(one.who.pid)
    pending = list(pids)
    while pending:
        fresh = [pid for pid in by_parent.get(pending.pop(), ()) if pid not in pids]
        pids.update(fresh)
        pending.extend(fresh)
