"""Reads what one launch writes to its log, a look at a time, and keeps what its engine's own words tell.

A look reads what is new, at most `LOOK` bytes of it: of more, the begin and the end. The file is held open
from the first look that finds it, so a log that is renamed or deleted, as rotation does, is followed to where
the engine goes on writing; one that was emptied is read from its begin. No link is followed and nothing
is waited for: what is no plain file has no lines.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from pool_lifecycle.interfaces import Echo, Pattern
from pool_lifecycle.own_words import Finding, OwnWords, present, recognise

LOOK = 256 * 1024
"""How much one look reads, in bytes: a bound on work, whatever an engine writes."""

LONG = 8 * 1024
"""A line longer than this is not waited for to end, in bytes."""

SHOWN = 300
"""How much of a line is shown, in characters."""

KEPT = 8
"""How many findings are remembered: the latest one of each pattern, and of these the latest ones."""

SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def size(path: str) -> int:
    """How long the file is now, in bytes; 0 when there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except OSError:
        return 0


class LogFollower:
    """Follows the log at `path` from byte `begin` on. For one thread, but for `read`.

    `hide` takes secrets out of a text that is to be shown. `last_line` is the last one that was not empty.
    """

    __slots__ = (
        "_fd",
        "_hide",
        "_midway",
        "_patterns",
        "_words",
        "begin",
        "end",
        "findings",
        "last_line",
        "path",
    )

    def __init__(
        self,
        path: str,
        begin: int,
        patterns: tuple[Pattern, ...],
        echoes: tuple[Echo, ...],
        hide: Callable[[str], str] = str,
    ) -> None:
        self.path = path
        self.begin = begin
        self.end = begin
        self.findings: tuple[Finding, ...] = ()
        self.last_line = ""
        self._patterns = patterns
        self._words = OwnWords(echoes)
        self._hide = hide
        self._fd = -1
        self._midway = False

    def look(self, now: float, *, final: bool = False) -> Finding | None:
        """Read what is new at `now` (seconds, on the loop's clock); return the newest finding there is.

        A line that has not ended yet is left for the next look, unless this is the `final` one.
        """
        with contextlib.suppress(OSError):
            self._open()
            if self._fd >= 0:
                self._catch_up(now, final=final)
        return self.findings[-1] if self.findings else None

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the file, from any thread; none before it has been looked at. Raises OSError."""
        return os.pread(self._fd, count, offset) if self._fd >= 0 else b""

    def __del__(self) -> None:
        """Whoever lets go last closes it: a thread may still be reading when the engine is forgotten."""
        with contextlib.suppress(OSError):
            if self._fd >= 0:
                os.close(self._fd)

    def _open(self) -> None:
        if self._fd < 0:
            fd = os.open(self.path, SAFE)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._fd = fd
            else:
                os.close(fd)

    def _catch_up(self, now: float, *, final: bool) -> None:
        length = os.fstat(self._fd).st_size
        if length < self.end:  # emptied meanwhile
            self.begin = self.end = 0
            self._midway = False
        if length - self.end > LOOK:
            self._take(os.pread(self._fd, LOOK // 2, self.end), now, final=False)
            self._words.skip()
            self.end, self._midway = length - LOOK // 2, True
        while self.end < length:
            taken = self._take(os.pread(self._fd, length - self.end, self.end), now, final=final)
            if not taken:
                return
            self.end += taken

    def _take(self, raw: bytes, now: float, *, final: bool) -> int:
        """Read the lines in these bytes that have ended, or need not be waited for; return their length."""
        begin = raw.find(b"\n") + 1 if self._midway else 0
        if self._midway and not begin:
            return len(raw)
        self._midway = False
        end = raw.rfind(b"\n") + 1
        if final or len(raw) - end > LONG:
            self._midway = end < len(raw)
            end = len(raw)
        self._read_lines(raw[begin:end], now)
        return end

    def _read_lines(self, raw: bytes, now: float) -> None:
        text = raw.decode("utf-8", "surrogateescape")  # as Python has the values of variables
        lines, known = text.split("\n"), present(text, self._patterns)
        found: dict[int, str] = {}  # the last line of each pattern, in the order in which they came
        for line in lines if known or not self._words.is_plain(text) else ():
            rank = recognise(line, self._words.own(line), known)
            if rank is not None:
                found.pop(rank, None)
                found[rank] = line
        if found:
            older = (one for one in self.findings if one.rank not in found)
            newer = (Finding(now, self._patterns[rank], self._shown(found[rank]), rank) for rank in found)
            self.findings = (*older, *newer)[-KEPT:]
        visible = filter(_is_visible, reversed(lines))
        self.last_line = next(filter(None, map(self._shown, visible)), self.last_line)

    def _shown(self, line: str) -> str:
        clean = self._hide(line)[:SHOWN]  # of a line that was cut, no half of a secret is told for one
        return "".join(one if one.isprintable() else " " for one in clean).strip()


def _is_visible(line: str) -> bool:
    """Whether there may be something to show, told at less cost than by hiding what is secret in it."""
    return any(map(str.isprintable, line.strip()))
