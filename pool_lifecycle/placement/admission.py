"""Whether the memory of devices suffices for a start, and who has it where it does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from pool_lifecycle.interfaces import Device, DeviceProcess
from pool_lifecycle.wording import plural, size

SHOWN = 5
"""So many users of a device are named, those with the most memory first."""


@frozen
class Wanted:
    """So many bytes on that device."""

    device: Device
    memory: int


@frozen
class User:
    """A process that has memory of a device; the pool it belongs to, None for a stranger."""

    pid: int
    memory: int | None
    pool_id: str | None = None

    def __str__(self) -> str:
        who = f"pid {self.pid}" if self.pool_id is None else f"pool {self.pool_id} (pid {self.pid})"
        return who if self.memory is None else f"{who} with {size(self.memory)} ({self.memory} bytes)"


@frozen
class Shortfall:
    """A device that has not what is needed. `reserve` is kept free; `users` have the rest."""

    device: Device
    needed: int
    reserve: int
    users: tuple[User, ...] = ()

    @property
    def missing(self) -> int:
        """How many bytes too few there are."""
        return self.needed + self.reserve - self.device.memory_free

    def __str__(self) -> str:
        one = self.device
        if one.unwell:
            return f"device {one.index} cannot be used: {one.unwell}"
        has = f"device {one.index} has {size(one.memory_free)} free"
        less = f", of which {size(self.reserve)} are kept in reserve" if self.reserve else ""
        lacks = f"{has}{less}: {size(self.missing)} ({self.missing} bytes) too few of {size(self.needed)}"
        users = [str(user) for user in self.users[:SHOWN]]
        if (more := len(self.users) - SHOWN) > 0:
            users.append(f"and {plural(more, 'other')}")
        return f"{lacks}; in use by {', '.join(users)}" if users else lacks


def shortfall(
    wanted: Sequence[Wanted], processes: Sequence[DeviceProcess], *, reserve: int, pool_of: Mapping[int, str]
) -> Shortfall | None:
    """The device that lacks most; None when all have what is wanted of them, less the reserve."""
    lacking = [
        Shortfall(one.device, one.memory, reserve, _users(one.device, processes, pool_of)) for one in wanted
    ]
    short = [one for one in lacking if one.device.unwell or (one.needed and one.missing > 0)]
    return max(short, key=lambda one: (bool(one.device.unwell), one.missing), default=None)


def _users(
    device: Device, processes: Sequence[DeviceProcess], pool_of: Mapping[int, str]
) -> tuple[User, ...]:
    users = [
        User(one.pid, one.memory_used, pool_of.get(one.pid)) for one in processes if one.uuid == device.uuid
    ]
    return tuple(sorted(users, key=lambda user: -(user.memory or 0)))
