"""The HTTP health probe against servers that do everything wrong (FAULTS "Health and ports")."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import ConfigError, DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.plugins import Drivers
from pool_lifecycle.testing.check_health_probe import check_health_probe, check_work_probe
from pool_lifecycle_drivers.health_http import HttpProbe
from tests.drivers.scripted_server import OK, Script, Served, drips, floods, resets, says, serving

LIMIT = 0.2

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def ask(
    served: Served, *, limit: float = 5.0, host: str = "127.0.0.1", path: str = "/health"
) -> Health:
    return await HttpProbe().check(target=ProbeTarget(host, served.port, path), timeout=limit)


async def answer_of(script: Script, *, limit: float = 60.0) -> Health:
    async with serving(script) as served:
        return await ask(served, limit=limit)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 Whatever You Like\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_any_http1_200_is_healthy(run_real: Run, answer: bytes) -> None:
    """B-PRELOAD-010: any HTTP/1.0 or 1.1 answer with status 200 counts, whatever its reason phrase."""
    health = run_real(answer_of(says(answer, ends=True)))
    assert health == Health(ok=True, detail="200 OK")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n{loading}", "503 Service Unavailable"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204 No Content"),
        (b"HTTP/1.1 500 \x1b[31mevil\r\n\r\n", "500 Internal Server Error"),
        (b"HTTP/1.1 599 Strange\r\n\r\n", "status 599"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "302 Found, a redirect, not followed"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not HTTP/1"),
        (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "not HTTP"),
        (b"\0" * 100, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "answer too large"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, "answer too large"),
        (b"HTTP/1.1 200 OK\r\nContent-", "connection closed without an answer"),
        (b"", "connection closed without an answer"),
    ],
)
def test_every_other_answer_is_an_unhealthy_value(run_real: Run, answer: bytes, detail: str) -> None:
    """Errors, redirects and garbage are values with a few words of our own, never an exception."""
    assert run_real(answer_of(says(answer, ends=True))) == Health(ok=False, detail=detail)


def test_garbage_is_recognised_at_once_on_an_open_connection(run_real: Run) -> None:
    """What does not begin like HTTP is not waited for until the deadline."""
    assert run_real(answer_of(says(b"+OK ready\r\n"), limit=60)).detail == "not HTTP"


def test_a_broken_connection_is_an_unhealthy_value(run_real: Run) -> None:
    """A connection that is reset says so."""
    assert run_real(answer_of(resets)).detail in {"connection reset", "connection closed without an answer"}


def test_nobody_listening_is_connection_refused(run_real: Run) -> None:
    """A closed port is an unhealthy engine."""
    target = ProbeTarget("127.0.0.1", free_port())
    assert run_real(HttpProbe().check(target=target, timeout=5)) == Health(False, "connection refused")


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        says(),
        drips(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100, every=0.01),
        says(b"HTTP/1.1 100 Continue\r\n\r\n"),
        says(b"HTTP"),
    ],
    ids=["no bytes", "header drip", "only a promise", "a beginning"],
)
def test_one_deadline_covers_the_whole_exchange(run_real: Run, script: Script) -> None:
    """However slowly an engine answers, the probe is over at its deadline."""

    health = run_real(answer_of(script, limit=LIMIT))
    assert health == Health(ok=False, detail="no answer within 0.2 s", silent=True)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["port closed to new ones", "queue full"])
def test_an_engine_that_accepts_nothing_runs_into_the_deadline(run_real: Run, full: bool) -> None:
    """A listening socket whose owner never accepts gives no answer, whether or not the kernel does."""
    with socket.socket() as wedged:
        wedged.bind(("127.0.0.1", 0))
        wedged.listen(0)
        port = wedged.getsockname()[1]
        waiting = [socket.socket() for _ in range(4 * full)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        health = run_real(HttpProbe().check(target=ProbeTarget("127.0.0.1", port), timeout=LIMIT))
        for one in waiting:
            one.close()
    assert health == Health(ok=False, detail="no answer within 0.2 s", silent=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000, every=0.0005),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
    ],
    ids=["body drip", "no body", "endless body", "broken body"],
)
def test_the_headers_decide_and_the_body_is_not_waited_for(run_real: Run, script: Script) -> None:
    """A 200 with complete headers is healthy soon, whatever becomes of its body."""

    assert run_real(answer_of(script, limit=3600.0)).ok


def test_the_body_is_taken_along_when_it_comes_at_once(run_real: Run) -> None:
    """A server that sends its body after the headers is not cut off in between: it would log an error."""
    cut_off: list[bool] = []

    async def in_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.001)
        cut_off.append(reader.at_eof() or writer.transport.is_closing())
        writer.write(b"ok")
        await asyncio.Event().wait()

    assert run_real(answer_of(in_two)).ok
    assert cut_off == [False]


def test_the_request_is_a_plain_get_that_asks_to_close(run_real: Run) -> None:
    """One GET of the path with Host and Connection: close, on one connection, which is then closed."""

    async def program() -> Served:
        async with serving(says(OK)) as served:
            await ask(served, path="/v1/health?deep=1")
            await asyncio.wait_for(served.gone.wait(), 5)
            return served

    served = run_real(program())
    lines = served.received.split(b"\r\n")
    assert served.connections == 1
    assert lines[0] == b"GET /v1/health?deep=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{served.port}".encode() in lines
    assert b"Connection: close" in lines


def test_proxies_of_the_environment_are_not_used(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With http_proxy set, the probe still asks the engine itself."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert run_real(answer_of(says(OK))).ok


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_engine_on_ipv6_only_is_found(run_real: Run) -> None:
    """An IPv6 address works, and stands in brackets in the Host header."""

    async def program() -> Served:
        async with serving(says(OK), host="::1") as served:
            assert (await ask(served, host="::1")).ok
            return served

    served = run_real(program())
    assert f"Host: [::1]:{served.port}\r\n".encode() in served.received


def test_a_redirect_is_not_followed(run_real: Run) -> None:
    """The place a redirect leads to is never asked."""

    async def program() -> int:
        async with serving(says(OK)) as other:
            moved = b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            assert not (await answer_of(says(moved % other.port))).ok
            return other.connections

    assert run_real(program()) == 0


@pytest.mark.parametrize(
    ("host", "port", "path"),
    [
        ("127.0.0.1", 1, "health"),
        ("127.0.0.1", 1, "http://elsewhere/"),
        ("127.0.0.1", 1, "/a b"),
        ("127.0.0.1", 1, "/a\r\nX: y"),
        ("127.0.0.1", 1, "/ä"),
        ("127.0.0.1\r\nX: y", 1, "/"),
        ("127.0.0.1", 70000, "/"),
    ],
)
def test_a_target_that_is_no_address_or_path_does_not_heal(
    run_real: Run, host: str, port: int, path: str
) -> None:
    """A wrong configuration is told as such, and nothing is smuggled into the request."""
    with pytest.raises(DriverError) as caught:
        run_real(HttpProbe().check(target=ProbeTarget(host, port, path), timeout=1))
    assert caught.value.cause.kind is FailureClass.BAD_CONFIG
    assert not caught.value.cause.heals


def test_without_h11_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """h11 is an extra: a probe without it says how to install it, before any engine is launched."""
    monkeypatch.delitem(sys.modules, "pool_lifecycle_drivers.http_exchange", raising=False)
    monkeypatch.delattr("pool_lifecycle_drivers.http_exchange", raising=False)
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(DriverError) as caught:
        HttpProbe()
    assert "pip install 'pool-lifecycle[http]'" in caught.value.cause.remedy
    assert not caught.value.cause.heals
    with pytest.raises(ConfigError, match=r"probe = 'http': cannot be used: h11 is not installed; pip inst"):
        Drivers().health_probe("http")


def test_a_manager_without_descriptors_does_not_blame_the_engine(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMFILE is our own trouble: a DriverError that heals, not an unhealthy engine."""

    async def program() -> None:
        async def no_more(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_more)
        await HttpProbe().check(target=ProbeTarget("127.0.0.1", 1), timeout=1)

    with pytest.raises(DriverError) as caught:
        run_real(program())
    assert caught.value.cause.heals


