"""Ends the engines of a program that is gone: what a guardian does in the end."""

from __future__ import annotations

import asyncio

from pool_lifecycle.errors import DriverError
from pool_lifecycle_drivers.ledger import Ward, read
from pool_lifecycle_drivers.process import LocalLauncher

KILLED = 30.0
"""Seconds after a kill for which its effect is waited for: a process may hang in the kernel."""

PAUSES = (0.1, 1.0, 5.0)
"""Seconds between the attempts on an engine that cannot be looked for, for want of something."""


def end_all(ledger: int) -> None:
    """End every engine in the ledger, all at once; return when that is done, or hopeless."""
    wards = read(ledger)
    if wards:
        asyncio.run(_end_all(wards))


async def _end_all(wards: list[Ward]) -> None:
    launcher = LocalLauncher()
    await asyncio.gather(*(_end(launcher, ward) for ward in wards))


async def _end(launcher: LocalLauncher, ward: Ward) -> None:
    for pause in (*PAUSES, 0.0):
        try:
            engine = await launcher.recover(handle=ward.handle)
            if engine is not None:
                async with asyncio.timeout(ward.grace + KILLED):
                    await engine.stop(kill_after=ward.grace)
        except (DriverError, OSError):  # a TimeoutError is one
            await asyncio.sleep(pause)
        else:
            return
