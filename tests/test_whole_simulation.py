"""The whole manager on a simulated host: a bounded number of seeds, and the machinery itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.whole import coverage
from tests.whole.plan import AILMENTS, Deed, plan_of
from tests.whole.shrink import minimal
from tests.whole.world import World

AT_ONCE = 15
"""Seeds to a test."""


@pytest.mark.parametrize("first", range(0, 150, AT_ONCE))
def test_every_invariant_holds(first: int) -> None:
    """S1 to S20, V1 to V8, whatever goes wrong, for some seeds; `make simulate` runs thousands."""
    for seed in range(first, first + AT_ONCE):
        world = World(plan_of(seed)).run()
        if world.violation is not None:
            shown = "\n".join((f"seed {seed}: {world.violation}", *world.words(40)))
            pytest.fail(f"{shown}\npython -m tests.whole --seed {seed}")


@pytest.mark.parametrize("seed", [3, 33, 301, 730, 1526, 1909, 2226, 31508, 41328, 41358, 41576, 50840])
def test_what_was_found_once_is_found_no_more(seed: int) -> None:
    """Seeds that have each shown a defect of the library, before devices could be at fault."""
    plan = plan_of(seed)
    world = World(plan.only(tuple(deed for deed in plan.deeds if deed.kind not in AILMENTS))).run()
    assert world.violation is None, world.violation


@pytest.mark.parametrize("seed", [407, 838, 1266, 1789, 3603])
def test_what_was_found_with_devices_is_found_no_more(seed: int) -> None:
    """Seeds that have each shown a defect of the library, some of them with devices at fault."""
    world = World(plan_of(seed)).run()
    assert world.violation is None, world.violation


def test_a_seed_decides_everything() -> None:
    """The same seed has the same history to the last record."""
    assert World(plan_of(8)).run().digest() == World(plan_of(8)).run().digest()
    assert World(plan_of(8)).run().digest() != World(plan_of(9)).run().digest()


DIGESTS = """
from tests.whole.plan import plan_of
from tests.whole.world import World
print(*(World(plan_of(seed)).run().digest() for seed in range(30)))
"""


@pytest.mark.slow
def test_so_it_does_in_another_process() -> None:
    """Neither the order of sets nor addresses in memory decide anything."""
    told = {_told(hash_seed) for hash_seed in ("1", "2")}
    assert len(told) == 1


def _told(hash_seed: str) -> str:
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    ran = subprocess.run(
        [sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_a_deed_that_is_left_out_does_not_change_the_others() -> None:
    """So that a plan can be made shorter."""
    deeds = plan_of(8).deeds
    assert plan_of(8).only(deeds[1:]).deeds == deeds[1:]
    assert World(plan_of(8).only(())).run().violation is None


def test_a_plan_is_made_as_short_as_it_gets() -> None:
    """Of twenty deeds, the two that are enough are found."""
    deeds = tuple(Deed(float(number), "start", "p0", number) for number in range(20))
    wanted = {deeds[3], deeds[17]}
    assert set(minimal(deeds, lambda some: wanted <= set(some))) == wanted


def test_no_secret_is_told() -> None:
    """S18: what an engine is given to keep secret is in no record, and in no store."""
    for seed in range(20):
        world = World(plan_of(seed)).run()
        assert not [line for line in world.words() if "hush" in line]
        assert "hush" not in repr(world.disk.kept)


def test_what_is_met_is_counted() -> None:
    """A campaign can say which faults, and which ends of managers in which states, no seed has met."""
    world = World(plan_of(8)).run()
    assert world.seen["deed start"]
    unmet = coverage.unmet(world.seen)
    assert "deed start" not in unmet
    assert set(unmet) < set(coverage.wanted())
    assert any("stopped" in line for line in coverage.table(world.seen))
