"""A pool, its circuits and its policies together: classes of failures, storms, circuits that pools share."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.breaker import BreakerState
from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.events import AllowOne, Due, Failed, Gone, RanStably, Reset, Shared
from pool_lifecycle.lifecycle import PoolState
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.restart.classes import ClassPolicies, ClassPolicy
from pool_lifecycle.restart.storm import Crash
from pool_lifecycle.snapshot import Intent, Rules, Snapshot
from pool_lifecycle.step import step
from tests.pools import CRASH, EPOCH, HOPELESS, NOW, OPEN, TRIAL, after, pool_in

S = PoolState

ALMOST = Circuit("general", failures=4)
"""One more failure opens it."""


def circuit(pool: Snapshot) -> Circuit:
    """The pool's own circuit."""
    return pool.circuits[0]


# --- classes ---------------------------------------------------------------------------------------------

CUDA = Cause(FailureClass.CUDA, Stage.RUN, "an illegal memory access")
CLASH = Cause(FailureClass.PORT_IN_USE, Stage.LAUNCH, "the port is in use")


def test_a_class_with_a_circuit_of_its_own_leaves_the_general_one_alone() -> None:
    """B-SUPER-02A: the fifth CUDA failure opens the CUDA circuit; the general one has heard of none."""
    pool = pool_in(S.RECOVERING, cause=CUDA, intent=Intent.RUN)
    done = after(evolve(pool, circuits=(Circuit("general"), evolve(ALMOST, name="cuda"))), Gone(EPOCH))
    assert done.state is S.FAILED
    assert [(one.state, one.failures) for one in done.circuits] == [
        (BreakerState.CLOSED, 0),
        (BreakerState.OPEN, 5),
    ]


def test_a_trial_fails_by_a_failure_of_any_class() -> None:
    """B-SUPER-025: a trial of the general circuit that ends in a CUDA failure has failed."""
    pool = pool_in(S.RECOVERING, cause=CUDA, intent=Intent.RUN, circuits=(TRIAL, Circuit("cuda")))
    done = after(pool, Gone(EPOCH))
    assert [one.state for one in done.circuits] == [BreakerState.OPEN, BreakerState.CLOSED]
    assert done.circuits[1].failures == 1


def test_a_class_multiplies_the_delay() -> None:
    """B-SUPER-017: after a CUDA failure it is twice as long."""
    done = after(pool_in(S.RECOVERING, cause=CUDA, intent=Intent.RUN), Gone(EPOCH))
    assert done.not_before == NOW + 2.0


def test_a_clash_of_ports_is_tried_again_at_once_and_not_counted() -> None:
    """B-SUPER-x2: the next launch is on another port; the window counts it all the same (S13)."""
    pool = pool_in(S.STAGING)
    done = after(pool, Failed(epoch=EPOCH, cause=CLASH))
    assert (done.state, done.not_before, done.crash_count) == (S.BACKING_OFF, NOW, 0)
    assert circuit(done).failures == 0
    assert after(done, Due(done.epoch)).restarts == (NOW,)


def test_a_clash_on_a_declared_port_counts_like_any_failure() -> None:
    """There is no other port to take."""
    pool = evolve(pool_in(S.STAGING), rules=Rules(fixed_port=True))
    done = after(pool, Failed(epoch=EPOCH, cause=CLASH))
    assert (done.state, done.not_before, done.crash_count) == (S.BACKING_OFF, NOW + 1.0, 1)
    assert done.cause is not None
    assert "leave `port` out" in done.cause.remedy


@pytest.mark.parametrize(("retry", "state"), [(True, S.BACKING_OFF), (False, S.FAILED), (None, S.FAILED)])
def test_a_pool_can_say_of_a_class_whether_to_try_again(retry: bool | None, state: PoolState) -> None:
    """B-SUPER-x2: a bad configuration is not retried, unless the pool says so."""
    said = ClassPolicies(bad_config=ClassPolicy(retry=retry))
    pool = evolve(pool_in(S.STAGING), rules=Rules(classes=said))
    assert after(pool, Failed(epoch=EPOCH, cause=HOPELESS)).state is state


