"""What the runs have met: how often each fault, and each end of a manager in each state of a pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pool_lifecycle.lifecycle import PoolState
from tests.whole.deeds import DOING, MEDDLING, NATURES
from tests.whole.devices import TROUBLE
from tests.whole.faults import GENTLE, KINDS, VERBS

ENDS = ("killed", "rebooted", "power")
"""The sudden ends of a manager, as they are counted."""


def wanted() -> Iterator[str]:
    """Everything that should be met by some run."""
    yield from (f"deed {kind}" for kind in DOING)
    yield from (f"engine {nature}" for nature in NATURES)
    yield from (f"device {what}" for what in TROUBLE)
    yield from (f"driver {verb}: {kind}" for verb in VERBS for kind in GENTLE.get(verb, KINDS))
    yield from (f"{what} in a change of model" for what in MEDDLING)
    yield from (f"{end} in {state}" for state in PoolState for end in ENDS)


def unmet(seen: Counter[str]) -> list[str]:
    """What none of the runs has met."""
    return [what for what in wanted() if not seen[what]]


def table(seen: Counter[str]) -> Iterator[str]:
    """Lines that say how often each thing was met, the kills by state first."""
    states = [str(state) for state in PoolState]
    yield f"{'a manager ended in':24}" + "".join(f"{end:>10}" for end in ENDS)
    for state in states:
        yield f"{state:24}" + "".join(f"{seen[f'{end} in {state}']:10}" for end in ENDS)
    rest = sorted(what for what in seen if not what.startswith(ENDS))
    for first in range(0, len(rest), 3):
        yield "  ".join(f"{what:32}{seen[what]:8}" for what in rest[first : first + 3]).rstrip()
