"""What waits to be stored."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle import sqlite_pending
from pool_lifecycle.sqlite_pending import SOME, Batch, Change, Pending
from pool_lifecycle.sqlite_schema import make
from pool_lifecycle.sqlite_tables import Tables
from tests.stored import failing, says

POOLS = st.sampled_from(("a", "b", "c"))

CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda pool, text: lambda to: to.save(pool, text, text), POOLS, st.text("xyz", min_size=1)),
    st.builds(lambda pool: lambda to: to.forget(pool), POOLS),
    st.builds(lambda pool, token: lambda to: to.end_lease(pool, token), POOLS, st.integers(1, 3)),
    st.builds(lambda text: lambda to: to.put_host(text), st.text("xyz", min_size=1)),
)


def _content(tables: Tables) -> dict[str, object]:
    asked = {
        "pools": "SELECT pool_id, text FROM pools ORDER BY pool_id",
        "leases": "SELECT pool_id, token FROM leases ORDER BY pool_id, token",
        "host": "SELECT text FROM host",
        "history": "SELECT pool_id, number, text FROM history ORDER BY pool_id, number",
    }
    return {name: tables.connection.execute(select).fetchall() for name, select in asked.items()}


def _fresh() -> Tables:
    tables = Tables(sqlite3.connect(":memory:", isolation_level=None))
    with tables.transaction():
        make(tables.connection)
        for pool_id in ("a", "b"):
            tables.save(pool_id, "first", "first")
            for token in (1, 2):
                tables.put_lease(pool_id, token, "lease")
    return tables


@patch.object(sqlite_pending, "SOME", 1)
@given(st.lists(CHANGES, max_size=12), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_what_waited_ends_as_if_it_had_not(changes: list[Change], writes: set[int], fails: set[int]) -> None:
    """S17: whatever was to be stored, whenever some of it could be and whatever failed in between."""
    direct, waited, pending = _fresh(), _fresh(), Pending()
    with closing(direct.connection), closing(waited.connection):
        for place, change in enumerate(changes):
            with direct.transaction():
                change(direct)
            pending.add(change)
            if place in fails:
                _fail(pending, waited)
            if place in writes:
                pending.write(waited)
        while pending.write(waited):
            pass
        assert not pending
        assert _content(waited) == _content(direct)


def _fail(pending: Pending, tables: Tables) -> None:
    unhurt: Any = tables
    real = tables.execute
    unhurt.execute = failing(real, lambda said: says(sqlite3.SQLITE_FULL) if said == "COMMIT" else None)
    with contextlib.suppress(sqlite3.OperationalError):
        pending.write(tables)
    unhurt.execute = real


def test_it_knows_of_which_pools_it_has_something() -> None:
    """Also while that is being written."""
    pending, tables = Pending(), _fresh()
    with closing(tables.connection):
        pending.add(lambda to: to.save("a", "x", "x"))
        pending.add(lambda to: to.forget("b"))
        assert (pending.has("a"), pending.has("b"), pending.has("c")) == (True, True, False)
        seen: list[bool] = []
        real = tables.put_pool

        def look(pool_id: str, text: str) -> None:
            seen.append(pending.has("a") and bool(pending))
            real(pool_id, text)

        tables.put_pool = look  # type: ignore[method-assign]
        assert pending.write(tables)
        assert seen == [True]
        assert not pending.has("a")
        assert not pending


def test_a_batch_is_split_in_order() -> None:
    """What is forgotten comes first; of the rest some of each."""
    batch = Batch()
    for number in range(2 * SOME + 1):
        batch.forget(f"gone-{number}")
        batch.save(f"pool-{number}", "x", "x")
    parts = [batch.split(SOME) for _ in range(5)]
    assert not batch
    assert [len(part.forgotten) for part in parts] == [SOME, SOME, 1, 0, 0]
    assert [len(part.pools) for part in parts] == [0, 0, SOME, SOME, 1]
    assert [len(part.passages) for part in parts] == [0, 0, SOME, SOME, 1]
