"""Device masks against the devices there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pool_lifecycle.devices import cuda_visible
from pool_lifecycle.interfaces import Device


@frozen
class Resolved:
    """The devices that a mask names, in its order; and for every entry that names none a sentence why."""

    devices: tuple[Device, ...] = ()
    defects: tuple[str, ...] = ()


def names_of(device: Device) -> frozenset[str]:
    """The names by which a mask may mean it: its uuid, and its number unless it is a MIG instance."""
    names = {device.uuid.lower()}
    return frozenset(names if device.parent is not None else names | {str(device.index)})


def resolve(mask: str, seen: Sequence[Device]) -> Resolved:
    """What the entries of a well-formed mask stand for on a host where these devices were seen."""
    found: list[Device] = []
    defects: list[str] = []
    for entry in cuda_visible(mask).split(","):
        device = next((one for one in seen if entry.lower() in names_of(one)), None)
        if device is None:
            defects.append(_unknown(entry, seen))
        elif device in found:
            defects.append(f"{entry} is device {device.index} ({device.uuid}), which is there already")
        elif device.partitioned:
            defects.append(_partitioned(entry, device, seen))
        else:
            found.append(device)
    return Resolved(tuple(found), tuple(defects))


def _unknown(entry: str, seen: Sequence[Device]) -> str:
    """A MIG instance is looked for among those, a GPU among GPUs."""
    if entry.lower().startswith("mig-"):
        there = ", ".join(one.uuid for one in seen if one.parent is not None) or "none"
        return f"there is no MIG instance {entry} on this host; there are: {there}"
    there = ", ".join(f"{one.index} ({one.uuid})" for one in seen if one.parent is None) or "none"
    return f"there is no device {entry} on this host; there are: {there}"


def _partitioned(entry: str, device: Device, seen: Sequence[Device]) -> str:
    instances = ", ".join(one.uuid for one in seen if one.parent == device.uuid) or "none yet"
    return f"device {entry} is cut into MIG instances, of which one has to be named: {instances}"
