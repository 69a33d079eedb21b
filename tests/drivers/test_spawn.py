"""What a failed launch means. Launches themselves are tried in `test_process_refused`."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import Any

import pytest

from pool_lifecycle.causes import Stage
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.spawn import launch_cause, spawn

SECRET = "hf_secret"


def request(*argv: str, **env: str) -> LaunchRequest:
    command = Command(argv, tuple(env.items()))
    return LaunchRequest("p", 1, "token", command, "127.0.0.1", 1, "/log", "/pid")


@pytest.mark.parametrize(
    "number",
    [errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ETXTBSY],
)
def test_a_shortage_of_the_host_heals(number: int) -> None:
    """The pool tries again under back-off."""
    cause = launch_cause(request("engine"), {}, OSError(number, os.strerror(number)))
    assert cause.heals
    assert os.strerror(number) in cause.message
    assert cause.evidence == (errno.errorcode[number],)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP])
def test_what_somebody_has_to_correct_does_not_heal(number: int) -> None:
    """And there is a remedy to read."""
    cause = launch_cause(request("engine"), {}, OSError(number, os.strerror(number), "/some/where"))
    assert not cause.heals
    assert cause.stage == Stage.LAUNCH
    assert "'/some/where'" in cause.message
    assert cause.remedy


def test_a_program_that_is_there_but_has_no_loader_is_told_apart() -> None:
    """The kernel's own words for it are that the program does not exist."""
    missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/bin/sh")
    assert "loader does not exist" in launch_cause(request("/bin/sh"), {}, missing).message
    missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/none")
    assert "loader" not in launch_cause(request("/none"), {}, missing).message


@pytest.mark.parametrize("env", [{"A=B": "x"}, {"A": "nul\0"}, {"A": "\udfff"}])
def test_what_is_no_environment_is_refused_without_telling_it(env: dict[str, str]) -> None:
    """A value may be a secret (S18)."""
    asked = request("true")
    with open(os.devnull, "wb") as log, pytest.raises(ValueError, match=r".") as caught:
        spawn(asked, {"TOKEN": SECRET, **env}, log.fileno())
    cause = launch_cause(asked, {}, caught.value)
    assert not cause.heals
    assert SECRET not in f"{cause!r}"


@pytest.mark.slow
def test_a_child_is_left_to_us_to_reap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the destructor of `Popen` nor the next launch takes its status."""
    with open(os.devnull, "wb") as log:
        first = spawn(request("false"), {"PATH": "/bin:/usr/bin"}, log.fileno())
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        subprocess._cleanup()  # type: ignore[attr-defined]
        second = spawn(request("true"), {"PATH": "/bin:/usr/bin"}, log.fileno())
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (first, second)] == [1, 0]


@pytest.mark.slow
def test_the_fast_way_of_making_a_child_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """`vfork` costs the same however big we are; whatever rules it out would slow every launch."""
    seen: list[Any] = []
    real = subprocess._fork_exec  # type: ignore[attr-defined]

    def look(*arguments: Any) -> int:
        seen.append(arguments)
        return int(real(*arguments))

    monkeypatch.setattr(subprocess, "_fork_exec", look)
    with open(os.devnull, "wb") as log:
        os.waitpid(spawn(request("true"), {"PATH": "/bin:/usr/bin"}, log.fileno()), 0)
    (arguments,) = seen
    *_, gid, groups, uid, _umask, preexec, vfork = arguments
    assert (gid, groups, uid, preexec, vfork) == (None, None, None, None, True)
