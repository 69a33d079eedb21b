"""Room for many open files, made before anybody needs it."""

from __future__ import annotations

import fcntl
import os
import resource

ROOM = 4096
"""So many descriptors need no more room: for as many engines and connections as a host commonly has.

It takes 32 KB in the kernel.
"""


def make_room(number: int = ROOM) -> None:
    """Let the kernel make its table of our descriptors large enough now.

    Linux doubles the table when it is full, from 64 on. In a program with threads it then has whoever opened
    a file wait until nobody can still be looking at the old one: some 10 ms, in an event loop's thread, again
    and again while engines are launched or found. Never raises: without room it is as it was.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = (number if limit == resource.RLIM_INFINITY else min(number, limit)) - 1
    try:
        some = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.close(fcntl.fcntl(some, fcntl.F_DUPFD_CLOEXEC, highest))
    except OSError:  # so many are open already
        pass
    finally:
        os.close(some)
