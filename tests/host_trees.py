"""A host's /proc and /sys as a folder: what a test wants the kernel to say."""

from __future__ import annotations

from pathlib import Path


class Host:
    """Files as the kernel shows them; `proc` is where its /proc is, `log` its kernel log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = str(folder / "proc")
        self.log = str(folder / "kmsg")
        self.write("proc/self/ns/pid", "")
        self.write("kmsg", "")
        self.count_on_host(0)

    def write(self, path: str, text: str) -> None:
        """Make or replace a file."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def mount(self, kind: str, where: str, options: str, root: str = "/") -> None:
        """One more row of the mount table; `where` is inside this folder."""
        table = self.folder / "proc/self/mountinfo"
        before = (
            table.read_text() if table.exists() else "23 1 0:2 / / rw,noatime shared:1 - ext4 /dev/vda rw\n"
        )
        row = f"31 23 0:28 {root} {self.folder / where} rw,relatime - {kind} {kind} {options}\n"
        self.write("proc/self/mountinfo", before + row)

    def mount_both(self) -> None:
        """As on hybrid hosts: version 1 has the memory controller, version 2 is there as well."""
        self.mount("cgroup", "v1/cpuset", "rw,cpuset")
        self.mount("cgroup", "v1/memory", "rw,cpu,memory")
        self.mount("cgroup2", "v2", "rw,nsdelegate")

    def place(self, pid: int | str, *, v1: str | None = None, v2: str | None = None) -> None:
        """Show a process in a cgroup of the one or the other version, or of both."""
        lines = [f"4:cpu,memory:{v1}"] if v1 is not None else []
        lines += [f"0::{v2}"] if v2 is not None else []
        self.write(f"proc/{pid}/cgroup", "".join(f"{line}\n" for line in lines))

    def count_v1(self, group: str, kills: int, *pids: int) -> None:
        """What a cgroup of version 1 has counted, and who is in it."""
        self.write(
            f"v1/memory{group}/memory.oom_control", f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"
        )
        self.write(f"v1/memory{group}/cgroup.procs", "".join(f"{pid}\n" for pid in pids))

    def count_v2(self, group: str, kills: int, *pids: int) -> None:
        """What a cgroup of version 2 has counted, and who is in it."""
        self.write(f"v2{group}/memory.events", f"low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\n")
        self.write(f"v2{group}/cgroup.procs", "".join(f"{pid}\n" for pid in pids))

    def count_on_host(self, kills: int) -> None:
        """What the whole host has counted."""
        self.write("proc/vmstat", f"nr_free_pages 77\noom_kill {kills}\n")
