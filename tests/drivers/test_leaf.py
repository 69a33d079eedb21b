"""One launch's own cgroup: who is put there, who is seen there, and who is killed with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers import leaf
from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.leaf import Leaf
from pool_lifecycle_drivers.leftovers import Leftovers
from pool_lifecycle_drivers.procfs import Identity, identify, read_entry
from tests.real_cgroups import TIERS, Cgroup, contained, enclose, tree

GONE = Identity(2**22 + 1, 1)
"""A process that there is not."""


def of(folder: Path) -> Leaf:
    return Leaf(str(folder), "cgroup v2", Enclosing(), Leftovers(), lambda _: None)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder like a cgroup's, with us and our parent in it."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")
    (folder / "cgroup.kill").write_text("")
    (folder / "pids.max").write_text("9")
    return folder


def test_we_are_never_a_member(fake: Path) -> None:
    """Whoever put us there: we would end ourselves. 0 stands for somebody of another namespace."""
    (fake / "cgroup.procs").write_text(f"0\n{os.getpid()}\n{os.getppid()}\n{GONE.pid}\n")
    assert of(fake).members() == {identify(os.getppid())}


def test_a_number_given_to_somebody_else_meanwhile_is_no_member(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has it is looked up after the list was read: it has to be in the list once more (S4)."""

    def look(pid: int) -> Any:
        (fake / "cgroup.procs").write_text("")  # it ended, and a stranger got the number
        return read_entry(pid)

    monkeypatch.setattr(leaf, "read_entry", look)
    assert of(fake).members() == set()


def test_a_cgroup_that_is_not_there_has_no_members(tmp_path: Path) -> None:
    """Not made yet, or removed by whoever manages the host's."""
    assert of(tmp_path / "none").members() == set()


def test_out_of_descriptors_nobody_is_taken_for_gone(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS, EMFILE: a cgroup that cannot be looked at is not an empty one (S6)."""

    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many"):
        of(fake).members()


def test_a_cgroup_that_we_are_in_is_not_killed_as_a_whole(fake: Path, run_real: Any) -> None:
    """Its members are ended one by one then."""
    assert not run_real(of(fake).kill())
    assert (fake / "cgroup.kill").read_text() == ""
    (fake / "cgroup.procs").write_text(f"{os.getppid()}\n")
    assert run_real(of(fake).kill())
    assert (fake / "cgroup.kill").read_text() == "1"
    assert (fake / "pids.max").read_text() == "9"


def test_where_the_kernel_kills_no_cgroup_nobody_in_it_can_fork_any_more(fake: Path, run_real: Any) -> None:
    """In version 1, and in version 2 before Linux 5.14: so that whoever kills them is faster."""
    (fake / "cgroup.kill").unlink()
    (fake / "cgroup.procs").write_text(f"{os.getppid()}\n")
    assert not run_real(of(fake).kill())
    assert (fake / "pids.max").read_text() == "0"
    (fake / "pids.max").unlink()
    assert not run_real(of(fake).kill())


# --- real ones ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_cgroups_below_belong_to_it(tier: str) -> None:
    """An engine may have cgroups of its own, as one in a container of its own does."""
    with contained(tier) as made, tree("sleep 1000 & echo; wait") as who:
        enclose(made.folder, who)
        below = Cgroup(made.folder / "a" / "b")
        below.folder.mkdir(parents=True)
        below.add(who.pid)
        assert {one.pid for one in of(made.folder).members()} == {who.pid, *pids_in(str(made.folder))}
        assert len(of(made.folder).members()) == 2
        made.add(who.pid)


@pytest.mark.slow
def test_the_kernel_kills_everybody_at_once(run_real: Any) -> None:
    """Those below as well, and the frozen."""
    with contained("cgroup v2") as made, tree("sleep 1000 & setsid sleep 1000 & echo; wait") as who:
        if not (made.folder / "cgroup.kill").exists():
            pytest.skip("no cgroup.kill: Linux before 5.14")
        enclose(made.folder, who)
        below = Cgroup(made.folder / "below")
        below.folder.mkdir()
        below.add(who.pid)
        made.write("cgroup.freeze", 1)
        assert run_real(of(made.folder).kill())
        os.waitid(os.P_PID, who.pid, os.WEXITED | os.WNOWAIT)
        made.until(lambda: not pids_in(str(made.folder)))
