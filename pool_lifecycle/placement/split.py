"""How a model is spread over several GPUs that may be of different size. Pure.

Each device has a wished share of the whole, a ratio; one whose share would not fit is capped at the room that
it has, and what is left over goes to the others in proportion to their ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from attrs import frozen

from pool_lifecycle.wording import size

SUM_WITHIN = 1e-6
"""So far may ratios be from a sum of 1: enough for thirds written with seven digits."""

VALID = "must be numbers from 0 to 1, one for each device, that add up to 1"


@frozen
class SplitPlan:
    """What each device gets: its ratio of the whole, which add up to 1, and its share in bytes."""

    ratios: tuple[float, ...]
    shares: tuple[int, ...]


@frozen
class TooBig:
    """It does not fit, however it is spread: `needed` bytes, with `room` on the devices that may be used."""

    needed: int
    room: int

    @property
    def shortfall(self) -> int:
        """How many bytes too few there are."""
        return self.needed - self.room

    def __str__(self) -> str:
        what = f"{size(self.needed)} do not fit on its devices, which have room for {size(self.room)}"
        return f"{what}: {size(self.shortfall)} ({self.shortfall} bytes) too few"


def ratios_defect(value: object) -> str | None:
    """What is wrong with ratios; None when nothing is."""
    if not isinstance(value, tuple) or not value:
        return VALID
    numbers = [one for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(value) or not all(0 <= one <= 1 for one in numbers):
        return VALID
    return None if abs(math.fsum(numbers) - 1) <= SUM_WITHIN else f"{VALID}, unlike {math.fsum(numbers):g}"


def split(need: int, room: Sequence[int], ratios: Sequence[float]) -> SplitPlan | TooBig:
    """Spread `need` bytes over devices with so much room each. A device of ratio 0 gets nothing.

    Each share is within a few bytes of what its ratio, or that of what is left over, makes of it.
    """
    weights = _exact(ratios)
    usable = [free if weight else 0 for free, weight in zip(room, weights, strict=True)]
    if sum(usable) < need:
        return TooBig(need, sum(usable))
    shares, whole = _shares(need, usable, weights), sum(weights)
    if all(need * weight <= free * whole for free, weight in zip(usable, weights, strict=True)):
        return SplitPlan(tuple(ratios), shares)
    return SplitPlan(tuple(share / need for share in shares), shares)


def _exact(ratios: Sequence[float]) -> list[int]:
    """The ratios as whole numbers: a model has more bytes than a float can tell apart."""
    parts = [ratio.as_integer_ratio() for ratio in ratios]
    common = math.lcm(*(below for _, below in parts))
    return [above * (common // below) for above, below in parts]


def _shares(need: int, usable: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """The device with the least room for its ratio comes first: if its share fits, so do all that follow."""
    shares, left, weight = [0] * len(usable), need, sum(weights)
    weighty = (number for number, one in enumerate(weights) if one)
    for number in sorted(weighty, key=lambda one: Fraction(usable[one], weights[one])):
        shares[number] = min(usable[number], left * weights[number] // weight)
        left -= shares[number]
        weight -= weights[number]
    return tuple(shares)
