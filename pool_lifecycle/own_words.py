"""Which words in an engine's log are its own, and what they mean. Pure.

A log is hostile text. Whoever sends a prompt may put any words into the log of an engine that repeats it,
and they must not pass for the engine's. So of each line only the part before the first quote, or before
words that introduce repeated text (an `Echo`), is the engine's own, and a pattern has to begin in there.

Text that is written as it came may go on over line ends, and may itself hold whatever seems to end it:
once that was seen, nothing later in this log is surely the engine's own, and none of it is used. Engines
that escape what they repeat lose nothing by this.

What cannot be told apart: an engine without any mark for what it repeats, and text that closes a quote
itself just before a line end. That is why a line alone convicts nothing; see `verdict`.

Everything here takes time linear in the length of a line, with literal searches that never look back.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from attrs import frozen

from pool_lifecycle.interfaces import Echo, Pattern, Reach

_MARK = re.compile(r"\\.|[\"']", re.DOTALL)
"""What matters within quotes: an escaped character, which is passed over, or a quote."""

_PREFIXES = frozenset("bBfFrRuU")
"""What Python writes before a quote."""


@frozen
class Finding:
    """Own words of an engine that a pattern knows: when they were read (seconds, on the loop's clock).

    `rank` is the pattern's place in its profile's order, where the first is the most telling.
    """

    at: float
    pattern: Pattern
    line: str
    rank: int = 0

    def __str__(self) -> str:
        return f"it said: {self.line!r}"


class OwnWords:
    """Follows one launch's log line by line. `doubtful`: nothing from here on is surely the engine's own."""

    __slots__ = ("_echoes", "_open", "_repeats", "doubtful")

    def __init__(self, echoes: tuple[Echo, ...]) -> None:
        self._echoes = echoes
        self._open = ""
        self._repeats = False
        self.doubtful = False

    def own(self, line: str) -> int:
        """How many characters at the begin of the next line are the engine's own."""
        if self.doubtful:
            return 0
        echo, marked = self._first_echo(line)
        if self._open:
            return self._within(line, echo)
        quoted = _opening(line, 0, marked)
        if quoted < marked:  # no text of a user's, as far as is known: it may go on, and ends with its quote
            self._open = _unclosed(line, quoted)
        if echo is not None:
            self._repeat(line, echo, marked, quoted)
        return min(quoted, marked)

    def is_plain(self, text: str) -> bool:
        """Whether in these lines there is nothing that could change what is known: a shortcut, no more."""
        if self.doubtful:
            return True
        return not ('"' in text or "'" in text or any(echo.text in text for echo in self._echoes))

    def skip(self) -> None:
        """Some lines were not looked at; what came in them is unknown."""
        self.doubtful |= self._repeats or bool(self._open)

    def _within(self, line: str, echo: Echo | None) -> int:
        """A line that begins inside quotes. If they may hold a user's text, nobody knows where it ends."""
        self.doubtful = echo is not None and echo.reach is not Reach.LINE
        self._open = _unclosed(line, 0, self._open)
        return 0

    def _repeat(self, line: str, echo: Echo, at: int, quoted: int) -> None:
        """Text of a user's begins at `at`; the first quote before that, if there is one, at `quoted`."""
        self._repeats = True
        if quoted < at and _unclosed(line[:at], quoted):
            self.doubtful = bool(self._open)
        elif echo.reach is Reach.REST:
            self.doubtful = True
        elif echo.reach is Reach.QUOTE:
            begin = at + len(echo.text)
            while begin < len(line) and line[begin] in " [{(":
                begin += 1
            quoted = begin < len(line) and _opening(line, begin, begin + 1) == begin
            self.doubtful = not quoted or bool(_unclosed(line, begin))

    def _first_echo(self, line: str) -> tuple[Echo | None, int]:
        """The first mark of repeated text in the line, and where it begins; else the end of the line."""
        first, where = None, len(line)
        for echo in self._echoes:
            at = line.find(echo.text, 0, where + len(echo.text) - 1)
            if 0 <= at < where:
                first, where = echo, at
        return first, where


def _opening(line: str, begin: int, end: int) -> int:
    """Where the first quote that opens stands in `line[begin:end]`; `end` if there is none."""
    double = line.find('"', begin, end)
    end = double if double >= 0 else end
    at = line.find("'", begin, end)
    while at >= 0:
        if _opens(line, at):
            return at
        at = line.find("'", at + 1, end)
    return end


def _opens(line: str, at: int) -> bool:
    """An apostrophe stands after a letter, a quote does not; `b'…'` is one all the same."""
    if at and line[at - 1] in _PREFIXES:
        at -= 1
    return at == 0 or not line[at - 1].isalnum()


def _unclosed(line: str, begin: int, inside: str = "") -> str:
    """The quote that is open at the end of the line, if one is; `inside` is the one open at `begin`."""
    for mark in _MARK.finditer(line, begin):
        quote, at = mark[0], mark.start()
        if len(quote) == 2:
            continue
        if not inside:
            inside = quote if quote == '"' or _opens(line, at) else ""
        elif quote == inside and not line[at + 1 : at + 2].isalnum():
            inside = ""
    return inside


Ranked: TypeAlias = tuple[tuple[int, Pattern], ...]
"""Patterns with their places in their profile's order, in that order."""


def present(text: str, patterns: tuple[Pattern, ...]) -> Ranked:
    """The patterns that are found anywhere in the text; mostly none, and then no line need be looked at."""
    return tuple((rank, pattern) for rank, pattern in enumerate(patterns) if pattern.text in text)


def recognise(line: str, own: int, ranked: Ranked) -> int | None:
    """The rank of the first pattern to begin within the first `own` characters of the line."""
    if own:
        for rank, pattern in ranked:
            if line.find(pattern.text, 0, own - 1 + len(pattern.text)) >= 0:
                return rank
    return None
