"""What this host and this program allow a launcher of local processes."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from pool_lifecycle.interfaces import Capable
from pool_lifecycle_drivers import abilities, pidfd_info, signals
from pool_lifecycle_drivers.kernel_log import FIRST_NAMESPACE, KernelLog
from pool_lifecycle_drivers.oom import OomKills
from pool_lifecycle_drivers.pinned import Pinned
from pool_lifecycle_drivers.process import LocalLauncher
from tests.programs import outcome


@pytest.fixture(autouse=True)
def nobody_has_stolen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests have done to this program."""
    monkeypatch.setattr(Pinned, "taken", False)


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that tells nobody but a parent how a process ended."""
    monkeypatch.setattr(pidfd_info, "is_told", lambda: False)


def test_the_launcher_of_local_processes_says_all_of_it() -> None:
    """Each once; what could be better comes with a reason and a remedy. Nothing is opened or made."""
    launcher = LocalLauncher()
    assert isinstance(launcher, Capable)
    before = os.listdir("/proc/self/fd")
    told = launcher.capabilities()
    names = [one.name for one in told]
    assert len(set(names)) == len(names)
    assert set(names) >= {
        "exit notice",
        "exit status",
        "adopted exit status",
        "signals of engines",
        "kernel log",
        "OOM counter",
    }
    assert all(bool(one.better) == bool(one.remedy) for one in told)
    assert all(one.in_force and (one.why or not one.better) for one in told)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("number", "why", "remedy"),
    [
        (errno.ENOSYS, "pidfd_open is not available: Function not implemented", "Linux 5.3"),
        (errno.EPERM, "pidfd_open is not available: Operation not permitted", "sandbox"),
        (errno.EMFILE, "no descriptor is left", "ulimit -n"),
        (errno.ENFILE, "no descriptor is left", "ulimit -n"),
    ],
)
def test_without_a_pidfd_ends_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, number: int, why: str, remedy: str
) -> None:
    """FAULTS, `pidfd_open` not available; EMFILE."""
    assert abilities.exit_notice().in_force == "pidfd, at once"

    def refused(_pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refused)
    told = abilities.exit_notice()
    assert (told.in_force, told.why, told.better) == ("looked for every 0.1 s", why, "pidfd, at once")
    assert remedy in told.remedy


@pytest.mark.usefixtures("old_kernel")
def test_a_program_that_ignores_sigchld_is_told_so() -> None:
    """FAULTS; S16: its engines' exit statuses are lost, and it learns what to do about that."""
    assert abilities.exit_status().in_force == "known"
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    told = abilities.exit_status()
    signal.signal(signal.SIGCHLD, before)
    assert (told.in_force, told.why, told.better) == ("lost", "this program ignores SIGCHLD", "known")
    assert "SIG_DFL" in told.remedy
    assert abilities.exit_status().in_force == "known"


@pytest.mark.slow
def test_children_that_are_not_waited_for_count_as_ignored() -> None:
    """SA_NOCLDWAIT, which no Python program can ask for but any library can."""
    source = """
import ctypes, json
from pool_lifecycle_drivers import abilities, pidfd_info
pidfd_info.is_told = lambda: False
libc, action = ctypes.CDLL(None), ctypes.create_string_buffer(1024)
ctypes.c_int.from_buffer(action, 136).value = 2
before = abilities.exit_status().in_force
assert libc.sigaction(17, action, None) == 0
print(json.dumps([before, abilities.exit_status().why]))
"""
    assert outcome(source) == ["known", "this program ignores SIGCHLD"]


def test_a_thief_of_statuses_is_told_once_it_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS, `waitpid(-1)`: not to be known before it has waited. New kernels tell all the same."""
    monkeypatch.setattr(Pinned, "taken", True)
    monkeypatch.setattr(pidfd_info, "is_told", lambda: False)
    told = abilities.exit_status()
    assert (told.in_force, told.better) == ("lost", "known")
    assert "waitpid(-1)" in told.why
    monkeypatch.setattr(pidfd_info, "is_told", lambda: True)
    told = abilities.exit_status()
    assert (told.in_force, told.better) == ("told by the kernel", "")


@pytest.mark.parametrize(("is_told", "in_force"), [(True, "told by the kernel"), (False, "lost")])
def test_what_becomes_of_an_adopted_engine_is_known_on_new_kernels(
    monkeypatch: pytest.MonkeyPatch, is_told: bool, in_force: str
) -> None:
    """`PIDFD_GET_INFO`."""
    monkeypatch.setattr(pidfd_info, "is_told", lambda: is_told)
    told = abilities.adoption()
    assert told.in_force == in_force
    assert bool(told.remedy) is not is_told


def test_signals_that_engines_inherit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the C library cannot give them back."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert abilities.signals_of_engines().in_force == "as at the start of a program"
        monkeypatch.setattr(signals, "_CLOSEFROM", "no_such_function")
        told = abilities.signals_of_engines()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert "SIGTERM" in told.in_force
    assert "SIGTERM" in told.why
    assert told.remedy


def test_whether_the_kernels_log_can_be_read_is_told(tmp_path: Path) -> None:
    """Not in a pid namespace of one's own, where its numbers mean others; not without a right to it."""
    log = tmp_path / "kmsg"
    namespace = tmp_path / "self/ns/pid"
    namespace.parent.mkdir(parents=True)
    namespace.write_text("")
    told = abilities.kernel_log(KernelLog(str(tmp_path), str(log)))
    assert told.in_force == "not readable"
    assert "pid namespace" in told.why


def test_a_log_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first pid namespace."""
    log = KernelLog(str(tmp_path), str(tmp_path / "kmsg"))
    monkeypatch.setattr(os, "stat", lambda _path: os.stat_result([0, FIRST_NAMESPACE, *[0] * 8]))
    assert abilities.kernel_log(log).why == f"No such file or directory: {tmp_path}/kmsg"
    (tmp_path / "kmsg").write_text("")
    assert abilities.kernel_log(log).in_force == "readable"


def test_where_oom_kills_are_counted_is_told(tmp_path: Path) -> None:
    """In the memory cgroup, else on the whole host, else nowhere."""
    oom = OomKills(str(tmp_path), str(tmp_path / "kmsg"))
    told = abilities.oom_counter(oom)
    assert (told.in_force, told.better) == ("none", "of the memory cgroup")
    (tmp_path / "vmstat").write_text("oom_kill 0\n")
    assert abilities.oom_counter(oom).in_force == "of the whole host"
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/one\n")
    (tmp_path / "self/mountinfo").write_text(f"1 1 0:1 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "one").mkdir()
    assert "does not say" in abilities.oom_counter(oom).why
    (tmp_path / "one/memory.events").write_text("oom_kill 3\n")
    told = abilities.oom_counter(oom)
    assert (told.in_force, told.better) == ("of the memory cgroup /one", "")
