"""What the pools of one manager share."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pool_lifecycle.kept import Kept, Passage
from pool_lifecycle.records import DriverMisbehaved, Record, Trouble
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.store import MemoryStore
from tests.worlds import a_host, a_spec, virtually


@virtually
async def test_chance_lies_between_minus_one_and_one() -> None:
    """On both sides of 0."""
    host = a_host([])
    draws = [host.chance() for _ in range(1000)]
    assert -1 <= min(draws) < -0.9
    assert 0.9 < max(draws) <= 1


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_every_observer_is_told_even_behind_one_that_raises(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """In their order; the error is logged. V3: a CancelledError of theirs ends nobody's task."""
    seen: list[Record] = []

    def raises(_record: Record) -> None:
        raise error("mine")

    @virtually
    async def main() -> None:
        host = a_host([seen.append, raises, seen.append])
        with caplog.at_level(logging.ERROR):
            host.misbehaved("chat", "it lied")

    main()
    assert seen == [DriverMisbehaved("chat", 1000.0, "it lied")] * 2
    assert f"{error.__name__}: mine" in caplog.text


@virtually
async def test_a_store_that_fails_is_reported() -> None:
    """And nothing is raised to who only wanted to end an engine."""

    class Broken(MemoryStore):
        def save(self, kept: Kept, passage: Passage | None = None) -> bool:
            raise OSError(5, "Input/output error")

    seen: list[Record] = []
    host = a_host([seen.append], Broken())
    host.keep(Kept(Snapshot.new(a_spec(), lineage="x", now=0.0), host.now(), "memory"))
    (trouble,) = seen
    assert isinstance(trouble, Trouble)
    assert "Input/output error" in trouble.what
