"""How processes get into their cgroups, with all that has come of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pool_lifecycle_drivers import enclosing
from pool_lifecycle_drivers.cgroups import pids_in
from pool_lifecycle_drivers.enclosing import Enclosing
from pool_lifecycle_drivers.procfs import Identity
from tests.real_cgroups import TIERS, contained, enclose, tree

GONE = Identity(2**22 + 1, 1)
"""A process that there is not."""


def test_nothing_is_left_of_a_cgroup_that_nobody_can_be_put_into(tmp_path: Path) -> None:
    """An ordinary folder has no list to write to."""
    with pytest.raises(FileNotFoundError):
        enclose(tmp_path / "engine", GONE)
    assert not list(tmp_path.iterdir())


def test_a_cgroup_removed_by_somebody_else_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System managers, and other managers of engines, remove empty ones."""
    made: list[str] = []
    make = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        made.append(path)
        if len(made) == 2:
            make(path, mode)
            Path(path, "cgroup.procs").write_text("")

    monkeypatch.setattr(os, "mkdir", mkdir)
    enclose(tmp_path / "engine", GONE)
    assert len(made) == 2


def test_however_many_there_are_the_host_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_real: Any
) -> None:
    """Each look takes as long as there are processes: one for each would take that long by itself again."""
    looks: list[int] = []

    def look() -> list[int]:
        looks.append(1)
        return []

    monkeypatch.setattr(enclosing, "all_pids", look)
    folders = [tmp_path / str(number) for number in range(100)]
    for folder in folders:
        folder.mkdir()
        (folder / "cgroup.procs").write_text("")

    async def main() -> None:
        shared = Enclosing()
        pids = (Identity(2**22 + number, 1) for number in range(100, 0, -1))
        both = zip(folders, pids, strict=True)
        await asyncio.gather(*(shared.enclose(str(folder), who, "token") for folder, who in both))

    run_real(main())
    assert len(looks) == 1


# --- real ones ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_whoever_was_born_before_is_put_there_as_well(tier: str) -> None:
    """A process that forks at once is faster than the kernel moves it."""
    with contained(tier) as made, tree("sleep 1000 & (sleep 1000 &) ; sleep 1000 & echo; wait") as who:
        enclose(made.folder, who)
        assert len(pids_in(str(made.folder))) == 4
        enclose(made.folder, who)  # as a new manager does
        assert len(pids_in(str(made.folder))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_who_has_another_number_by_now_is_not_put_there(tier: str) -> None:
    """Not even for a moment (S4)."""
    with contained(tier) as made, tree("echo; sleep 1000") as who:
        enclose(made.folder, Identity(who.pid, who.start_ticks - 1))
        assert pids_in(str(made.folder)) == []
