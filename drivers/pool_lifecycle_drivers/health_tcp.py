"""A health probe for engines that speak no HTTP: an accepted connection counts as healthy."""

from __future__ import annotations

import asyncio
from typing import Any

from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle_drivers.connecting import no_connection

NAME = "tcp"


class TcpProbe:
    """Connects and hangs up.

    Note what it cannot see: the kernel accepts connections for a program that is too busy, or too wedged,
    to accept them itself.
    """

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109 - part of the protocol
        """Healthy if the connection is established within `timeout` seconds.

        Raises DriverError if the address is nonsense, or if this host has no means left to connect.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport, _ = await loop.create_connection(asyncio.Protocol, target.host, target.port)
        except (OSError, ValueError, OverflowError) as error:
            return no_connection(NAME, error, timeout)
        alone = met_itself(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        transport.abort()
        return Health(ok=False, detail="connection refused") if alone else Health(ok=True, detail="connected")


def met_itself(ours: Any, theirs: Any) -> bool:
    """Whether the two ends of a connection are one.

    Nobody listens then. A connection to a free port of this host can get that very port as its own source,
    and TCP lets it connect to itself.
    """
    return ours is not None and ours == theirs
