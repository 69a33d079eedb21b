"""Which tier holds an engine together on a host that allows this or that, and why nothing better."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle.interfaces import Capability
from pool_lifecycle_drivers import subreaper
from pool_lifecycle_drivers.containment import AUTO, DELEGATE, Containment
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.procfs import Identity
from tests.host_trees import Host

TOKEN = "chat.3.0f3a"
NAME = f"pool-lifecycle.{TOKEN}"
WE = Identity(os.getpid(), 1)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Both versions are mounted and writable; we are in `/slice/we` of version 2, in roots of version 1."""
    host = Host(tmp_path)
    host.mount("cgroup", "v1/pids", "rw,pids")
    host.mount("cgroup", "v1/freezer", "rw,freezer")
    host.mount("cgroup2", "v2", "rw,nsdelegate")
    host.write("proc/self/cgroup", "8:pids:/\n7:freezer:/\n0::/slice/we\n")
    for folder in ("v1/pids", "v1/freezer", "v2", "v2/slice/we"):
        host.write(f"{folder}/cgroup.procs", "")
    host.write("v2/cgroup.controllers", "")
    host.write("v2/slice/we/cgroup.controllers", "")
    return host


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let no folder be made below one."""
    refused: dict[str, int] = {}
    make = os.mkdir

    def mkdir(path: str, *arguments: Any) -> None:
        for parent, number in refused.items():
            if os.fspath(path).startswith(f"{parent}/"):
                raise OSError(number, os.strerror(number), path)
        make(path, *arguments)

    monkeypatch.setattr(os, "mkdir", mkdir)

    def refuse_below(parent: Path, number: int) -> None:
        refused[str(parent)] = number

    return refuse_below


def place(containment: Containment) -> tuple[str, str] | None:
    made = containment.leaf(TOKEN)
    return None if made is None else (made.tier, made.folder)


def test_version_2_is_the_best(host: Host) -> None:
    """A leaf below the cgroup we are in, with the launch's own name; nothing better is known of."""
    containment = Containment(proc=host.proc)
    assert place(containment) == ("cgroup v2", str(host.folder / "v2/slice/we" / NAME))
    assert containment.capability() == Capability("containment", "cgroup v2")


def test_finding_out_leaves_nothing(host: Host) -> None:
    """It is tried, and the trial removed; the launch's own is made when somebody is put there."""
    Containment(proc=host.proc).leaf(TOKEN)
    assert {one.name for one in (host.folder / "v2/slice/we").iterdir() if one.is_dir()} == set()


def test_we_may_have_been_moved_meanwhile(host: Host) -> None:
    """Whoever manages the host's cgroups may do that at any time: each launch begins where we are then."""
    containment = Containment(proc=host.proc)
    place(containment)
    host.write("proc/self/cgroup", "0::/elsewhere\n")
    host.write("v2/elsewhere/cgroup.procs", "")
    assert place(containment) == ("cgroup v2", str(host.folder / "v2/elsewhere" / NAME))


def test_where_version_2_is_read_only_version_1_does(host: Host, refuse: Callable[[Path, int], None]) -> None:
    """As in a container on a hybrid host; the reason and what would help are told."""
    below = host.folder / "v2/slice/we"
    refuse(below, errno.EROFS)
    containment = Containment(proc=host.proc)
    assert place(containment) == ("cgroup v1", str(host.folder / "v1/pids" / NAME))
    why = f"cgroup v2: {below}: Read-only file system"
    assert containment.capability() == Capability("containment", "cgroup v1", why, "cgroup v2", DELEGATE)


def test_of_version_1_any_hierarchy_will_do(host: Host, refuse: Callable[[Path, int], None]) -> None:
    """That of the freezer, which system managers leave alone, where pids are not ours to count."""
    refuse(host.folder / "v1/pids", errno.EACCES)
    containment = Containment(("cgroup v1",), proc=host.proc)
    assert place(containment) == ("cgroup v1", str(host.folder / "v1/freezer" / NAME))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC])
def test_where_none_can_be_made_the_session_does(
    host: Host, refuse: Callable[[Path, int], None], number: int
) -> None:
    """Silent for the engine, but told to who asks (FAULTS: EROFS, ENOSPC)."""
    refuse(host.folder, number)
    containment = Containment(proc=host.proc)
    assert place(containment) is None
    assert containment.floor == "session"
    told = containment.capability()
    assert (told.in_force, told.better, told.remedy) == ("session", "cgroup v2", DELEGATE)
    assert "cgroup v2: " in told.why
    assert "cgroup v1: " in told.why
    assert os.strerror(number) in told.why


def test_who_may_make_a_cgroup_but_move_nobody_has_none(host: Host) -> None:
    """The common parent's list has to be ours to write as well; a folder without one is no cgroup."""
    (host.folder / "v2/slice/we/cgroup.procs").unlink()
    (host.folder / "v1/pids/cgroup.procs").unlink()
    (host.folder / "v1/freezer/cgroup.procs").unlink()
    assert place(Containment(proc=host.proc)) is None


def test_on_a_host_without_cgroups_the_session_does(tmp_path: Path) -> None:
    """No hierarchy is mounted, or /proc says nothing."""
    containment = Containment(proc=Host(tmp_path).proc)
    assert place(containment) is None
    assert "mounted" in containment.capability().why


