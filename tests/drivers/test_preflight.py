"""What is known before a launch. The whole list of what cannot work is tried in `test_process_refused`."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers import preflight
from pool_lifecycle_drivers.preflight import check_all

LOOPBACK = [(socket.AF_INET, "127.0.0.1")]


@pytest.fixture
def request_(tmp_path: Path) -> LaunchRequest:
    """One that has nothing against it, for a free port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    log, pid = str(tmp_path / "a" / "b" / "log"), str(tmp_path / "pid")
    return LaunchRequest("p", 1, "token", Command((program(tmp_path),)), "127.0.0.1", port, log, pid)


def program(folder: Path, content: bytes = b"\x7fELF", mode: int = 0o755) -> str:
    path = folder / f"program-{len(os.listdir(folder))}"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def causes(request: LaunchRequest, **changes: Any) -> tuple[Cause, ...]:
    return check_all(evolve(request, **changes), {"PATH": "/bin:/usr/bin"}, LOOPBACK)


def test_nothing_is_held_against_what_can_work(request_: LaunchRequest) -> None:
    """Folders that are missing will be made; nothing is touched now."""
    assert causes(request_) == ()
    assert not os.path.exists(os.path.dirname(request_.log_path))


def test_everything_is_told_at_once_the_hopeless_first(request_: LaunchRequest, tmp_path: Path) -> None:
    """A pool must not go on trying because the first cause it saw may heal."""
    with closing(socket.create_server(("127.0.0.1", request_.port))):
        found = causes(request_, command=Command(("/none",)), log_path=str(tmp_path))
    assert [cause.heals for cause in found] == [False, False, True]
    assert found[-1].kind == FailureClass.PORT_IN_USE


def test_a_binary_behind_a_closed_folder_is_not_said_to_be_missing(
    request_: LaunchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EACCES on a folder above it: it may well be there, but this user cannot get at it."""
    hidden, real_stat = str(tmp_path / "closed" / "engine"), os.stat

    def refuse(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        if path == hidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real_stat(path, *rest, **options)

    monkeypatch.setattr(os, "stat", refuse)
    (cause,) = causes(request_, command=Command((hidden,)))
    assert cause.message == f"binary {hidden!r} cannot be reached: Permission denied"
    assert "let this user into its folder" in cause.remedy
    (cause,) = causes(request_, command=Command((str(tmp_path / "none"),)))
    assert cause.message.endswith("does not exist")


def test_a_script_needs_its_interpreter(request_: LaunchRequest, tmp_path: Path) -> None:
    """A virtual environment that was moved: the kernel says only that something does not exist."""
    for line, wrong in (
        (b"#!/bin/sh\n", False),
        (b"#! /bin/sh -e", False),
        (b"#!\n", True),
        (b"#!/none\n", True),
    ):
        found = causes(request_, command=Command((program(tmp_path, line),)))
        assert bool(found) == wrong, line


def test_a_program_that_cannot_be_read_may_be_executable(
    request_: LaunchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is held against what cannot be known."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        assert list(preflight._check_format(request_.command.argv[0])) == []


def test_where_the_kernel_knows_more_formats_it_is_left_to_judge(
    request_: LaunchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llamafile registers its own."""
    other = Command((program(tmp_path, b"MZqFpD="),))
    formats = tmp_path / "formats"
    formats.mkdir()
    monkeypatch.setattr(preflight, "OTHER_FORMATS", str(formats))
    (formats / "status").touch()
    (formats / "register").touch()
    assert len(causes(request_, command=other)) == 1
    (formats / "APE").touch()
    assert causes(request_, command=other) == ()
    monkeypatch.setattr(preflight, "OTHER_FORMATS", str(tmp_path / "none"))
    assert len(causes(request_, command=other)) == 1


def test_files_that_cannot_be_written_are_known(
    request_: LaunchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the answer of the kernel is simulated."""
    (tmp_path / "log").touch()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and not mode & os.W_OK)
    existing, missing = causes(request_, log_path=str(tmp_path / "log"))
    assert "is not writable" in existing.message
    assert f"{str(tmp_path)!r} is not writable" in missing.message


@pytest.mark.parametrize(
    ("number", "heals"), [(errno.EACCES, False), (errno.EADDRNOTAVAIL, True), (errno.EADDRINUSE, True)]
)
def test_a_port_that_cannot_be_bound_is_known(
    request_: LaunchRequest, monkeypatch: pytest.MonkeyPatch, number: int, heals: bool
) -> None:
    """A privileged port never will be; an address may come up; a holder that cannot be seen may leave."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(preflight, "try_bind", refuse)
    (cause,) = causes(request_)
    assert cause.heals == heals
    assert str(request_.port) in cause.message
    assert cause.remedy
