"""Who listens, what is free, what is handed out."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle_drivers import ports
from pool_lifecycle_drivers.ports import (
    Listener,
    Owner,
    PortBook,
    addresses,
    holders,
    listeners,
    owner,
    socket_inodes,
    try_bind,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPBACK = (socket.AF_INET, "127.0.0.1")

HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.1.2.3")]


@pytest.fixture(params=HOSTS, ids=lambda host: host[1])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, address = request.param
    with closing(socket.create_server((address, 0), family=family)) as listening:
        yield listening


def test_a_listening_socket_is_listed_with_its_owner(server: socket.socket) -> None:
    """IPv4 and IPv6; the owner is found by the socket's inode."""
    address, port = server.getsockname()[:2]
    inode = os.fstat(server.fileno()).st_ino
    assert Listener(address, port, inode, os.geteuid()) in listeners()
    assert inode in socket_inodes([os.getpid()])
    found = owner(inode)
    assert found is not None
    assert found.pid == os.getpid()
    assert f"pid {os.getpid()}" in str(found)


def test_what_only_is_connected_or_bound_does_not_listen(server: socket.socket) -> None:
    """Also the listed connections are not taken for listeners."""
    with closing(socket.create_connection(server.getsockname()[:2])) as client:
        port = client.getsockname()[1]
        assert not [one for one in listeners() if one.port == port]


def test_nobody_holds_what_does_not_exist() -> None:
    """Neither a process nor a socket."""
    assert socket_inodes([2**22 + 1]) == frozenset()
    assert owner(2**31) is None
    assert str(Owner(7, "")) == "a program (pid 7)"


def test_a_listened_port_cannot_be_bound(server: socket.socket) -> None:
    """Whether or not the other side set SO_REUSEADDR, which `create_server` does."""
    with pytest.raises(OSError, match="in use") as caught:
        try_bind(server.family, *server.getsockname()[:2])
    assert caught.value.errno == errno.EADDRINUSE


def test_a_port_in_time_wait_is_free() -> None:
    """The side that closed first keeps it for a minute, and listens to nobody."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    assert try_bind(*LOOPBACK, port) == port
    with closing(socket.socket()) as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", port))  # so it is in TIME_WAIT indeed


def test_the_sockets_in_the_way_are_those_of_that_address_or_of_all() -> None:
    """Another address of the same port is no obstacle, unless all are wanted."""
    found = [Listener(address, 80, 1, 0) for address in ("127.0.0.1", "10.0.0.1", "0.0.0.0", "::")]
    found.append(Listener("127.0.0.1", 81, 1, 0))
    assert [one.address for one in holders(found, ["127.0.0.1"], 80)] == ["127.0.0.1", "0.0.0.0", "::"]
    assert len(holders(found, ["0.0.0.0"], 80)) == 4
    assert holders(found, ["127.0.0.1"], 82) == []


@pytest.mark.parametrize(("family", "address"), HOSTS)
def test_a_numeric_address_is_not_looked_up(
    run_real: Run, monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, address: str
) -> None:
    """No name service can delay it."""
    monkeypatch.setattr(ports, "in_thread", None)
    assert run_real(addresses(address)) == [(family, address)]


def test_a_name_is_looked_up_in_a_thread(run_real: Run) -> None:
    """Each of its addresses once."""
    found = run_real(addresses("localhost"))
    assert set(found) <= {LOOPBACK, (socket.AF_INET6, "::1")}
    assert len(found) == len(set(found)) > 0


@pytest.mark.parametrize("host", ["a" * 70, "..", "no such host"])
def test_what_is_no_host_is_an_ordinary_error(run_real: Run, host: str) -> None:
    """Never a UnicodeError out of the name's encoding."""
    with pytest.raises(OSError, match=r"host|label|Name|name"):
        run_real(addresses(host))


def test_a_port_is_pending_until_it_is_released() -> None:
    """It is not handed out meanwhile, although the host would give it."""
    offered = iter([1000, 1000, 1001, 1000, 1001, 1000])
    book = PortBook()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "try_bind", lambda *_: next(offered))
        assert book.reserve([LOOPBACK], 0.0) == 1000
        assert book.reserve([LOOPBACK], 1.0) == 1001
        book.release(1001)
        assert book.reserve([LOOPBACK], 2.0) == 1001
        assert book.reserve([LOOPBACK], PortBook.EXPIRY + 0.5) == 1000  # never used, so forgotten


def test_a_port_in_use_is_pending_for_ever() -> None:
    """An engine may take long until it listens."""
    book = PortBook()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "try_bind", lambda *_: 1000)
        book.hold(1000)
        with pytest.raises(OSError, match="handed out already"):
            book.reserve([LOOPBACK], 1e9)


def test_a_port_is_free_on_every_address_of_the_host() -> None:
    """One that is taken on the second address is not handed out."""
    taken = {("::1", 1000)}
    offered = iter([1000, 1001])

    def bind(family: int, address: str, port: int) -> int:
        if (address, port) in taken:
            raise OSError(errno.EADDRINUSE, "in use")
        return port or next(offered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "try_bind", bind)
        assert PortBook().reserve([LOOPBACK, (socket.AF_INET6, "::1")], 0.0) == 1001


def test_many_real_ports_are_all_different() -> None:
    """Of the real host."""
    book = PortBook()
    assert len({book.reserve([LOOPBACK], 0.0) for _ in range(300)}) == 300


def test_a_kernel_without_ipv6_has_listeners_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no list to read."""
    real = open

    def without(path: str, *arguments: Any, **more: Any) -> Any:
        if path == "/proc/net/tcp6":
            raise FileNotFoundError(path)
        return real(path, *arguments, **more)

    monkeypatch.setattr("builtins.open", without)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert server.getsockname()[1] in {one.port for one in listeners()}


def test_the_loop_is_not_needed_to_bind() -> None:
    """Ports are looked at in threads."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert try_bind(*LOOPBACK, 0) > 0
