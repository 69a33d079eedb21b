"""A circuit breaker on its own: what its numbers do, with the defaults of a pool."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.breaker import BreakerEvent, BreakerState
from pool_lifecycle.circuits import feed
from pool_lifecycle.restart.circuit import Breaker, Circuit
from pool_lifecycle.testing.strategies import breakers

E, S = BreakerEvent, BreakerState

DEFAULTS = Breaker()
NEW = Circuit("general")


def fed(circuit: Circuit, *events: BreakerEvent, who: str = "me", now: float = 100.0) -> Circuit:
    """The circuit after some events in a row."""
    for event in events:
        circuit = feed(circuit, event, policy=DEFAULTS, who=who, now=now)
    return circuit


OPEN = fed(NEW, *[E.FAILURE] * 5)
HALF_OPEN = fed(OPEN, E.TIMEOUT)
TRIAL = fed(HALF_OPEN, E.TAKEN)


def test_opens_at_the_threshold() -> None:
    """B-SUPER-020: the fifth failure in a row opens it, and not the fourth."""
    four = fed(NEW, *[E.FAILURE] * 4)
    assert (four.state, four.failures) == (S.CLOSED, 4)
    assert (OPEN.state, OPEN.failures, OPEN.openings) == (S.OPEN, 5, 1)


def test_failures_are_in_a_row_only_until_a_stable_run() -> None:
    """B-SUPER-020: a long run clears the count; four and four make no five."""
    assert fed(NEW, *[E.FAILURE] * 4, E.STABLE) == NEW
    assert fed(NEW, *[E.FAILURE] * 4, E.STABLE, *[E.FAILURE] * 4).state is S.CLOSED


def test_open_ignores_everything_but_its_end() -> None:
    """B-SUPER-021: while open, failures, trips and late good news change nothing."""
    assert fed(OPEN, E.FAILURE, E.TRIP, E.STABLE, E.TAKEN, E.ABANDONED, now=250.0) == OPEN


def test_half_open_after_the_time_out() -> None:
    """B-SUPER-022: open lasts 300 s, then one permit is free."""
    assert (OPEN.timeout, OPEN.until) == (300.0, 400.0)
    assert (HALF_OPEN.state, HALF_OPEN.until, HALF_OPEN.holder) == (S.HALF_OPEN, None, None)


def test_exactly_one_trial() -> None:
    """B-SUPER-023: who takes the permit first has it; a second taker gets nothing and changes nothing."""
    assert (TRIAL.state, TRIAL.holder) == (S.TRIAL, "me")
    assert fed(TRIAL, E.TAKEN, E.ALLOW_ONE, who="somebody") == TRIAL


def test_a_stable_trial_closes() -> None:
    """B-SUPER-024: closed again, with everything forgotten but how often it has opened."""
    assert DEFAULTS.stable == 60.0
    assert fed(TRIAL, E.STABLE) == evolve(NEW, openings=1)


def test_only_the_holder_decides_a_trial() -> None:
    """S15: what others report says nothing about the trial."""
    assert fed(TRIAL, E.STABLE, E.FAILURE, who="somebody") == TRIAL


def test_a_failed_trial_doubles_the_time_out() -> None:
    """B-SUPER-025: open again for twice as long."""
    again = fed(TRIAL, E.FAILURE, now=500.0)
    assert (again.state, again.timeout, again.until) == (S.OPEN, 600.0, 1100.0)
    assert (again.openings, again.holder) == (2, None)


def test_the_time_out_is_capped() -> None:
    """B-SUPER-025: 300, 600, 1200, 1800, 1800 s: never above half an hour."""
    circuit, timeouts = OPEN, [OPEN.timeout]
    for _ in range(4):
        circuit = fed(circuit, E.TIMEOUT, E.TAKEN, E.FAILURE)
        timeouts.append(circuit.timeout)
    assert timeouts == [300.0, 600.0, 1200.0, 1800.0, 1800.0]


def test_trouble_outside_the_trial_keeps_the_time_out() -> None:
    """Half-open or in a trial, a trip opens it for as long as before: no trial has failed."""
    doubled = fed(TRIAL, E.FAILURE)
    free = fed(doubled, E.TIMEOUT)
    assert (
        fed(free, E.TRIP).timeout
        == fed(free, E.FAILURE).timeout
        == fed(free, E.TAKEN, E.TRIP).timeout
        == 600.0
    )


def test_a_closed_circuit_starts_over() -> None:
    """B-SUPER-024: after a good trial the next opening is short again."""
    assert fed(TRIAL, E.FAILURE, E.TIMEOUT, E.TAKEN, E.STABLE, *[E.FAILURE] * 5).timeout == 300.0


def test_an_abandoned_trial_gives_the_permit_back() -> None:
    """V5: given up without a verdict, the permit is free for whoever comes next."""
    free = fed(TRIAL, E.ABANDONED)
    assert free == HALF_OPEN
    assert fed(free, E.TAKEN, who="somebody").holder == "somebody"


def test_reset_closes() -> None:
    """B-SUPER-028: an operator closes it from every state; the count is 0, the next opening is short."""
    for circuit in (fed(NEW, E.FAILURE), OPEN, HALF_OPEN, TRIAL):
        assert fed(circuit, E.RESET) == evolve(NEW, openings=circuit.openings)


def test_an_operator_may_allow_one_start() -> None:
    """An open or half-open circuit gives its one permit to an operator; a closed one needs none."""
    assert fed(OPEN, E.ALLOW_ONE).holder == fed(HALF_OPEN, E.ALLOW_ONE).holder == "me"
    assert fed(NEW, E.ALLOW_ONE) == NEW


def test_a_quarantine_is_not_overridden() -> None:
    """An open circuit without a time-out is a device in quarantine: no operator's start passes it."""
    quarantine = Circuit("device", S.OPEN)
    assert fed(quarantine, E.ALLOW_ONE) == quarantine


