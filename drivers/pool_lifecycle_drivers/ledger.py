"""What a guardian has to know, in memory that it shares with the program it guards.

Nothing is sent, so there is nothing to wait for, to fill up, or to say again to another guardian: a line of
the ledger is written before an engine is launched, once more when it is known who it is, and cleared when
nothing is left of it. A line is one page, which the kernel writes as a whole: a SIGKILL comes before it or
after it.
"""

from __future__ import annotations

import heapq
import itertools
import json
import mmap
import os

import attrs
from attrs import frozen

from pool_lifecycle.interfaces import EngineHandle

LINE = mmap.PAGESIZE
"""Bytes of a line: its content in UTF-8, then zeros."""


@frozen
class Ward:
    """A launch, and how many seconds its engine has to end when it is asked to."""

    handle: EngineHandle
    grace: float

    def dump(self) -> bytes:
        """As a line. Of a handle that is too long for one only the token counts, by which it is found too."""
        for handle in (self.handle, attrs.evolve(self.handle, details="", pid=None)):
            said = {"grace": self.grace, "handle": attrs.asdict(handle, recurse=False)}
            content = json.dumps(said).encode()
            if len(content) <= LINE:
                return content.ljust(LINE, b"\0")
        raise ValueError("a launch token is longer than any is")

    @classmethod
    def load(cls, line: bytes) -> Ward | None:
        """From a line; None where there is nothing in it."""
        try:
            kept = json.loads(line.rstrip(b"\0"))
            return cls(EngineHandle(**kept["handle"]), float(kept["grace"]))
        except (ValueError, KeyError, TypeError):
            return None


class Ledger:
    """The engines of this program that have to be ended when it is gone, in the memory behind `fd`."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("pool-lifecycle-guardian", os.MFD_CLOEXEC)
        self._lines: dict[str, int] = {}
        self._free: list[int] = []
        self._new = itertools.count()

    def __bool__(self) -> bool:
        """Whether there is anybody in it."""
        return bool(self._lines)

    def write(self, ward: Ward) -> None:
        """Note down, or note anew. Raises OSError where the host is short of memory."""
        token = ward.handle.token
        content = ward.dump()
        line = self._lines.get(token)
        if line is None:
            line = heapq.heappop(self._free) if self._free else next(self._new)
        os.pwrite(self.fd, content, line * LINE)
        self._lines[token] = line

    def clear(self, token: str) -> None:
        """Nothing is left of that launch."""
        line = self._lines.pop(token, None)
        if line is not None:
            os.pwrite(self.fd, bytes(LINE), line * LINE)
            heapq.heappush(self._free, line)

    def close(self) -> None:
        """Give the memory back, unless a guardian still has it."""
        fd, self.fd = self.fd, -1
        self._lines.clear()
        if fd >= 0:
            os.close(fd)


def read(fd: int) -> list[Ward]:
    """Who is in the ledger that `fd` stands for."""
    size = os.fstat(fd).st_size
    lines = (os.pread(fd, LINE, start) for start in range(0, size, LINE))
    return [ward for line in lines if (ward := Ward.load(line)) is not None]
