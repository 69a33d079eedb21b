"""Listens to what devices report, and keeps pools off those that are at fault.

A device that reported a fault of its own is in quarantine: its circuit is open without an end, whatever
serves on it is taken for crashed, and nothing starts there. That ends when the device has been well again for
a while, when the host is started anew, or when an operator says so. What an engine brought upon itself is
remembered as evidence for why it ended, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from pool_lifecycle.cancelling import heed
from pool_lifecycle.causes import Cause, Stage
from pool_lifecycle.device_records import DeviceFaulted, DeviceReleased, DevicesSeen, DeviceWell
from pool_lifecycle.errors import DriverError
from pool_lifecycle.gpus import Gpus, asked
from pool_lifecycle.interfaces import Device, DeviceFault, FaultKind
from pool_lifecycle.placement.masks import names_of
from pool_lifecycle.placement.xid import isolates, kind_of, remedy, told
from pool_lifecycle.shared_circuits import SharedCircuits
from pool_lifecycle.spec import NO_PROBE, PoolSpec

Fail: TypeAlias = Callable[[Cause], None]
"""What a pool has to be told when its device is at fault."""

Seen: TypeAlias = DevicesSeen | DeviceFaulted | DeviceWell | DeviceReleased

REMEMBERED = 64
"""So many faults are remembered as evidence; more of them, within a minute, would tell nothing else."""

AGAIN, AGAIN_AT_MOST = 1.0, 60.0
"""Seconds until a probe that failed is listened to again: at first, and at most after doubling."""

PASSING = frozenset((FaultKind.LOST, FaultKind.THERMAL))
"""Faults that are told again while they last, also to a new manager; others are over when that is told."""


PROVES = "it is well again, and has to stay so"
"""What is said of a fault that is over, until its device is released."""


@frozen
class _Report:
    """A fault, when it was reported, and every name of its device."""

    at: float
    names: frozenset[str]
    fault: DeviceFault


@define(eq=False)
class DeviceFaults:
    """Those of one host."""

    gpus: Gpus
    shared: SharedCircuits
    loop: asyncio.AbstractEventLoop
    observe: Callable[[Seen], None]
    _pools: dict[str, tuple[frozenset[str], Fail]] = field(factory=dict, init=False)
    _tasks: dict[str, tuple[asyncio.Task[None], ...]] = field(factory=dict, init=False)
    _known: dict[str, Device] = field(factory=dict, init=False)
    _lately: deque[_Report] = field(factory=lambda: deque(maxlen=REMEMBERED), init=False)
    _proving: dict[str, asyncio.TimerHandle] = field(factory=dict, init=False)

    def join(self, spec: PoolSpec, fail: Fail) -> None:
        """Tell the pool of faults of its devices, from now on."""
        if spec.probe == NO_PROBE:
            return
        self._pools[spec.pool_id] = spec.devices, fail
        if spec.probe not in self._tasks:
            listening, looking = self._listen(spec.probe), self._look(spec.probe)
            self._tasks[spec.probe] = self.loop.create_task(listening), self.loop.create_task(looking)

    def leave(self, pool_id: str) -> None:
        """The pool is no longer there."""
        self._pools.pop(pool_id, None)

    def since(self, spec: PoolSpec, at: float) -> tuple[DeviceFault, ...]:
        """What the devices of the pool have reported since then."""
        return tuple(one.fault for one in self._lately if one.at >= at and one.names & spec.devices)

    def release(self, name: str, *, by: str) -> tuple[str, ...]:
        """Let pools try a device in quarantine. Returns those on it; raises KeyError when it is in none.

        `name` is its number or uuid, as in a mask.
        """
        name = name.lower().removeprefix("gpu") if name.lower()[3:].isdigit() else name.lower()
        fault = self.shared.faults[name]
        return self._release(fault.uuid, by)

    async def close(self) -> None:
        """Listen no more."""
        for timer in self._proving.values():
            timer.cancel()
        tasks = [task for both in self._tasks.values() for task in both]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- looking and listening -------------------------------------------------------------------------

    async def _look(self, name: str) -> None:
        """Regularly, for whoever counts and draws; and for faults of which only a look tells the end."""
        policy = self.gpus.policy
        while True:
            try:
                devices = await asked(name, self.gpus.probe(name).devices, Device, "devices")
            except DriverError:
                pass  # whoever needs to know is told when it starts, and the listener
            else:
                self._seen(name, devices)
            await asyncio.sleep(policy.look)
            heed()

    def _seen(self, name: str, devices: tuple[Device, ...]) -> None:
        self._known.update({one.uuid: one for one in devices})
        self.observe(DevicesSeen(self.loop.time(), name, devices))
        for fault in dict.fromkeys(self.shared.faults.values()):  # by all names, also after a kill
            self.shared.isolate(self._names(fault.uuid), fault)
        well = {one.uuid for one in devices if not one.unwell}
        for fault in self.shared.faults.values():
            if fault.uuid not in well:
                self._cancel_release(fault.uuid)
            elif self._is_over(fault):
                self._well(DeviceFault(fault.uuid, 0, "it answers", FaultKind.WELL))

    def _is_over(self, fault: DeviceFault) -> bool:
        """Whether a device that answers has got over it; one that is too hot answers, and tells when not."""
        told_to_us = any(one.fault.uuid == fault.uuid for one in self._lately)
        passed = fault.kind is FaultKind.LOST or (fault.kind in PASSING and not told_to_us)
        return passed or fault.message == PROVES

    async def _listen(self, name: str) -> None:
        pause, last = AGAIN, ""
        while True:
            try:
                faults = await asked(name, self.gpus.probe(name).faults, DeviceFault, "faults")
                pause, last = (AGAIN, "") if faults else (pause, last)
                for fault in faults:
                    await self._take(name, fault)
            except DriverError as error:
                faults = ()
                if error.cause.message != last:
                    last = error.cause.message
                    for pool_id in self._pools:
                        self.gpus.trouble(pool_id, f"faults of its devices are not heard of: {last}")
            if not faults:
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_AT_MOST)
            heed()

    # --- what follows ----------------------------------------------------------------------------------

    async def _take(self, name: str, fault: DeviceFault) -> None:
        if fault.uuid not in self._known:
            await self._get_to_know(name)
        if fault.kind is FaultKind.WELL:
            self._well(fault)
            return
        names, now = self._names(fault.uuid), self.loop.time()
        self._lately.append(_Report(now, names, fault))
        pools = tuple(pool_id for pool_id, (theirs, _) in self._pools.items() if theirs & names)
        if isolates(fault):
            self._cancel_release(fault.uuid)
            self.shared.isolate(names, fault)
        self.observe(DeviceFaulted(now, self._shown(fault.uuid), fault, isolates(fault), pools))
        for pool_id in pools if isolates(fault) else ():
            self._pools[pool_id][1](cause_of(fault))

    async def _get_to_know(self, name: str) -> None:
        with contextlib.suppress(DriverError):  # then it is known by the uuid that it is reported by
            devices = await asked(name, self.gpus.probe(name).devices, Device, "devices")
            self._known.update({one.uuid: one for one in devices})

    def _well(self, fault: DeviceFault) -> None:
        """It has been at fault, and is no longer; it has to stay so for a while."""
        known = {one.uuid: one for one in self.shared.faults.values()}.get(fault.uuid)
        if known is None or fault.uuid in self._proving:
            return
        names, reset = self._names(fault.uuid), known.kind is FaultKind.LOST
        self.shared.isolate(names, evolve(known, message=PROVES))  # a manager that comes next knows it, too
        self.observe(DeviceWell(self.loop.time(), self._shown(fault.uuid), fault.message, reset))
        if (release := self.gpus.policy.release) is not None:
            why = f"it has been well again for {release:g} s"
            self._proving[fault.uuid] = self.loop.call_later(release, self._release, fault.uuid, why)

    def _release(self, uuid: str, by: str) -> tuple[str, ...]:
        self._cancel_release(uuid)
        names = self._names(uuid) | {name for name, one in self.shared.faults.items() if one.uuid == uuid}
        pools = self.shared.isolate(names, None)
        self.observe(DeviceReleased(self.loop.time(), self._shown(uuid), by, pools))
        return pools

    def _cancel_release(self, uuid: str) -> None:
        if (timer := self._proving.pop(uuid, None)) is not None:
            timer.cancel()

    def _names(self, uuid: str) -> frozenset[str]:
        """Every name of the device, and of what it is cut into."""
        return frozenset(self._all_names(uuid)) | {uuid.lower()}

    def _all_names(self, uuid: str) -> Iterable[str]:
        for one in self._known.values():
            if uuid in (one.uuid, one.parent):
                yield from names_of(one)

    def _shown(self, uuid: str) -> str:
        known = self._known.get(uuid)
        return uuid if known is None else f"{known.index} ({uuid})"


def cause_of(fault: DeviceFault) -> Cause:
    """Why an engine on that device is taken for crashed."""
    what = told(fault)
    return Cause(
        kind_of(fault),
        Stage.RUN,
        what,
        remedy=remedy(fault),
        evidence=(f"device report: {what}",),
    )
