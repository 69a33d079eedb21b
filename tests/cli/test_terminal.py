"""Whether SIGHUP says that the terminal is gone."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

import pytest

from pool_lifecycle.cli.terminal import Terminal


def opening(monkeypatch: pytest.MonkeyPatch, fails: int | None) -> None:
    """From now on a look at /dev/tty ends so; None: with a terminal."""

    def opened(path: str, flags: int, *_: Any) -> int:
        assert path == "/dev/tty"
        assert flags & os.O_NOCTTY
        assert flags & os.O_NONBLOCK
        if fails is not None:
            raise OSError(fails, os.strerror(fails))
        return real("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(os, "open", opened)


real = os.open


@pytest.mark.parametrize(("says", "gone"), [(errno.ENXIO, True), (errno.EIO, True), (errno.EMFILE, False)])
def test_a_terminal_that_was_there_can_go(monkeypatch: pytest.MonkeyPatch, says: int, gone: bool) -> None:
    """As the kernel says; that there is no descriptor left says nothing of it."""
    opening(monkeypatch, None)
    terminal = Terminal()
    assert not terminal.gone
    opening(monkeypatch, says)
    assert terminal.gone is gone


@pytest.mark.parametrize("says", [errno.ENXIO, errno.ENOENT])
def test_without_a_terminal_there_is_none_to_lose(monkeypatch: pytest.MonkeyPatch, says: int) -> None:
    """A daemon, a container: SIGHUP says something else there."""
    opening(monkeypatch, says)
    terminal = Terminal()
    assert not terminal.gone


def test_nohup_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts it so wants it to outlive the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        opening(monkeypatch, None)
        terminal = Terminal()
    finally:
        signal.signal(signal.SIGHUP, before)
    opening(monkeypatch, errno.ENXIO)
    assert not terminal.gone