# --- counters ------------------------------------------------------------------------------------------


METRICS = b'# TYPE work counter\nwork{a="1"} 40\nwork{a="2"} 2\nother 5\n'


def answered(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return head + b"Content-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def count_of(script: Script, *, limit: float = 60.0) -> float | None:
    async with serving(script) as served:
        target = ProbeTarget("127.0.0.1", served.port, "/metrics")
        return await HttpProbe().count(target=target, names=("work",), timeout=limit)


@pytest.mark.parametrize(
    "answer",
    [
        answered(METRICS),
        b"HTTP/1.0 200 OK\r\n\r\n" + METRICS,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(METRICS), METRICS),
        answered(b"# " + b"x" * 900_000 + b"\n" + METRICS),
    ],
    ids=["with its length", "until the end", "in chunks", "long"],
)
def test_a_counter_is_added_up(run_real: Run, answer: bytes) -> None:
    """However the body is framed, and whatever else is told."""
    assert run_real(count_of(says(answer, ends=True))) == 42.0


@pytest.mark.parametrize(
    "answer",
    [
        answered(METRICS, b"HTTP/1.1 404 Not Found\r\n"),
        answered(METRICS, b"HTTP/1.1 302 Found\r\nLocation: /\r\n"),
        answered(METRICS)[:-1],
        answered(b"nothing of use\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        answered(METRICS + b"x" * 2**20),
        b"",
    ],
    ids=["404", "redirect", "cut off", "other metrics", "bad chunks", "not HTTP", "too long", "nothing"],
)
def test_no_usable_answer_is_no_count(run_real: Run, answer: bytes) -> None:
    """A part of a body is not taken for the whole, nor an error page for metrics."""
    assert run_real(count_of(says(answer, ends=True))) is None


def test_an_endless_body_is_not_read_for_ever(run_real: Run) -> None:
    """A mebibyte is enough; the deadline is not needed."""
    script = floods(b"HTTP/1.1 200 OK\r\n\r\n", b"work 1\n" * 9000)
    assert run_real(count_of(script)) is None


def test_nobody_listening_has_no_count(run_real: Run) -> None:
    """As for a check, that is a value."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = ProbeTarget("127.0.0.1", bound.getsockname()[1])
        assert run_real(HttpProbe().count(target=target, names=("work",), timeout=60)) is None


@pytest.mark.slow
@pytest.mark.parametrize("script", [says(), drips(answered(METRICS) * 100, every=0.01)], ids=["hung", "drip"])
def test_one_deadline_covers_a_count(run_real: Run, script: Script) -> None:
    """From the connection to the last byte of the body."""

    async def program() -> tuple[float | None, float]:
        begun = asyncio.get_running_loop().time()
        count = await count_of(script, limit=LIMIT)
        return count, asyncio.get_running_loop().time() - begun

    count, took = run_real(program())
    assert count is None
    assert took >= 0.9 * LIMIT


def test_a_count_that_cannot_be_asked_for_is_told(run_real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonsense path does not heal; a manager without descriptors may, and does not blame the engine."""
    with pytest.raises(DriverError) as caught:
        run_real(HttpProbe().count(target=ProbeTarget("127.0.0.1", 1, "metrics"), names=(), timeout=1))
    assert not caught.value.cause.heals

    async def program() -> None:
        async def no_more(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_more)
        await HttpProbe().count(target=ProbeTarget("127.0.0.1", 1), names=("work",), timeout=1)

    with pytest.raises(DriverError) as caught:
        run_real(program())
    assert caught.value.cause.heals


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_health_probe(run_real: Run) -> None:
    """The public conformance check, cancellation and leaks included."""

    async def program() -> None:
        async with serving(says(OK)) as healthy, serving(says()) as silent:
            await check_health_probe(
                HttpProbe,
                healthy=ProbeTarget("127.0.0.1", healthy.port),
                unhealthy=ProbeTarget("127.0.0.1", free_port()),
                silent=ProbeTarget("127.0.0.1", silent.port),
                timeout=LIMIT,
            )

    run_real(program())


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_work_probe(run_real: Run) -> None:
    """The public conformance check of the second verb."""

    async def program() -> None:
        metrics = says(answered(METRICS), ends=True)
        async with serving(metrics) as counting, serving(says(OK)) as useless, serving(says()) as silent:
            await check_work_probe(
                HttpProbe,
                counting=ProbeTarget("127.0.0.1", counting.port, "/metrics"),
                names=("work",),
                expected=42.0,
                useless=ProbeTarget("127.0.0.1", useless.port, "/metrics"),
                silent=ProbeTarget("127.0.0.1", silent.port, "/metrics"),
                timeout=LIMIT,
            )

    run_real(program())