def test_a_trip_opens_and_counts_no_failure() -> None:
    """A storm opens a closed circuit at once; that was nobody's failure in a row."""
    tripped = fed(NEW, E.FAILURE, E.TRIP)
    assert (tripped.state, tripped.failures, tripped.until) == (S.OPEN, 1, 400.0)


@given(breakers(), st.integers(0, 2000))
def test_the_threshold_is_configurable(policy: Breaker, failures: int) -> None:
    """B-SUPER-029: it opens at exactly the configured failure, for the configured time."""
    circuit = NEW
    for _ in range(failures):
        circuit = feed(circuit, E.FAILURE, policy=policy, who="me", now=0.0)
    assert (circuit.state is S.OPEN) == (failures >= policy.threshold)
    assert circuit.until == (policy.timeout if failures >= policy.threshold else None)


@given(breakers(), st.lists(st.tuples(st.sampled_from(E), st.sampled_from(("me", "you"))), max_size=30))
def test_whatever_happens_the_numbers_make_sense(
    policy: Breaker, events: list[tuple[BreakerEvent, str]]
) -> None:
    """S15: a holder exactly in a trial; an end exactly when open, but for a quarantine; all in bounds."""
    circuit, held = Circuit("general"), False
    for event, who in events:
        held = event is E.QUARANTINE or (held and event not in (E.RELEASE, E.RESET))
        circuit = feed(circuit, event, policy=policy, who=who, now=5.0)
        assert (circuit.holder is not None) == (circuit.state is S.TRIAL)
        assert (circuit.until is not None) == (circuit.state is S.OPEN and not held)
        assert circuit.timeout > 0 or circuit.state is S.CLOSED or E.QUARANTINE in dict(events)
        assert circuit.timeout <= policy.timeout_max
        assert circuit.state is not S.CLOSED or circuit.failures < policy.threshold
