"""Memory cgroups: which one a process is in, and how often the kernel killed there for want of memory.

Both kinds are read: version 2, and version 1 where the host still gives the memory controller to that. What
cannot be read is unknown, never an error: containers hide these files in many ways.
"""

from __future__ import annotations

import os

from attrs import frozen

V1_COUNTER, V2_COUNTER = "memory.oom_control", "memory.events"


@frozen
class Group:
    """A memory cgroup: its name in its hierarchy, its folder, and its file with the counter."""

    name: str
    folder: str
    counter: str

    def kills(self) -> int | None:
        """How often the kernel's OOM killer struck here; None where nobody says."""
        return field_of(f"{self.folder}/{self.counter}", "oom_kill")

    def pids(self) -> list[int]:
        """Who is in it; 0 stands for somebody whom we cannot see."""
        return [int(pid) for pid in (read(f"{self.folder}/cgroup.procs") or "").split()]

    def contains(self, other: Group) -> bool:
        """Whether `other` is this one or inside it."""
        return f"{other.folder}/".startswith(f"{self.folder}/")


class MemoryGroups:
    """The memory cgroups of this host, as far as its `proc` shows them."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._own: Group | None = None
        self._mounts: dict[str, tuple[str, str]] = {}

    @property
    def own(self) -> Group | None:
        """The one we are in, and every child of ours begins in; read once."""
        if self._own is None:
            self._own = self.of("self")
        return self._own

    def of(self, pid: int | str) -> Group | None:
        """The one that a process is in. A process that has ended is shown in version 1's root."""
        lines = (read(f"{self._proc}/{pid}/cgroup") or "").splitlines()
        names = {controllers: name for _, controllers, name in (line.split(":", 2) for line in lines)}
        for controllers, name in names.items():
            if "memory" in controllers.split(","):
                return self._group("memory", name, V1_COUNTER)
        return self._group("", names[""], V2_COUNTER) if "" in names else None

    def _group(self, controller: str, name: str, counter: str) -> Group | None:
        if not self._mounts:
            self._mounts = _mounts(f"{self._proc}/self/mountinfo")
        if controller not in self._mounts:
            return None
        root, mounted = self._mounts[controller]
        inside = os.path.relpath(name, root)
        if inside.startswith(".."):  # mounted is another part of the hierarchy, as in some containers
            return None
        return Group(name, os.path.normpath(f"{mounted}/{inside}"), counter)


def _mounts(path: str) -> dict[str, tuple[str, str]]:
    """What is mounted of version 1's memory hierarchy (`memory`) and of version 2's (empty), and where."""
    found: dict[str, tuple[str, str]] = {}
    for line in (read(path) or "").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        root, mounted = before.split(" ")[3:5]
        if kind == "cgroup2":
            found.setdefault("", (root, mounted))
        elif kind == "cgroup" and "memory" in options.rpartition(" ")[2].split(","):
            found.setdefault("memory", (root, mounted))
    return found


def field_of(path: str, name: str) -> int | None:
    """The number beside `name` in a file of lines `name number`; None where it has none."""
    for line in (read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return None


def read(path: str) -> str | None:
    """A small file of /proc or /sys, at once and whole; None when it cannot be read, whyever."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode(errors="surrogateescape")
    except OSError:
        return None
    finally:
        os.close(fd)
