"""How a model is spread over GPUs of different size: what holds for any of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.placement.split import VALID, SplitPlan, TooBig, ratios_defect, split

GIB = 2**30
BYTES = st.integers(0, 2**60)
DEVICES = st.lists(st.tuples(BYTES, st.integers(0, 1000)), min_size=1, max_size=8).filter(
    lambda devices: any(weight for _, weight in devices)
)


def ratios_of(devices: list[tuple[int, int]]) -> tuple[float, ...]:
    whole = sum(weight for _, weight in devices)
    return tuple(weight / whole for _, weight in devices)


def planned(need: int, devices: list[tuple[int, int]]) -> SplitPlan | TooBig:
    return split(need, [room for room, _ in devices], ratios_of(devices))


@st.composite
def fitting(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Devices, and a need for which they have room together."""
    devices = draw(DEVICES)
    return draw(st.integers(0, sum(room for room, weight in devices if weight))), devices


@given(fitting())
def test_shares_add_up_and_fit(one: tuple[int, list[tuple[int, int]]]) -> None:
    """B-HETERO-001, 002: to the byte; nothing on a device of ratio 0; ratios that add up to 1."""
    need, devices = one
    plan = planned(need, devices)
    assert isinstance(plan, SplitPlan)
    assert sum(plan.shares) == need
    for share, (room, weight) in zip(plan.shares, devices, strict=True):
        assert 0 <= share <= (room if weight else 0)
    assert math.fsum(plan.ratios) == pytest.approx(1)
    assert all(ratio == 0 for ratio, (_, weight) in zip(plan.ratios, devices, strict=True) if not weight)


@given(BYTES, DEVICES)
def test_it_is_refused_only_where_no_spread_would_do(need: int, devices: list[tuple[int, int]]) -> None:
    """B-HETERO-003: and then with what is missing, on devices that may be used."""
    plan, room = planned(need, devices), sum(room for room, weight in devices if weight)
    if need <= room:
        assert isinstance(plan, SplitPlan)
    else:
        assert plan == TooBig(need, room)
        assert isinstance(plan, TooBig)
        assert plan.shortfall == need - room


@given(fitting())
def test_a_wish_that_fits_is_kept(one: tuple[int, list[tuple[int, int]]]) -> None:
    """B-HETERO-001: the declared ratios themselves, and the shares that they make."""
    need, devices = one
    ratios, plan = ratios_of(devices), planned(need, devices)
    if all(
        need * ratio <= room * (1 - 1e-9) - 1
        for ratio, (room, _) in zip(ratios, devices, strict=True)
        if ratio
    ):
        assert isinstance(plan, SplitPlan)
        assert plan.ratios == ratios
        for share, ratio in zip(plan.shares, ratios, strict=True):
            assert share == pytest.approx(need * ratio, rel=1e-9, abs=len(devices))


@given(fitting())
def test_whoever_is_not_full_has_what_its_ratio_makes(one: tuple[int, list[tuple[int, int]]]) -> None:
    """B-HETERO-002: what is left over is spread in proportion; nobody who is full would have got less."""
    need, devices = one
    plan, ratios = planned(need, devices), ratios_of(devices)
    assert isinstance(plan, SplitPlan)
    per_ratio = [
        (share / ratio, share < room - len(devices))
        for share, ratio, (room, _) in zip(plan.shares, ratios, devices, strict=True)
        if ratio
    ]
    level = max(each for each, _ in per_ratio)
    slack = len(devices) * 10_000.0
    assert all(each == pytest.approx(level, rel=1e-6, abs=slack) for each, has_room in per_ratio if has_room)


@given(fitting(), st.integers(0, 7), st.integers(1, 2**40))
def test_more_room_takes_nothing_away(one: tuple[int, list[tuple[int, int]]], which: int, more: int) -> None:
    """A device with more room never gets less, nor the others more, but for a byte that rounding moves."""
    need, devices = one
    which %= len(devices)
    room, weight = devices[which]
    before = planned(need, devices)
    after = planned(need, [*devices[:which], (room + more, weight), *devices[which + 1 :]])
    assert isinstance(before, SplitPlan)
    assert isinstance(after, SplitPlan)
    for number, (had, has) in enumerate(zip(before.shares, after.shares, strict=True)):
        assert has >= had - len(devices) if number == which else has <= had + len(devices)


@given(fitting(), st.randoms(use_true_random=False))
def test_the_order_of_the_devices_does_not_matter(
    one: tuple[int, list[tuple[int, int]]], chance: Any
) -> None:
    """But for single bytes."""
    need, devices = one
    order = list(range(len(devices)))
    chance.shuffle(order)
    before, after = planned(need, devices), planned(need, [devices[number] for number in order])
    assert isinstance(before, SplitPlan)
    assert isinstance(after, SplitPlan)
    for place, number in enumerate(order):
        assert abs(after.shares[place] - before.shares[number]) <= len(devices)


def test_the_smallest_gpu_is_filled_and_the_rest_goes_to_the_others() -> None:
    """B-HETERO-002: 36 GiB by halves, of which one has to be 10."""
    plan = split(36 * GIB, [40 * GIB, 10 * GIB], (0.5, 0.5))
    assert plan == SplitPlan((26 / 36, 10 / 36), (26 * GIB, 10 * GIB))


def test_what_is_left_over_may_fill_the_next() -> None:
    """By thirds, the first two are too small one after the other."""
    plan = split(30, [4, 12, 100], (1 / 3, 1 / 3, 1 / 3))
    assert isinstance(plan, SplitPlan)
    assert plan.shares == (4, 12, 14)


def test_a_refusal_says_what_is_missing() -> None:
    """B-HETERO-003: in bytes."""
    refusal = str(split(36 * GIB, [20 * GIB, 50 * GIB], (1.0, 0.0)))
    assert refusal == (
        "36.0 GiB do not fit on its devices, which have room for 20.0 GiB: "
        f"16.0 GiB ({16 * GIB} bytes) too few"
    )


@pytest.mark.parametrize("good", [(1.0,), (1,), (0.5, 0.5), (0, 1.0), (0.3333333, 0.3333333, 0.3333333)])
def test_ratios_that_add_up_are_taken(good: object) -> None:
    """B-HETERO-001."""
    assert ratios_defect(good) is None


@pytest.mark.parametrize(
    "bad",
    [
        *[(), None, "0.5,0.5", [0.5, 0.5], (True,), (0.5, "0.5"), (1.5, -0.5), (math.nan, 1.0)],
        *[(math.inf,), (0.5, 0.4), (0.0, 0.0), (0.5, 0.50001), (1.0, 10**400)],
    ],
)
def test_other_ratios_are_refused(bad: object) -> None:
    """B-HETERO-001: with what would be valid."""
    assert (ratios_defect(bad) or "").startswith(VALID)


def test_a_sum_that_is_wrong_is_told() -> None:
    """It is what one looks for."""
    assert ratios_defect((0.5, 0.4)) == f"{VALID}, unlike 0.9"
