"""What a step writes down: deadlines and kills, intents, models, causes."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle.events import (
    Drain,
    Drained,
    Event,
    Exited,
    Failed,
    Gone,
    Halt,
    Healthy,
    Overdue,
    Progressed,
    Reload,
    Resume,
    Staged,
    Start,
    Stop,
    Strategy,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Limit, PoolState
from pool_lifecycle.notes import _LIMITS, LATE
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.snapshot import Instance, Intent, Notify, Plan, Rules, Snapshot
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.step import step
from tests.pools import (
    BLAMELESS,
    CRASH,
    EPOCH,
    NEW,
    NOW,
    OLD,
    SERVER,
    SPARE,
    after,
    effects,
    engine,
    pool_in,
)

S = PoolState

LIMITS = Limits(
    staging=11.0,
    start=13.0,
    start_hard=200.0,
    stall=7.0,
    drain=19.0,
    stop_grace=3.0,
    reclaim=7.0,
    memory_wait=29.0,
    proving=17.0,
)
RULES = Rules(LIMITS, Backoff(initial=2.0, jitter=0.5))


def quick(state: PoolState, **changes: object) -> Snapshot:
    """A pool with limits that are told apart."""
    return pool_in(state, rules=RULES, **changes)


def notice(pool: Snapshot, one: Event) -> Notify:
    """What whoever waits is told."""
    (found,) = [effect for effect in effects(pool, one) if isinstance(effect, Notify)]
    return found


# --- how long states may last ----------------------------------------------------------------------------

CRASHED = Exited(SPARE.token, ExitStatus(signal=11), CRASH)
"""The new model's engine ended."""

DURATIONS: list[tuple[PoolState, Event, PoolState, float]] = [
    (S.STOPPED, Start(), S.STAGING, 11.0),
    (S.STAGING, Staged(EPOCH), S.STARTING, 13.0),
    (S.READY, Drain(), S.DRAINING, 19.0),
    (S.READY, Drain(deadline=5.0), S.DRAINING, 5.0),
    (S.READY, Drain(deadline=0.0), S.DRAINING, 0.0),
    (S.READY, Stop(), S.STOPPING, 3.0 + 7.0),
    (S.READY, Stop(grace=1.0), S.STOPPING, 1.0 + 7.0),
    (S.READY, Halt(grace=0.0), S.STOPPING, 0.0 + 7.0),
    (S.STARTING, Failed(epoch=EPOCH, cause=CRASH), S.RECOVERING, 3.0 + 7.0),
    (S.RECOVERING, Gone(EPOCH), S.BACKING_OFF, 2.0 + 29.0 + LATE),
    (S.READY, Reload(NEW), S.RELOADING_DRAINING, 19.0),
    (S.READY, Reload(NEW, drain_deadline=4.0), S.RELOADING_DRAINING, 4.0),
    (S.READY, Reload(NEW, Strategy.STAGE_FIRST), S.STAGING_AHEAD, 11.0),
    (S.READY, Reload(NEW, Strategy.SURGE), S.SURGING_STAGING, 11.0),
    (S.RELOADING_DRAINING, Drained(EPOCH), S.RELOADING_STAGING, 11.0),
    (S.RELOADING_STAGING, Staged(EPOCH), S.RELOADING_STOPPING, 3.0 + 7.0),
    (S.RELOADING_STOPPING, Gone(EPOCH), S.RELOADING_STARTING, 13.0),
    (S.RELOADING_STARTING, Failed(epoch=EPOCH, cause=CRASH), S.RELOADING_UNDOING, 3.0 + 7.0),
    (S.RELOADING_UNDOING, Gone(EPOCH), S.RELOADING_RESTORING, 13.0),
    (S.SURGING_STAGING, Staged(EPOCH), S.SURGING_STARTING, 13.0),
    (S.RELOADING_STARTING, Healthy(EPOCH), S.RELOADING_PROVING, 17.0),
    (S.RELOADING_PROVING, CRASHED, S.RELOADING_UNDOING, 3.0 + 7.0),
    (S.SURGING_STARTING, Healthy(EPOCH), S.SURGING_PROVING, 17.0),
    (S.SURGING_STARTING, Failed(epoch=EPOCH, cause=CRASH), S.RETIRING, 3.0 + 7.0),
    (S.SURGING_PROVING, Overdue(EPOCH), S.RETIRING, 19.0 + 3.0 + 7.0),
    (S.SURGING_PROVING, Resume(), S.RETIRING, 19.0 + 3.0 + 7.0),
    (S.SURGING_PROVING, CRASHED, S.RETIRING, 3.0 + 7.0),
    (S.SURGING_PROVING, Drain(), S.DRAINING, 19.0),
]


