"""Whether an engine was ended by the kernel's OOM killer: from counters and the log, or not at all."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pool_lifecycle.causes import LOST, Clue, ClueKind, ExitStatus
from pool_lifecycle_drivers import kernel_log, oom
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.oom import OomKills, OomWatch
from pool_lifecycle_drivers.procfs import Identity
from pool_lifecycle_drivers.tree import Tree
from tests.host_trees import Host

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KILLED, EXITED = ExitStatus(signal=signal.SIGKILL), ExitStatus(code=1)
GONE = 2**22 + 1
"""A number that no process has."""

TREE = Tree(Identity(GONE, 1), "a token", Census())
A_STRANGER = 1


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """We are in /pool, of version 1; the engine with us until it is placed elsewhere."""
    host = Host(tmp_path)
    host.mount_both()
    host.place("self", v1="/pool", v2="/")
    host.count_v1("/pool", 10, os.getpid())
    return host


@pytest.fixture
def kills(host: Host) -> OomKills:
    return OomKills(host.proc, host.log)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the watch takes for the time, as one number in a list."""
    now = [1000.0]
    monkeypatch.setattr(oom, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def in_its_own(host: Host, kills: OomKills, count: int = 0) -> OomWatch:
    """The watch of an engine that was seen in /engine, which has counted so many kills by then."""
    watch = kills.watch_child()
    host.place(GONE, v1="/engine", v2="/")
    host.count_v1("/engine", count)
    watch.remember(kills.look(GONE))
    return watch


def test_a_kill_counted_in_its_own_cgroup_is_proof(host: Host, kills: OomKills) -> None:
    """B-SUPER-009, S16: nobody else can have been meant."""
    watch = in_its_own(host, kills, 3)
    assert watch.counted(KILLED, TREE) is None
    host.count_v1("/engine", 4)
    said = "the kernel counted an OOM kill in its memory cgroup /engine"
    assert watch.counted(KILLED, TREE) == Clue(ClueKind.OOM_KILL, said, proof=True)


def test_a_kill_in_its_tree_is_proof_too_however_the_leader_ended(host: Host, kills: OomKills) -> None:
    """B-SUPER-x1: a leader whose workers were killed ends with a status of its own, or with none."""
    watch = in_its_own(host, kills)
    host.count_v1("/engine", 2)
    for status in (EXITED, ExitStatus(code=0), LOST):
        clue = watch.counted(status, TREE)
        assert clue is not None
        assert clue.proof
        assert "counted 2 OOM kills" in clue.detail


def test_a_kill_in_the_managers_cgroup_proves_nothing(host: Host, kills: OomKills) -> None:
    """S16: a SIGKILL by an administrator, beside the OOM kill of another engine."""
    watch = kills.watch_child()
    host.count_v1("/pool", 11, os.getpid())
    said = "the kernel counted an OOM kill in its memory cgroup /pool, which it shares with others"
    assert watch.counted(KILLED, TREE) == Clue(ClueKind.OOM_KILL, said, proof=False)


def test_a_kill_in_a_cgroup_above_the_managers_proves_nothing(host: Host, kills: OomKills) -> None:
    """Version 2 counts below as well, and there are we."""
    host.place("self", v1="/above/pool")
    host.place(GONE, v1="/above")
    host.count_v1("/above", 0)
    watch = kills.since(kills.look(GONE))
    host.count_v1("/above", 1)
    clue = watch.counted(KILLED, TREE)
    assert clue is not None
    assert not clue.proof


@pytest.mark.parametrize("strangers", [(A_STRANGER,), (0,), tuple(range(GONE, GONE + 300))])
def test_a_kill_in_a_cgroup_with_strangers_proves_nothing(
    host: Host, kills: OomKills, strangers: tuple[int, ...]
) -> None:
    """S16: another engine in it, somebody whom we cannot see, or too many to look at."""
    watch = in_its_own(host, kills)
    host.count_v1("/engine", 1, *strangers)
    clue = watch.counted(KILLED, TREE)
    assert clue is not None
    assert not clue.proof


def test_what_is_left_of_the_tree_is_no_stranger(host: Host, kills: OomKills) -> None:
    """Its session lives on after the leader; what ended in the meantime is nobody."""
    watch = in_its_own(host, kills)
    host.count_v1("/engine", 1, os.getpid(), GONE)
    ours = Tree(Identity(os.getsid(0), 1), "a token", Census())
    clue = watch.counted(KILLED, ours)
    assert clue is not None
    assert clue.proof


def test_without_descriptors_nothing_is_proven(
    host: Host, kills: OomKills, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS, EMFILE: never an error."""

    def refuse(pid: int) -> bool:
        raise OSError(errno.EMFILE, "too many open files")

    watch = in_its_own(host, kills)
    host.count_v1("/engine", 1, GONE)
    monkeypatch.setattr(TREE, "holds", refuse)
    clue = watch.counted(KILLED, TREE)
    assert clue is not None
    assert not clue.proof


def test_where_nothing_can_be_read_there_is_no_clue(tmp_path: Path, host: Host, kills: OomKills) -> None:
    """No /proc at all, a cgroup that is gone, one that counts nothing."""
    bare = OomKills(str(tmp_path / "nowhere"), str(tmp_path / "nothing"))
    assert bare.watch_child().counted(KILLED, TREE) is None
    assert bare.since(bare.look(GONE)).counted(KILLED, TREE) is None
    watch = in_its_own(host, kills)
    (tmp_path / "v1/memory/engine/memory.oom_control").unlink()
    assert watch.counted(KILLED, TREE) is None
    watch.remember(kills.look(GONE))
    assert watch.counted(KILLED, TREE) is None


def test_a_process_that_moves_begins_anew_there(host: Host, kills: OomKills) -> None:
    """What its new cgroup had counted before it came was not of it."""
    watch = in_its_own(host, kills, 5)
    host.place(GONE, v1="/other")
    host.count_v1("/other", 2)
    watch.remember(kills.look(GONE))
    host.count_v1("/engine", 6)
    assert watch.counted(KILLED, TREE) is None
    host.count_v1("/other", 3)
    clue = watch.counted(EXITED, TREE)
    assert clue is not None
    assert "/other" in clue.detail


def test_what_it_has_survived_did_not_kill_it(host: Host, kills: OomKills, clock: list[float]) -> None:
    """S16: a worker was killed and replaced; much later a stranger kills the leader."""
    watch = in_its_own(host, kills)
    host.count_v1("/engine", 1)
    for _ in range(2):
        clock[0] += oom.OUTLIVED
        watch.remember(kills.look(GONE))
    assert watch.counted(KILLED, TREE) is None
    clue = watch.counted(EXITED, TREE)
    assert clue is not None


def test_a_kill_counted_while_it_still_ends_is_not_taken_for_survived(
    host: Host, kills: OomKills, clock: list[float]
) -> None:
    """Giving much memory back takes a while: looks at the dying find it alive with its kill counted."""
    watch = in_its_own(host, kills)
    clock[0] += 100
    watch.remember(kills.look(GONE))
    host.count_v1("/engine", 1)
    for _ in range(40):
        clock[0] += 0.9 * oom.OUTLIVED / 40
        watch.remember(kills.look(GONE))
    assert watch.counted(KILLED, TREE) is not None


def test_the_log_is_only_asked_after_a_kill_on_this_host(host: Host, kills: OomKills) -> None:
    """Reading it takes milliseconds, the host's count microseconds; unknown is no reason not to look."""
    watch = kills.watch_child()
    assert not watch.may_be_logged()
    host.count_on_host(1)
    assert watch.may_be_logged()
    assert watch.may_be_logged()
    assert not kills.watch_child().may_be_logged()
    host.write("proc/vmstat", "")
    assert watch.may_be_logged()
    assert OomKills(host.proc).watch_child().may_be_logged()


def test_what_the_log_says_about_the_tree_is_proof(
    run_real: Run, host: Host, kills: OomKills, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-SUPER-009, where the cgroup is shared or cannot be read."""
    monkeypatch.setattr(kernel_log, "FIRST_NAMESPACE", os.stat(f"{host.proc}/self/ns/pid").st_ino)
    watch = kills.watch_child()
    assert run_real(watch.logged(TREE)) is None
    line = f"Out of memory: Killed process {GONE} (python) total-vm:1kB"
    host.write("kmsg", f"3,1,{2**60},-;{line}\n")
    said = f"the kernel's log: {line}"
    assert run_real(watch.logged(TREE)) == Clue(ClueKind.OOM_KILL, said, proof=True)
    assert run_real(watch.logged(Tree(Identity(GONE + 1, 1), "x", Census()))) is None
