"""Which processes of a table belong to a launch: its session, its descendants, and whoever carries its token.

Three ways, because each misses some: a child that changed its session is still a descendant; one whose
parent died is still in the session; one that did both still carries the token in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pool_lifecycle_drivers.procfs import Entry, Identity, Table


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