@pytest.mark.parametrize(("state", "one", "entered", "lasts"), DURATIONS)
def test_how_long_a_state_may_last(state: PoolState, one: Event, entered: PoolState, lasts: float) -> None:
    """Every limited state gets its own configured time from its entry on, or what the wish asked for."""
    pool = after(quick(state, intent=Intent.RUN), one)
    assert (pool.state, pool.since, pool.deadline) == (entered, NOW, NOW + lasts)


def test_every_limit_of_the_table_is_known() -> None:
    """And every limited state has a duration above."""
    assert set(_LIMITS) == set(Limit)
    limited = {state for state, one in LIFECYCLE.states.items() if one.limit}
    assert {entered for _, _, entered, _ in DURATIONS} == limited


def test_the_drain_of_a_reload_keeps_its_own_deadline() -> None:
    """B-RELOAD-x4: also when the model was staged first."""
    pool = after(quick(S.READY), Reload(NEW, Strategy.STAGE_FIRST, drain_deadline=4.0))
    assert after(pool, Staged(pool.epoch), now=2000.0).deadline == 2004.0


def test_a_drain_after_a_reload_has_the_configured_time() -> None:
    """The deadline of the change that was called off is not that of the drain."""
    pool = after(quick(S.READY), Reload(NEW, drain_deadline=4.0), Drain())
    assert (pool.state, pool.deadline) == (S.DRAINING, NOW + 19.0)


@pytest.mark.parametrize(("asked", "deadline"), [(5.0, NOW + 5), (60.0, NOW + 19), (None, NOW + 19)])
def test_the_shorter_deadline_wins(asked: float | None, deadline: float) -> None:
    """B-DRAIN-x2: a second drain joins the first and can only hurry it."""
    pool = after(quick(S.READY), Drain(), Drain(deadline=asked))
    assert (pool.state, pool.deadline) == (S.DRAINING, deadline)


# --- progress --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.STAGING, S.STARTING, S.STAGING_AHEAD, S.SURGING_STARTING])
def test_progress_gives_more_time(state: PoolState) -> None:
    """B-PRELOAD-x4: each sign of progress is worth the stall limit."""
    pool = quick(state, since=NOW, deadline=NOW + 1)
    assert after(pool, Progressed(EPOCH)).deadline == NOW + 7


@pytest.mark.parametrize(("state", "given"), [(S.STAGING, 11.0), (S.STARTING, 13.0)])
def test_progress_gives_no_longer_than_was_given_at_first(state: PoolState, given: float) -> None:
    """B-PRELOAD-x4: an engine that shall start within 13 s is not given a minute for one line of output."""
    pool = quick(state, since=NOW, deadline=NOW + 1)
    limits = evolve(pool.rules.limits, stall=60.0)
    patient = evolve(pool, rules=evolve(pool.rules, limits=limits))
    assert after(patient, Progressed(EPOCH)).deadline == NOW + given


def test_progress_gives_no_more_than_the_hard_limit() -> None:
    """B-PRELOAD-x4: whatever it still makes, after the hard limit it is over."""
    pool = quick(S.STARTING, since=NOW, deadline=NOW + 199)
    assert after(pool, Progressed(EPOCH), now=NOW + 198).deadline == NOW + 200


def test_progress_never_takes_time_away() -> None:
    """B-PRELOAD-x4: early output does not shorten a long start."""
    pool = quick(S.STARTING, since=NOW, deadline=NOW + 100)
    assert after(pool, Progressed(EPOCH)) == pool


# --- kills -----------------------------------------------------------------------------------------------