# --- storms ----------------------------------------------------------------------------------------------


def stormy(**changes: Any) -> Snapshot:
    """A pool whose tenth restart within half a minute has just failed."""
    restarts = tuple(NOW - 28 + 3 * place for place in range(10))
    killed = Cause(FailureClass.OUT_OF_MEMORY, Stage.RUN, "killed for want of memory")
    crashes = tuple(Crash(at, FailureClass.OUT_OF_MEMORY) for at in restarts)
    pool = pool_in(S.RECOVERING, intent=Intent.RUN, cause=killed, restarts=restarts, crashes=crashes)
    return evolve(pool, restart_count=10, **changes)


def test_a_storm_opens_the_general_circuit() -> None:
    """B-SUPER-035, 038: long before its threshold; the storm has a kind and a remedy."""
    rules = Rules(breaker=Breaker(threshold=1000))
    done = after(stormy(rules=rules, circuits=(Circuit("general"), Circuit("cuda"))), Gone(EPOCH))
    assert done.state is S.FAILED
    assert [one.state for one in done.circuits] == [BreakerState.OPEN, BreakerState.CLOSED]
    assert done.storm is not None
    assert (done.storm.kind, done.storm.restarts) == ("oom_storm", 10)
    assert "memory" in done.storm.remedy


def test_one_start_past_a_storm_does_not_reset_its_count() -> None:
    """B-SUPER-039: the window goes on from where it was."""
    done = after(stormy(), Gone(EPOCH))
    allowed = after(done, AllowOne())
    assert (allowed.restarts, allowed.restart_count) == (done.restarts, 10)


def test_a_reset_after_a_storm_leaves_the_window_as_it_was() -> None:
    """B-SUPER-028, S13: closed, count 0, the ordinary policy; what happened within the window happened."""
    done = after(after(stormy(crash_count=9), Gone(EPOCH)), Reset())
    assert (done.crash_count, done.storm, circuit(done).state) == (0, None, BreakerState.CLOSED)
    assert len(done.restarts) == 10


def test_ten_minutes_without_trouble_forget_the_restarts() -> None:
    """B-SUPER-031: the count and the window are empty; 300 s are not enough for that."""
    pool = pool_in(S.READY, restarts=(NOW - 5,), restart_count=3)
    assert after(pool, RanStably(1, 300.0)).restart_count == 3
    done = after(pool, RanStably(1, 600.0))
    assert (done.restart_count, done.restarts) == (0, ())


# --- circuits that pools share ---------------------------------------------------------------------------

DEVICE = Circuit("device 0", shared=True)


@pytest.mark.parametrize("kind", [FailureClass.EXIT, FailureClass.CUDA])
def test_a_failure_is_no_news_for_a_device(kind: FailureClass) -> None:
    """B-SUPER-x7: that takes several pools, and the host sees to it."""
    pool = pool_in(S.RECOVERING, cause=evolve(CRASH, kind=kind), circuits=(Circuit("general"), DEVICE))
    assert after(pool, Gone(EPOCH)).circuits[1] == DEVICE


def test_a_reset_leaves_shared_circuits_alone() -> None:
    """B-SUPER-028: an operator's reset is of the pool's own circuits."""
    device = evolve(OPEN, name="device 0", shared=True)
    pool = pool_in(S.FAILED, cause=CRASH, circuits=(OPEN, device))
    done = after(pool, Reset())
    assert (done.state, done.circuits[1]) == (S.FAILED, device)


def test_a_shared_circuit_that_closes_wakes_who_waits() -> None:
    """B-SUPER-x7: another pool's trial on the device went well."""
    device = evolve(OPEN, name="device 0", shared=True)
    pool = pool_in(S.FAILED, cause=CRASH, circuits=(Circuit("general"), device))
    assert after(pool, Shared(DEVICE)).state is S.BACKING_OFF


