"""An engine is not launched where there is no room for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pool_lifecycle.causes import Cause, FailureClass
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers import room

GIB = 2**30


def request(folder: Path, memory: int | None = None) -> LaunchRequest:
    log = str(folder / "not yet" / "pool.log")
    return LaunchRequest(
        "chat", 1, "token", Command(("engine",)), "127.0.0.1", 1, log, str(folder / "pid"), memory=memory
    )


def causes(folder: Path, memory: int | None = None) -> list[Cause]:
    return list(room.check_room(request(folder, memory)))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the host look as if it had this much."""

    def look(*, total: int = 8 * GIB, available: int = 4 * GIB, disk: int = GIB) -> None:
        memory = SimpleNamespace(total=total, available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr(psutil, "disk_usage", lambda _folder: SimpleNamespace(free=disk))

    return look


def test_with_room_nothing_is_found(host: Callable[..., None], tmp_path: Path) -> None:
    """B-PRELOAD-x1: what is there in full, to the last byte, is enough."""
    host(available=4 * GIB, disk=room.LEAST_DISK)
    assert causes(tmp_path, 4 * GIB) == []


def test_nothing_is_asked_of_memory_that_is_not_declared(host: Callable[..., None], tmp_path: Path) -> None:
    """A pool that declares no need is not refused for it."""
    host(available=0)
    assert causes(tmp_path) == []


def test_memory_that_may_come_back_is_a_reason_to_wait(host: Callable[..., None], tmp_path: Path) -> None:
    """B-PRELOAD-x1: short for now: refused, and retried under back-off."""
    host(total=8 * GIB, available=4 * GIB)
    (cause,) = causes(tmp_path, 4 * GIB + 1)
    assert cause.kind is FailureClass.PREFLIGHT
    assert cause.heals
    assert "needs 4.0 GiB of memory, 4.0 GiB are available" in cause.message


def test_memory_the_host_never_has_is_not_waited_for(host: Callable[..., None], tmp_path: Path) -> None:
    """B-PRELOAD-x1: what cannot heal by itself is not retried."""
    host(total=8 * GIB)
    (cause,) = causes(tmp_path, 9 * GIB)
    assert not cause.heals
    assert "this host has 8.0 GiB in all" in cause.message


def test_a_full_disk_is_said_before_the_launch(host: Callable[..., None], tmp_path: Path) -> None:
    """B-PRELOAD-x1: an engine that cannot log cannot say why it died; it is not launched."""
    host(disk=room.LEAST_DISK - 1)
    (cause,) = causes(tmp_path)
    assert cause.heals
    assert repr(str(tmp_path)) in cause.message
    assert "16.0 MiB" in cause.message


def test_the_real_host_is_really_asked(tmp_path: Path) -> None:
    """No host has this much memory, and every test host has room for a log."""
    (cause,) = causes(tmp_path, 2**60)
    assert not cause.heals
