"""The two lists of the host that every engine is looked up in: its processes, and who listens."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeAlias

import attrs
from attrs import define

from pool_lifecycle_drivers.offload import Shared, in_thread
from pool_lifecycle_drivers.ports import Listener, listeners
from pool_lifecycle_drivers.procfs import (
    TICKS_PER_SECOND,
    Entry,
    Identity,
    Instance,
    Table,
    instances,
    read_entry,
    read_environment,
    token_in,
)

EXECUTED = 10.0
"""Seconds after which a process that began has surely executed its program."""

MANY = 500
"""With more rows to read than that, they are read in a thread: a row takes some microseconds."""


@define
class _Known:
    """What is known of a process for good: who it is, and the token it carries, once that could be read."""

    who: Identity
    settled: bool = False
    token: str | None = None


ANYBODY = Identity(0, 0)
"""Older than every process, and none of them."""

Row: TypeAlias = tuple[Entry, _Known]


class Census:
    """Reads each list once for all engines of a launcher that ask at about the same time.

    Of the processes only those are read that could belong to who asks: nobody older than the leader of its
    tree, and no leader of another. Who is older is known from an earlier look, so that on a host where
    nothing else has begun since, a look is a single list of names.
    """

    def __init__(self) -> None:
        self._asking: list[Identity] = []
        self._leaders: dict[Identity, str] = {}
        self._known: dict[Instance, _Known] = {}
        self._processes = Shared(self._table)
        self._listeners = Shared(lambda: in_thread(listeners))

    def leads(self, leader: Identity, token: str) -> None:
        """It leads the launch of that token, and so it belongs to nobody else's tree."""
        self._leaders[leader] = token

    def gone(self, leader: Identity) -> None:
        """Nothing is left of its tree."""
        self._leaders.pop(leader, None)

    async def processes(self, leader: Identity) -> Table:
        """Every process that may belong to the tree of `leader`, with its token; `ANYBODY` means every one.

        Raises OSError when the host cannot be looked at.
        """
        self._asking.append(leader)
        return await self._processes.get()

    async def listeners(self) -> list[Listener]:
        """Every listening TCP socket. Raises OSError when the host cannot be looked at."""
        return await self._listeners.get()

    async def _table(self) -> Table:
        asking, self._asking = self._asking, []
        since = min(one.start_ticks for one in asking)
        spared = self._leaders.keys() - set(asking)
        wanted = self._wanted(since, spared)
        rows = await in_thread(lambda: self._rows(wanted)) if len(wanted) > MANY else self._rows(wanted)
        rows = [row for row in rows if row[0].who.start_ticks >= since and row[0].who not in spared]
        unread = [(entry.who.pid, known) for entry, known in rows if not (entry.gone or known.settled)]
        if unread:
            await in_thread(lambda: _read_tokens(unread))
        return Table(_with_token(entry, known.token) for entry, known in rows)

    def _wanted(self, since: int, spared: set[Identity]) -> list[Instance]:
        """Whose rows have to be read. What was known of those who are no longer there is forgotten."""
        before, self._known = self._known, {}
        wanted = []
        for one in instances():
            known = before.get(one)
            if known is not None:
                self._known[one] = known
                if known.who.start_ticks < since or known.who in spared:
                    continue
            wanted.append(one)
        return wanted

    def _rows(self, wanted: Iterable[Instance]) -> list[Row]:
        rows = []
        for one in wanted:
            entry = read_entry(one.pid)
            if entry is not None:
                known = self._known.get(one)
                if known is None or known.who != entry.who:
                    token = self._leaders.get(entry.who)
                    known = self._known[one] = _Known(entry.who, token is not None, token)
                rows.append((entry, known))
        return rows


def _with_token(entry: Entry, token: str | None) -> Entry:
    return entry if token is None else attrs.evolve(entry, token=token)


def _read_tokens(unread: Iterable[tuple[int, _Known]]) -> None:
    """Read which tokens they carry. This waits for a process's memory lock, which a hung device may hold.

    A token stays what it is. That there is none is only sure some time after the process began: before it
    executes its program it shows its parent's environment, and while it does so an empty one.
    """
    executed = int((time.clock_gettime(time.CLOCK_BOOTTIME) - EXECUTED) * TICKS_PER_SECOND)
    for pid, known in unread:
        environment = read_environment(pid)
        known.token = token_in(environment)
        known.settled = known.token is not None or (bool(environment) and known.who.start_ticks < executed)
