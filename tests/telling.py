"""Asks a pool everything that people may ask of it at any moment, and holds the answers against what all have
in common."""

from __future__ import annotations

from pool_lifecycle.explain import explain
from pool_lifecycle.leases import LeaseBook
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.outlook import what_next
from pool_lifecycle.refusals import refusal
from pool_lifecycle.snapshot import Snapshot


def tell_all(pool: Snapshot, now: float) -> None:
    """Nobody is left speechless: sentences, with the failure and the time in them."""
    text = explain(pool, LeaseBook(pool.pool_id, 1, lambda: now), now)
    assert f"Pool 'p' has been {pool.state} for " in text
    assert text.endswith(".")
    assert ".." not in text
    assert "  " not in text
    what_next(pool, now)
    if not LIFECYCLE.states[pool.state].serving:
        assert str(refusal(pool).error("p", now))
    if pool.cause is not None:
        assert str(pool.cause) in text
