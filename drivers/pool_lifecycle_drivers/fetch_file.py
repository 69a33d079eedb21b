"""One file under way: gone on with where it was left, hashed as it is written, never two contents mixed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

from attrs import define, evolve, field

from pool_lifecycle_drivers.fetch_source import Body, Remote, Source, Trouble, Watch
from pool_lifecycle_drivers.offload import hand_over
from pool_lifecycle_drivers.private_files import read_whole, write_all, write_whole

SYNC_EVERY = 64 << 20
"""Bytes after which what was written is made to survive a power cut."""

READ = 1 << 20
"""Bytes hashed at once."""


def boot_id() -> str:
    """Which boot of this host it is; empty if that cannot be told, which counts as always the same."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


@define(eq=False)
class Partial:
    """A file under way at `path`; a note beside it says of which content it is, and how much is sure.

    What was written before the host restarted counts only as far as it had been synced.
    """

    path: str
    boot: str = field(factory=boot_id)
    descriptor: int = field(default=-1, init=False)

    def open(self) -> None:
        """Take it up. Raises OSError. A link in its place is not followed, but removed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with suppress(FileNotFoundError):
            found = os.lstat(self.path)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                os.unlink(self.path)
        self.descriptor = os.open(self.path, flags, 0o600)

    def close(self) -> None:
        """Leave it for another time."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def there(self, file: Remote) -> int:
        """How many bytes are there of this very content; none if the source does not tell contents apart."""
        try:
            note = json.loads(read_whole(f"{self.path}.json") or b"")
            validator, size, synced = note["validator"], note["size"], int(note["synced"])
            sure = os.fstat(self.descriptor).st_size if note["boot"] == self.boot else synced
        except (ValueError, TypeError, KeyError):
            return 0
        if not file.validator or validator != file.validator or size != file.size:
            return 0
        there = min(sure, os.fstat(self.descriptor).st_size)
        return there if there <= (file.size or 0) else 0

    def begin(self, file: Remote, offset: int) -> None:
        """Keep the first `offset` bytes, and note of which content they are."""
        os.ftruncate(self.descriptor, offset)
        os.lseek(self.descriptor, offset, os.SEEK_SET)
        self.note(file, 0)

    def note(self, file: Remote, synced: int) -> None:
        """So much of this content is sure."""
        note = {"validator": file.validator, "size": file.size, "boot": self.boot, "synced": synced}
        write_whole(f"{self.path}.json", json.dumps(note).encode(), last=False)

    def discard(self) -> None:
        """Begin from nothing next time."""
        with suppress(OSError):
            os.ftruncate(self.descriptor, 0)


def fetch_file(source: Source, file: Remote, partial: Partial, watch: Watch) -> tuple[Remote, str]:
    """Have all of the file at `partial`, synced; return it as it was when it was read, and its digest.

    Raises Trouble, Stopped and OSError (of the disk); then what is there is gone on with the next time.
    """
    there = partial.there(file)
    if file.size is not None and there == file.size and file.validator:
        return file, _finished(partial, file, watch)
    body = source.open(file, there, watch)
    try:
        return _receive(body, file, partial, watch)
    finally:
        watch.interruptible(None)
        body.close()


def _receive(body: Body, file: Remote, partial: Partial, watch: Watch) -> tuple[Remote, str]:
    now = evolve(file, size=body.size, validator=body.validator)
    if file.digest is not None and file.size not in (None, body.size):
        words = f"{file.name!r} is sent with {body.size} bytes, not {file.size}"
        raise Trouble(words, "try again; if it stays so, the source is damaged", heals=True)
    if watch.total is not None:
        watch.total = None if body.size is None else watch.total + body.size - (file.size or 0)
    partial.begin(now, body.offset)
    hashing = Hashing(partial.descriptor, lambda synced: partial.note(now, synced), watch)
    hashing.reach(body.offset)
    at = body.offset
    try:
        while piece := body.read():
            watch.check()
            write_all(partial.descriptor, piece)
            at += len(piece)
            hashing.reach(at)
        watch.check()
    except BaseException:
        hashing.abandon()
        raise
    os.ftruncate(partial.descriptor, at)
    digest = hashing.finish(at)
    partial.note(evolve(now, size=at), at)
    return evolve(now, size=at), digest


def _finished(partial: Partial, file: Remote, watch: Watch) -> str:
    """The digest of what is complete already."""
    size = file.size or 0
    digest = Hashing(partial.descriptor, lambda _: None, watch).finish(size)
    partial.note(file, size)
    return digest


class Hashing:
    """Hashes what is in a file, behind whoever writes it, in a thread of its own.

    It reads what was written rather than what was sent, so that it is what is there that is verified. What is
    hashed counts as done, as nothing else is on the way: also of what had been there before.
    """

    def __init__(self, descriptor: int, synced: Callable[[int], None], watch: Watch) -> None:
        self._descriptor = descriptor
        self._synced = synced
        self._watch = watch
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(READ))
        self._at = self._sure = self._reached = 0
        self._over = False
        self._wanted = True
        self._error: BaseException | None = None
        self._news = threading.Condition()
        self._working: threading.Lock | None = None

    def reach(self, end: int) -> None:
        """So many bytes are written."""
        with self._news:
            self._reached = end
            self._news.notify()
        if self._working is None and end:
            self._begin()

    def abandon(self) -> None:
        """The digest is not wanted; nothing reads the file any more when this returns."""
        self._wanted = False
        self._join()

    def finish(self, end: int) -> str:
        """The digest of all `end` bytes, which are synced. Raises OSError."""
        self._join()
        if self._error is not None:
            raise self._error
        self._advance(end)
        self._watch.check()
        os.fsync(self._descriptor)
        return f"sha256:{self._hash.hexdigest()}"

    def _join(self) -> None:
        with self._news:
            self._over = True
            self._news.notify()
        if self._working is not None:
            self._working.acquire()

    def _begin(self) -> None:
        self._working = threading.Lock()
        self._working.acquire()
        try:
            hand_over(self._follow)
        except OSError:  # no more threads: finish() does it all
            self._working.release()

    def _follow(self) -> None:
        assert self._working is not None, "set before the thread begins"
        try:
            while self._wait():
                self._advance(self._reached)
                self._sync()
        except BaseException as error:  # noqa: BLE001 - told by finish()
            self._error = error
        finally:
            self._working.release()

    def _wait(self) -> bool:
        with self._news:
            while not self._over and self._reached == self._at:
                self._news.wait()
            return not self._over and not self._watch.stopped

    def _advance(self, end: int) -> None:
        while self._at < end and self._wanted and not self._watch.stopped:
            piece = self._buffer[: min(READ, end - self._at)]
            read = os.preadv(self._descriptor, [piece], self._at)
            if read == 0:
                raise OSError(None, "the file lost bytes while it was written")
            self._hash.update(piece[:read])
            self._at += read
            self._watch.done += read

    def _sync(self) -> None:
        if self._at - self._sure >= SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._sure = self._at
            self._synced(self._sure)
