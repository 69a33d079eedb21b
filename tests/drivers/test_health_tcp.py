"""The TCP health probe."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.testing.check_health_probe import check_health_probe
from pool_lifecycle_drivers.health_tcp import TcpProbe, met_itself

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def check(port: int, host: str = "127.0.0.1", limit: float = 5.0) -> Coroutine[Any, Any, Health]:
    return TcpProbe().check(target=ProbeTarget(host, port), timeout=limit)


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listening_engine_is_healthy(run_real: Run, host: str) -> None:
    """An established connection is enough, over IPv4 and IPv6, and it is closed again."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        assert run_real(check(server.getsockname()[1], host)) == Health(ok=True, detail="connected")
        server.settimeout(5)
        ours, _ = server.accept()
        with ours:
            ours.settimeout(5)
            assert ours.recv(1) == b""


def test_a_closed_port_is_unhealthy(run_real: Run) -> None:
    """Nobody there is a value, not an exception."""
    assert run_real(check(closed_port())) == Health(ok=False, detail="connection refused")


@pytest.mark.slow
def test_a_connection_that_is_not_established_ends_at_the_deadline(run_real: Run) -> None:
    """With the queue of the listening socket full, the probe waits no longer than it may."""
    with socket.socket() as wedged:
        wedged.bind(("127.0.0.1", 0))
        wedged.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(wedged.getsockname())
        health = run_real(check(wedged.getsockname()[1], limit=0.2))
        for one in waiting:
            one.close()
    assert health == Health(ok=False, detail="no answer within 0.2 s", silent=True)


def test_a_connection_to_itself_is_nobody() -> None:
    """A socket that got the port it connects to as its own source has met nobody but itself."""
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", 0))
        lonely.connect(lonely.getsockname())
        assert met_itself(lonely.getsockname(), lonely.getpeername())


def test_two_ends_are_not_one() -> None:
    """An ordinary connection has two names; one whose names are already lost is not called itself."""
    assert not met_itself(("127.0.0.1", 40000), ("127.0.0.1", 8080))
    assert not met_itself(None, None)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("a\0b", 80)])
def test_a_target_that_is_no_address_does_not_heal(run_real: Run, host: str, port: int) -> None:
    """A wrong configuration is told as such."""
    with pytest.raises(DriverError) as caught:
        run_real(check(port, host))
    assert not caught.value.cause.heals


def test_it_keeps_the_promises_of_a_health_probe(run_real: Run) -> None:
    """The public conformance check. A TCP engine cannot be silent: the kernel answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        healthy, unhealthy = server.getsockname()[1], closed_port()
        run_real(
            check_health_probe(
                TcpProbe,
                healthy=ProbeTarget("127.0.0.1", healthy),
                unhealthy=ProbeTarget("127.0.0.1", unhealthy),
            )
        )
