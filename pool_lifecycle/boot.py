"""Which boot of the host this is: what a time on its monotonic clock belongs to."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from attrs import frozen

SAME = 1.0
"""Seconds that an event loop's clock may differ from the host's to count as the same one."""


@frozen
class Boot:
    """`id` names this boot of the host, `clock` what the loop's clock goes by, in records that outlive it."""

    id: str
    clock: str

    @classmethod
    def of(cls, now: float) -> Boot:
        """This boot, for a loop whose clock says `now`. A clock of its own begins and ends with the loop."""
        try:
            name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:  # nobody says: then nothing outlives this program's clock
            name = secrets.token_hex(16)
        shared = abs(now - time.monotonic()) < SAME
        return cls(name, name if shared else f"{name}: a loop's own, {secrets.token_hex(8)}")
