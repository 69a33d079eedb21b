"""How a model is spread over several GPUs that may be of different size. Pure.

Each device has a wished share of the whole, a ratio; one whose share would not fit is capped at the room that
it has, and what is left over goes to the others in proportion to their ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    """Spread `need` bytes over devices with so much room each. A device of ratio 0 gets nothing."""
    usable = [free if ratio > 0 else 0 for free, ratio in zip(room, ratios, strict=True)]
    if sum(usable) < need:
        return TooBig(need, sum(usable))
    capped: set[int] = set()
    while True:
        left = need - sum(usable[number] for number in capped)
        weight = math.fsum(ratio for number, ratio in enumerate(ratios) if number not in capped)
        wish = [left * ratio / weight if weight else 0.0 for ratio in ratios]
        over = {
            number for number in range(len(ratios)) if number not in capped and wish[number] > usable[number]
        }
        if not over:
            break
        capped |= over
    shares = _whole(
        [
            usable[number] if number in capped else min(int(wish[number]), usable[number])
            for number in range(len(room))
        ],
        usable,
        need,
    )
    if not capped or not need:
        return SplitPlan(tuple(ratios), shares)
    return SplitPlan(tuple(share / need for share in shares), shares)


def _whole(shares: list[int], usable: Sequence[int], need: int) -> tuple[int, ...]:
    """The bytes that rounding has lost go to whoever still has room."""
    lost = need - sum(shares)
    for number, free in enumerate(usable):
        more = min(lost, free - shares[number])
        shares[number] += more
        lost -= more
    return tuple(shares)
