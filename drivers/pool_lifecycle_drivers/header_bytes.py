"""Reading files that nobody vouches for: never past a limit, never past what is there.

A model comes from anywhere. Its header may lie about every number in it, so that what is read is bounded in
bytes (`Budget`), and with that in time and memory.
"""

from __future__ import annotations

import json
import os
import struct

from attrs import define, field, frozen

MIB = 2**20

BUDGET = 64 * MIB
"""Bytes that may be read to look at one model. The longest headers known are vocabularies of GGUF files of
250 000 tokens and half a million merges, 15 MiB, and indexes of 150 000 tensors, 25 MiB."""

JSON_LIMIT = 32 * MIB
"""Bytes of one JSON document that are read. Parsed, it may take eight times as much memory."""

BLOCK = 64 * 1024
"""Bytes read at a time: small beside a header with a vocabulary, and not much beyond one without."""


@frozen
class Defect:
    """Why no engine can load a model. `message` follows the model's name: "is empty"."""

    message: str
    remedy: str = "get the model again, all of it"


class Unreadable(Exception):
    """A header that cannot be read on. `defect` None: it may be sound, but it is not for us to understand."""

    def __init__(self, defect: str = "") -> None:
        super().__init__(defect)
        self.defect = Defect(f"is damaged: {defect}") if defect else None


@define
class Budget:
    """Bytes that may still be read. Shared by all files of a model."""

    left: int = BUDGET

    def spend(self, count: int) -> None:
        """Raise Unreadable when that is too much."""
        self.left -= count
        if self.left < 0:
            raise Unreadable


@define
class HeaderBytes:
    """The bytes of an open file of `size` bytes, from the first on. `order` is `<` or `>`, as in `struct`."""

    descriptor: int
    size: int
    budget: Budget = field(factory=Budget)
    order: str = "<"
    at: int = 0
    _block: bytes = b""
    _block_at: int = 0

    def take(self, count: int) -> bytes:
        """The next bytes. Raises Unreadable when the file ends before."""
        self._fill(count)
        begin = self.at - self._block_at
        self.at += count
        return self._block[begin : begin + count]

    def number(self, layout: str) -> int:
        """The next value, of one of the layouts of `struct`; a float is no use to us, and 0."""
        value = struct.unpack(self.order + layout, self.take(struct.calcsize(self.order + layout)))[0]
        return value if isinstance(value, int) else 0

    def skip(self, count: int) -> None:
        """Go on behind the next bytes, without reading them. Raises Unreadable when the file ends before."""
        self.at += count
        if self.at > self.size:
            raise self._ends()

    def skip_strings(self, count: int) -> None:
        """Go on behind so many strings, each with its length in front.

        A vocabulary has hundreds of thousands of them: this is where the time goes.
        """
        if count * 8 > self.size - self.at:
            raise self._ends()
        length = struct.Struct(self.order + "Q").unpack_from
        while count:
            self._fill(8)
            block, position = self._block, self.at - self._block_at
            last = len(block) - 8
            while count and position <= last:
                position += 8 + length(block, position)[0]
                count -= 1
            self.at = self._block_at + position
        self.skip(0)

    def _fill(self, count: int) -> None:
        """See to it that the next bytes are in the block."""
        if self._block_at <= self.at and self.at + count <= self._block_at + len(self._block):
            return
        if self.at + count > self.size:
            raise self._ends()
        wanted = max(count, BLOCK)
        self.budget.spend(wanted)
        self._block, self._block_at = os.pread(self.descriptor, wanted, self.at), self.at
        if len(self._block) < count:  # cut short while we read
            raise self._ends()

    def _ends(self) -> Unreadable:
        return Unreadable(f"it ends within its header, after {self.size} bytes")


def parsed(text: bytes, name: str) -> dict[str, object]:
    """The object that a JSON document is. Raises Unreadable for anything else."""
    # Brackets cost most memory for their length. Honest documents have at most one in 16 bytes.
    if text.count(b"{") + text.count(b"[") > 64 + len(text) // 12:
        raise Unreadable
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} is not valid JSON") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{name} is not a JSON object")
    return value


def word(value: object) -> str:
    """A short text of printable ASCII, such as a name of an architecture; empty for everything else."""
    good = isinstance(value, str) and len(value) <= 64 and value.isascii() and value.isprintable()
    return str(value) if good else ""


def number_up_to(value: object, most: int) -> int | None:
    """A whole number from 1 on; None for everything else: a lie there must not become an estimate."""
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
    return value if good and isinstance(value, int) else None