def kills(pool: Snapshot) -> list[float | None]:
    """When each engine is killed."""
    return [one.kill_at for one in pool.engines]


def test_every_engine_that_ends_has_a_time_to_be_killed_at() -> None:
    """S11: SIGKILL after the grace, for each engine there is."""
    assert kills(after(quick(S.SURGING_STARTING), Stop())) == [NOW + 3, NOW + 3]


def test_a_kill_only_moves_earlier() -> None:
    """S11: asked again, with a longer or a shorter grace, the earlier time holds."""
    pool = after(quick(S.READY), Stop(grace=2.0))
    assert kills(after(pool, Stop(grace=60.0))) == [NOW + 2]
    hurried = after(pool, Stop(grace=0.5))
    assert (kills(hurried), hurried.deadline) == ([NOW + 0.5], NOW + 0.5 + 7)
    assert after(pool, Stop()) == pool


def test_a_kill_promised_in_one_state_holds_in_the_next() -> None:
    """S11: the clock belongs to the engine, not to the state."""
    pool = after(quick(S.RELOADING_STARTING), Failed(epoch=EPOCH, cause=CRASH))
    later = after(pool, Stop(grace=60.0), now=NOW + 1)
    assert (later.state, kills(later), later.deadline) == (S.STOPPING, [NOW + 3], NOW + 3 + 7)


def test_all_engines_have_their_time_before_they_count_as_stuck() -> None:
    """S11: where one is killed sooner than the other, the end is judged after the later of both."""
    pool = after(quick(S.RETIRING), Stop(grace=2.0))
    assert (kills(pool), pool.deadline) == ([NOW + 2, NOW], NOW + 2 + 7)


def test_a_stop_of_the_unkillable_sets_no_time() -> None:
    """V8: in stuck everything has been killed already; a deadline there would wake somebody for nothing."""
    pool = quick(S.STUCK)
    done = after(pool, Stop(grace=0.0))
    assert (done.deadline, kills(done)) == (None, kills(pool))


def test_only_the_spare_retires() -> None:
    """B-RELOAD-x2: it may finish its leases, then it has the usual grace; who serves is not touched."""
    assert kills(after(quick(S.SURGING_PROVING), Overdue(EPOCH))) == [NOW + 19 + 3, None]
    assert kills(after(quick(S.SURGING_PROVING), Resume())) == [None, NOW + 19 + 3]
    assert kills(after(quick(S.SURGING_STARTING), Resume())) == [None, NOW + 19 + 3]


def test_a_spare_retires_within_the_deadline_that_the_change_was_given() -> None:
    """B-RELOAD-x2: who asked for the change said how long the old one's leases may take."""
    plan = Plan(NEW, Strategy.SURGE, drain_deadline=4.0)
    done = after(quick(S.SURGING_PROVING, plan=plan), Overdue(EPOCH))
    assert (kills(done), done.deadline) == ([NOW + 4 + 3, None], NOW + 4 + 3 + 7)


def test_a_spare_that_failed_has_nothing_to_finish() -> None:
    """S11: what is left of it has the usual grace and no more."""
    assert kills(after(quick(S.SURGING_PROVING), CRASHED)) == [None, NOW + 3]
    assert kills(after(quick(S.SURGING_STARTING), Failed(epoch=EPOCH, cause=CRASH))) == [None, NOW + 3]


def test_a_drain_ends_the_spare_at_the_latest_with_who_serves() -> None:
    """Nobody is to hope for it any more; a kill that was promised before is kept."""
    assert kills(after(quick(S.SURGING_PROVING), Drain(deadline=1.0))) == [NOW + 1 + 3, None]
    assert kills(after(quick(S.READY), Drain())) == [None]
    assert kills(after(quick(S.RETIRING), Drain())) == [None, NOW]


# --- back-off --------------------------------------------------------------------------------------------


def test_the_back_off_counts_the_failure_that_led_to_it() -> None:
    """B-SUPER-010, B-SUPER-011: 2 s after the first, 4 after the second."""
    first = after(quick(S.RECOVERING, crash_count=0), Gone(EPOCH))
    second = after(quick(S.RECOVERING, crash_count=1), Gone(EPOCH))
    assert (first.not_before, second.not_before) == (NOW + 2, NOW + 4)


