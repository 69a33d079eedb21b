"""Orphans that the kernel gives us: those of our launches are reaped, and nobody else's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest

from pool_lifecycle_drivers.procfs import Entry, Identity, Table, read_entry
from pool_lifecycle_drivers.subreaper import reap
from tests.programs import outcome

pytestmark = pytest.mark.slow

BECOMES = """
import json, os, subprocess
from pool_lifecycle_drivers import subreaper

said = subreaper.become()
made = subprocess.run(["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(made.stdout)
with open(f"/proc/{orphan}/stat") as file:
    parent = int(file.read().rpartition(")")[2].split()[1])
os.kill(orphan, 9)
os.waitpid(orphan, 0)
print(json.dumps([said, parent == os.getpid()]))
"""


def test_orphans_become_ours() -> None:
    """Wherever PID 1 would have had them."""
    assert outcome(BECOMES) == ["", True]


@contextmanager
def zombie() -> Iterator[Entry]:
    """A child of ours that has ended, in a session of its own."""
    with subprocess.Popen(["true"], start_new_session=True) as made:
        os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)
        row = read_entry(made.pid)
        assert row is not None
        yield row


def is_there(row: Entry) -> bool:
    return read_entry(row.who.pid) is not None


LEADER = Identity(2**22 + 1, 1)


def test_who_was_seen_as_a_member_is_reaped() -> None:
    """Whoever else is our child is left to whoever waits for it; so is the leader, whose status is wanted."""
    with zombie() as row:
        reap(Table([row]), LEADER, [])
        reap(Table([row]), row.who, [row.who])
        reap(Table([attrs.evolve(row, gone=False)]), LEADER, [row.who])
        assert is_there(row)
        reap(Table([row]), LEADER, [row.who])
        assert not is_there(row)
        reap(Table([row]), LEADER, [row.who])  # somebody else was faster


def test_who_is_of_the_leaders_session_is_reaped() -> None:
    """As long as the leader is there to prove that it is still its session."""
    with zombie() as row:
        inside = attrs.evolve(row, session=LEADER.pid)
        stranger = attrs.evolve(row, who=Identity(LEADER.pid, 99), parent=1)
        reap(Table([inside]), LEADER, [])
        reap(Table([inside, stranger]), LEADER, [])
        assert is_there(row)
        reap(Table([inside, attrs.evolve(stranger, who=LEADER)]), LEADER, [])
        assert not is_there(row)
