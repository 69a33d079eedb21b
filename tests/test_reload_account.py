"""The account of a change of model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import PoolLifecycleError
from pool_lifecycle.events import Strategy, Target
from pool_lifecycle.kept import Passage
from pool_lifecycle.lifecycle import LIFECYCLE, Mark, PoolEvent, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.records import (
    NoReload,
    Record,
    ReloadBegan,
    ReloadEnd,
    ReloadEnded,
    ReloadNotBegun,
)
from pool_lifecycle.reload_account import ReloadAccount
from pool_lifecycle.snapshot import Notify, Plan, Snapshot
from pool_lifecycle.table import Row
from pool_lifecycle.testing.memory import EngineScript, StageScript
from tests.pools import OPEN, pool_in
from tests.worlds import BROKEN, NEW, WORKS, World, a_spec, a_world, virtually

S, E = PoolState, PoolEvent
POOL = Snapshot.new(a_spec(), lineage="x", now=0.0)
PLAN = Plan(Target(NEW), Strategy.STAGE_FIRST)
CAUSE = Cause(FailureClass.EXIT, Stage.HEALTH, "no")
PROVEN = 5.0
"""Seconds that a new model has to serve before it counts."""


def ways_out() -> Iterator[tuple[PoolState, Row]]:
    """Every row that ends a change of model."""
    for state in sorted(CHANGING):
        for row in LIFECYCLE.states[state].rows:
            if row.to is not None and row.to not in CHANGING:
                yield state, row


def ended(state: PoolState, row: Row, cause: Cause | None) -> ReloadEnded:
    """What is told of such a row, 10 s after the change began and 4 s after its last state did."""
    account = ReloadAccount("chat", began=100.0)
    before = evolve(POOL, state=state, plan=PLAN, since=106.0)
    after = evolve(POOL, state=PoolState(str(row.to)), plan=None)
    notice = Notify(PoolEvent(row.event), state, after.state, row.why, row.mark, cause)
    (record,) = account.follow(notice, before, after, 110.0)
    assert isinstance(record, ReloadEnded)
    return record


@pytest.mark.parametrize("cause", [None, CAUSE])
def test_every_way_out_of_a_change_has_a_name_and_a_reason(cause: Cause | None) -> None:
    """B-RELOAD-012, B-RELOAD-013: a success has no reason, everything else has one of a bounded set."""
    for state, row in ways_out():
        found = ended(state, row, cause)
        assert (found.duration, found.new, found.strategy) == (10.0, Target(NEW), Strategy.STAGE_FIRST)
        assert found.gap == (0.0 if LIFECYCLE.states[state].serving else 4.0)
        committed = row.mark == Mark.COMMITTED
        assert (found.end is ReloadEnd.COMMITTED) is committed
        assert (found.reason is None) is committed
        assert found.cause is (None if committed else cause)
        if found.end is ReloadEnd.FAILED:
            assert not LIFECYCLE.states[PoolState(str(row.to))].serving
        elif found.end not in {ReloadEnd.SUPERSEDED, ReloadEnd.ENGINE_FINISHED}:
            assert LIFECYCLE.states[PoolState(str(row.to))].serving


def test_every_name_is_of_use() -> None:
    """None is left that nothing ends with."""
    assert {ended(state, row, None).end for state, row in ways_out()} == set(ReloadEnd)


Step = tuple[PoolEvent, PoolState, PoolState, float]


def follow(account: ReloadAccount, *steps: Step) -> list[Record]:
    """What is told of these rows, each at its time."""
    found: list[Record] = []
    since = 0.0
    for event, source, target, now in steps:
        before = evolve(POOL, state=source, plan=PLAN if source in CHANGING else None, since=since)
        after = evolve(POOL, state=target, plan=PLAN if target in CHANGING else None)
        mark = next((row.mark for row in LIFECYCLE.states[source].rows if row.event == event), None)
        found += account.follow(Notify(event, source, target, "because", mark), before, after, now)
        since = now
    return found


def test_a_gap_is_all_the_time_without_leases() -> None:
    """B-RELOAD-012: while it drains, stages, stops and starts; not while the new one proves itself."""
    began, over = follow(
        ReloadAccount("chat"),
        (E.RELOAD, S.READY, S.STAGING_AHEAD, 10.0),
        (E.STAGED, S.STAGING_AHEAD, S.RELOADING_DRAINING, 20.0),
        (E.DRAINED, S.RELOADING_DRAINING, S.RELOADING_STOPPING, 23.0),
        (E.GONE, S.RELOADING_STOPPING, S.RELOADING_STARTING, 24.0),
        (E.HEALTHY, S.RELOADING_STARTING, S.RELOADING_PROVING, 30.0),
        (E.DEADLINE, S.RELOADING_PROVING, S.READY, 35.0),
    )
    assert began == ReloadBegan("chat", 10.0, POOL.target, Target(NEW), Strategy.STAGE_FIRST)
    assert isinstance(over, ReloadEnded)
    assert (over.duration, over.gap, over.end) == (25.0, 10.0, ReloadEnd.COMMITTED)


def test_the_next_change_has_an_account_of_its_own() -> None:
    """Neither its begin nor its gap is the last one's."""
    account = ReloadAccount("chat")
    for at in (0.0, 100.0):
        _, over = follow(
            account,
            (E.RELOAD, S.READY, S.RELOADING_DRAINING, at),
            (E.RESUME, S.RELOADING_DRAINING, S.READY, at + 3.0),
        )
        assert isinstance(over, ReloadEnded)
        assert (over.duration, over.gap, over.end) == (3.0, 3.0, ReloadEnd.CALLED_OFF)


