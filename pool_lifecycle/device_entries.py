"""What is logged of the host's devices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pool_lifecycle.device_records import DeviceFaulted, DeviceReleased, DevicesSeen, DeviceWell
from pool_lifecycle.placement.xid import told
from pool_lifecycle.wording import plural, size

Entry = tuple[int, str, dict[str, Any]]
"""Level, sentence, fields."""


def _seen(record: DevicesSeen) -> Entry:
    free = {one.uuid: one.memory_free for one in record.devices}
    what = f"{plural(len(free), 'device')} seen, {size(sum(free.values()))} free"
    return logging.DEBUG, what, {"probe": record.probe, "free_bytes": free}


def _faulted(record: DeviceFaulted) -> Entry:
    fault = record.fault
    fields = {
        "device": fault.uuid,
        "fault": str(fault.kind),
        "code": fault.code,
        "message": fault.message,
        "isolated": record.isolated,
        "pools": list(record.pools),
    }
    what = f"device {record.device}: {told(fault)}"
    if record.isolated:
        on_it = ", ".join(record.pools) or "no pool"
        return logging.CRITICAL, f"{what}; it is in quarantine, with {on_it} on it", fields
    return logging.WARNING, what, fields


def _well(record: DeviceWell) -> Entry:
    fields = {"device": record.device, "message": record.message, "reset": record.reset}
    return logging.INFO, f"device {record.device}: {record.message}", fields


def _released(record: DeviceReleased) -> Entry:
    fields = {"device": record.device, "by": record.by, "pools": list(record.pools)}
    return logging.WARNING, f"device {record.device} is out of quarantine: {record.by}", fields


DEVICE_ENTRIES: dict[type, Callable[[Any], Entry]] = {
    DevicesSeen: _seen,
    DeviceFaulted: _faulted,
    DeviceWell: _well,
    DeviceReleased: _released,
}
"""How each of the devices' records is put in words."""
