"""Empty cgroups are removed, sooner or later, and no others."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pool_lifecycle_drivers import leftovers
from pool_lifecycle_drivers.leftovers import Leftovers
from tests.programs import outcome

PATIENCE = 20.0


def until(condition: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patient_until, "waited too long"
        time.sleep(0.002)


def cgroup(folder: Path, *pids: int) -> Path:
    """A folder that lists pids. An ordinary one can be removed only when that list has been."""
    folder.mkdir(parents=True)
    if pids:
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return folder


def test_a_cgroup_is_removed_with_those_below_it(tmp_path: Path) -> None:
    """In a thread: the kernel may take its time."""
    made = cgroup(tmp_path / "engine")
    cgroup(made / "a" / "b")
    cgroup(made / "c")
    Leftovers().add(str(made))
    until(lambda: not made.exists())
    assert tmp_path.exists()


def test_one_that_is_gone_already_is_no_trouble(tmp_path: Path) -> None:
    """Its parent was removed, perhaps."""
    left = Leftovers()
    left.add(str(tmp_path / "none"))
    until(lambda: not left.pending())


def test_one_that_somebody_is_just_leaving_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says EBUSY for as long as a process is on its way out."""
    monkeypatch.setattr(leftovers, "REMOVING", PATIENCE)
    made, left = cgroup(tmp_path / "engine", 7), Leftovers()
    left.add(str(made))
    (made / "cgroup.procs").unlink()
    until(lambda: not made.exists())
    until(lambda: not left.pending())


def test_one_that_cannot_be_removed_is_tried_again_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is forgotten (S5)."""
    monkeypatch.setattr(leftovers, "REMOVING", 0.0)
    full, left = cgroup(tmp_path / "full", 7), Leftovers()
    left.add(str(full))
    until(lambda: left.pending() == {str(full)})
    (full / "cgroup.procs").unlink()
    left.add(str(cgroup(tmp_path / "next")))
    until(lambda: not left.pending())
    assert not list(tmp_path.iterdir())


def test_without_a_thread_the_next_removal_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS, EAGAIN: a stop does not fail for it."""

    def refuse(_: object) -> None:
        raise OSError(11, "no threads")

    left = Leftovers()
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "hand_over", refuse)
        left.add(str(cgroup(tmp_path / "first")))
    assert (tmp_path / "first").exists()
    left.add(str(cgroup(tmp_path / "second")))
    until(lambda: not list(tmp_path.iterdir()))
    until(lambda: not left.pending())


def test_what_killed_managers_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ones of ours that nobody is in: neither another manager's engines, nor anybody else's cgroups."""
    empty = [cgroup(tmp_path / "ours.1"), cgroup(tmp_path / "ours.2")]
    cgroup(empty[1] / "below")
    used, below = cgroup(tmp_path / "ours.3", 7), cgroup(tmp_path / "ours.4" / "below", 7)
    others = cgroup(tmp_path / "theirs")
    left = Leftovers()
    left.sweep(str(tmp_path), "ours.")
    until(lambda: not left.pending())
    assert all(one.exists() for one in empty)  # made just now: somebody may be about to be put there
    later = time.time() + 2 * leftovers.FORGOTTEN
    clocks = SimpleNamespace(time=lambda: later, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(leftovers, "time", clocks)
    left.sweep(str(tmp_path), "ours.")
    until(lambda: not left.pending())
    assert sorted(tmp_path.iterdir()) == [used, below.parent, others]
    assert below.exists()


def test_a_folder_that_cannot_be_listed_is_not_swept(tmp_path: Path) -> None:
    """It is gone, or not ours to read."""
    left = Leftovers()
    left.sweep(str(tmp_path / "none"), "")
    until(lambda: not left.pending())


ENDS_AT_ONCE = """
import json, sys
from pool_lifecycle_drivers import leftovers
from pool_lifecycle_drivers.leftovers import Leftovers

leftovers.hand_over = lambda work: None  # the program ends before a thread has had its turn
left = Leftovers()
left.add(sys.argv[1])
print(json.dumps(sorted(leftovers.pending())))
"""


@pytest.mark.slow
def test_at_the_end_of_the_program_nothing_is_left(tmp_path: Path) -> None:
    """A program may end right after it stopped its engines."""
    made = cgroup(tmp_path / "engine")
    told = outcome(ENDS_AT_ONCE, made)
    assert os.fspath(made) in told
    assert json.dumps(told)
    assert not made.exists()
