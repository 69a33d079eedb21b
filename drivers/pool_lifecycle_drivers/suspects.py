"""Who may have come of a launch without proof: told, but never signalled.

A process that changed its session, lost its parent and wiped its environment belongs to nobody that can be
named. But it may still write to the engine's log, hold its port, or have been given to us as an orphan.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pool_lifecycle_drivers.ports import listeners, socket_inodes
from pool_lifecycle_drivers.procfs import Entry, Identity, Table, read_entry
from pool_lifecycle_drivers.release import EVERYWHERE, is_free

OUTPUTS = (1, 2)
"""The descriptors that a launch is given with its log behind them; whoever reads the log has others."""


def suspects(table: Table, leader: Identity, log_path: str, port: int) -> tuple[int, ...]:
    """Those among the living of a table that began after the leader and are nobody's, as far as is known.

    Raises OSError when the host cannot be looked at.
    """
    nobodys = [one for one in table.rows if _is_nobodys(one, leader)]
    if not nobodys:
        return ()
    log, listening = _file(log_path), _listening(port)
    return tuple(
        one.who.pid
        for one in nobodys
        if _is_orphan(one, table) or _writes(one.who.pid, log) or _holds(one.who.pid, listening)
    )


def _is_nobodys(one: Entry, leader: Identity) -> bool:
    young = one.who.start_ticks >= leader.start_ticks
    return young and not one.gone and one.token is None and one.who.pid != os.getpid()


def _is_orphan(one: Entry, table: Table) -> bool:
    """Whether it was given to us by the kernel.

    What comes of a launch is never in our session: a session can be left, but not joined. Ours may have lost
    its leader, as that of a daemon has. The session of a child that was given one has a leader, who lives.
    """
    if one.parent != os.getpid() or one.session == os.getsid(0):
        return False
    leader = table.by_pid.get(one.session) or read_entry(one.session)
    return leader is None or leader.gone


def _writes(pid: int, log: tuple[int, int] | None) -> bool:
    return log is not None and log in _outputs(pid)


def _outputs(pid: int) -> Iterator[tuple[int, int] | None]:
    return (_file(f"/proc/{pid}/fd/{number}") for number in OUTPUTS)


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listening(port: int) -> frozenset[int]:
    """The sockets that listen on the port; none where the kernel would let anybody have it."""
    if is_free(EVERYWHERE, port):
        return frozenset()
    return frozenset(one.inode for one in listeners() if one.port == port)


def _holds(pid: int, listening: frozenset[int]) -> bool:
    return bool(listening) and not listening.isdisjoint(socket_inodes((pid,)))
