"""The last words of an engine: the end of what this launch wrote to its log file."""

from __future__ import annotations

import os

WINDOW = 16 * 1024
"""How much of the end is looked at, in bytes: a bound on work, whatever an engine writes."""

LINE = 300
"""How much of one line is shown, in characters."""


def size(path: str) -> int:
    """How long the file is now, in bytes; 0 when there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def last_lines(path: str, *, since: int) -> tuple[str, ...]:
    """The non-empty lines at the end of the file, at most `WINDOW` bytes, none from before byte `since`.

    Control characters are replaced: a log is hostile text. What cannot be read has no lines; a link is not
    followed, and nothing is waited for. A file that is shorter than `since` was emptied meanwhile.
    """
    try:
        raw = _end(path, since)
    except OSError:
        return ()
    lines = raw.decode("utf-8", "replace").splitlines()
    return tuple(clean for line in lines if (clean := _printable(line)))


def _end(path: str, since: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        length = os.fstat(descriptor).st_size
        begin = since if since <= length else 0
        return os.pread(descriptor, WINDOW, max(begin, length - WINDOW))
    finally:
        os.close(descriptor)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line[:LINE]).strip()
