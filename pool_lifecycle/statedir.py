"""The state directory: where things are in it, and the lock that keeps a second manager out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from attrs import define, field, frozen

from pool_lifecycle import forks
from pool_lifecycle.errors import StateDirError

PRIVATE = 0o700


def _absolute(given: str | os.PathLike[str]) -> Path:
    return Path(given).absolute()


def _why_not(error: OSError) -> str:
    """In words; the kernel says of a file in the place of a folder only that it exists."""
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        wanted = Path(error.filename)
        there = next(one for one in (wanted, *wanted.parents) if os.path.lexists(one))
        return f"{str(there)!r} is not a folder"
    return error.strerror or str(error)


_NO_LOCK_FILES = {errno.ELOOP: "a symbolic link, which is not followed", errno.EISDIR: "a folder"}
"""What stands in the place of a lock file, by the error that says so."""


ASIDE = "+"
"""What makes a file's name another one, which is no pool's: ids have no such character."""


@frozen
class StateDir:
    """The paths of one manager's files. Names in it are pool ids, which are safe as file names."""

    root: Path = field(converter=_absolute)

    def log(self, pool_id: str, *, aside: bool = False) -> str:
        """The engine's output, appended to by every launch; `aside` that of an engine beside another one."""
        return f"{self.root}/logs/{pool_id}{ASIDE if aside else ''}.log"

    def pid(self, pool_id: str, *, aside: bool = False) -> str:
        """The engine's pid, for people and scripts; `aside` that of an engine beside another one."""
        return f"{self.root}/run/{pool_id}{ASIDE if aside else ''}.pid"

    def handoff(self, pool_id: str) -> str:
        """The handoff document of a ready pool."""
        return f"{self.root}/engines/{pool_id}.json"

    def crash_logs(self, pool_id: str) -> str:
        """The folder with the logs of the pool's last runs that crashed."""
        return f"{self.root}/crashes/{pool_id}"

    def models(self) -> str:
        """Where fetched models are kept, unless another folder is declared."""
        return f"{self.root}/models"

    @property
    def database(self) -> str:
        """What is kept of the pools beyond this manager."""
        return f"{self.root}/state.db"

    def make(self) -> None:
        """Make the folders, readable by nobody else. Raises StateDirError when that cannot be done."""
        try:
            for name in ("", "logs", "run", "engines", "crashes"):
                (self.root / name).mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        except OSError as error:
            what = f"state directory {str(self.root)!r} cannot be made: {_why_not(error)}"
            raise StateDirError(what, remedy="name a folder that can be written") from error

    def lock(self) -> Lock:
        """Take the lock. Raises StateDirError naming the pid of the manager that has it."""
        return Lock.take(self.root / "lock")


@define(eq=False)
class Lock:
    """A held lock. It ends with `release`, or with this process; no engine inherits it, and no forked child.

    A child's copy of the descriptor would hold the lock beyond our end; to unlock it there would free it
    while we live. So it is closed there, which does neither.
    """

    path: Path
    descriptor: int

    def __attrs_post_init__(self) -> None:
        forks.register(self)

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Lock the file and write our pid into it, for whoever is kept out."""
        while True:
            descriptor = cls._open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise StateDirError(
                    f"state directory {str(path.parent)!r} is in use by another manager (pid {holder})",
                    remedy="stop that one, or use another folder",
                ) from None
            if cls._is_current(path, descriptor):
                cls._sign(descriptor)
                return cls(path, descriptor)
            os.close(descriptor)  # somebody removed the file between our opening and our locking it

    def release(self) -> None:
        """Give the lock back and remove its file, which is still ours to remove; but once."""
        if self.descriptor >= 0:
            self.path.unlink(missing_ok=True)
            self.forked()

    def forked(self) -> None:
        """Hold it no more: that gives it back only where nobody else holds it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @staticmethod
    def _open(path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            what = f"lock file {str(path)!r} cannot be opened: {error.strerror}"
            remedy = "name a folder that can be written"
            if error.errno in _NO_LOCK_FILES:
                what = f"lock file {str(path)!r} is {_NO_LOCK_FILES[error.errno]}"
                remedy = "remove it once you know who put it there, or use another folder"
            raise StateDirError(what, remedy=remedy) from error

    @staticmethod
    def _sign(descriptor: int) -> None:
        """Say who has it. On a full disk nobody can be told, but the lock holds all the same."""
        with contextlib.suppress(OSError):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    @staticmethod
    def _is_current(path: Path, descriptor: int) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False