def passed(source: PoolState, target: PoolState, at: float, event: PoolEvent = E.STAGED) -> Passage:
    """A row in the history; its wall clock is far from the loop's."""
    return Passage("chat", 1e9 + at, event, source, target, "because")


def resumed(state: PoolState, since: float, *history: Passage) -> ReloadAccount:
    """The account under a new manager."""
    account = ReloadAccount("chat")
    account.go_on(evolve(POOL, state=state, plan=PLAN, since=since), history)
    return account


def test_it_goes_on_under_a_new_manager() -> None:
    """V1: the history says when it began and what was a gap; what was refused in between does not matter."""
    account = resumed(
        S.RELOADING_STARTING,
        500.0,
        passed(S.STARTING, S.READY, 1.0, E.HEALTHY),
        passed(S.READY, S.STAGING_AHEAD, 10.0, E.RELOAD),
        passed(S.STAGING_AHEAD, S.STAGING_AHEAD, 12.0, E.RELOAD),
        passed(S.STAGING_AHEAD, S.RELOADING_DRAINING, 20.0),
        passed(S.RELOADING_DRAINING, S.RELOADING_STOPPING, 23.0, E.DRAINED),
        passed(S.RELOADING_STOPPING, S.RELOADING_STARTING, 24.0, E.GONE),
        Passage("chat", 1e9 + 30.0, "adopted", S.RELOADING_STARTING, S.RELOADING_STARTING, "found"),
    )
    assert (account.began, account.gap) == (486.0, 4.0)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (passed(S.READY, S.RELOADING_DRAINING, 10.0, E.RELOAD),),
        (passed(S.RELOADING_DRAINING, S.RELOADING_STOPPING, 23.0),),
    ],
)
def test_without_its_history_it_counts_from_the_last_state(history: tuple[Passage, ...]) -> None:
    """The history is lost, behind, or cut: nothing is made up."""
    account = resumed(S.RELOADING_STOPPING, 500.0, *history)
    assert (account.began, account.gap) == (500.0, 0.0)


def test_a_wall_clock_that_was_set_back_makes_no_negative_time() -> None:
    """Neither a gap nor a begin in the future."""
    account = resumed(
        S.RELOADING_STOPPING,
        500.0,
        passed(S.READY, S.RELOADING_DRAINING, 100.0, E.RELOAD),
        passed(S.RELOADING_DRAINING, S.RELOADING_STOPPING, 23.0),
    )
    assert (account.began, account.gap) == (500.0, 0.0)


@pytest.mark.parametrize(
    ("mark", "circuits_closed", "reason"),
    [
        (Mark.BUSY, True, NoReload.BUSY),
        (Mark.REFUSED, True, NoReload.NO_ROOM),
        (Mark.REFUSED, False, NoReload.CIRCUIT_OPEN),
        (Mark.UNCHANGED, True, None),
        (Mark.CONFIGURED, True, None),
        (Mark.JOINED, True, None),
    ],
)
def test_what_is_refused_is_told_as_such(mark: Mark, circuits_closed: bool, reason: NoReload | None) -> None:
    """B-RELOAD-013: nothing began, and so nothing ended."""
    pool = pool_in(S.READY) if circuits_closed else pool_in(S.READY, circuits=(OPEN,))
    notice = Notify(E.RELOAD, S.READY, S.READY, "because", mark)
    found = list(ReloadAccount("chat").follow(notice, pool, pool, 3.0))
    assert found == ([] if reason is None else [ReloadNotBegun("chat", 3.0, reason)])


