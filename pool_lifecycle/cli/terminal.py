"""Whether the terminal is still there on which the program was started."""

from __future__ import annotations

import errno
import os
import signal

GONE = frozenset({errno.ENXIO, errno.EIO, errno.ENODEV})
"""What the kernel says of a controlling terminal that has hung up, or was never there."""


class Terminal:
    """The terminal at the time this is made, which has to be before anybody handles SIGHUP.

    A program that was started to outlive its terminal, by `nohup`, has none to look after.
    """

    def __init__(self) -> None:
        self._had_one = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    @property
    def gone(self) -> bool:
        """Whether there was one that is no more."""
        return self._had_one and not _is_there()


def _is_there() -> bool:
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:  # a container without terminals
        return False
    except OSError as error:
        return error.errno not in GONE
    os.close(descriptor)
    return True
