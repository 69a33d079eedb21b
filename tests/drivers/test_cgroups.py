"""Memory cgroups of either version are found and their counters read, or nothing is known of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers.cgroups import Group, Hierarchies, MemoryGroups, nested, pids_in, read
from tests.host_trees import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Both versions mounted, nobody in any cgroup yet."""
    host = Host(tmp_path)
    host.mount_both()
    return host


def found(host: Host, pid: int | str = 7) -> Group:
    group = MemoryGroups(host.proc).of(pid)
    assert group is not None
    return group


def test_version_2_is_read_where_it_has_the_memory_controller(host: Host) -> None:
    """B-SUPER-009: `oom_kill` of `memory.events`, not `oom`, which also counts what went well."""
    host.place(7, v2="/slice/engine")
    host.count_v2("/slice/engine", 2, 7, 8)
    group = found(host)
    assert group.name == "/slice/engine"
    assert group.kills() == 2
    assert group.pids() == [7, 8]


def test_where_a_cgroup_of_version_2_counts_nothing_the_one_above_does(host: Host) -> None:
    """B-SUPER-009: an engine's own has no memory controller, unless somebody gave it one.

    What is counted above happened to whoever is below as well.
    """
    host.place("self", v2="/slice/we")
    host.count_v2("/slice/we", 2, 7)
    host.place(8, v2="/slice/we/pool-lifecycle.chat.1")
    host.write("v2/slice/we/pool-lifecycle.chat.1/cgroup.procs", "8\n")
    group = found(host, 8)
    assert group == found(host, "self")
    assert (group.name, group.kills()) == ("/slice/we", 2)
    assert group.pids() == [7, 8]
    host.count_v2("/slice/we/pool-lifecycle.chat.1", 1, 8)
    assert (found(host, 8).name, found(host, 8).kills()) == ("/slice/we/pool-lifecycle.chat.1", 1)


def test_version_1_counts_each_cgroup_for_itself(host: Host) -> None:
    """What is below is not among what is counted."""
    host.place(7, v1="/pool")
    host.count_v1("/pool", 5, 7)
    host.count_v1("/pool/below", 5, 8)
    assert found(host).pids() == [7]


def test_version_1_is_read_where_the_controller_is_left_to_it(host: Host) -> None:
    """B-SUPER-009: hybrid hosts show the process in version 2 as well, which counts no memory there."""
    host.place(7, v1="/pool", v2="/slice")
    host.count_v1("/pool", 5, 7)
    group = found(host)
    assert group.name == "/pool"
    assert group.kills() == 5
    assert group.pids() == [7]


def test_version_2s_root_has_no_counter(host: Host) -> None:
    """Where everybody is, nothing is counted."""
    host.place(7, v2="/")
    assert found(host).kills() is None


def test_a_kernel_that_counts_no_kills_says_nothing(host: Host) -> None:
    """Before Linux 4.13 the row is missing; a damaged one is no number."""
    host.place(7, v1="/pool")
    for text in ("oom_kill_disable 0\nunder_oom 0\n", "oom_kill many\n", ""):
        host.write("v1/memory/pool/memory.oom_control", text)
        assert found(host).kills() is None


def test_in_a_container_only_its_own_part_is_mounted(tmp_path: Path) -> None:
    """The name is the host's, the mount shows what is below the container's own cgroup."""
    host = Host(tmp_path)
    host.mount("cgroup", "v1/memory", "rw,memory", root="/docker/abc")
    host.place(7, v1="/docker/abc/engine")
    host.count_v1("/engine", 3)
    assert found(host).kills() == 3
    host.place(7, v1="/docker/abc")
    host.count_v1("", 4)
    assert found(host).kills() == 4
    for elsewhere in ("/docker/other", "/docker/abcd", "/"):
        host.place(7, v1=elsewhere)
        assert MemoryGroups(host.proc).of(7) is None


