"""Who may have come of a launch is told by what it still holds, and only where it is nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from pool_lifecycle_drivers.procfs import Entry, Identity, Table, read_entry
from pool_lifecycle_drivers.suspects import suspects

pytestmark = pytest.mark.slow

LASTING = ("sleep", "1000")

LEADER = Identity(2**22 + 1, 0)
"""Older than everybody, and gone."""


@contextmanager
def child(*argv: str, stdout: Any = subprocess.DEVNULL) -> Iterator[Entry]:
    """A process of this program's own making, as a row that nothing is known of but who it is."""
    with subprocess.Popen(argv, stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True) as made:
        try:
            row = read_entry(made.pid)
            assert row is not None
            yield row
        finally:
            made.kill()


PORT = 1
"""Whoever listens on it, none of ours does."""


def told(log: Path, *rows: Entry, leader: Identity = LEADER, port: int = PORT) -> tuple[int, ...]:
    return suspects(Table(rows), leader, str(log), port)


def test_who_still_writes_to_the_log_is_one(tmp_path: Path) -> None:
    """Who reads it, as we do, is not; nor is anybody where the log has been deleted."""
    log = tmp_path / "engine.log"
    with log.open("wb") as file, child(*LASTING, stdout=file) as row, child(*LASTING) as other:
        assert told(log, row, other) == (row.who.pid,)
        log.unlink()
        assert told(log, row, other) == ()


def test_who_has_another_token_or_began_before_is_none(tmp_path: Path) -> None:
    """It is another launch's, or cannot be this one's. One that has ended holds nothing; we are nobody's."""
    log = tmp_path / "engine.log"
    changed: list[Callable[[Entry], Entry]] = [
        lambda row: attrs.evolve(row, token="another"),
        lambda row: attrs.evolve(row, gone=True),
        lambda row: attrs.evolve(row, who=Identity(os.getpid(), row.who.start_ticks)),
    ]
    with log.open("wb") as file, child(*LASTING, stdout=file) as row:
        for change in changed:
            assert told(log, change(row)) == ()
        assert told(log, row, leader=Identity(1, row.who.start_ticks + 1)) == ()
        assert told(log, row, leader=Identity(1, row.who.start_ticks)) == (row.who.pid,)


LISTENS = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
time.sleep(1000)
"""


def test_who_listens_on_the_port_is_one(tmp_path: Path) -> None:
    """A launch on the same port would fail for it."""
    command = [sys.executable, "-c", LISTENS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as made, child(*LASTING) as other:
        try:
            assert made.stdout is not None
            port = int(made.stdout.readline())
            row = read_entry(made.pid)
            assert row is not None
            assert told(tmp_path / "none", row, other, port=port) == (made.pid,)
        finally:
            made.kill()


def test_an_orphan_given_to_us_is_one(tmp_path: Path) -> None:
    """Its session's leader is gone, as a daemon's is. A child of our own leads its session, or is of ours."""
    with child(*LASTING) as row:
        orphan = attrs.evolve(row, session=LEADER.pid)
        assert told(tmp_path / "none", row) == ()
        assert told(tmp_path / "none", attrs.evolve(row, session=os.getsid(0))) == ()
        assert told(tmp_path / "none", orphan) == (row.who.pid,)
        assert told(tmp_path / "none", attrs.evolve(orphan, parent=1)) == ()
        ended = attrs.evolve(row, who=LEADER, gone=True)
        assert told(tmp_path / "none", orphan, ended) == (row.who.pid,)
