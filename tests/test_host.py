"""What the pools of one manager share."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from pool_lifecycle.host import Host
from pool_lifecycle.interfaces import InUse, ModelStager
from pool_lifecycle.kept import Kept, Passage
from pool_lifecycle.plugins import Drivers, Interface
from pool_lifecycle.records import DriverMisbehaved, Record, Trouble
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.spec import Models
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing.memory import MemoryStager
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


class Cache(MemoryStager):
    """Keeps what it has fetched, where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, int | None, InUse]] = []

    def keep_in(self, *, folder: str, limit: int | None, in_use: InUse) -> None:
        self.told.append((folder, limit, in_use))


def a_host_that_stages(*, models: Models | None = None, **stagers: ModelStager) -> Host:
    host = a_host([])
    host.drivers = Drivers({Interface.MODEL_STAGER: stagers})
    host.models = models or Models()
    return host


@virtually
async def test_a_reference_says_who_stages_it_unless_that_is_declared() -> None:
    """By its scheme; a name that is declared comes first."""
    file, hub, mine = MemoryStager(), MemoryStager(), MemoryStager()
    host = a_host_that_stages(file=file, hub=hub, mine=mine)
    assert host.stager(None, "file:/a.gguf") is file
    assert host.stager(None, "hf:org/repo@main::file=a.gguf") is hub
    assert host.stager("mine", "hf:org/repo@main::file=a.gguf") is mine


@pytest.mark.parametrize(
    ("models", "expected"),
    [(Models(), ("nowhere/models", None)), (Models("/cache", 10**12), ("/cache", 10**12))],
)
@virtually
async def test_a_stager_that_keeps_models_is_told_where_once(
    models: Models, expected: tuple[str, int | None]
) -> None:
    """B-PRELOAD-x1: before anything is staged, and not again; who keeps nothing is told nothing."""
    cache = Cache()
    host = a_host_that_stages(models=models, file=cache, plain=MemoryStager())
    host.models_in_use = lambda: frozenset({("file:/a", None)})
    for _ in range(3):
        assert host.stager(None, "file:/a") is cache
    host.stager("plain", "file:/a")
    ((folder, limit, in_use),) = cache.told
    assert (folder.removeprefix(f"{Path.cwd()}/"), limit) == expected
    assert in_use() == {("file:/a", None)}


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
