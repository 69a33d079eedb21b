"""What a step writes down of models: what is launched, what serves, and what the pool is committed to."""

from __future__ import annotations

import pytest
from attrs import evolve

from pool_lifecycle.causes import ExitStatus
from pool_lifecycle.events import (
    Drain,
    Event,
    Exited,
    Failed,
    Gone,
    Healthy,
    Overdue,
    Reload,
    Resume,
    Staged,
    Start,
    Stop,
    Strategy,
    Target,
    Unhealthy,
)
from pool_lifecycle.lifecycle import Mark, PoolState
from pool_lifecycle.notes import CHANGING
from pool_lifecycle.snapshot import Instance, Notify, Persist, Plan, Snapshot
from pool_lifecycle.spec import Limits
from tests.pools import (
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
    pool_in,
)

S = PoolState

CRASHED = Exited(SPARE.token, ExitStatus(signal=11), CRASH)
"""The new model's engine ended."""


def notice(pool: Snapshot, one: Event) -> Notify:
    """What whoever waits is told."""
    (found,) = [effect for effect in effects(pool, one) if isinstance(effect, Notify)]
    return found


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
    """S2, B-RELOAD-x5: too late to call the change off; the new model's failure is still its own."""
    pool = pool_in(S.SURGING_PROVING, engines=(old, PROVING))
    assert after(pool, Resume()) == pool
    assert notice(pool, Resume()).mark == Mark.REFUSED
    undoing = after(pool, CRASHED)
    assert (undoing.state, undoing.cause, undoing.target) == (S.RELOADING_UNDOING, None, OLD)
    assert notice(pool, CRASHED).cause == CRASH
    restoring = after(undoing, Gone(undoing.epoch))
    assert [(one.target, one.aside) for one in restoring.engines] == [(OLD, False)]
    ready = after(restoring, Healthy(restoring.epoch))
    assert (ready.state, ready.crash_count, ready.circuits) == (S.READY, 0, pool.circuits)


OLD_CRASHED = Exited(SERVER.token, ExitStatus(signal=6), evolve(CRASH, message="killed by SIGABRT"))


@pytest.mark.parametrize("news", [CRASHED, Unhealthy(SPARE.token, CRASH)])
def test_where_both_fail_the_pools_own_model_is_to_blame(news: Event) -> None:
    """B-RELOAD-x5, V1: ordinary recovery with its cause, which tells of the new model's as well."""
    pool = after(pool_in(S.SURGING_PROVING), OLD_CRASHED)
    done = after(pool, news)
    assert (done.state, done.target, done.plan) == (S.RECOVERING, OLD, None)
    assert done.cause is not None
    assert done.cause.message == (
        "killed by SIGABRT (beside a new model that then failed as well: run failed: killed by SIGSEGV)"
    )
    assert notice(pool, news).cause == done.cause
    assert after(done, Gone(done.epoch)).crash_count == 1


@pytest.mark.parametrize(
    "how",
    [
        Exited(SERVER.token, ExitStatus(code=0), CRASH, graceful=True),
        (Drain(), Resume(), OLD_CRASHED),
        (Drain(), OLD_CRASHED, Resume()),
    ],
    ids=["done", "ended", "ended before"],
)
def test_an_old_engine_that_was_free_to_end_is_not_to_blame(how: Event | tuple[Event, ...]) -> None:
    """B-SUPER-x4: it had finished, or been asked to."""
    pool = after(pool_in(S.SURGING_PROVING), *(how if isinstance(how, tuple) else (how,)))
    assert (pool.state, pool.crashed_beside) == (S.SURGING_PROVING, None)
    assert after(pool, CRASHED).state is S.RELOADING_UNDOING


@pytest.mark.parametrize("news", [CRASHED, Unhealthy(SPARE.token, CRASH)])
@pytest.mark.parametrize("state", [S.RELOADING_PROVING, S.SURGING_PROVING])
def test_a_new_model_that_fails_as_its_pool_drains_just_ends(state: PoolState, news: Event) -> None:
    """B-RELOAD-x5: nobody is committed to it, so that nothing is counted; the next start need not wait."""
    draining = after(pool_in(state), Drain())
    done = after(draining, news)
    assert (done.state, done.cause, done.crash_count) == (S.STOPPING, None, 0)
    assert after(done, Gone(done.epoch)).state is S.STOPPED
    assert after(done, Start(), Gone(done.epoch)).state is S.STAGING


@pytest.mark.parametrize(
    ("state", "news"),
    [
        (S.SURGING_STARTING, Failed(epoch=EPOCH, cause=CRASH)),
        (S.SURGING_PROVING, Unhealthy(SPARE.token, CRASH)),
        (S.RELOADING_STARTING, Failed(epoch=EPOCH, cause=CRASH)),
        (S.RELOADING_PROVING, Unhealthy(SPARE.token, CRASH)),
    ],
)
def test_why_a_new_engine_was_given_up_is_known_until_it_is_gone(state: PoolState, news: Event) -> None:
    """B-RELOAD-007, S16: also where only the old model is spoken of any more, and under the next manager."""
    given_up = after(pool_in(state), news)
    assert [one.failure for one in given_up.engines if one.token == SPARE.token] == [CRASH]
    assert [one.failure for one in after(given_up, Stop()).engines if one.target == NEW] == [CRASH]
    assert all(one.failure is None for one in given_up.engines if one.target == OLD)


@pytest.mark.parametrize("state", [S.SURGING_STAGING, S.STAGING_AHEAD])
def test_a_staging_that_fails_is_no_engines_failure(state: PoolState) -> None:
    """B-RELOAD-x1."""
    done = after(pool_in(state), Failed(epoch=EPOCH, cause=CRASH))
    assert [one.failure for one in done.engines] == [None]


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