# --- with a whole pool ----------------------------------------------------------------------------------


async def reloaded(world: World, strategy: str = "drain_first", **options: Any) -> ReloadEnded:
    """What is told of a change that was asked for."""
    with contextlib.suppress(PoolLifecycleError):
        await world.pool.reload(NEW, strategy=strategy, **options)
    (found,) = world.of(ReloadEnded)
    return found


@virtually
async def test_a_change_that_is_made() -> None:
    """B-RELOAD-012: the gap of drain_first is all but the time in which the new one proves itself."""
    async with a_world(WORKS, EngineScript(ready_after=3.0)) as world:
        await world.ready()
        found = await reloaded(world)
        assert (found.end, found.reason) == (ReloadEnd.COMMITTED, None)
        assert found.duration == pytest.approx(found.gap + PROVEN)
        assert found.gap == pytest.approx(3.0, abs=0.1)


@virtually
async def test_a_surge_has_no_gap() -> None:
    """B-RELOAD-x2."""
    async with a_world(WORKS, EngineScript(ready_after=3.0)) as world:
        await world.ready()
        found = await reloaded(world, "surge")
        assert (found.end, found.gap) == (ReloadEnd.COMMITTED, 0.0)
        assert found.duration == pytest.approx(3.0 + PROVEN, abs=0.1)


@virtually
async def test_a_new_model_that_fails() -> None:
    """B-RELOAD-013: the class of its failure is the reason, also where the old one is back by then."""
    async with a_world(WORKS, BROKEN, WORKS) as world:
        await world.ready()
        found = await reloaded(world)
        assert (found.end, found.reason) == (ReloadEnd.RESTORED, FailureClass.EXIT)
        assert found.cause is not None
        assert found.gap == found.duration


@virtually
async def test_a_model_that_cannot_be_staged() -> None:
    """B-RELOAD-x1: the old engine was never touched."""
    cut = Cause(FailureClass.STAGING, Stage.STAGING, "cut off", heals=False)
    async with a_world(staging=(StageScript(), StageScript(takes=2.0, error=cut))) as world:
        await world.ready()
        found = await reloaded(world, "stage_first")
        assert (found.end, found.reason, found.gap) == (ReloadEnd.UNTOUCHED, FailureClass.STAGING, 0.0)


@virtually
async def test_leases_that_are_not_given_back() -> None:
    """B-RELOAD-014: the reason is the drain's deadline."""
    async with a_world() as world:
        await world.ready()
        world.pool.acquire("long")
        found = await reloaded(world, drain_deadline=7.0)
        assert (found.end, found.reason) == (ReloadEnd.ABORTED, NoReload.DRAIN_TIMEOUT)
        assert (found.duration, found.gap) == (7.0, 7.0)


@virtually
async def test_a_stop_overtakes() -> None:
    """It is no failure of the model."""
    async with a_world(staging=(StageScript(), StageScript(takes=50.0))) as world:
        await world.ready()
        changing = await world.began(reloaded(world, "stage_first"))
        await asyncio.sleep(10)
        await world.pool.stop()
        found = await changing
        assert (found.end, found.reason, found.duration) == (
            ReloadEnd.SUPERSEDED,
            NoReload.SUPERSEDED,
            10.0,
        )


@virtually
async def test_another_model_is_refused_meanwhile() -> None:
    """B-RELOAD-x5: the change under way ends as if nobody had asked."""
    async with a_world(staging=(StageScript(), StageScript(takes=5.0))) as world:
        await world.ready()
        changing = await world.began(world.pool.reload(NEW, strategy="stage_first"))
        with pytest.raises(PoolLifecycleError, match="is under way"):
            await world.pool.reload("file:/other.gguf")
        await changing
        assert [one.reason for one in world.of(ReloadNotBegun)] == [NoReload.BUSY]
        assert [one.end for one in world.of(ReloadEnded)] == [ReloadEnd.COMMITTED]
