"""Whether the memory that a launch took has come back."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.placement.reclaim import TOLERANCE, Baseline, Residue, residues

GIB = 2**30
TOTAL = 80 * GIB


def device(used: int, index: int = 0, unwell: str = "") -> Device:
    return Device(index, f"GPU-{index}", "a GPU", TOTAL, TOTAL - used, unwell=unwell)


def process(pid: int, memory: int | None, index: int = 0) -> DeviceProcess:
    return DeviceProcess(f"GPU-{index}", pid, memory)


IDLE = Baseline.of([device(GIB)], [])


def test_memory_that_is_back_leaves_nothing() -> None:
    """B-PROC-x3: as it was before the launch, or with less in use."""
    assert residues(IDLE, [device(GIB)], [], tree={7}) == ()
    assert residues(IDLE, [device(0)], [], tree={7}) == ()


def test_a_process_of_the_launch_that_still_has_memory_is_named() -> None:
    """B-PROC-x3: whatever else there is, and however little it has."""
    left = residues(IDLE, [device(9 * GIB)], [process(7, 8 * GIB), process(8, None)], tree={7, 8})
    assert left == (Residue("GPU-0", 0, 8 * GIB, (7, 8)),)
    assert str(left[0]) == f"8.0 GiB ({8 * GIB} bytes) of device 0, held by pid 7, 8"
    assert residues(IDLE, [device(GIB)], [process(7, 0)], tree={7}) == (Residue("GPU-0", 0, 0, (7,)),)


def test_memory_that_nobody_accounts_for_is_the_launchs() -> None:
    """B-PROC-x3: the processes are gone before the driver has given it all back; after a crash, too."""
    left = residues(IDLE, [device(9 * GIB)], [], tree={7})
    assert left == (Residue("GPU-0", 0, 8 * GIB),)
    assert str(left[0]) == f"8.0 GiB ({8 * GIB} bytes) of device 0"


def test_a_driver_may_account_a_little_differently() -> None:
    """B-PROC-x3: by the tolerance, and not by a byte more."""
    assert residues(IDLE, [device(GIB + TOLERANCE)], [], tree=()) == ()
    assert residues(IDLE, [device(GIB + TOLERANCE + 1)], [], tree=()) != ()


def test_both_kinds_of_what_is_left_are_added_up() -> None:
    """One process that hangs on, and memory of others that the driver has not given back."""
    (left,) = residues(IDLE, [device(9 * GIB)], [process(7, 3 * GIB)], tree={7})
    assert left == Residue("GPU-0", 0, 8 * GIB, (7,))


def test_what_somebody_else_takes_meanwhile_is_not_the_launchs() -> None:
    """B-GPU-x3: nor does what somebody else gives back hide it."""
    assert residues(IDLE, [device(41 * GIB)], [process(8, 40 * GIB)], tree={7}) == ()
    busy = Baseline.of([device(41 * GIB)], [process(8, 40 * GIB)])
    assert residues(busy, [device(9 * GIB)], [], tree={7}) == (Residue("GPU-0", 0, 8 * GIB),)


def test_an_engine_that_was_found_again_is_not_in_its_baseline() -> None:
    """B-PROC-x3: a manager that was started anew knows what the device has without the engine."""
    found = Baseline.of([device(41 * GIB)], [process(7, 40 * GIB)])
    assert found == IDLE
    assert residues(found, [device(41 * GIB)], [], tree={7}) == (Residue("GPU-0", 0, 40 * GIB),)


def test_where_memory_cannot_be_told_only_processes_count() -> None:
    """Where the driver does not say what some process has, nobody can know the rest."""
    unknown = Baseline.of([device(41 * GIB)], [process(8, None)])
    assert residues(unknown, [device(60 * GIB)], [], tree={7}) == ()
    assert residues(IDLE, [device(60 * GIB)], [process(8, None)], tree={7}) == ()
    (left,) = residues(IDLE, [device(60 * GIB)], [process(8, None), process(7, None)], tree={7})
    assert left.pids == (7,)


def test_the_driver_may_account_for_more_than_is_in_use() -> None:
    """Its two books are not read at the same instant: that is as if nothing else were in use."""
    assert Baseline.of([device(GIB)], [process(8, 2 * GIB)]) == Baseline.of([device(0)], [])


def test_a_device_that_has_gone_has_nothing_left() -> None:
    """B-GPU-x2: no start waits for a lost device, or one that was not there before."""
    assert residues(IDLE, [], [process(7, GIB)], tree={7}) == ()
    assert residues(IDLE, [device(9 * GIB, unwell="GPU is lost")], [process(7, GIB)], tree={7}) == ()
    assert residues(IDLE, [device(9 * GIB, index=1)], [], tree={7}) == ()
    lost = Baseline.of([device(0, unwell="GPU is lost")], [])
    assert residues(lost, [device(9 * GIB)], [], tree={7}) == ()


def test_each_device_counts_for_itself() -> None:
    """Growth on one is not made up for by another."""
    baseline = Baseline.of([device(GIB), device(9 * GIB, 1)], [])
    left = residues(baseline, [device(9 * GIB), device(GIB, 1)], [], tree=())
    assert [one.index for one in left] == [0]


def test_processes_count_where_they_have_memory() -> None:
    """What one has on another device explains nothing here, and holds nothing here."""
    elsewhere = process(7, 8 * GIB, index=1)
    assert residues(IDLE, [device(GIB)], [elsewhere], tree={7}) == ()
    assert residues(IDLE, [device(9 * GIB)], [process(8, 8 * GIB, index=1)], tree={7}) != ()


MEMORY = st.integers(0, 8 * GIB)
OTHERS = st.dictionaries(st.integers(100, 110), MEMORY, max_size=5)


@given(MEMORY, OTHERS, OTHERS, MEMORY)
def test_others_never_count_and_what_is_left_always_does(
    base: int, before: dict[int, int], after: dict[int, int], left: int
) -> None:
    """B-PROC-x3: for any strangers before and after, exactly what the launch has left is told."""
    strangers = [[process(pid, memory) for pid, memory in one.items()] for one in (before, after)]
    baseline = Baseline.of([device(base + sum(before.values()))], strangers[0])
    now = device(base + sum(after.values()) + left)
    found = residues(baseline, [now], strangers[1], tree={7})
    assert sum(one.memory for one in found) == (left if left > TOLERANCE else 0)
    held = residues(baseline, [now], [*strangers[1], process(7, left)], tree={7})
    assert held == (Residue("GPU-0", 0, left, (7,)),)
    assert residues(baseline, [evolve(now, unwell="lost")], strangers[1], tree={7}) == ()
