"""The simulation finds what it is there to find: each defect here is planted, and some seed trips over it."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from attrs import evolve, frozen

from pool_lifecycle import actor, launching, loading, notes, postmortem
from pool_lifecycle.activities import RUNNERS
from pool_lifecycle.causes import FailureClass
from pool_lifecycle.device_faults import DeviceFaults
from pool_lifecycle.events import Gone, Outcome
from pool_lifecycle.host import Host
from pool_lifecycle.launching import Launching
from pool_lifecycle.lifecycle import Activity, Mark
from pool_lifecycle.placement.policy import DevicePolicy
from pool_lifecycle.readiness import Readiness
from pool_lifecycle.restart.window import Window
from pool_lifecycle.shared_circuits import SharedCircuits
from pool_lifecycle.snapshot import Snapshot
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.waiters import Waiters
from tests.whole.disk import LifeStore
from tests.whole.drivers import Launcher
from tests.whole.plan import plan_of
from tests.whole.world import World

SEEDS = 150
"""How many seeds a defect may hide from. Most are found by one of the first ten."""


async def _at_once(*_arguments: object) -> None:
    """Nothing is waited for."""


async def _none(*_arguments: object, **_options: object) -> None:
    """Nothing is found."""


async def _gone(_pool: Any, epoch: int) -> Outcome:
    """Nothing is ended."""
    return Gone(epoch)


def _no_turn(_host: Host, _pool_id: str) -> float:
    return 0.0


def _in_time(_window: Window, _restarts: object, now: float) -> float:
    return now


def _fresh_deadline(kept: Any, spec: Any, new: Snapshot) -> Snapshot:
    on: Snapshot = _GOES_ON(kept, spec, new)
    return on if on.deadline is None else evolve(on, deadline=on.deadline + 5.0)


def _forgets_crashes(kept: Any, spec: Any, new: Snapshot) -> Snapshot:
    return evolve(_GOES_ON(kept, spec, new), crash_count=0)


def _answers_no_stops(waiters: Waiters, snapshot: Snapshot, notice: Any) -> None:
    if notice.event != "stop":
        _ANSWER(waiters, snapshot, notice)


def _not_committed(snapshot: Snapshot, _event: object, _now: float) -> Snapshot:
    return snapshot


def _mixed(_cls: type[PoolStatus], pool: Any) -> PoolStatus:
    return evolve(_STATUS(pool), model=pool.snapshot.target.model)


def _always_graceful(*arguments: Any, **options: Any) -> Any:
    return evolve(_JUDGED(*arguments, **options), kind=FailureClass.GRACEFUL)


def _isolates_nobody(_shared: SharedCircuits, _names: object, _fault: object) -> tuple[str, ...]:
    return ()


def _never_released(shared: SharedCircuits, names: Any, fault: Any) -> tuple[str, ...]:
    return () if fault is None else _ISOLATE(shared, names, fault)


def _trusts_early(faults: DeviceFaults, fault: Any) -> None:
    faults.gpus.policy = DevicePolicy(release=20.0)
    _WELL(faults, fault)


def _writes_on(pool: Any) -> None:
    pool.host.loop.call_later(7.0, _writes_on, pool)
    pool.host.keep_shared()


def _opens_and_writes(pool: Any, generation: int) -> None:
    _OPEN_GATE(pool, generation)
    _writes_on(pool)


_GOES_ON, _ANSWER, _JUDGED = loading.goes_on, Waiters.answer, postmortem.judged
_ISOLATE, _WELL = SharedCircuits.isolate, DeviceFaults._well
_OPEN_GATE, _STATUS = actor.Actor._open_gate, PoolStatus.of


@frozen
class Planted:
    """A defect: what is put in the place of what, and the invariants that may trip over it first."""

    where: object
    name: str
    instead: object
    found_by: tuple[str, ...]


DEFECTS: dict[str, Planted] = {
    "a launch does not wait for its record": Planted(
        LifeStore, "kept", _at_once, ("s5_intent_before_effect",)
    ),
    "an answer does not wait for the disk": Planted(LifeStore, "durable", _at_once, ("s17_acknowledged",)),
    "living engines are taken for gone": Planted(
        Launcher, "recover", _none, ("s5_gone_is_gone", "s5_s6_gone_is_gone", "sweep", "s3_single_live")
    ),
    "a manager restart extends deadlines": Planted(loading, "goes_on", _fresh_deadline, ("s17_goes_on",)),
    "a manager restart forgets crashes": Planted(loading, "goes_on", _forgets_crashes, ("s17_goes_on",)),
    "the gate stays open": Planted(
        # the book refuses to lose leases behind an open gate, within a step: that may be noticed first
        actor.Actor,
        "_close_gate",
        lambda _: None,
        ("granted", "glance", "s19_bounded", "s17_acknowledged"),
    ),
    "the window is not heeded": Planted(Window, "opens", _in_time, ("s13_launched",)),
    "the budget of the host is not heeded": Planted(Host, "turn", _no_turn, ("s13_launched",)),
    "a stranger's answer is taken for ours": Planted(Readiness, "impostor", _none, ("s8_ready_truth",)),
    "whoever asks for a stop is never answered": Planted(
        Waiters, "answer", _answers_no_stops, ("answered_in_time", "v4_everybody_answered")
    ),
    "an old engine that serves again is not handed off again": Planted(
        Launching, "hand_back", _none, ("glance", "sweep")
    ),
    "a status tells of the new engine and of the old model": Planted(
        PoolStatus, "of", classmethod(_mixed), ("glance", "sweep")
    ),
    "every ending is graceful": Planted(launching, "judged", _always_graceful, ("s16_classify",)),
    "a device at fault keeps nobody off": Planted(
        SharedCircuits, "isolate", _isolates_nobody, ("s7_quarantined_device",)
    ),
    "a device that is well again is never released": Planted(
        SharedCircuits, "isolate", _never_released, ("v1_settles",)
    ),
    "a device that is well again is trusted too early": Planted(
        DeviceFaults, "_well", _trusts_early, ("s7_quarantined_device",)
    ),
    "a pool at rest writes": Planted(actor.Actor, "_open_gate", _opens_and_writes, ("v8_quiet",)),
}


def _first_violation(seeds: int) -> tuple[int, str]:
    for seed in range(seeds):
        world = World(plan_of(seed)).run()
        if world.violation is not None:
            return seed, str(world.violation)
    return seeds, ""


@pytest.mark.parametrize("what", DEFECTS)
def test_a_planted_defect_is_found(what: str) -> None:
    """The invariant that it breaks says so."""
    defect = DEFECTS[what]
    with mock.patch.object(defect.where, defect.name, defect.instead):
        seed, violation = _first_violation(SEEDS)
    print(f"{what}: seed {seed}: {violation}")
    assert violation.startswith(defect.found_by)


def test_a_change_of_model_that_is_not_committed_is_found() -> None:
    """S12: readers see the old configuration, where the new one serves."""
    with mock.patch.dict(notes._MARKS, {Mark.COMMITTED: _not_committed}):
        _, violation = _first_violation(SEEDS)
    assert violation.startswith(("s12_reload_atomic", "s1_s2_s3_s15_laws: _model_fits"))


def test_an_engine_that_is_not_ended_is_found() -> None:
    """S5, S6: what leaves the record lives on."""
    with mock.patch.dict(RUNNERS, {Activity.END: _gone}):
        _, violation = _first_violation(SEEDS)
    assert violation.startswith("s5_s6_gone_is_gone")
