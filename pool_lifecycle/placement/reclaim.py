"""Whether the memory that a launch took of its devices has come back. Pure.

Drivers attribute memory to processes; what is in use beyond that belongs to the driver itself, or to somebody
who cannot be seen from here, as in a container. So two things are looked at: whether a process of the launch
still has memory, and whether more is in use that no process accounts for than there was before the launch.
What other processes take meanwhile changes neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attrs import field, frozen

from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.wording import size

TOLERANCE = 64 * 2**20
"""Bytes by which unaccounted memory may be more than before: a driver's own books change by some tens of MiB
as contexts come and go, far less than any model."""


@frozen
class Baseline:
    """By device, the bytes in use that no process accounted for; None where that could not be told."""

    unaccounted: Mapping[str, int | None] = field(factory=dict)

    @classmethod
    def of(cls, devices: Iterable[Device], processes: Iterable[DeviceProcess]) -> Baseline:
        """As things are now. What an engine that runs already has is its own, and in no baseline."""
        listed = tuple(processes)
        return cls({one.uuid: _unaccounted(one, listed) for one in devices if not one.unwell})


@frozen
class Residue:
    """Memory of a device that a launch has left in use, in bytes, and its processes that have some."""

    uuid: str
    index: int
    memory: int
    pids: tuple[int, ...] = ()

    def __str__(self) -> str:
        who = f", held by pid {', '.join(map(str, self.pids))}" if self.pids else ""
        return f"{size(self.memory)} ({self.memory} bytes) of device {self.index}{who}"


def residues(
    baseline: Baseline,
    devices: Iterable[Device],
    processes: Iterable[DeviceProcess],
    *,
    tree: Collection[int],
) -> tuple[Residue, ...]:
    """What a launch with the processes in `tree` has left in use; a device that has gone has nothing left."""
    listed = tuple(processes)
    found = (_residue(baseline, one, listed, tree) for one in devices if not one.unwell)
    return tuple(one for one in found if one is not None)


def _residue(
    baseline: Baseline, device: Device, processes: tuple[DeviceProcess, ...], tree: Collection[int]
) -> Residue | None:
    mine = [one for one in processes if one.uuid == device.uuid and one.pid in tree]
    before, now = baseline.unaccounted.get(device.uuid), _unaccounted(device, processes)
    grown = 0 if before is None or now is None else now - before
    if not mine and grown <= TOLERANCE:
        return None
    held = sum(one.memory_used or 0 for one in mine) + (grown if grown > TOLERANCE else 0)
    return Residue(device.uuid, device.index, held, tuple(one.pid for one in mine))


def _unaccounted(device: Device, processes: tuple[DeviceProcess, ...]) -> int | None:
    known = [one.memory_used for one in processes if one.uuid == device.uuid]
    told = [memory for memory in known if memory is not None]
    if len(told) < len(known):
        return None
    return max(0, device.memory_total - device.memory_free - sum(told))
