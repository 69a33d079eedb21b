"""Who belongs to a launch, worked out from tables of processes that need not exist."""

from __future__ import annotations

import os

from pool_lifecycle_drivers.membership import members
from pool_lifecycle_drivers.procfs import Entry, Identity, Table

LEADER = Identity(100, 50)


def entry(
    pid: int, *, start: int = 60, parent: int = 1, session: int = 1, gone: bool = False, token: str = ""
) -> Entry:
    return Entry(Identity(pid, start), parent, session, gone, token or None)


def pids(*table: Entry, known: tuple[Identity, ...] = ()) -> set[int]:
    return {who.pid for who in members(Table(table), LEADER, "ours", known)}


ALIVE = entry(100, start=50, session=100, token="ours")
ZOMBIE = entry(100, start=50, session=100, gone=True)


def test_descendants_session_and_token_each_suffice() -> None:
    """Three ways in, because each misses some."""
    child, grandchild = entry(101, parent=100), entry(102, parent=101)
    in_session, carrier = entry(103, session=100), entry(104, token="ours")
    their_child = entry(105, parent=104)
    table = (their_child, ALIVE, child, grandchild, in_session, carrier)
    assert pids(*table) == {100, 101, 102, 103, 104, 105}


def test_strangers_are_left_out() -> None:
    """Another token, another session, and this very process, whatever it carries."""
    assert pids(ALIVE, entry(200), entry(201, token="theirs"), entry(os.getpid(), token="ours")) == {100}


def test_the_gone_are_left_out_but_prove_the_session() -> None:
    """An unreaped leader keeps the session's number from being given away."""
    assert pids(ZOMBIE, entry(101, session=100), entry(102, session=100, gone=True)) == {101}


def test_a_recycled_session_number_proves_nothing() -> None:
    """Everybody of ours was gone; then the number went to a stranger's session (S4)."""
    stranger = entry(100, start=90, session=100, token="theirs")
    assert pids(stranger, entry(101, session=100, parent=100)) == set()


def test_one_member_proves_that_the_session_is_still_ours() -> None:
    """By its token, or because it is known; the rest of the session may have lost theirs."""
    wiped = entry(102, session=100)
    assert pids(entry(101, session=100, token="ours"), wiped) == {101, 102}
    assert pids(entry(101, session=100), wiped, known=(Identity(101, 60),)) == {101, 102}
    assert pids(entry(101, session=100), wiped, known=(Identity(101, 61),)) == set()


def test_who_was_seen_before_stays_a_member() -> None:
    """With nothing left that ties it to the leader, unless its number is somebody else's by now."""
    assert pids(entry(101), entry(102, parent=101), known=(Identity(101, 60),)) == {101, 102}
    assert pids(entry(101, start=99), known=(Identity(101, 60),)) == set()


def test_nobody_older_than_the_leader_belongs_to_it() -> None:
    """A descendant cannot have begun before."""
    assert pids(ALIVE, entry(101, start=49, parent=100), entry(102, start=49, session=100)) == {100}
