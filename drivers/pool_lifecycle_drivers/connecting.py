"""What it means when a probe got no connection: an unhealthy engine, or a host that could not even ask."""

from __future__ import annotations

import errno
import os
import socket

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health

OUR_OWN_TROUBLE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EADDRNOTAVAIL}
)
"""Errors that say nothing about the engine: no descriptor, memory or local port was left to ask with."""


def no_answer(timeout: float) -> Health:
    """The engine did not answer within `timeout` seconds."""
    return Health(ok=False, detail=f"no answer within {timeout:g} s", silent=True)


def no_connection(driver: str, error: Exception, timeout: float) -> Health:
    """What `error`, met while connecting, says about the engine.

    Raises DriverError if it says something about this host or about the address instead, so that a manager
    that has run out of descriptors does not take every engine for dead.
    """
    if isinstance(error, TimeoutError):
        return no_answer(timeout)
    if isinstance(error, socket.gaierror):
        return Health(ok=False, detail="host name not found")
    if not isinstance(error, OSError):
        raise DriverError(driver, bad_target(f"the address cannot be used: {error}")) from error
    if error.errno is None:  # several addresses were tried, and each failed in its own way
        return Health(ok=False, detail="no connection")
    if error.errno in OUR_OWN_TROUBLE:
        raise DriverError(driver, cannot_ask(error)) from error
    return Health(ok=False, detail=os.strerror(error.errno).lower())


def bad_target(message: str) -> Cause:
    """The probe's address, path or command is wrong; that does not heal."""
    return Cause(
        FailureClass.BAD_CONFIG,
        Stage.HEALTH,
        message,
        heals=False,
        remedy="correct the pool's health settings",
    )


def cannot_ask(error: OSError) -> Cause:
    """This host lacks something it needs in order to ask; that may pass."""
    return Cause(
        FailureClass.UNKNOWN,
        Stage.HEALTH,
        f"this host cannot ask: {error.strerror}",
        remedy="raise the manager's limits (open files, processes, memory), or probe less often",
    )
