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
    Target,
    Unhealthy,
)
from pool_lifecycle.lifecycle import LIFECYCLE, Limit, Mark, PoolState
from pool_lifecycle.notes import _LIMITS, CHANGING, LATE
from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.snapshot import Instance, Intent, Notify, Persist, Plan, Rules, Snapshot
from pool_lifecycle.spec import EngineSpec, Limits, PoolSpec
from pool_lifecycle.step import step
from tests.pools import (
    BLAMELESS,
    CRASH,
    EPOCH,
    HOPELESS,
    NEW,
    NOW,
    OLD,
    OTHER,
    PROVING,
    SERVER,
    SPARE,
    TRUSTING,
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


# --- models ----------------------------------------------------------------------------------------------


def launched(pool: Snapshot) -> Instance:
    """The engine launched last."""
    assert pool.newest is not None
    return pool.newest


def test_a_reload_commits_the_new_model_once_it_has_proven_itself() -> None:
    """B-RELOAD-004..006, S12: until then the pool is committed to the old one, whatever serves."""
    pool = after(pool_in(S.RELOADING_STOPPING), Gone(EPOCH))
    assert (launched(pool).target, pool.target) == (NEW, OLD)
    proving = after(pool, Healthy(pool.epoch))
    assert (proving.state, proving.target, proving.serving) == (S.RELOADING_PROVING, OLD, 2)
    proven = Overdue(proving.epoch)
    later = NOW + Limits().proving
    assert after(proving, proven, now=later - 0.1) == proving
    ready = after(proving, proven, now=later)
    assert (ready.state, ready.target, ready.plan) == (S.READY, NEW, None)


@pytest.mark.parametrize(
    ("state", "one", "then"),
    [
        (S.RELOADING_PROVING, Overdue(EPOCH), S.READY),
        (S.SURGING_PROVING, Overdue(EPOCH), S.RETIRING),
        (S.RELOADING_STARTING, Healthy(EPOCH), S.READY),
        (S.SURGING_STARTING, Healthy(EPOCH), S.RETIRING),
    ],
)
def test_a_commit_is_one_step(state: PoolState, one: Event, then: PoolState) -> None:
    """S12, S17: new model, no plan, and one write of both; without a time to prove itself in, at once."""
    pool = pool_in(state, rules=TRUSTING)
    done = after(pool, one)
    assert (done.state, done.target, done.plan, done.serving) == (then, NEW, None, 2)
    assert notice(pool, one).mark == Mark.COMMITTED
    assert effects(pool, one).count(Persist()) == 1


def test_a_failed_reload_restores_the_old_model() -> None:
    """B-RELOAD-007, B-RELOAD-011: the old model serves again, and the caller gets the cause."""
    pool = after(pool_in(S.RELOADING_STARTING), Failed(epoch=EPOCH, cause=HOPELESS))
    restoring = after(pool, Gone(pool.epoch))
    assert (launched(restoring).target, launched(restoring).generation) == (OLD, 3)
    told = notice(restoring, Healthy(restoring.epoch))
    assert (told.mark, told.cause) == (Mark.RESTORED, HOPELESS)
    ready = after(restoring, Healthy(restoring.epoch))
    assert (ready.target, ready.cause, ready.plan) == (OLD, None, None)


def test_a_failed_restoration_tells_both_causes() -> None:
    """B-RELOAD-x3: what is wrong with the old one, and why there was a change at all."""
    pool = pool_in(S.RELOADING_RESTORING, plan=Plan(NEW, Strategy.DRAIN_FIRST, cause=HOPELESS))
    both = Failed(epoch=EPOCH, cause=evolve(CRASH, evidence=("core dumped",)))
    told, done = notice(pool, both).cause, after(pool, both)
    assert told is not None
    assert told == done.cause
    new = "the new one: launch failed: unknown flag --fast"
    assert told.message == f"killed by SIGSEGV (while going back to the old model; {new})"
    assert (told.heals, told.evidence) == (True, ("core dumped",))


@pytest.mark.parametrize("state", [S.STAGING_AHEAD, S.RELOADING_STAGING, S.SURGING_STAGING])
def test_a_staging_that_fails_never_touches_the_old_engine(state: PoolState) -> None:
    """B-RELOAD-x1: the caller gets the cause, the pool has none."""
    pool = pool_in(state)
    one = Failed(epoch=EPOCH, cause=HOPELESS)
    done = after(pool, one)
    assert (done.state, done.target, done.engines, done.cause) == (S.READY, OLD, (SERVER,), None)
    assert (notice(pool, one).mark, notice(pool, one).cause) == (Mark.UNTOUCHED, HOPELESS)


def test_a_crash_during_a_reload_is_the_pools_own_failure() -> None:
    """Who waits for the reload learns that the old engine ended."""
    pool = pool_in(S.RELOADING_DRAINING)
    crash = Exited(SERVER.token, ExitStatus(signal=11), CRASH)
    assert notice(pool, crash).cause == CRASH
    assert after(pool, crash).cause == CRASH


@pytest.mark.parametrize("news", [CRASHED, Unhealthy(SPARE.token, CRASH)])
def test_a_new_model_that_fails_while_it_proves_itself_is_undone(news: Event) -> None:
    """B-RELOAD-007: its engine goes, the old model comes back, and the caller gets the cause."""
    undoing = after(pool_in(S.RELOADING_PROVING), news)
    assert (undoing.state, undoing.target, undoing.cause) == (S.RELOADING_UNDOING, OLD, None)
    restoring = after(undoing, Gone(undoing.epoch))
    assert (restoring.state, launched(restoring).target) == (S.RELOADING_RESTORING, OLD)
    healthy = Healthy(restoring.epoch)
    assert (notice(restoring, healthy).mark, notice(restoring, healthy).cause) == (Mark.RESTORED, CRASH)


@pytest.mark.parametrize("news", [CRASHED, Unhealthy(SPARE.token, CRASH)])
def test_a_new_model_that_fails_beside_the_old_one_gives_way(news: Event) -> None:
    """B-RELOAD-007, B-RELOAD-x2: the old engine, which has waited, serves again at once."""
    pool = pool_in(S.SURGING_PROVING)
    done, told = after(pool, news), notice(pool, news)
    assert (done.state, done.target, done.plan, done.cause) == (S.RETIRING, OLD, None, None)
    assert (done.server, [one.generation for one in done.spares]) == (SERVER, [2])
    assert (told.mark, told.cause) == (Mark.REVERTED, CRASH)


def test_a_change_can_be_called_off_while_the_new_model_proves_itself() -> None:
    """B-RELOAD-x5: the old engine still lives, and serves again."""
    pool = pool_in(S.SURGING_PROVING)
    done = after(pool, Resume())
    assert (done.state, done.target, done.server) == (S.RETIRING, OLD, SERVER)
    assert (notice(pool, Resume()).mark, notice(pool, Resume()).cause) == (Mark.REVERTED, None)


ENDING = evolve(SERVER, kill_at=NOW + 9)
ENDED = evolve(SERVER, exit=ExitStatus(code=1))


@pytest.mark.parametrize("old", [ENDING, ENDED])
def test_an_engine_that_ended_comes_not_back(old: Instance) -> None:
    """S2, B-RELOAD-x5: it is too late to call the change off; what fails now is an ordinary failure."""
    pool = pool_in(S.SURGING_PROVING, engines=(old, PROVING))
    assert after(pool, Resume()) == pool
    assert notice(pool, Resume()).mark == Mark.REFUSED
    done = after(pool, CRASHED)
    assert (done.state, done.cause, done.target) == (S.RECOVERING, CRASH, OLD)
    assert notice(pool, CRASHED).cause == CRASH


def test_an_old_engine_that_ends_while_the_new_one_serves_ends_nothing() -> None:
    """The new one has its time to prove itself, and only then the pool is committed to it."""
    ended = Exited(SERVER.token, ExitStatus(code=1), HOPELESS)
    pool = after(pool_in(S.SURGING_PROVING), ended)
    assert (pool.state, pool.spare_lives, pool.cause, pool.target) == (S.SURGING_PROVING, False, None, OLD)
    assert after(pool, Overdue(EPOCH)).target == NEW


@pytest.mark.parametrize("again", [Start(), Resume()])
@pytest.mark.parametrize("state", [S.RELOADING_PROVING, S.SURGING_PROVING])
def test_a_drain_that_is_called_off_commits_to_nothing(state: PoolState, again: Event) -> None:
    """S12: a new model that has not proven itself before the drain has to do so after it."""
    draining = after(pool_in(state), Drain())
    assert (draining.state, draining.plan, draining.unproven) == (S.DRAINING, None, True)
    proving = after(draining, again)
    assert (proving.state, proving.target, proving.serving) == (state, OLD, 2)
    assert proving.plan is not None
    strategy = Strategy.SURGE if state is S.SURGING_PROVING else Strategy.DRAIN_FIRST
    assert (proving.plan.target, proving.plan.strategy) == (NEW, strategy)
    assert proving.deadline == NOW + Limits().proving
    assert after(draining, Stop()).target == OLD


@pytest.mark.parametrize("target", [NEW, evolve(OLD, variant="c0de"), evolve(OLD, digest="sha256:6e")])
def test_other_arguments_have_to_prove_themselves_too(target: Target) -> None:
    """S12: what serves is what the pool is committed to only if all of it is."""
    assert pool_in(S.DRAINING, engines=(evolve(SERVER, target=target),)).unproven
    assert not pool_in(S.DRAINING).unproven
    assert not pool_in(S.STOPPED).unproven


@pytest.mark.parametrize(
    ("engines", "serving", "lives"),
    [
        ((SERVER, PROVING), 2, True),
        ((SERVER, PROVING), 1, True),
        ((SERVER, SPARE), 1, False),
        ((ENDING, PROVING), 2, False),
        ((ENDED, PROVING), 2, False),
        ((PROVING,), 2, False),
    ],
)
def test_a_spare_lives_that_was_healthy_and_is_not_to_end(
    engines: tuple[Instance, ...], serving: int, lives: bool
) -> None:
    """Only such a one can serve again."""
    assert pool_in(S.SURGING_PROVING, engines=engines, serving=serving).spare_lives is lives


def test_a_pool_knows_what_it_may_have_to_launch() -> None:
    """No model in use, or to go back to, is thrown out of the cache."""
    plan = Plan(OTHER, Strategy.SURGE)
    assert set(pool_in(S.SURGING_PROVING, plan=plan).targets) == {OLD, NEW, OTHER}
    assert set(pool_in(S.READY).targets) == {OLD}
    assert pool_in(S.STOPPED).targets == (OLD,)


def test_two_engines_have_files_of_their_own() -> None:
    """B-RELOAD-x2: whichever of the two is free; one alone has the usual ones."""
    beside = launched(after(pool_in(S.SURGING_STAGING), Staged(EPOCH)))
    server = evolve(SERVER, aside=True)
    other = launched(after(pool_in(S.SURGING_STAGING, engines=(server,)), Staged(EPOCH)))
    alone = launched(after(pool_in(S.RELOADING_STOPPING), Gone(EPOCH)))
    assert (beside.aside, other.aside, alone.aside) == (True, False, False)


def test_retiring_leaves_who_serves() -> None:
    """B-RELOAD-x2: only the spare is gone."""
    assert after(pool_in(S.RETIRING), Gone(EPOCH)).engines == (SERVER,)


def test_a_spare_that_cannot_be_killed_is_kept_on_the_ledger() -> None:
    """S5, S3: it no longer counts as an engine of the pool, and it is not forgotten."""
    done = after(pool_in(S.RETIRING), Overdue(EPOCH))
    assert (done.state, done.engines) == (S.READY, (SERVER,))
    assert [one.token for one in done.quarantine] == [SPARE.token]


@pytest.mark.parametrize("state", [S.STOPPED, S.FAILED, S.BACKING_OFF])
def test_without_an_engine_a_new_model_is_simply_configured(state: PoolState) -> None:
    """The next start uses it."""
    done = after(pool_in(state), Reload(NEW))
    assert (done.state, done.target) == (state, NEW)
    assert notice(pool_in(state), Reload(NEW)).mark == Mark.CONFIGURED


ANOTHER_DIGEST, ANOTHER_VARIANT = evolve(OLD, digest="sha256:6e"), evolve(OLD, variant="c0de")


@pytest.mark.parametrize("state", [S.READY, S.RETIRING])
@pytest.mark.parametrize("target", [OLD, ANOTHER_DIGEST, ANOTHER_VARIANT])
def test_the_same_model_is_the_same_content_in_the_same_engine(state: PoolState, target: Target) -> None:
    """B-RELOAD-010: only all of that is no change; another digest, or other arguments, are one."""
    told = notice(pool_in(state), Reload(target)).mark
    assert (told == Mark.UNCHANGED) == (target == OLD)
    assert after(pool_in(state), Reload(OLD)) == pool_in(state)


def test_the_last_change_is_cleared_up_before_the_next() -> None:
    """B-RELOAD-x5: never a third engine."""
    assert notice(pool_in(S.RETIRING), Reload(NEW)).mark == Mark.BUSY
    assert after(pool_in(S.RETIRING), Reload(NEW)) == pool_in(S.RETIRING)


@pytest.mark.parametrize(("target", "mark"), [(NEW, Mark.JOINED), (OTHER, Mark.BUSY)])
@pytest.mark.parametrize("state", sorted(CHANGING))
def test_one_change_at_a_time(state: PoolState, target: object, mark: Mark) -> None:
    """B-RELOAD-x5: the same change is joined, another one is refused; neither disturbs the one under way."""
    reload = Reload(target)  # type: ignore[arg-type]
    assert after(pool_in(state), reload) == pool_in(state)
    assert notice(pool_in(state), reload).mark == mark


def test_the_states_of_a_change() -> None:
    """A plan lasts exactly through these."""
    prefixed = {state for state in S if state.startswith(("reloading.", "surging."))}
    assert prefixed | {S.STAGING_AHEAD} == CHANGING


# --- engines ---------------------------------------------------------------------------------------------


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
