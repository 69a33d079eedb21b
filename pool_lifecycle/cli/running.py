"""The manager that runs under a state directory: found, made sure of, and told something."""

from __future__ import annotations

import errno
import os
import select
import signal
from pathlib import Path
from types import TracebackType

from pool_lifecycle.errors import StateDirError


class NobodyRuns(Exception):
    """No manager runs there."""


class Running:
    """A process that is known to be the manager, whatever becomes of its pid. Use it as `with Running(...)`.

    Its pid alone says nothing: that may be somebody else's by now. It is made sure that the very process that
    a pidfd stands for has the lock file open, as only a manager has. To try the lock instead would keep out,
    for a moment, a manager that is just being started.

    Raises NobodyRuns, and StateDirError when it cannot be told who runs there.
    """

    def __init__(self, root: Path) -> None:
        self._lock = root / "lock"
        self.pid = self._pid()
        self._pidfd = self._opened()
        try:
            if not self._has_lock() or self.ended:
                raise NobodyRuns
        except BaseException:
            os.close(self._pidfd)
            raise

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._pidfd)

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def hang_up(self) -> None:
        """Send it SIGHUP. Raises NobodyRuns when it has ended."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGHUP)
        except ProcessLookupError:
            raise NobodyRuns from None

    def _pid(self) -> int:
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NobodyRuns from None
        except OSError as error:
            raise self._unknown(error) from error
        try:
            return int(os.read(descriptor, 20))
        except (OSError, ValueError):
            raise NobodyRuns from None  # it is being started, or its disk is full
        finally:
            os.close(descriptor)

    def _opened(self) -> int:
        try:
            return os.pidfd_open(self.pid)
        except (ProcessLookupError, OverflowError, ValueError):
            raise NobodyRuns from None
        except OSError as error:
            if error.errno == errno.EINVAL:  # no number that a process has
                raise NobodyRuns from None
            raise self._unknown(error) from error

    def _has_lock(self) -> bool:
        folder = Path(f"/proc/{self.pid}/fd")
        try:
            lock = self._lock.stat()
            return any(_is(one, lock) for one in folder.iterdir())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unknown(error) from error

    def _unknown(self, error: OSError) -> StateDirError:
        what = f"who has the lock {str(self._lock)!r} cannot be told: {error.strerror}"
        remedy = "run this as the user of the manager, or send SIGHUP to that yourself"
        return StateDirError(what, remedy=remedy)


def _is(link: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(link.stat(), file)
    except OSError:  # closed meanwhile
        return False
