"""Makes the plan of a run that failed as short as it gets while it still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable

from tests.whole.plan import Deed, Plan
from tests.whole.world import World

Deeds = tuple[Deed, ...]


def shrunk(plan: Plan, what: str, runs: int = 300) -> Plan:
    """A part of the plan that violates the same invariant, found with at most so many runs."""
    left = [runs]

    def fails(deeds: Deeds) -> bool:
        left[0] -= 1
        violation = World(plan.only(deeds)).run().violation
        return violation is not None and violation.what == what

    return plan.only(minimal(plan.deeds, lambda deeds: left[0] > 0 and fails(deeds)))


def minimal(deeds: Deeds, fails: Callable[[Deeds], bool]) -> Deeds:
    """Delta debugging: leave out halves, then quarters, and so on, as long as `fails` holds of the rest."""
    parts = 2
    while len(deeds) > 1:
        size = -(-len(deeds) // parts)
        rests = (deeds[:at] + deeds[at + size :] for at in range(0, len(deeds), size))
        found = next((rest for rest in rests if fails(rest)), None)
        if found is not None:
            deeds, parts = found, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(deeds))
    return deeds