def test_a_wanted_parent_is_taken_instead_of_our_own(host: Host) -> None:
    """Of whichever version it is."""
    host.write("v2/engines/cgroup.procs", "")
    host.write("v2/engines/cgroup.controllers", "memory")
    for parent, tier in (("v2/engines", "cgroup v2"), ("v1/freezer", "cgroup v1")):
        wanted = str(host.folder / parent)
        assert place(Containment(parent=wanted, proc=host.proc)) == (tier, f"{wanted}/{NAME}")
    assert place(Containment(parent=str(host.folder), proc=host.proc)) is None


def test_only_what_is_wanted_is_used(host: Host) -> None:
    """Nothing, too."""
    nothing = Containment((), proc=host.proc)
    assert place(nothing) is None
    assert nothing.capability() == Capability("containment", "session", "nothing else is wanted")
    assert place(Containment(AUTO[1:], proc=host.proc)) == ("cgroup v1", str(host.folder / "v1/pids" / NAME))
    with pytest.raises(ValueError, match="chroot"):
        Containment(("chroot",))


@pytest.mark.parametrize("token", ["", ".", "..", "../x", "a/b", "-x", "a\nb", "x" * 300, "a\0"])
def test_a_token_that_is_no_name_makes_no_folder(host: Host, token: str) -> None:
    """It would be made, written to and removed elsewhere."""
    assert Containment(proc=host.proc).leaf(token) is None
    folder = str(host.folder / "v2/slice/we")
    assert Containment(proc=host.proc).recovered(f"{folder}/pool-lifecycle.{token}", token) is None


def test_a_recorded_folder_is_found_again(host: Host) -> None:
    """Wherever we are by now, and whatever version is the best now."""
    for parent, tier in (("v2/slice", "cgroup v2"), ("v1/pids", "cgroup v1")):
        host.write(f"{parent}/cgroup.procs", "")
        if tier == "cgroup v2":
            host.write(f"{parent}/cgroup.controllers", "")
        folder = str(host.folder / parent / NAME)
        found = Containment((), proc=host.proc).recovered(folder, TOKEN)
        assert found is not None
        assert (found.folder, found.tier) == (folder, tier)


def test_what_is_not_the_launchs_own_cgroup_is_left_alone(host: Host) -> None:
    """A damaged or foreign record must not have others killed (S4)."""
    containment = Containment(proc=host.proc)
    ours = str(host.folder / "v2/slice/we")
    for folder in (
        "",
        "/",
        ours,
        f"{ours}/pool-lifecycle.chat.3.0f3b",
        f"{host.folder}/{NAME}",
        f"{ours}/x/{NAME}",
    ):
        assert containment.recovered(folder, TOKEN) is None


async def _refused(containment: Containment) -> bool:
    made = containment.leaf(TOKEN)
    if made is None:
        return True
    made.enter(WE, TOKEN)
    await made.settled()
    return not made.in_force


@pytest.mark.parametrize("number", [errno.EACCES, errno.EOPNOTSUPP, errno.EBUSY, errno.EINVAL])
def test_who_was_refused_once_is_not_asked_again(
    host: Host, run_real: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """That nobody can be put there shows at the first launch: that has a session, the next the next tier."""

    async def refuse(_: Enclosing, folder: str, leader: Identity, token: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Enclosing, "enclose", refuse)
    containment = Containment(proc=host.proc)
    assert run_real(_refused(containment))
    assert place(containment) == ("cgroup v1", str(host.folder / "v1/pids" / NAME))
    assert os.strerror(number) in containment.capability().why
    assert run_real(_refused(containment))
    assert run_real(_refused(containment))
    assert place(containment) is None
    assert containment.capability().in_force == "session"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EAGAIN, errno.ENOMEM])
def test_what_passes_is_forgotten_with_the_next_launch(
    host: Host, run_real: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The host was short of something."""
    short = [True]

    async def enclose(_: Enclosing, folder: str, leader: Identity, token: str) -> None:
        if short.pop():
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Enclosing, "enclose", enclose)
    containment = Containment(proc=host.proc)
    assert run_real(_refused(containment))
    told = containment.capability()
    assert (told.in_force, told.better) == ("session", "cgroup v2")
    assert os.strerror(number) in told.why
    short.append(False)
    assert not run_real(_refused(containment))
    assert containment.capability() == Capability("containment", "cgroup v2")


def test_we_become_a_subreaper_only_when_asked_to(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes the whole program. A cgroup is better, and leaves it as it is."""
    became: list[str] = []
    answers = ["", "Function not implemented"]

    def become() -> str:
        became.append("a subreaper")
        return answers.pop(0)

    monkeypatch.setattr(subreaper, "become", become)
    assert Containment(proc=host.proc).floor == "session"
    assert not became
    wanted = Containment(("subreaper",), proc=host.proc)
    assert (wanted.floor, wanted.floor) == ("subreaper", "subreaper")
    assert wanted.capability().in_force == "subreaper"
    assert became == ["a subreaper"]
    refused = Containment(("subreaper",), proc=host.proc)
    told = refused.capability()
    assert (told.in_force, told.why, told.better) == (
        "session",
        "subreaper: Function not implemented",
        "subreaper",
    )
