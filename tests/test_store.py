"""The store that keeps snapshots in memory."""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.kept import Kept, Moment
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.store import MemoryStore
from pool_lifecycle.testing.memory import EngineScript
from tests.worlds import a_spec, a_world, virtually

NOW = Moment("a clock", 0.0, 0.0)


def test_the_last_snapshot_of_each_pool_is_kept_until_it_is_forgotten() -> None:
    """Forgetting twice does no harm."""
    store = MemoryStore()
    first = Kept(Snapshot.new(a_spec("a"), lineage="x", now=0.0), NOW, "memory")
    store.save(first)
    store.save(last := evolve(first, next_token=5))
    store.save(other := Kept(Snapshot.new(a_spec("b"), lineage="y", now=0.0), NOW, "memory"))
    assert store.load().pools == (last, other)
    store.forget("a")
    store.forget("a")
    assert store.load().pools == (other,)


@virtually
async def test_intent_is_stored_before_it_has_an_effect() -> None:
    """S17: at the moment of the launch the store already knows its token."""
    store = MemoryStore()
    known: list[tuple[PoolState, list[str]]] = []

    async with a_world(EngineScript(launch_takes=1.0), manager={"store": store}) as world:
        await world.began(world.pool.start())
        (request,) = world.launcher.launched
        stored = store.pools["chat"].snapshot
        known.append((stored.state, [one.token for one in stored.engines]))
        assert known == [(PoolState.STARTING, [request.token])]
        await world.pool.reached("ready")
        assert store.pools["chat"].snapshot == world.pool.snapshot