@pytest.mark.parametrize(("chance", "delay"), [(-1.0, 1.0), (0.0, 2.0), (1.0, 3.0)])
def test_chance_comes_with_the_event(chance: float, delay: float) -> None:
    """B-SUPER-013: the pure ring draws none of its own."""
    pool = quick(S.STAGING)
    done = after(pool, Failed(epoch=EPOCH, chance=chance, cause=CRASH))
    assert done.not_before == NOW + delay
    assert after(quick(S.RECOVERING), Gone(EPOCH, chance=chance)).not_before == NOW + delay


# --- intent ----------------------------------------------------------------------------------------------


def test_halt_runs_again_under_the_next_manager() -> None:
    """The manager leaves: what ran is to run again, what was stopped is not."""
    assert after(pool_in(S.READY), Halt()).intent is Intent.RUN_WHEN_LOADED
    assert after(pool_in(S.READY), Halt(), Halt()).intent is Intent.RUN_WHEN_LOADED
    assert after(pool_in(S.DRAINING), Halt()).intent is Intent.STOPPED
    assert after(pool_in(S.READY), Halt(), Start()).intent is Intent.RUN
    assert after(pool_in(S.READY), Halt(), Stop()).intent is Intent.STOPPED


def test_a_halted_pool_does_not_start_again_by_itself() -> None:
    """It waits for the next manager."""
    pool = after(pool_in(S.READY), Halt())
    assert after(pool, Gone(pool.epoch)).state is S.STOPPED


def test_what_the_engine_wants_is_remembered() -> None:
    """B-SUPER-006: an engine that finished sets the intent to stopped."""
    zero = Exited(SERVER.token, ExitStatus(code=0), CRASH, graceful=True)
    pool = after(pool_in(S.READY), zero)
    assert pool.intent is Intent.STOPPED
    assert after(pool, Gone(pool.epoch)).state is S.STOPPED


# --- engines ---------------------------------------------------------------------------------------------


def launched(pool: Snapshot) -> Instance:
    """The engine launched last."""
    assert pool.newest is not None
    return pool.newest


def test_tokens_name_one_launch_for_all_time() -> None:
    """A launch is pool, generation and a lineage drawn once per record."""
    pool = after(pool_in(S.STAGING, generation=41, lineage="zq7"), Staged(EPOCH))
    assert launched(pool) == Instance(42, "chat.42.zq7", OLD)


def test_a_healthy_start_overcomes_the_cause() -> None:
    """The last failure is shown until a start has succeeded, the count of failures longer."""
    pool = pool_in(S.STARTING, cause=CRASH, crash_count=2)
    done = after(pool, Healthy(EPOCH))
    assert (done.cause, done.crash_count, done.serving) == (None, 2, 1)
    assert launched(done).healthy_at == NOW


def test_a_later_failure_replaces_an_earlier_one() -> None:
    """The cause is the last one."""
    pool = pool_in(S.STAGING, cause=CRASH)
    assert after(pool, Failed(epoch=EPOCH, cause=BLAMELESS)).cause == BLAMELESS


def test_a_new_pool_has_its_specs_numbers() -> None:
    """And has never run."""
    spec = PoolSpec("chat", EngineSpec("llama-server"), model="file:/a.gguf", limits=LIMITS)
    pool = Snapshot.new(spec, lineage="x", now=5.0)
    assert (pool.pool_id, pool.target.model, pool.rules.limits, pool.since) == (
        "chat",
        "file:/a.gguf",
        LIMITS,
        5.0,
    )
    assert (pool.state, pool.intent, pool.engines, pool.generation) == (S.STOPPED, Intent.STOPPED, (), 0)


def test_snapshots_are_values() -> None:
    """Equal snapshots are one snapshot to a set, so that a whole space of them can be walked."""
    one, same = step(pool_in(S.READY), Drain(), NOW)[0], step(pool_in(S.READY), Drain(), NOW)[0]
    assert len({one, same, evolve(one, engines=(engine(4),))}) == 2