def test_without_mounts_or_processes_nothing_is_known(tmp_path: Path) -> None:
    """Missing files are no error, and are looked for again: they may come."""
    host = Host(tmp_path)
    groups = MemoryGroups(host.proc)
    assert groups.own is None
    host.place("self", v1="/pool", v2="/slice")
    assert groups.own is None
    host.mount("cgroup", "v1/cpuset", "rw,cpuset")
    assert groups.own is None
    host.mount("cgroup", "v1/memory", "rw,memory")
    assert MemoryGroups(host.proc).own is not None
    assert groups.of(12345) is None


def test_the_deepest_cgroup_comes_first(tmp_path: Path) -> None:
    """It is the only one that can be removed; none that is gone is an error."""
    for name in ("a/b/c", "a/d"):
        (tmp_path / name).mkdir(parents=True)
    listed = nested(str(tmp_path))
    assert {os.path.relpath(one, tmp_path) for one in listed} == {".", "a", "a/b", "a/b/c", "a/d"}
    for one in listed:
        os.rmdir(one)
    assert nested(str(tmp_path)) == [str(tmp_path)]


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP])
def test_a_cgroup_that_lists_nobody_has_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It was removed between the opening and the reading, or lists its processes in the one above."""
    (tmp_path / "cgroup.procs").write_text("7\n")

    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    assert pids_in(str(tmp_path)) == [7]
    monkeypatch.setattr(os, "read", refuse)
    assert pids_in(str(tmp_path)) == []


def test_a_mount_that_is_not_there_has_no_folder(host: Host) -> None:
    """Of any controller."""
    hierarchies = Hierarchies(host.proc)
    assert hierarchies.folder("memory", "/pool") == str(host.folder / "v1/memory/pool")
    assert hierarchies.folder("pids", "/pool") is None


def test_our_own_cgroup_is_looked_up_once(host: Host) -> None:
    """Every launch needs it."""
    groups = MemoryGroups(host.proc)
    host.place("self", v2="/slice")
    first = groups.own
    host.place("self", v2="/elsewhere")
    assert groups.own is first


def test_a_cgroup_contains_itself_and_what_is_below() -> None:
    """A name that only begins like another is elsewhere."""
    above, same = Group("/a", "/cg/a", "memory.events"), Group("/a", "/cg/a", "memory.events")
    below, beside = Group("/a/b", "/cg/a/b", "memory.events"), Group("/ab", "/cg/ab", "memory.events")
    assert above.contains(same)
    assert above.contains(below)
    assert not below.contains(above)
    assert not above.contains(beside)
    assert not beside.contains(above)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENODEV, errno.ESRCH])
@pytest.mark.parametrize("call", ["open", "read"])
def test_whatever_cannot_be_read_is_unknown(
    host: Host, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """FAULTS, EMFILE; a cgroup that is removed between its opening and its reading. Nothing stays open."""
    host.place(7, v2="/slice")
    host.count_v2("/slice", 2)
    group, opened, closed = found(host), Noted(os.open), Noted(os.close)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(os, "close", closed)
        patch.setattr(os, call, refuse)
        assert group.kills() is None
        assert group.pids() == []
        assert read(host.proc + "/vmstat") is None
    assert len(opened.results) == (3 if call == "read" else 0)
    assert set(opened.results) <= {fd for (fd,) in closed.arguments}
    assert group.kills() == 2


class Noted:
    """A function, with what it was given and what it returned."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.arguments: list[tuple[Any, ...]] = []
        self.results: list[Any] = []

    def __call__(self, *arguments: Any) -> Any:
        self.arguments.append(arguments)
        self.results.append(self.function(*arguments))
        return self.results[-1]


def test_this_hosts_own_files_are_understood() -> None:
    """Whatever this host is like: the folder found, if any, is one, and has us in it."""
    own = MemoryGroups().own
    if own is None or own.kills() is None:
        pytest.skip("no memory cgroup of this host can be read")
    assert os.path.isdir(own.folder)
    assert os.getpid() in own.pids()
