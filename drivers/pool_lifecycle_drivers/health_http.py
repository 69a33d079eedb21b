"""A health probe over HTTP: a GET that is answered with 200 counts as healthy."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle_drivers.connecting import bad_target, no_connection
from pool_lifecycle_drivers.prometheus_text import total

NAME = "http"

LINGER = 0.05
"""Seconds the body is waited for after the headers have decided. Hanging up at once would decide the same,
but many servers write a line to their log about a client that leaves in the middle of an answer."""

METRICS_CAP = 2**20
"""Bytes of an answer with metrics that are read at most. vLLM's, the longest known, have a tenth of that."""


class HttpProbe:
    """Sends `GET path` and judges by the status line and the headers.

    Any HTTP/1.0 or HTTP/1.1 answer with status 200 is healthy once its headers are complete; the body is
    not looked at. Redirects are not followed, proxies of the environment are not used, and the connection
    is closed after each probe. One deadline covers all, from the connection to the last byte.

    Making one raises DriverError if h11 is not installed: when a pool is declared, not when its engine runs.
    """

    def __init__(self) -> None:
        self._http = _http()

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109 - see the protocol
        """Ask once. Whatever comes back, or does not, is a value.

        Raises DriverError if address or path is nonsense, or if this host has no means left to connect.
        """
        loop = asyncio.get_running_loop()
        exchange = self._exchange(target)
        try:
            async with asyncio.timeout(timeout) as limit:
                await loop.create_connection(lambda: exchange, target.host, target.port)
                health: Health = await exchange.health
            await exchange.rest(min(LINGER, (limit.when() or 0.0) - loop.time()))
        except (OSError, ValueError, OverflowError) as error:
            return no_connection(NAME, error, timeout)
        finally:
            exchange.hang_up()
        return health

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109 - see the protocol
        """The sum of the samples of these metrics at `target.path`; None for anything but a 200 with some.

        Raises what `check` raises.
        """
        loop = asyncio.get_running_loop()
        exchange = self._exchange(target, limit=METRICS_CAP)
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: exchange, target.host, target.port)
                body = await exchange.whole()
        except (OSError, ValueError, OverflowError) as error:
            no_connection(NAME, error, timeout)  # raises where it is not the engine that is to blame
            return None
        finally:
            exchange.hang_up()
        return None if body is None else total(body, names)

    def _exchange(self, target: ProbeTarget, **limits: int) -> Any:
        """One exchange with the target. Raises DriverError if no request can be made of it."""
        try:
            return self._http.Exchange(target, asyncio.get_running_loop(), **limits)
        except ValueError as error:
            raise DriverError(NAME, bad_target(str(error))) from error


def _http() -> ModuleType:
    """The part that needs h11. It is an extra, so its absence has to be told in words."""
    try:
        from pool_lifecycle_drivers import http_exchange  # noqa: PLC0415
    except ImportError as error:
        remedy = "pip install 'pool-lifecycle[http]', or use the health probe 'tcp' or 'command'"
        cause = Cause(
            FailureClass.BAD_CONFIG, Stage.HEALTH, "h11 is not installed", heals=False, remedy=remedy
        )
        raise DriverError(NAME, cause) from error
    return http_exchange
