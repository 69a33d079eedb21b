"""A source of models without a network, which cuts and changes as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from attrs import define, field

from pool_lifecycle_drivers.fetch_source import Listing, Remote, Trouble, Watch

PIECE = 4
"""Bytes in each read."""


@define(eq=False)
class Scripted:
    """Files by name, each with the version that is its validator.

    `cut`: so many bytes are sent, then the connection breaks. `gate`: what is waited for after each piece.
    `opened` has the name and the offset of every file that was asked for, `before_open` is called then.
    """

    files: dict[str, bytes]
    version: str = "1"
    lead: str = ""
    folder: bool = False
    cut: int | None = None
    gate: threading.Event | None = None
    digests: dict[str, str] = field(factory=dict)
    down: Trouble | None = None
    here: tuple[str, ...] | None = None
    before_open: Callable[[], None] = lambda: None
    settles: Trouble | None = None
    looked: int = 0
    opened: list[tuple[str, int]] = field(factory=list)
    closed: int = 0
    reading: threading.Event = field(factory=threading.Event)

    def look(self, watch: Watch) -> Listing:
        """What there is now."""
        self.looked += 1
        if self.down is not None:
            raise self.down
        remotes = (
            Remote(name, name, len(content), self.version, self.digests.get(name))
            for name, content in self.files.items()
        )
        return Listing(self.lead or next(iter(self.files)), tuple(remotes), self.folder)

    def open(self, file: Remote, offset: int, watch: Watch) -> ScriptedBody:
        """All or the rest, as a real source does it."""
        self.before_open()
        self.opened.append((file.name, offset))
        begin = offset if file.validator == self.version else 0
        return ScriptedBody(self, watch, self.files[file.address], begin, self.version)

    def settle(self, listing: Listing) -> None:
        """As told."""
        if self.settles is not None:
            raise self.settles

    def in_place(self) -> tuple[str, ...] | None:
        """As told."""
        return self.here


@define(eq=False)
class ScriptedBody:
    """Pieces of a content."""

    _source: Scripted
    _watch: Watch
    _content: bytes
    offset: int
    validator: str
    _at: int = -1

    @property
    def size(self) -> int:
        """Of the whole content."""
        return len(self._content)

    def read(self) -> bytes:
        """A piece; waits for the gate."""
        self._at = max(self._at, self.offset)
        self._source.reading.set()
        if self._source.gate is not None:
            self._watch.interruptible(self._source.gate.set)
            self._source.gate.wait(60)
        end = self.size if self._source.cut is None else self._source.cut
        piece = self._content[self._at : min(self._at + PIECE, end)]
        self._at += len(piece)
        if not piece and self._at < self.size:
            raise Trouble("cut off", "again", heals=True)
        return piece

    def close(self) -> None:
        """Counted."""
        self._source.closed += 1
