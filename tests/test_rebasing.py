"""What was stored means the same on another clock, as nearly as anybody can know, and never lasts longer."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle import rebasing
from pool_lifecycle.agenda import next_due
from pool_lifecycle.events import Target
from pool_lifecycle.kept import Kept, KeptHost, KeptLease, Moment
from pool_lifecycle.rebasing import STEADY, TIMES, shift, shifted, shifted_host
from pool_lifecycle.restart.circuit import Circuit
from pool_lifecycle.shapes import Maybe, Plain, fields_of
from pool_lifecycle.snapshot import Instance, Rules, Snapshot
from tests.explored import explored
from tests.kept_values import BINARY, PATIENT, kept, leaves, values, walk

MOVES = {
    "Moment.at",
    "Snapshot.since",
    "Snapshot.deadline",
    "Snapshot.not_before",
    "Snapshot.restarts",
    "Instance.launched_at",
    "Instance.healthy_at",
    "Instance.kill_at",
    "Circuit.until",
    "Crash.at",
    "Storm.at",
    "KeptLease.since",
    "KeptLease.expires_at",
    "KeptHost.full_at",
    "KeptHost.failed_at",
}
"""Where there are times on a clock that ends with the boot, as the classes' own words have it."""

DAY, YEAR = 86400.0, 365 * 86400.0

anything_kept = values(Kept, BINARY)
anything_of_the_host = values(KeptHost, BINARY)
moments = st.builds(Moment, st.sampled_from(("one", "other")), BINARY, BINARY)
"""All in numbers that add up without rounding, so that laws hold exactly."""


# --- by how much ----------------------------------------------------------------------------------------

STORED = Moment("one", 5000.0, 1.7e9)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (Moment("one", 5040.0, 1.7e9 + 40), 60.0),
        (Moment("one", 5040.0, 1.7e9 + YEAR), 60.0),  # on the same clock, the wall clock decides nothing
        (Moment("other", 3.0, 1.7e9 + 40), 60.0),
        (Moment("other", 3.0, 1.7e9 + 140), -40.0),
        (Moment("other", 3.0, 1.7e9), 100.0),
        (
            Moment("other", 3.0, 1.7e9 - DAY),
            100.0,
        ),  # set back: as if no time had passed, never more than there was
        (Moment("other", 3.0, 1.7e9 + YEAR), 100.0 - YEAR),
        (Moment("other", 9000.0, 1.7e9 + 40), 60.0),  # a clock that has run for longer
    ],
)
def test_what_is_left_of_a_deadline(now: Moment, left: float) -> None:
    """B-SUPER-x6: of 100 s, less what has passed; exactly on the same clock, by the wall clock on another."""
    assert 5100.0 + shift(STORED, now) - now.at == left


@PATIENT
@given(moments, moments, BINARY)
def test_nothing_lasts_longer_than_it_did(moment: Moment, now: Moment, time: float) -> None:
    """B-SUPER-x6: whatever the wall clock says after a reboot, no remaining time grows."""
    left = time + shift(moment, now) - now.at
    if now.clock == moment.clock:
        assert shift(moment, now) == 0.0
    else:
        assert left == time - moment.at - max(0.0, now.wall - moment.wall)
        assert left <= time - moment.at


# --- everything is moved, and nothing else --------------------------------------------------------------


@PATIENT
@given(anything_kept | anything_of_the_host, BINARY)
def test_every_time_is_moved_and_nothing_else(value: Any, by: float) -> None:
    """B-SUPER-x6: deadlines, kill times, circuits, leases, all of them by the same; durations stay."""
    moved = shifted(value, by) if isinstance(value, Kept) else shifted_host(value, by)
    before, after = list(leaves(value)), list(leaves(moved))
    assert after == [
        (where, one + by) if where in MOVES and isinstance(one, float) else (where, one)
        for where, one in before
    ]


@PATIENT
@given(anything_kept | anything_of_the_host)
def test_on_the_same_clock_nothing_is_touched(value: Any) -> None:
    """It is the very same value."""
    assert (shifted(value, 0.0) if isinstance(value, Kept) else shifted_host(value, 0.0)) is value


@PATIENT
@given(anything_kept, BINARY, BINARY)
def test_moved_twice_is_moved_by_the_sum(value: Kept, one: float, other: float) -> None:
    """One reboot after the other."""
    assert shifted(shifted(value, one), other) == shifted(value, one + other)


@PATIENT
@given(anything_of_the_host, BINARY, BINARY)
def test_a_host_moved_twice_is_moved_by_the_sum(value: KeptHost, one: float, other: float) -> None:
    """One reboot after the other."""
    assert shifted_host(shifted_host(value, one), other) == shifted_host(value, one + other)


