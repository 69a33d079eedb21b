"""Questions about all that a pool can get into: can it always end, does it settle, is every row needed.

That every step on the way is held against the laws is seen to by `tests/explored.py`.
"""

from __future__ import annotations

import pytest

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.events import Event, Exited, Gone, Healthy, Start, Stop, Unhealthy, Wish
from pool_lifecycle.lifecycle import LIFECYCLE, PoolEvent, PoolState
from pool_lifecycle.snapshot import Dropped, Emit, Intent, Snapshot
from pool_lifecycle.step import step
from tests.explored import Space, explored
from tests.space import NOW
from tests.telling import tell_all

S, E = PoolState, PoolEvent

pytestmark = [pytest.mark.xdist_group("exploration"), pytest.mark.timeout(900)]
"""The first of them walks the space, which takes a while where others are at work too."""


def happens(event: Event | None) -> bool:
    """Nobody asks for it: an outcome, a fact, or news of time."""
    return event is not None and not isinstance(event, Wish)


@pytest.fixture(scope="module")
def space() -> Space:
    """The whole space, every step of it held against the laws."""
    return explored()


def test_every_step_is_sound(space: Space) -> None:
    """S1, S3, S8, S15: the laws hold of every step; what may happen is never illegal, only wishes are."""
    steps = sum(map(len, space.edges))
    print(f"\n{len(space.pools)} snapshots, {steps} steps, {space.refused} wishes refused")
    assert len(space.pools) > 10_000
    assert steps > 200_000


def test_every_state_is_reached(space: Space) -> None:
    """No state of the table is there for nothing."""
    assert {pool.state for pool in space.pools} == set(PoolState)


def test_every_row_is_taken(space: Space) -> None:
    """No row of the table is there for nothing."""
    assert space.taken == {
        (state.name, row.event, row.why) for state in LIFECYCLE.states.values() for row in state.rows
    }


def test_a_pool_can_always_be_stopped(space: Space) -> None:
    """No trap: from every snapshot `stopped` is reached with no other wish than stop."""

    def via(event: Event | None) -> bool:
        return happens(event) or isinstance(event, Stop)

    assert space.beyond(lambda pool: pool.state is S.STOPPED, via) == []


RANK = {S.DRAINING: 4, S.RECOVERING: 3, S.STOPPING: 3, S.STUCK: 2, S.STOPPED: 1}
"""How far a pool that is to stop has to go."""


def test_a_stop_is_never_lost(space: Space) -> None:
    """V2 StopTerminates: once it is to stop every change of state brings a pool nearer to its end."""
    for before, event, after in space.steps():
        if happens(event) and before.intent is not Intent.RUN:
            assert after.intent is not Intent.RUN
            assert after.state is before.state or RANK[after.state] < RANK[before.state]


def test_a_stop_ends_whatever_is_under_way(space: Space) -> None:
    """Every snapshot accepts stop, and it leads at once to where there is nothing left to do but end."""
    stopped = [after.state for _, event, after in space.steps() if isinstance(event, Stop)]
    assert len(stopped) == len(space.pools)
    assert set(stopped) == {S.STOPPED, S.STOPPING, S.RECOVERING, S.STUCK}


def test_a_start_is_never_lost(space: Space) -> None:
    """A start is on its way, or kept for later, or answered with an open circuit: never forgotten."""
    for _, event, after in space.steps():
        if isinstance(event, Start):
            assert after.intent is Intent.RUN
            assert after.state not in (S.STOPPED, S.DRAINING)


def test_what_is_to_run_may_yet_be_ready(space: Space) -> None:
    """V1 Settles: wishes at rest, what is to run can become ready, or has a cause not to."""
    for pool in space.beyond(lambda pool: pool.state is S.READY, happens):
        if pool.intent is Intent.RUN:
            assert pool.cause is not None
            assert not pool.cause.heals


def test_what_is_to_run_comes_to_rest(space: Space) -> None:
    """V1 Settles: from wherever it is to run, ready, failed or stuck can be reached without a wish."""
    restless = space.beyond(lambda pool: pool.state in (S.READY, S.FAILED, S.STUCK), happens)
    assert [pool for pool in restless if pool.intent is Intent.RUN] == []


def test_every_change_of_model_ends(space: Space) -> None:
    """V1, S12: wishes at rest, it comes to an end, wherever it has got: committed, undone or given up."""
    assert any(pool.plan is not None for pool in space.pools)
    assert space.beyond(lambda pool: pool.plan is None, happens) == []


def test_a_surge_refuses_nobody_but_for_the_end_of_all_that_could_serve(space: Space) -> None:
    """B-RELOAD-x2, S12: leases are granted on the old or the new, until both have ended."""
    surging = [step for step in space.steps() if step[0].state.startswith("surging.") and happens(step[1])]
    proving = [step for step in surging if step[0].state is S.SURGING_PROVING and step[0].spare_lives]
    for before, event, after in surging:
        if not LIFECYCLE.states[after.state].serving:
            assert before.server is not None
            assert isinstance(event, Exited | Unhealthy)
            assert event.token == before.server.token
    assert proving
    assert all(LIFECYCLE.states[after.state].serving for _, _, after in proving)


def _tries(pool: Snapshot) -> bool:
    return any(one.state is BreakerState.TRIAL for one in pool.circuits)


def test_every_trial_ends(space: Space) -> None:
    """V5 PermitReturns: a trial under way ends without anybody's wish, in a verdict or by giving it up."""
    assert any(map(_tries, space.pools))
    assert space.beyond(lambda pool: not _tries(pool), happens) == []


def test_no_snapshot_leaves_anybody_speechless(space: Space) -> None:
    """Whatever people may ask of a pool has an answer in words, wherever it can get."""
    for pool in space.pools:
        tell_all(pool, NOW)


def test_late_outcomes_change_nothing(space: Space) -> None:
    """What an activity reports after its state has ended is dropped, everywhere, and counted."""
    for pool in space.pools:
        for late in (Healthy(pool.epoch - 1), Gone(pool.epoch - 1)):
            assert step(pool, late, NOW) == (pool, (Emit(Dropped(late.kind, late.epoch)),))
