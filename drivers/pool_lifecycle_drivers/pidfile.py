"""PID files: decimal digits for people and scripts, and beside each one the identity that proves it.

`NAME` holds the pid and nothing else. `NAME.identity` holds the engine's handle as JSON: a pid alone may
have been given to a stranger, so nothing is ever signalled on the strength of the pid file.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from io import FileIO

import attrs

from pool_lifecycle.interfaces import EngineHandle

MODE = 0o600

UNFINISHED = ".new"
"""What a file is called in addition until all of it is written."""


def identity_path(path: str) -> str:
    """Where the identity that belongs to a pid file is kept."""
    return f"{path}.identity"


def write(path: str, handle: EngineHandle) -> None:
    """Write both files, each at once or not at all; the pid file comes last. Raises OSError."""
    make_parents(path)
    _replace(identity_path(path), json.dumps(attrs.asdict(handle, recurse=False)))
    _replace(path, f"{handle.pid}")


def read_pid(path: str) -> int | None:
    """The pid in the file; None when the file holds anything else. Raises OSError when it cannot be read."""
    text = _read(path).strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def read_handle(path: str) -> EngineHandle | None:
    """The handle kept beside the pid file, None when there is none that can be understood."""
    try:
        return EngineHandle(**json.loads(_read(identity_path(path))))
    except (OSError, TypeError, ValueError):
        return None


def read_proven(path: str) -> EngineHandle | None:
    """The handle kept beside the pid file, if both are of one process; None where nothing is proven."""
    handle = read_handle(path)
    try:
        proven = handle is not None and handle.pid is not None and handle.pid == read_pid(path)
    except OSError:
        return None
    return handle if proven else None


def remove(path: str, handle: EngineHandle) -> None:
    """Remove both files if they are of this launch, and what may be unfinished; a newer launch's are left."""
    if _is_of(path, handle):
        for name in (path, identity_path(path)):
            for file in (name, f"{name}{UNFINISHED}"):
                with suppress(OSError):
                    os.unlink(file)


def restore(path: str, handle: EngineHandle) -> None:
    """Write them for an engine that lives, where a program that was killed did not come to it."""
    if path and not os.path.exists(path):
        with suppress(OSError):
            write(path, handle)


def make_parents(path: str) -> None:
    """Make the missing folders above `path`, for nobody's eyes but ours. Raises OSError."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        make_parents(folder)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def _is_of(path: str, handle: EngineHandle) -> bool:
    kept = read_handle(path)
    if kept is not None:
        return kept.token == handle.token
    try:
        return read_pid(path) == handle.pid
    except OSError:
        return False


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536).decode(errors="replace")
    finally:
        os.close(descriptor)


def _replace(path: str, text: str) -> None:
    """A reader sees the old content or the new, never a part; nothing follows a link put in our way."""
    unfinished = f"{path}{UNFINISHED}"
    try:
        with _new_file(unfinished) as file:
            file.write(text.encode())
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _new_file(path: str) -> FileIO:
    """A file that was not there before: what was is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, MODE)
    except FileExistsError:  # left by a program that was killed, or put in our way
        os.unlink(path)
        descriptor = os.open(path, flags, MODE)
    return FileIO(descriptor, "w")
