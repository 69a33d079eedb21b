"""The child subreaper: every orphan among our descendants becomes our child, instead of PID 1's.

It is a property of the whole program. The orphans of children that are none of our business come to us as
well, and stay zombies unless that program reaps them: so it is done only where the program wants it. Of a
launch are reaped those that are proven to be its own, whenever it is looked at.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from pool_lifecycle_drivers.procfs import Entry, Identity, Table

SET_CHILD_SUBREAPER = 36
"""From Linux's include/uapi/linux/prctl.h; it came with 3.4."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def become() -> str:
    """Make this program the subreaper of its descendants; why that cannot be, empty when it can."""
    if _libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        return ""
    return os.strerror(ctypes.get_errno())


def reap(table: Table, leader: Identity, known: Iterable[Identity]) -> None:
    """Reap those orphans of a launch that have ended: of its session, or seen as members before.

    Its leader is left to whoever wants to know how it ended.
    """
    led = table.by_pid.get(leader.pid)
    session = leader.pid if led is not None and led.who == leader else None
    ours = {*known} - {leader}
    for one in table.by_parent.get(os.getpid(), ()):
        if one.gone and one.who != leader and (one.session == session or one.who in ours):
            _reap(one)


def _reap(zombie: Entry) -> None:
    with suppress(ChildProcessError):  # the program reaps whatever there is
        os.waitid(os.P_PID, zombie.who.pid, os.WEXITED | os.WNOHANG)
