"""Whether a port has been given back: what was ours is waited for, a stranger's is not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from pool_lifecycle_drivers import release
from pool_lifecycle_drivers.census import Census
from pool_lifecycle_drivers.ports import Listener
from pool_lifecycle_drivers.release import is_free, until_released

Run = Callable[[Coroutine[Any, Any, Any]], Any]
HELD = Listener("127.0.0.1", 80, 7, os.geteuid())


class Seen(Census):
    """A census of listeners that changes with every look."""

    def __init__(self, *looks: list[Listener] | OSError) -> None:
        super().__init__()
        self.looks = list(looks)

    async def listeners(self) -> list[Listener]:
        look = self.looks.pop(0)
        if isinstance(look, OSError):
            raise look
        return look


@pytest.fixture(autouse=True)
def slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(release, "is_free", lambda _found, _port: False)


def wait(run_real: Run, census: Seen, *, ours: set[int], host: str = "127.0.0.1") -> None:
    run_real(asyncio.wait_for(until_released(census, host, 80, frozenset(ours)), 20))
    assert census.looks == []


def test_our_own_socket_is_waited_for(run_real: Run) -> None:
    """Whoever holds it now."""
    wait(run_real, Seen([HELD], [HELD], []), ours={7})


def test_a_socket_that_nobody_seems_to_hold_is_waited_for(run_real: Run) -> None:
    """It may be ours, on its way out of the kernel."""
    wait(run_real, Seen([HELD], []), ours=set())


def test_another_users_socket_is_not_waited_for(run_real: Run) -> None:
    """We could not see who holds it, but we did not make it."""
    wait(run_real, Seen([Listener("127.0.0.1", 80, 7, os.geteuid() + 1)]), ours=set())


def test_a_living_strangers_socket_is_not_waited_for(run_real: Run) -> None:
    """It was never seen in our tree, and somebody who lives holds it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        inode = os.fstat(server.fileno()).st_ino
        wait(run_real, Seen([Listener("127.0.0.1", 80, inode, os.geteuid())]), ours=set())


def test_another_port_or_address_is_not_waited_for(run_real: Run) -> None:
    """Even if it is ours."""
    wait(run_real, Seen([Listener("127.0.0.1", 81, 7, 0), Listener("10.0.0.1", 80, 7, 0)]), ours={7})


def test_a_host_that_cannot_be_looked_at_holds_the_port(run_real: Run) -> None:
    """Out of descriptors: nothing says that it is free (S6)."""
    wait(run_real, Seen(OSError(errno.EMFILE, "too many"), []), ours=set())


def test_a_name_that_means_nothing_any_more_stands_for_every_address(run_real: Run) -> None:
    """The name service may fail between launch and stop."""
    wait(run_real, Seen([Listener("10.0.0.1", 80, 7, 0)], []), ours={7}, host="..")


def test_a_port_that_can_be_had_is_free_without_a_look_at_the_host(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lets nobody have a port that somebody listens on."""
    monkeypatch.setattr(release, "is_free", lambda _found, _port: True)
    wait(run_real, Seen(), ours={7})


@pytest.mark.parametrize(
    ("asked", "family", "listening"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.1", socket.AF_INET, ""),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),
        ("::", socket.AF_INET, "127.0.0.1"),
        ("::1", socket.AF_INET6, "::1"),
    ],
)
def test_a_port_that_somebody_listens_on_is_not_free(
    asked: str, family: socket.AddressFamily, listening: str
) -> None:
    """On the address asked for, or on every address; on any address where every one is asked for."""
    kind = socket.AF_INET6 if ":" in asked else socket.AF_INET
    with closing(socket.create_server((listening, 0), family=family)) as server:
        assert not is_free([(kind, asked)], server.getsockname()[1])


def test_nothing_is_free_where_no_address_is_known() -> None:
    """Then the list of all listeners decides."""
    assert not is_free([], 80)
