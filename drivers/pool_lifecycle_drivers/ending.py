"""The end of a whole process tree: everybody is asked once, and killed when the grace is over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from pool_lifecycle_drivers.pinned import POLL, Pinned, pin
from pool_lifecycle_drivers.procfs import Identity
from pool_lifecycle_drivers.tree import Tree

RELOOK = 1.0
"""Seconds between two looks at a tree that SIGKILL did not empty: a process in uninterruptible sleep."""


class Ending:
    """Ends a tree: SIGTERM once to each member, SIGKILL to whatever is left when the grace is over.

    The leader is signalled with the others and stays unreaped until nothing is left, so that its number,
    and its group's, cannot pass to a stranger meanwhile. Nobody is asked twice: engines take a second
    SIGTERM as an order to drop their work. `meet` is called once, if anybody is found, while they are there.
    """

    def __init__(self, leader: Pinned, tree: Tree, meet: Callable[[], Awaitable[None]] | None = None) -> None:
        self.killed = False
        self.ended: set[int] = set()
        self._home = os.getpid()
        self._leader = leader
        self._tree = tree
        self._meet = meet
        self._members: dict[Identity, Pinned] = {}
        self._changed = asyncio.Event()
        self._killing = False
        self._kill_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def kill_after(self, seconds: float) -> None:
        """Kill what is left in `seconds` from now; the earliest moment ever given counts."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._kill_at is not None and self._kill_at <= at:
            return
        self._kill_at = at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._kill)

    def ask(self) -> None:
        """Send the first SIGTERM now, to whom can be found without a look at the whole host."""
        try:
            self._signal(self._tree.glance())
        except OSError:  # out of descriptors: the others are found by a later look
            self._signal({self._leader.who} if self._leader.alive() else ())

    async def run(self) -> None:
        """Return when nobody is left.

        The tree counts as empty when two looks in a row found nobody: while one is being taken, a member
        may fork and end in time to be missed together with its child.
        """
        await self._tree.settled()
        try:
            empty = 0
            while empty < 2:
                empty = empty + 1 if await self._look() else 0
        finally:
            self._release()

    async def _look(self) -> bool:
        """Signal whoever is new and wait until something changes. True when nobody was found."""
        try:
            found = await self._tree.look()
            if found and self._meet is not None:
                meet, self._meet = self._meet, None
                await meet()
            self._signal(found)
        except OSError:  # the host cannot be looked at, which does not mean that nobody is there
            await asyncio.sleep(POLL)
            return False
        if found and self._killing:
            await self._kill_unseen()
        if found:
            await self._wait_for_change(self._patience(found))
        return not found

    def _signal(self, found: Iterable[Identity]) -> None:
        """Leader first: it should hear of the end before it sees its workers go."""
        if os.getpid() != self._home:  # a forked child that goes on with its parent's work
            return
        for who in sorted(found, key=lambda who: who != self._leader.who):
            if who in self._members:
                continue
            member = self._leader if who == self._leader.who else pin(who)
            if member is None:  # gone since it was seen
                self._changed.set()
            elif member.can_be_signalled:
                self._welcome(member)

    def _welcome(self, member: Pinned) -> None:
        self._members[member.who] = member
        self.ended.add(member.who.pid)
        member.on_end(self._changed.set)
        self._send(member)

    def _send(self, member: Pinned) -> None:
        sent = member.send(signal.SIGKILL if self._killing else signal.SIGTERM)
        self.killed = self.killed or (sent and self._killing)

    def _kill(self) -> None:
        self._killing = True
        for member in sorted(self._members.values(), key=lambda member: member is not self._leader):
            self._send(member)
        self._leader.send_to_group(signal.SIGKILL)
        self._changed.set()

    async def _kill_unseen(self) -> None:
        """Whoever is born faster than he is looked for, and cannot be signalled alone for want of a pidfd."""
        with suppress(OSError):
            self.killed = await self._tree.kill() or self.killed

    def _patience(self, found: frozenset[Identity]) -> float | None:
        """How long to wait for news of these: for ever where the kernel and our own clock bring them."""
        if not found.issubset(self._members):
            return POLL  # somebody could not be pinned, for want of descriptors
        return RELOOK if self._killing else None

    async def _wait_for_change(self, patience: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._changed.wait()
        self._changed.clear()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for member in self._members.values():
            if member is not self._leader:
                member.release()
