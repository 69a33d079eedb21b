"""Which circuits are in the way of a start."""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.barring import bars, expectation, nothing_to_allow, storm_of, worst
from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.storm import Storm
from tests.pools import HALF_OPEN, NOW, OPEN, QUARANTINE, SOMEBODY_ELSES, TRIAL, pool_in

DEVICE = Circuit("device 0", BreakerState.OPEN, 0, 1, 600.0, until=NOW + 600, shared=True)


def test_what_allows_a_start_is_no_bar() -> None:
    """Closed, half-open with its permit free, and one's own trial."""
    pool = pool_in(PoolState.FAILED, circuits=(Circuit("cuda"), HALF_OPEN, TRIAL))
    assert bars(pool) == ()
    assert worst(pool) is None


def test_what_nobody_can_say_the_end_of_comes_first() -> None:
    """Then what lasts longest: the last of them decides when a start is possible."""
    pool = pool_in(PoolState.FAILED, circuits=(OPEN, DEVICE, SOMEBODY_ELSES))
    assert [one.due for one in bars(pool)] == [None, NOW + 600, NOW + 300]
    found = worst(pool)
    assert found is not None
    assert found.helps == "wait for the end of that trial"


def test_what_helps_helps_against_all_of_them() -> None:
    """A reset of the pool's own circuit is of no use while that of its device is open."""
    alone, both = (worst(pool_in(PoolState.FAILED, circuits=one)) for one in ((OPEN,), (OPEN, DEVICE)))
    assert alone is not None
    assert both is not None
    assert (alone.helps, both.helps) == ("reset it, or allow one start", "allow one start")


def test_the_wait_is_never_negative() -> None:
    """A timer may come late."""
    found = worst(pool_in(PoolState.FAILED, circuits=(OPEN,)))
    assert found is not None
    assert expectation(found, NOW + 301).endswith("it allows one trial in 0 ms")


def test_a_storm_is_blamed_for_the_opening_it_made() -> None:
    """B-SUPER-035: not for a later one, and not where another circuit is open."""
    storm = Storm(NOW, "oom_storm", 10, 60.0, "")
    pool = pool_in(PoolState.FAILED, storm=storm)
    assert storm_of(OPEN, pool) is storm
    assert storm_of(evolve(OPEN, until=NOW + 301), pool) is None
    assert storm_of(evolve(OPEN, name="cuda"), pool) is None
    assert storm_of(QUARANTINE, pool) is None
    assert storm_of(OPEN, evolve(pool, storm=None)) is None


def test_where_nothing_can_be_allowed_it_says_why() -> None:
    """B-SUPER-039: nothing is barred, or nothing was asked for."""
    assert nothing_to_allow(pool_in(PoolState.READY)) == "no circuit keeps it from starting"
    assert nothing_to_allow(pool_in(PoolState.STOPPED, circuits=(OPEN,))).endswith(
        "what may be allowed is a start that was asked for and barred"
    )
