"""One step of a pool that is declared anew: what holds from then on, and what goes on as it was."""

from __future__ import annotations

from attrs import evolve

from pool_lifecycle.events import (
    Declared,
    Drain,
    Resume,
)
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.snapshot import (
    Persist,
    Rules,
)
from pool_lifecycle.spec import Limits
from pool_lifecycle.step import step
from tests.pools import (
    CRASH,
    NOW,
    OPEN,
    after,
    pool_in,
)

S = PoolState

OTHERS = Rules(limits=Limits(drain=3.0), classes=ClassPolicies(signal=ClassPolicy(own_circuit=True)))
SHARED = Circuit("device 0", shared=True)


def test_other_numbers_hold_from_now_on() -> None:
    """What lasts already lasts as long as it was to; circuits that there still are go on as they were."""
    pool = pool_in(S.DRAINING, circuits=(OPEN, Circuit("cuda", failures=3), SHARED))
    done, listed = step(pool, Declared(OTHERS), NOW)
    circuits = (OPEN, Circuit("cuda", failures=3), Circuit("signal"), SHARED)
    assert done == evolve(pool, rules=OTHERS, circuits=circuits)
    assert listed == (Persist(),)
    assert after(done, Resume(), Drain()).deadline == NOW + 3.0
    assert step(done, Declared(OTHERS), NOW) == (done, ())


def test_a_circuit_that_there_is_no_more_keeps_nobody_from_starting() -> None:
    """V1: who waits for it is woken; who waits for another one is not."""
    gone = evolve(OPEN, name="signal")
    pool = pool_in(S.FAILED, rules=OTHERS, cause=CRASH, circuits=(Circuit("general"), gone, SHARED))
    assert after(pool, Declared(Rules())).state is S.BACKING_OFF
    barred = evolve(pool, circuits=(OPEN, gone, SHARED))
    assert after(barred, Declared(Rules())).state is S.FAILED


def test_the_same_numbers_again_are_no_news() -> None:
    """V8 Quiet: also to a pool that waits for somebody to mend what cannot heal."""
    pool = pool_in(S.FAILED)
    assert step(pool, Declared(Rules()), NOW) == (pool, ())
