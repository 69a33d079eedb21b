"""The two devices of the simulated host: what ails them, what they report, and who must keep off them.

What ails a device outlives managers. A manager's probe tells what happens from when the manager was born, and
like the real one tells again of a device that is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from pool_lifecycle.interfaces import Device, DeviceFault, FaultKind
from pool_lifecycle.lifecycle import LIFECYCLE
from pool_lifecycle.placement.policy import DevicePolicy
from tests.whole.invariants import EPSILON, held

if TYPE_CHECKING:
    from tests.whole.plan import Deed
    from tests.whole.processes import Process
    from tests.whole.world import World

DEVICES, MEMORY, EACH = ("GPU-0", "GPU-1"), 100 * 2**30, 2**30
"""Each of the two devices has so much memory, and every engine takes so much of both."""

BUS, GONE = 79, "GPU is lost"
"""The Xid of a device that has fallen off the bus, and what its driver says of it from then on."""

LASTS = (0.5, 5.0, 30.0, 90.0)
"""For so many seconds a device may be gone."""

RELEASE = DevicePolicy().release or math.inf
"""For so many seconds a device has to be well until it is trusted again."""


@define(eq=False)
class Devices:
    """`lost`: those that are gone now. `back`: since when those that were have been there again.

    `begun`: when the last of what ailed them began. `reports`: what they have reported in this run.
    """

    lost: set[str] = field(factory=set)
    back: dict[str, float] = field(factory=dict)
    begun: dict[str, float] = field(factory=dict)
    reports: list[DeviceFault] = field(factory=list)

    def fail(self, uuid: str, now: float, *, reports: bool, goes: bool) -> None:
        """It says that it is at fault, or is gone, or both."""
        self.begun[uuid] = now
        self.back.pop(uuid, None)
        if reports:
            self.reports.append(DeviceFault(uuid, BUS, ""))
        if goes:
            self.lost.add(uuid)

    def come_back(self, uuid: str, now: float) -> None:
        """It is there again, if it was gone."""
        if uuid in self.lost:
            self.lost.discard(uuid)
            self.back[uuid] = now

    def heal(self, now: float) -> None:
        """All are there again."""
        for uuid in tuple(self.lost):
            self.come_back(uuid, now)

    def reboot(self) -> None:
        """All are there, and nothing has ever been wrong."""
        self.lost.clear()
        self.back.clear()
        self.begun.clear()

    def seen(self, taken: int) -> tuple[Device, ...]:
        """As the driver tells them, with so many bytes taken of each."""
        return tuple(self._seen(number, uuid, taken) for number, uuid in enumerate(DEVICES))

    def _seen(self, number: int, uuid: str, taken: int) -> Device:
        if uuid in self.lost:
            return Device(number, uuid, "simulated", 0, 0, unwell=GONE)
        return Device(number, uuid, "simulated", MEMORY, max(0, MEMORY - taken))


@define(eq=False)
class Listener:
    """What one manager hears of them. `told`: by device, when it was told of a fault last.

    `begun`: by token, when it began to launch.
    """

    devices: Devices
    heard: int
    told: dict[str, float] = field(factory=dict)
    begun: dict[str, float] = field(factory=dict)
    _lost: set[str] = field(factory=set)

    def news(self, now: float) -> tuple[DeviceFault, ...]:
        """What has happened since the last call."""
        news = tuple(self._new())
        self.told.update({one.uuid: now for one in news if one.kind is not FaultKind.WELL})
        return news

    def _new(self) -> Iterator[DeviceFault]:
        """In the order in which it happened: whatever has befallen a device since it was back comes last."""
        answering = [uuid for uuid in DEVICES if uuid in self._lost - self.devices.lost]
        self._lost.difference_update(answering)
        yield from (_well(uuid) for uuid in answering if uuid not in self.devices.back)
        yield from self.devices.reports[self.heard :]
        self.heard = len(self.devices.reports)
        yield from (_well(uuid) for uuid in answering if uuid in self.devices.back)
        for uuid in DEVICES:
            if uuid in self.devices.lost and uuid not in self._lost:
                self._lost.add(uuid)
                yield DeviceFault(uuid, 0, GONE, FaultKind.LOST)

    def forbids(self, uuid: str, at: float) -> bool:
        """Whether it knew by then what ails the device, and that had not been well long enough."""
        begun, told = self.devices.begun.get(uuid, 0.0), self.told.get(uuid, math.inf)
        return begun <= told < at < self.devices.back.get(uuid, math.inf) + RELEASE - EPSILON


def _well(uuid: str) -> DeviceFault:
    return DeviceFault(uuid, 0, "it answers again", FaultKind.WELL)


# --- the deed -------------------------------------------------------------------------------------------


@frozen
class Trouble:
    """What befalls a device: whether it says so, whether it is gone, and whether an operator sees to it."""

    reports: bool
    goes: bool
    operator: bool


TROUBLE = {
    "falls off the bus": Trouble(reports=True, goes=True, operator=False),
    "is lost": Trouble(reports=False, goes=True, operator=False),
    "is lost and seen to": Trouble(reports=False, goes=True, operator=True),
    "says that it fell off the bus": Trouble(reports=True, goes=False, operator=True),
}


def device_fault(world: World, deed: Deed, chance: Random) -> None:
    """A device of the pool, or either of them, is at fault, for a while."""
    number = world.specs[deed.pool_id].device_mask or chance.choice("01")
    uuid, what, lasts = DEVICES[int(number)], chance.choice([*TROUBLE]), chance.choice(LASTS)
    trouble, later = TROUBLE[what], chance.choice((0.0, 1.0, 20.0))
    world.count(f"device {what}")
    world.note(f"{uuid} {what}, for {lasts:g} s")
    world.devices.fail(uuid, world.host.now, reports=trouble.reports, goes=trouble.goes)
    if trouble.goes:
        world.host.at(world.host.now + lasts, lambda: world.devices.come_back(uuid, world.host.now))
    if trouble.operator:
        world.host.at(world.host.now + lasts + later, lambda: release(world, uuid))


def release(world: World, uuid: str) -> None:
    """An operator lets pools try a device, if it is in quarantine."""
    life = world.life
    if life.manager is None or life.over or life.leaving or life.opened_after is None:
        return
    if uuid.lower() in quarantined(world):
        world.note(f"an operator releases {uuid}")
        life.listener.told.pop(uuid, None)
        life.manager.release_device(uuid)


def see_to_all(world: World) -> None:
    """An operator releases every device that is in quarantine, but for those that only were gone."""
    for uuid in DEVICES:
        fault = quarantined(world).get(uuid.lower())
        if fault is not None and fault.kind is not FaultKind.LOST:
            release(world, uuid)


def quarantined(world: World) -> dict[str, DeviceFault]:
    """What the manager takes for the faults of devices, by each of their names."""
    manager = world.life.manager
    return {} if manager is None or manager._host is None else manager._host.shared.faults


# --- what must hold -------------------------------------------------------------------------------------


def s7_quarantined_device(world: World, process: Process) -> None:
    """S7, B-GPU-x2: no launch begins on a device that is known to be at fault, until that has been well.

    A manager whose driver cannot tell its devices cannot know which of them a report is about.
    """
    mask = world.specs[process.pool_id].device_mask
    if mask is not None and not world.faults.touched_by("", "devices"):
        uuid, listener = DEVICES[int(mask)], world.life.listener
        forbidden = listener.forbids(uuid, listener.begun[process.token])
        held(not forbidden, f"{process} was launched on {uuid}, which is at fault")


def b_gpu_x2_serves_elsewhere(world: World) -> None:
    """B-GPU-x2: nothing serves on a device that is known to be at fault; looked at after every deed."""
    for pool in world.life.manager or ():
        mask = pool.spec.device_mask
        if mask is None or world.faults.touched_by("", "devices"):
            continue
        forbidden = world.life.listener.forbids(DEVICES[int(mask)], world.host.now)
        held(
            not forbidden or not LIFECYCLE.states[pool.state].serving,
            f"{pool.pool_id} is {pool.state} on {mask}",
        )
