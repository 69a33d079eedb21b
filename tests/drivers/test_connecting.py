"""What a connection that was not made says: about the engine, or about this host."""

from __future__ import annotations

import errno
import socket

import pytest

from pool_lifecycle.causes import FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health
from pool_lifecycle_drivers.connecting import no_connection


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "host name not found"),
        (OSError("Multiple exceptions: [Errno 111], [Errno 101]"), "no connection"),
    ],
)
def test_an_unreachable_engine_is_a_value(error: Exception, detail: str) -> None:
    """What the engine or the way to it is to blame for is an unhealthy answer."""
    assert no_connection("tcp", error, 2.5) == Health(ok=False, detail=detail)


@pytest.mark.parametrize("error", [TimeoutError(), TimeoutError(errno.ETIMEDOUT, "x")])
def test_silence_is_a_value_of_its_own(error: Exception) -> None:
    """What a hanging and a busy engine have in common is told apart from every bad answer."""
    expected = Health(ok=False, detail="no answer within 2.5 s", silent=True)
    assert no_connection("tcp", error, 2.5) == expected


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_our_own_trouble_is_an_error_that_heals(number: int) -> None:
    """A host out of descriptors, memory or local ports does not take engines for dead."""
    with pytest.raises(DriverError) as caught:
        no_connection("tcp", OSError(number, "x"), 1)
    assert caught.value.cause.heals
    assert caught.value.cause.stage is Stage.HEALTH


@pytest.mark.parametrize("error", [OverflowError("port must be 0-65535"), ValueError("embedded null byte")])
def test_a_nonsense_address_does_not_heal(error: Exception) -> None:
    """An address that cannot be one is a mistake in the configuration."""
    with pytest.raises(DriverError) as caught:
        no_connection("tcp", error, 1)
    assert caught.value.cause.kind is FailureClass.BAD_CONFIG
    assert not caught.value.cause.heals
