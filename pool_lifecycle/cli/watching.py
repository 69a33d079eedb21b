"""Whether a file has changed, and whoever writes it is done."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import define, field

INTERVAL = 1.0
"""Seconds between two looks at the file."""


def _signature(file: Path) -> tuple[int, ...] | None:
    """What is another one when the file is written, or another file put in its place; None: there is none."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _absolute(file: Path) -> Path:
    return Path(os.path.abspath(file))


@define(eq=False)
class Watch:
    """Looks at a file now and then. Made before the file is read, so that no change falls in between."""

    file: Path = field(converter=_absolute)
    _read: tuple[int, ...] | None = field(init=False)
    _seen: tuple[int, ...] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._read = self._seen = _signature(self.file)

    def look(self) -> bool:
        """Whether it is to be read again: it has changed, but not any more since the last look."""
        before, self._seen = self._seen, _signature(self.file)
        if self._seen == self._read or self._seen != before:
            return False
        self._read = self._seen
        return True
