"""A TCP server that says what a test tells it to, for probes to meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from attrs import define, field

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@define
class Served:
    """A server under way: its port, the connections it took, and everything that was sent to it."""

    port: int
    connections: int = 0
    received: bytearray = field(factory=bytearray)
    gone: asyncio.Event = field(factory=asyncio.Event)


def says(*parts: bytes, every: float = 0.0, ends: bool = False) -> Script:
    """Read the request, send the parts with a pause after each, then close or wait for the client to go."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)
        if not ends:
            await asyncio.Event().wait()

    return script


def drips(text: bytes, *, every: float) -> Script:
    """Send one byte at a time."""
    return says(*(text[i : i + 1] for i in range(len(text))), every=every)


def floods(head: bytes, piece: bytes) -> Script:
    """Send `head`, then `piece` for ever."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection off."""
    writer.transport.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: RST
    writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(script: Script, *, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    """A server for the length of the block. Every connection follows `script` until its client leaves."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            served.received += await reader.readuntil(b"\r\n\r\n")
            await _until_left(script(reader, writer), reader)
        served.gone.set()
        writer.transport.abort()

    server = await asyncio.start_server(talk, host, 0)
    served = Served(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_left(script: Awaitable[None], reader: asyncio.StreamReader) -> None:
    """Run the script, and end it when the client has gone."""
    acting, leaving = asyncio.ensure_future(script), asyncio.ensure_future(reader.read())
    try:
        await asyncio.wait((acting, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        acting.cancel()
        leaving.cancel()
        await asyncio.gather(acting, leaving, return_exceptions=True)
