"""One HTTP request and its answer, on a connection of its own. The only module that imports h11."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

import h11

from pool_lifecycle.interfaces import Health, ProbeTarget

CAP = 64 * 1024
"""Bytes of an answer that are read at most, headers and body together, where the body is of no interest."""

TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
"""What h11 hints at when it gives up on endless headers (it does after 16 KiB)."""


class Exchange(asyncio.Protocol):
    """Asks when connected. `health` is decided by the headers; `rest` and `whole` wait for the body.

    At most `limit` bytes are read. Raises ValueError if the target cannot be written as a request.
    """

    def __init__(self, target: ProbeTarget, loop: asyncio.AbstractEventLoop, *, limit: int = CAP) -> None:
        self._connection = h11.Connection(h11.CLIENT)
        self._request = _request(self._connection, target)
        self.health: asyncio.Future[Health] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        self._body: list[bytes] = []
        self._complete = False
        self._limit = limit
        self._received = 0
        self._transport: asyncio.Transport | None = None

    async def rest(self, seconds: float) -> None:
        """Wait for the rest of the answer, at most that long."""
        if not self._over.done():
            await asyncio.wait((self._over,), timeout=max(0.0, seconds))

    async def whole(self) -> bytes | None:
        """The body of a healthy answer; None when that is not what came."""
        await self._over
        return b"".join(self._body) if self._complete and self.health.result().ok else None

    def hang_up(self) -> None:
        """Close the connection now, whatever is still under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on, unless enough is known."""
        if self._over.done():
            return
        if not self._received and data[:5] != b"HTTP/"[: len(data)]:
            self._end("not HTTP")
            return
        self._received += len(data)
        self._read(data)
        if self._received > self._limit:
            self._end("answer too large")

    def eof_received(self) -> None:
        """The engine closed its end. That is how a body ends whose length was not told before."""
        if self.health.done() and not self._over.done():
            self._read(b"")
        self._end("connection closed without an answer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._end("connection reset" if exc else "connection closed without an answer")

    def _read(self, data: bytes) -> None:
        try:
            self._connection.receive_data(data)
            self._follow()
        except h11.RemoteProtocolError as error:
            self._end("answer too large" if error.error_status_hint == TOO_LARGE else "not HTTP")

    def _follow(self) -> None:
        """Take what h11 made of the bytes. Informational answers (1xx) only announce the real one."""
        while not self._over.done():
            event = self._connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Response):
                self._decide(_judged(event))
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._complete = self._received <= self._limit
                self._end("")

    def _decide(self, health: Health) -> None:
        if not self.health.done():
            self.health.set_result(health)

    def _end(self, otherwise: str) -> None:
        """Wait for nothing more. If the headers have not decided, the engine is unhealthy: `otherwise`."""
        self._decide(Health(ok=False, detail=otherwise))
        if not self._over.done():
            self._over.set_result(None)


def _request(connection: h11.Connection, target: ProbeTarget) -> bytes:
    if not target.path.startswith("/"):
        raise ValueError(f"path {target.path!r} does not begin with /")
    headers = [("Host", _authority(target)), ("Connection", "close"), ("User-Agent", "pool-lifecycle")]
    try:
        request = h11.Request(method="GET", target=target.path, headers=headers)
    except (h11.LocalProtocolError, ValueError) as error:
        raise ValueError(f"path {target.path!r} or host {target.host!r} is not valid in HTTP") from error
    return (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")


def _authority(target: ProbeTarget) -> str:
    """Host and port as HTTP writes them: IPv6 in brackets, without the scope, which is ours alone."""
    if ":" not in target.host:
        return f"{target.host}:{target.port}"
    return f"[{target.host.partition('%')[0]}]:{target.port}"


def _judged(response: h11.Response) -> Health:
    """The verdict, in our own words: the engine's reason phrase may hold anything."""
    if response.http_version not in {b"1.0", b"1.1"}:
        return Health(ok=False, detail="not HTTP/1")
    code = response.status_code
    try:
        answer = f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        answer = f"status {code}"
    if 300 <= code < 400:
        answer += ", a redirect, not followed"
    return Health(ok=code == HTTPStatus.OK, detail=answer)
