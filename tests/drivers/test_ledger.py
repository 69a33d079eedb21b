"""The memory that a guardian shares with the program it guards."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from attrs import evolve

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers.ledger import LINE, Ledger, Ward, read


def ward(token: str, *, pid: int | None = None, details: str = "") -> Ward:
    return Ward(EngineHandle("local", token, "127.0.0.1", 1, pid, "boot", 2, details), 0.5)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


def test_what_was_noted_last_is_read_by_whoever_has_the_memory(ledger: Ledger) -> None:
    """Of each launch one line, until nothing is left of it."""
    assert not ledger
    for one in (ward("a"), ward("b"), ward("a", pid=7)):
        ledger.write(one)
    theirs = os.dup(ledger.fd)
    try:
        assert read(theirs) == [ward("a", pid=7), ward("b")]
        ledger.clear("a")
        ledger.clear("never heard of")
        assert read(theirs) == [ward("b")]
        assert ledger
        ledger.clear("b")
        assert not ledger
        assert read(theirs) == []
        ledger.write(ward("c"))
        ledger.close()
        assert read(theirs) == [ward("c")]
    finally:
        os.close(theirs)


def test_lines_are_used_again(ledger: Ledger) -> None:
    """A manager that restarts engines for a year needs no more memory than on its first day."""
    for number in range(100):
        ledger.write(ward(f"{number}"))
        ledger.write(ward(f"{number}", pid=number))
        ledger.clear(f"{number - 1}")
    assert os.fstat(ledger.fd).st_size == 2 * LINE


def test_a_handle_that_is_too_long_is_found_by_its_token(ledger: Ledger) -> None:
    """Its details stand in the environment of its engine; no line reaches into the next."""
    long = ward("a", pid=7, details="x" * LINE)
    ledger.write(ward("before"))
    ledger.write(long)
    ledger.write(ward("after"))
    kept = evolve(long, handle=evolve(long.handle, pid=None, details=""))
    assert read(ledger.fd) == [ward("before"), kept, ward("after")]
    with pytest.raises(ValueError, match="token"):
        ledger.write(ward("t" * LINE))
    assert read(ledger.fd) == [ward("before"), kept, ward("after")]


def test_the_longest_paths_that_the_kernel_allows_of_do_no_harm(ledger: Ledger) -> None:
    """Whatever is in them."""
    for token, details in (("ascii", "/" * 3800), ("other", "\udc80é" * 4096)):
        ledger.write(ward(token, details=details))
    assert [one.handle.token for one in read(ledger.fd)] == ["ascii", "other"]


@pytest.mark.parametrize(
    "damage", [b"{", b"null", b"[]", b'{"grace": 1}', b'{"grace": 1, "handle": {}}', b"\xff"]
)
def test_a_damaged_line_costs_no_other(ledger: Ledger, damage: bytes) -> None:
    """It is as if it were empty."""
    ledger.write(ward("a"))
    ledger.write(ward("b"))
    os.pwrite(ledger.fd, damage.ljust(LINE, b"\0"), 0)
    assert read(ledger.fd) == [ward("b")]