@PATIENT
@given(anything_kept, moments)
def test_what_was_moved_need_not_be_moved(value: Kept, now: Moment) -> None:
    """It says when it was stored, on the new clock: whoever asks again is told 0."""
    moved = shifted(value, shift(value.moment, now))
    if now.clock != value.moment.clock:
        elapsed = max(0.0, now.wall - value.moment.wall)
        assert moved.moment.at == now.at - elapsed
        assert shift(moved.moment, now) == 0.0


# --- what is due ----------------------------------------------------------------------------------------


def _due_moves(pool: Snapshot, by: float) -> None:
    due, moved = next_due(pool), next_due(shifted(kept(pool), by).snapshot)
    if due is None:
        assert moved is None
    else:
        assert moved == (due[0] + by, due[1])


@PATIENT
@given(values(Snapshot, BINARY), BINARY)
def test_what_is_due_next_is_moved(pool: Snapshot, by: float) -> None:
    """Every timer goes off as much later, for the same."""
    _due_moves(pool, by)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_due_next_wherever_chance_leads(seed: int) -> None:
    """The same for pools to which things happen; by 512, which changes no digit that matters."""
    for pool in walk(seed, 100):
        due, moved = next_due(pool), next_due(shifted(kept(pool), 512.0).snapshot)
        assert (due and due[1]) == (moved and moved[1])
        assert due is moved or (due and moved and abs(moved[0] - due[0] - 512.0) < 1e-6)


@pytest.mark.xdist_group("exploration")
@pytest.mark.timeout(900)
def test_what_is_due_next_wherever_a_pool_can_get() -> None:
    """The same in the whole space of snapshots."""
    for pool in explored().pools:
        _due_moves(pool, -512.0)


# --- no field is forgotten ------------------------------------------------------------------------------


def test_a_new_time_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a number with a fraction says what it is, or nothing can be imported."""

    @frozen
    class Grown:
        name: str
        late_at: tuple[float | None, ...] = ()

    with pytest.raises(TypeError, match=r"Grown\.late_at has to be named in TIMES or in STEADY"):
        rebasing._record(Grown)
    monkeypatch.setitem(STEADY, Grown, frozenset({"late_at"}))
    assert rebasing._record(Grown) is None
    monkeypatch.delitem(STEADY, Grown)
    monkeypatch.setitem(TIMES, Grown, frozenset({"late_at"}))
    move = rebasing._record(Grown)
    assert move is not None
    assert move(Grown("a", (1.0, None)), 2.0) == Grown("a", (3.0, None))


@pytest.mark.parametrize("table", [TIMES, STEADY])
def test_the_tables_name_what_there_is(table: dict[type[attrs.AttrsInstance], frozenset[str]]) -> None:
    """No entry outlives its field, and none is in both tables."""
    for kind, names in table.items():
        assert names <= fields_of(kind).keys()
    assert not any(TIMES[kind] & STEADY.get(kind, frozenset()) for kind in TIMES)


def test_the_table_of_times_is_right() -> None:
    """As told here, in other words."""
    assert {f"{kind.__name__}.{name}" for kind, names in TIMES.items() for name in names} == MOVES


def test_fields_that_are_steady_hold_numbers() -> None:
    """What holds none need not be named; the rules hold durations, and are not stored."""
    for kind, names in STEADY.items():
        for name in names - {"rules"}:
            assert fields_of(kind)[name] in (Plain(float), Maybe(Plain(float)))


def test_an_example() -> None:
    """A drain under way, a circuit that is open and a lease, over a reboot that took a minute."""
    engine = Instance(1, "p.1.x", Target("m"), launched_at=4000.0, healthy_at=4010.0, kill_at=5035.0)
    circuit = Circuit("general", timeout=300.0, until=5200.0)
    pool = Snapshot(
        "p", Target("m"), Rules(), "x", since=4990.0, deadline=5065.0, engines=(engine,), circuits=(circuit,)
    )
    lease = KeptLease(1, 1, "http://127.0.0.1:80", "me", "inference", 4500.0, 5500.0)
    stored = Kept(pool, STORED, "local", leases=(lease,))
    later = shifted(stored, shift(STORED, Moment("other", 30.0, 1.7e9 + 60)))
    after = later.snapshot
    assert (after.since, after.deadline) == (-40.0, 35.0)
    assert after.circuits == (evolve(circuit, until=170.0),)
    assert (after.engines[0].launched_at, after.engines[0].kill_at) == (-1030.0, 5.0)
    assert later.leases == (evolve(lease, since=-530.0, expires_at=470.0),)
    assert later.moment == Moment("one", -30.0, 1.7e9)
