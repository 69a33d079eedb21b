"""Cgroups: which ones a process is in and who is in one, and how often the kernel killed there for memory.

Both versions are read: 2, and 1 where the host still gives controllers to that. What cannot be read of a
memory cgroup is unknown, never an error: containers hide these files in many ways.
"""

from __future__ import annotations

import errno
import functools
import os

from attrs import frozen

V1_COUNTER, V2_COUNTER = "memory.oom_control", "memory.events"

V2 = ""
"""The name of version 2's hierarchy, which no controller has."""


class Hierarchies:
    """The cgroup hierarchies of this host, by controller, as far as its `proc` shows them."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._mounts: dict[str, tuple[str, str]] = {}

    def names(self, pid: int | str) -> dict[str, str]:
        """The cgroup that a process is in, by controller; of version 2's hierarchy under `V2`."""
        found: dict[str, str] = {}
        for line in (read(f"{self._proc}/{pid}/cgroup") or "").splitlines():
            _, controllers, name = line.split(":", 2)
            for controller in controllers.split(","):
                found[controller] = name
        return found

    def mounted(self, controller: str) -> str | None:
        """The folder its hierarchy is mounted at; None where it is not, or not visible."""
        if not self._mounts:
            self._mounts = _mounts(f"{self._proc}/self/mountinfo")
        return self._mounts[controller][1] if controller in self._mounts else None

    def folder(self, controller: str, name: str) -> str | None:
        """The folder of a cgroup; None where it is not mounted here."""
        mounted = self.mounted(controller)
        return None if mounted is None else _folder(mounted, self._mounts[controller][0], name)


@functools.lru_cache(maxsize=64)
def _folder(mounted: str, root: str, name: str) -> str | None:
    """Of a cgroup, in a hierarchy whose `root` is mounted there; many engines are in the same."""
    inside = os.path.relpath(name, root)
    if inside.startswith(".."):  # mounted is another part of the hierarchy, as in some containers
        return None
    return os.path.normpath(f"{mounted}/{inside}")


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
        """Whom its counter is about; 0 stands for somebody whom we cannot see.

        Version 2 counts what happens in the cgroups below as well, version 1 does not.
        """
        try:
            return pids_in(self.folder) if self.counter == V2_COUNTER else _pids(self.folder)
        except OSError:
            return []

    def contains(self, other: Group) -> bool:
        """Whether `other` is this one or inside it."""
        return f"{other.folder}/".startswith(f"{self.folder}/")


class MemoryGroups:
    """The memory cgroups of this host, as far as its `proc` shows them."""

    def __init__(self, proc: str = "/proc") -> None:
        self._hierarchies = Hierarchies(proc)
        self._own: Group | None = None

    @property
    def own(self) -> Group | None:
        """The one we are in, and every child of ours begins in; read once."""
        if self._own is None:
            self._own = self.of("self")
        return self._own

    def of(self, pid: int | str) -> Group | None:
        """The one that a process is in. A process that has ended is shown in version 1's root.

        A cgroup of version 2 has a memory of its own only if the one above says so; else that one counts.
        """
        names = self._hierarchies.names(pid)
        if "memory" in names:
            folder = self._hierarchies.folder("memory", names["memory"])
            return None if folder is None else Group(names["memory"], folder, V1_COUNTER)
        folder = self._hierarchies.folder(V2, names[V2]) if V2 in names else None
        return None if folder is None else self._counting(Group(names[V2], folder, V2_COUNTER))

    def _counting(self, group: Group) -> Group:
        """The nearest that counts, from `group` upwards; `group` itself where none does."""
        name, folder, top = group.name, group.folder, self._hierarchies.mounted(V2)
        while not os.path.exists(f"{folder}/{V2_COUNTER}"):
            if folder == top:
                return group
            name, folder = os.path.dirname(name), os.path.dirname(folder)
        return Group(name, folder, V2_COUNTER)


def _mounts(path: str) -> dict[str, tuple[str, str]]:
    """What is mounted, and where: version 1's hierarchies by their options, version 2's as `V2`."""
    found: dict[str, tuple[str, str]] = {}
    for line in (read(path) or "").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        root, mounted = before.split(" ")[3:5]
        if kind == "cgroup2":
            found.setdefault(V2, (root, mounted))
        elif kind == "cgroup":
            for option in options.rpartition(" ")[2].split(","):
                found.setdefault(option, (root, mounted))
    return found


def pids_in(folder: str) -> list[int]:
    """Who is in a cgroup or in one below it; nobody when it is not there.

    An ended process is not listed. 0 stands for somebody whom we cannot see. Raises OSError where the
    cgroup is there but cannot be read.
    """
    found, pending = [], [folder]
    while pending:
        one = pending.pop()
        found += _pids(one)
        pending += _nested(one)
    return found


_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP})
"""Said of a cgroup that is gone, or whose processes are listed in the one above (a "threaded" one)."""


def _pids(folder: str) -> list[int]:
    try:
        return [int(pid) for pid in _content(f"{folder}/cgroup.procs").split()]
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return []
        raise


def _nested(folder: str) -> list[str]:
    """The cgroups right below. A folder's count of links says whether there are any."""
    try:
        if os.stat(folder).st_nlink == 2:
            return []
        with os.scandir(folder) as entries:
            return [one.path for one in entries if one.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def nested(folder: str) -> list[str]:
    """A cgroup and all below it, the deepest first: the order in which they can be removed."""
    found = [folder]
    for one in found:  # grows meanwhile
        found += _nested(one)
    return found[::-1]


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
        return _content(path)
    except OSError:
        return None


def _content(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, 65536), b"")).decode(errors="surrogateescape")
    finally:
        os.close(fd)
