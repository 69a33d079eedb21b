"""How the devices of a host are looked after, as a value."""

from __future__ import annotations

from attrs import field, frozen

from pool_lifecycle.checks import check_all, checked, optional, seconds, whole


@frozen
class DevicePolicy:
    """What is kept free, and when a device that was at fault is trusted again.

    `reserve`: bytes of each device that no start counts on; CUDA's context takes some hundred MiB of them in
    each process, which no model's header tells of. `release`: seconds that a device must be well again before
    its quarantine ends by itself, so that one that comes and goes takes its pools down once; None: only when
    an operator says so. `look`: seconds between regular looks, of which each takes some milliseconds.
    """

    reserve: int = field(default=256 * 2**20, metadata=checked(whole(0, 2**50)))
    release: float | None = field(default=60.0, metadata=checked(optional(seconds())))
    look: float = field(default=10.0, metadata=checked(seconds(0.25)))

    def __attrs_post_init__(self) -> None:
        check_all(self)
