"""Whether the kernel's OOM killer ended an engine: its memory cgroup's counter, else the kernel's log.

SIGKILL alone proves nothing, anybody may have sent it. A counter that grew proves it where the cgroup is the
engine's alone; where others share it, only the log can say who was meant.
"""

from __future__ import annotations

import signal
import time

from attrs import frozen

from pool_lifecycle.causes import Clue, ClueKind, ExitStatus
from pool_lifecycle_drivers.cgroups import Group, MemoryGroups
from pool_lifecycle_drivers.kernel_log import KernelLog
from pool_lifecycle_drivers.tree import Tree

NEIGHBOURS = 256
"""With more processes than that in a cgroup, nobody looks whether they are all the engine's."""

OUTLIVED = 10.0
"""Seconds after which a process that lives was not killed by what had been counted before.

A kill is counted first; the end of a process that has to give much memory back comes later.
"""


@frozen
class Look:
    """What was counted at one instant (monotonic seconds): on the host, and in a process's memory cgroup."""

    at: float
    host_kills: int | None
    group: Group | None = None
    kills: int | None = None


class OomKills:
    """What all engines of a launcher share in order to learn of OOM kills."""

    def __init__(self, proc: str = "/proc", kernel_log: str = "/dev/kmsg") -> None:
        self.groups = MemoryGroups(proc)
        self.log = KernelLog(proc, kernel_log)

    def watch_child(self) -> OomWatch:
        """For a child about to be made, which begins in our own cgroup. Takes microseconds."""
        return OomWatch(self, self._look(self.groups.own))

    def since(self, look: Look) -> OomWatch:
        """For a process that was there already when it was looked at."""
        return OomWatch(self, look)

    def look(self, pid: int) -> Look:
        """What is counted where a process is now. May wait for the kernel: not for an event loop's thread."""
        return self._look(self.groups.of(pid))

    def _look(self, group: Group | None) -> Look:
        return Look(time.monotonic(), self.log.count, group, group.kills() if group is not None else None)


class OomWatch:
    """Remembers what was counted while one engine's leading process lived, to compare at its end."""

    def __init__(self, kills: OomKills, look: Look) -> None:
        self._kills = kills
        self._first = self._last = self._next = look

    def look(self, pid: int) -> Look:
        """See `OomKills.look`."""
        return self._kills.look(pid)

    def remember(self, look: Look) -> None:
        """A look that the leading process has outlived. In another cgroup everything begins anew."""
        if look.group != self._next.group:
            self._first = self._last = self._next = look
        elif look.at - self._next.at >= OUTLIVED:
            self._last, self._next = self._next, look

    def counted(self, status: ExitStatus, tree: Tree) -> Clue | None:
        """What its cgroup's counter says about its ending, if anything.

        A SIGKILL has to be among what was counted since it was sure to live; any other ending may come of
        a kill in its tree since the launch.
        """
        before = self._last if status.signal == signal.SIGKILL else self._first
        now = before.group.kills() if before.group is not None else None
        if before.group is None or before.kills is None or now is None or now <= before.kills:
            return None
        shared = self._is_shared(before.group, tree)
        number = now - before.kills
        kills = "an OOM kill" if number == 1 else f"{number} OOM kills"
        others = ", which it shares with others" if shared else ""
        detail = f"the kernel counted {kills} in its memory cgroup {before.group.name}{others}"
        return Clue(ClueKind.OOM_KILL, detail, proof=not shared)

    def may_be_logged(self) -> bool:
        """Whether the host has had an OOM kill since it was sure to live. Takes microseconds."""
        count = self._kills.log.count_now()
        return count is None or count != self._last.host_kills

    async def logged(self, tree: Tree) -> Clue | None:
        """What the kernel's log says about the tree, if anything."""
        line = await self._kills.log.line(tree.pids, since=self._last.at)
        return None if line is None else Clue(ClueKind.OOM_KILL, f"the kernel's log: {line}", proof=True)

    def _is_shared(self, group: Group, tree: Tree) -> bool:
        own = self._kills.groups.own
        if own is None or group.contains(own):
            return True
        inside = group.pids()
        try:
            return len(inside) > NEIGHBOURS or not all(pid and tree.holds(pid) for pid in inside)
        except OSError:  # out of descriptors: nothing says that they are its own
            return True
