"""One HTTP exchange, fed by hand: no socket, every split of the bytes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.testing import virtual_time
from pool_lifecycle_drivers.http_exchange import Exchange

ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno!"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


def health_after(*pieces: bytes) -> Health:
    """What an exchange decides when it receives these pieces and then the end."""

    async def program() -> Health:
        exchange = Exchange(ProbeTarget("fe80::1%eth0", 80, "/h"), asyncio.get_running_loop())
        wire = Wire()
        exchange.connection_made(wire)
        assert wire.written.startswith(b"GET /h HTTP/1.1\r\nHost: [fe80::1]:80\r\n")
        for piece in pieces:
            exchange.data_received(piece)
        exchange.eof_received()
        exchange.connection_lost(None)
        await exchange.rest(0)
        return exchange.health.result()

    return virtual_time.run(program())


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_where_an_answer_is_cut_makes_no_difference(cut: int) -> None:
    """Two pieces say what one says."""
    assert health_after(ANSWER[:cut], ANSWER[cut:]) == Health(ok=False, detail="503 Service Unavailable")


@pytest.mark.parametrize(("received", "waited"), [(ANSWER, 0), (ANSWER[:-1], 10), (ANSWER + b"more", 0)])
def test_the_rest_is_waited_for_only_while_it_is_missing(received: bytes, waited: float) -> None:
    """A whole answer costs no waiting; a part of one costs what the caller allows."""

    async def program() -> float:
        loop = asyncio.get_running_loop()
        exchange = Exchange(ProbeTarget("h", 80), loop)
        exchange.connection_made(Wire())
        exchange.data_received(received)
        assert exchange.health.done()
        begun = loop.time()
        await exchange.rest(10)
        return loop.time() - begun

    assert virtual_time.run(program()) == waited


@given(
    st.lists(st.one_of(st.binary(), st.sampled_from([b"HTTP/1.1 ", b"200 OK", b"\r\n", b"\r\n\r\n", b":"])))
)
def test_whatever_comes_is_a_short_clean_value(pieces: list[bytes]) -> None:
    """No garbage raises, or gets its bytes into the detail."""
    health = health_after(*pieces)
    assert health.detail.isprintable()
    assert len(health.detail) < 80


@given(st.binary(max_size=200))
def test_only_a_200_is_healthy(garbage: bytes) -> None:
    """Nothing but a status line with 200 can make an engine healthy."""
    assert not health_after(b"HTTP/1.1 500 " + garbage + b"\r\n\r\n").ok