def test_a_shared_circuit_that_opens_stops_nobody_who_serves() -> None:
    """B-SUPER-021: it forbids starts, and ends nothing."""
    device = evolve(OPEN, name="device 0", shared=True)
    pool = pool_in(S.READY, circuits=(Circuit("general"), DEVICE))
    done = after(pool, Shared(device))
    assert (done.state, done.circuits[1]) == (S.READY, device)


def test_a_circuit_of_somebody_elses_device_is_no_news() -> None:
    """What the pool has no copy of changes nothing."""
    pool = pool_in(S.READY)
    assert step(pool, Shared(DEVICE), NOW) == (pool, ())


# --- what an audit found ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FailureClass.PORT_IN_USE, FailureClass.EXIT, FailureClass.CUDA])
@pytest.mark.parametrize("shared", [False, True])
def test_a_trial_that_fails_uncounted_has_failed(kind: FailureClass, shared: bool) -> None:
    """V5 PermitReturns, B-SUPER-025: whatever does not count elsewhere still decides a trial."""
    said = ClassPolicies(exit=ClassPolicy(counted=False), cuda=ClassPolicy(counted=False))
    trial = evolve(TRIAL, name="device 0", shared=shared)
    pool = pool_in(S.RECOVERING, cause=evolve(CRASH, kind=kind), circuits=(Circuit("general"), trial))
    done = after(evolve(pool, rules=Rules(classes=said), intent=Intent.RUN), Gone(EPOCH))
    assert (done.state, done.circuits[1].state) == (S.FAILED, BreakerState.OPEN)
    assert (done.circuits[0], done.crash_count) == (Circuit("general"), 0)


@pytest.mark.parametrize("kind", [FailureClass.KILLED_BY_OPERATOR, FailureClass.HOST_RESTART])
def test_a_trial_that_the_engine_did_not_end_goes_on(kind: FailureClass) -> None:
    """B-SUPER-x4: it says nothing about the engine."""
    pool = pool_in(S.RECOVERING, cause=evolve(CRASH, kind=kind), circuits=(TRIAL,), intent=Intent.RUN)
    assert circuit(after(pool, Gone(EPOCH))) == TRIAL


def test_a_shared_circuit_goes_by_the_hosts_numbers() -> None:
    """B-SUPER-x7: one pool's own breaker says nothing about a device that others use too."""
    rules = Rules(
        breaker=Breaker(timeout=1.0, timeout_max=2.0, stable=1.0),
        shared_breaker=Breaker(timeout=100.0, timeout_max=150.0, stable=50.0),
    )
    trial = evolve(TRIAL, name="device 0", shared=True, timeout=100.0)
    pool = pool_in(S.RECOVERING, intent=Intent.RUN, rules=rules, circuits=(Circuit("general"), trial))
    assert after(pool, Gone(EPOCH)).circuits[1].timeout == 150.0
    ready = evolve(pool_in(S.READY), rules=rules, circuits=(Circuit("general"), trial))
    assert after(ready, RanStably(1, 1.0)).circuits[1].state is BreakerState.TRIAL
    assert after(ready, RanStably(1, 50.0)).circuits[1].state is BreakerState.CLOSED


@pytest.mark.parametrize(("ago", "left"), [(0.25, 0.75), (5.0, 0.0)])
def test_a_permit_does_not_cut_the_delay_short(ago: float, left: float) -> None:
    """S14 BackoffLaw: a circuit that closes soon after the pool failed is no operator's command."""
    failed = pool_in(S.FAILED, cause=CRASH, crash_count=1, crashes=(Crash(NOW - ago, CRASH.kind),))
    device = evolve(OPEN, name="device 0", shared=True)
    done = after(evolve(failed, circuits=(Circuit("general"), device)), Shared(DEVICE))
    assert (done.state, done.not_before) == (S.BACKING_OFF, NOW + left)
