"""The model of llama.cpp's own server changes while clients work on it: real processes, real completions."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from attrs import define, evolve, field

from pool_lifecycle import EngineSpec, Limits, Pool, PoolManager, PoolSpec, PoolState
from pool_lifecycle.errors import LeaseRefused, PoolDraining, PoolNotReady, ReloadFailed
from pool_lifecycle.records import Moved, Record

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(300)]

CLIENTS = 4
PATIENCE = 90.0
"""Seconds for what takes about one, on a machine that may be busy."""

LIMITS = Limits(staging=PATIENCE, start=PATIENCE, drain=PATIENCE, proving=0.5)
LONG = evolve(LIMITS, proving=PATIENCE)
"""With a new model that proves itself for as long as it takes to kill its engine."""


@define(eq=False)
class Load:
    """Clients that never rest. What they got: completions by generation, refusals, and what went wrong."""

    pool: Pool
    served: list[int] = field(factory=list)
    refused: list[LeaseRefused] = field(factory=list)
    failed: list[Exception] = field(factory=list)
    news: asyncio.Event = field(factory=asyncio.Event)

    async def client(self, name: str) -> None:
        """One of them."""
        while True:
            try:
                async with self.pool.lease(name) as lease:
                    try:
                        await asyncio.to_thread(complete, lease.url)
                    except (OSError, ValueError) as error:
                        self.failed.append(error)
                    else:
                        self.served.append(lease.generation)
                        self.news.set()
            except LeaseRefused as refusal:
                self.refused.append(refusal)
                await asyncio.sleep(0.01)

    async def more(self, count: int = 8) -> None:
        """Return once so many completions more have come."""
        wanted = len(self.served) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.served) < wanted:
                self.news.clear()
                await self.news.wait()


def complete(url: str) -> str:
    """A completion of some words. Raises OSError or ValueError when there is none."""
    body = json.dumps({"prompt": "hi", "n_predict": 8}).encode()
    with urllib.request.urlopen(f"{url}/completion", body, timeout=PATIENCE) as answer:
        said = str(json.load(answer)["content"])
    if not said.strip():
        raise ValueError("an empty completion")
    return said


@asynccontextmanager
async def under_load(pool: Pool) -> AsyncIterator[Load]:
    """Clients at work, who finish their work at the end."""
    load = Load(pool)
    clients = [asyncio.ensure_future(load.client(f"client {number}")) for number in range(CLIENTS)]
    try:
        await load.more()
        yield load
        assert not [one for one in clients if one.done()]
    finally:
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@define(eq=False)
class Fixture:
    """A pool of the real server on its first model, and other models for it."""

    pool: Pool
    new: str
    unloadable: str
    records: list[Record]

    @property
    def times(self) -> dict[PoolState, float]:
        """When each state was entered last."""
        return {one.notice.target: one.at for one in self.records if isinstance(one, Moved)}


@asynccontextmanager
async def serving(folder: Path, server: Path, model: Path, limits: Limits = LIMITS) -> AsyncIterator[Fixture]:
    """Ready; nothing is left of it afterwards."""
    from engine_kit.tiny_model import make_tiny_model  # noqa: PLC0415 - NumPy is slow to import

    new = make_tiny_model(folder / "new.gguf", seed=2)
    unloadable = make_tiny_model(folder / "unloadable.gguf", architecture="unheard-of")
    spec = PoolSpec(
        "chat",
        EngineSpec(str(server), profile="llama.cpp", args=("--threads", "1")),
        model=f"file:{model}",
        slots=CLIENTS,
        limits=limits,
    )
    records: list[Record] = []
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    async with PoolManager(folder / "state", observers=[records.append]) as manager:
        pool = await manager.add(spec)
        await pool.start()
        yield Fixture(pool, f"file:{new}", f"file:{unloadable}", records)
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before


def test_a_surge_under_load_refuses_no_lease_and_fails_no_completion(
    tmp_path: Path, llama_server: Path, tiny_model: Path
) -> None:
    """B-RELOAD-x2: clients who never rest are served by the old engine, and then by the new one."""

    async def swap() -> None:
        async with serving(tmp_path, llama_server, tiny_model) as one, under_load(one.pool) as load:
            await one.pool.reload(one.new, strategy="surge")
            await load.more()
            assert one.pool.status().model == one.new
            assert (load.refused, load.failed) == ([], [])
            assert set(load.served) == {1, 2}

    asyncio.run(swap())


@pytest.mark.parametrize("strategy", ["surge", "stage_first", "drain_first"])
def test_a_model_that_the_engine_cannot_load_leaves_the_old_one_serving(
    tmp_path: Path, llama_server: Path, tiny_model: Path, strategy: str
) -> None:
    """B-RELOAD-007, B-RELOAD-011: the file is whole, only the engine does not know what is in it."""

    async def swap() -> None:
        async with serving(tmp_path, llama_server, tiny_model) as one, under_load(one.pool) as load:
            with pytest.raises(ReloadFailed) as caught:
                await one.pool.reload(one.unloadable, strategy=strategy)
            assert "unheard-of" in str(caught.value), str(caught.value)
            await load.more()
            assert one.pool.status().model == f"file:{tiny_model}"
            assert load.failed == []
            assert strategy != "surge" or load.refused == []

    asyncio.run(swap())


@pytest.mark.parametrize("strategy", ["stage_first", "drain_first"])
def test_with_one_engine_there_is_a_gap_and_nothing_worse(
    tmp_path: Path, llama_server: Path, tiny_model: Path, strategy: str
) -> None:
    """B-RELOAD-001 to B-RELOAD-006: refusals say why, work in flight is finished, the new model serves."""

    async def swap() -> None:
        async with serving(tmp_path, llama_server, tiny_model) as one, under_load(one.pool) as load:
            await one.pool.reload(one.new, strategy=strategy)
            await load.more()
            assert load.failed == []
            assert load.refused
            assert all(isinstance(refusal, PoolDraining | PoolNotReady) for refusal in load.refused)
            assert load.served == sorted(load.served)
            gap = one.times[PoolState.RELOADING_PROVING] - one.times[PoolState.RELOADING_DRAINING]
            print(f"{strategy}: no lease for {gap:.3f} s, {len(load.refused)} refused")
            assert 0.0 < gap < PATIENCE

    asyncio.run(swap())


def test_a_crash_of_the_new_engine_under_load_brings_back_the_old_one(
    tmp_path: Path, llama_server: Path, tiny_model: Path
) -> None:
    """B-RELOAD-007: until the new model has proven itself the old engine waits, and takes over at once."""

    async def swap() -> None:
        async with serving(tmp_path, llama_server, tiny_model, LONG) as one, under_load(one.pool) as load:
            reload = asyncio.ensure_future(one.pool.reload(one.new, strategy="surge"))
            await one.pool.reached("surging.proving")
            pid = one.pool.status().pid
            assert pid is not None
            psutil.Process(pid).kill()
            with pytest.raises(ReloadFailed, match="SIGKILL"):
                await reload
            await load.more()
            assert one.pool.status().model == f"file:{tiny_model}"
            assert load.refused == []  # but work on the engine that was killed is lost

    asyncio.run(swap())
