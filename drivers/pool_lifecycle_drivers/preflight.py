"""Everything that can be known before a launch to make it fail. Changes nothing."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Mapping

from pool_lifecycle.causes import Cause, FailureClass, Stage
from pool_lifecycle.interfaces import LaunchRequest
from pool_lifecycle_drivers.environment import find_program
from pool_lifecycle_drivers.ports import holders, listeners, owner, try_bind
from pool_lifecycle_drivers.room import check_room

ELF, SCRIPT = b"\x7fELF", b"#!"
OTHER_FORMATS = "/proc/sys/fs/binfmt_misc"

Addresses = list[tuple[socket.AddressFamily, str]]


def check_program(request: LaunchRequest, environment: Mapping[str, str]) -> Iterator[Cause]:
    """The working directory and the program."""
    if request.cwd is not None and not os.path.isdir(request.cwd):
        what = "is not a directory" if os.path.exists(request.cwd) else "does not exist"
        yield hopeless(f"working directory {request.cwd!r} {what}", "make it, or correct `cwd`")
        return
    name = request.command.argv[0] if request.command.argv else ""
    path = find_program(name, environment, request.cwd)
    if path is None:
        yield hopeless(f"binary {name!r} {_why_not_found(name, request.cwd)}", _FIND)
    elif not os.path.isfile(path):
        yield hopeless(f"binary {path!r} is not a regular file", "name the program itself as `binary`")
    elif not os.access(path, os.X_OK):
        yield hopeless(f"binary {path!r} is not executable", f"run `chmod +x {path}`, or correct `binary`")
    else:
        yield from _check_format(path)


_FIND = "install it, let this user into its folder, or correct `binary`"


def _why_not_found(name: str, cwd: str | None) -> str:
    if "/" not in name:
        return "is not on the engine's PATH"
    try:
        os.stat(os.path.join(cwd or ".", name))
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
    return "was not there a moment ago"


def _check_format(path: str) -> Iterator[Cause]:
    try:
        with open(path, "rb") as file:
            first_line = file.readline(256)
    except OSError:  # it may be executed without being readable
        return
    if first_line.startswith(SCRIPT):
        yield from _check_interpreter(path, first_line)
    elif not first_line.startswith(ELF) and not _knows_other_formats():
        message = f"binary {path!r} has the wrong format: neither an ELF program nor a script with #!"
        yield hopeless(message, "name a program for this machine as `binary`")


def _check_interpreter(path: str, first_line: bytes) -> Iterator[Cause]:
    words = first_line.removeprefix(SCRIPT).split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if not os.access(interpreter, os.X_OK):
        yield hopeless(
            f"binary {path!r} is a script for {interpreter!r}, which cannot be executed",
            "install that interpreter, or correct the script's first line",
        )


def _knows_other_formats() -> bool:
    """Whether the kernel was taught more formats, which it alone can recognise (llamafile has one)."""
    try:
        return bool(set(os.listdir(OTHER_FORMATS)) - {"register", "status"})
    except OSError:
        return False


def check_files(request: LaunchRequest) -> Iterator[Cause]:
    """The log file and the pid file, or the nearest folder above that is there already."""
    for name, path in (("log file", request.log_path), ("pid file", request.pid_path)):
        problem = _why_not_writable(path)
        if problem:
            yield hopeless(f"{name} {path!r} {problem}", "choose another place, or correct its permissions")


def _why_not_writable(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return _why_no_room(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a regular file"
    return "" if os.access(path, os.W_OK) else "is not writable"


def _why_no_room(folder: str) -> str:
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        return f"cannot be made: {folder!r} is not a directory"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"cannot be made: {folder!r} is not writable"


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
}


def check_port(request: LaunchRequest, addresses: Addresses) -> Iterator[Cause]:
    """Whether the engine will be able to listen."""
    for family, address in addresses:
        try:
            try_bind(family, address, request.port)
        except OSError as error:
            yield _port_cause(request, address, error)
            return


def _port_cause(request: LaunchRequest, address: str, error: OSError) -> Cause:
    if error.errno == errno.EADDRINUSE:
        return _in_use(request, address)
    where = f"{request.host} port {request.port}"
    if error.errno == errno.EACCES:
        return hopeless(f"{where} cannot be bound: {error.strerror}", "choose a port above 1023")
    message = f"{where} cannot be bound: {error.strerror}"
    return Cause(FailureClass.PREFLIGHT, Stage.PREFLIGHT, message, remedy="correct `host`, or bring it up")


def _in_use(request: LaunchRequest, address: str) -> Cause:
    found = [
        one
        for held in holders(listeners(), [address], request.port)
        if (one := owner(held.inode)) is not None
    ]
    by = ", ".join(dict.fromkeys(map(str, found))) or "a program that cannot be seen from here"
    return Cause(
        FailureClass.PORT_IN_USE,
        Stage.PREFLIGHT,
        f"port {request.port} on {request.host} is held by {by}",
        remedy="end that program, or choose another port",
        evidence=tuple(f"pid {one.pid} listens on port {request.port}" for one in found),
    )


def hopeless(message: str, remedy: str, stage_: Stage = Stage.PREFLIGHT) -> Cause:
    """A cause that no retry removes."""
    return Cause(FailureClass.PREFLIGHT, stage_, message, heals=False, remedy=remedy)


def check_all(
    request: LaunchRequest, environment: Mapping[str, str], addresses: Addresses
) -> tuple[Cause, ...]:
    """Every cause; those that no retry removes come first."""
    causes = [
        *check_program(request, environment),
        *check_files(request),
        *check_port(request, addresses),
        *check_room(request),
    ]
    return tuple(sorted(causes, key=lambda cause: cause.heals))
