"""What observers are told of the host's devices. Times in seconds, on the loop's clock.

They concern no single pool, so that their `pool_id` is empty.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from pool_lifecycle.interfaces import Device, DeviceFault


@frozen
class DevicesSeen:
    """What a GPU probe saw in a regular look."""

    pool_id: ClassVar[str] = ""
    at: float
    probe: str
    devices: tuple[Device, ...]


@frozen
class DeviceFaulted:
    """A device reported a fault. `isolated`: nobody starts on it from now on; `pools` has those on it."""

    pool_id: ClassVar[str] = ""
    at: float
    device: str
    fault: DeviceFault
    isolated: bool
    pools: tuple[str, ...] = ()


@frozen
class DeviceWell:
    """A device is well again. `reset`: it had gone, and has come back."""

    pool_id: ClassVar[str] = ""
    at: float
    device: str
    message: str
    reset: bool = False


@frozen
class DeviceReleased:
    """A device's quarantine has ended: of itself, or by an operator."""

    pool_id: ClassVar[str] = ""
    at: float
    device: str
    by: str
    pools: tuple[str, ...] = ()
