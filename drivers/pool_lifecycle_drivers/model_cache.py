"""Models that were fetched, kept by what they hold: a folder for each digest, a note for each reference.

    blobs/sha256-<64 digits>/a.gguf       what engines are given; .manifest says what has to be there
    index/<hash of a reference>.json      what the reference stood for when it was fetched
    partial/<hash of a reference>/        what is under way; .lock is held by whoever fetches it

No name from outside is ever part of a path here but the last, and that one only if it is harmless.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen

from pool_lifecycle import forks
from pool_lifecycle_drivers.fetch_source import Listing
from pool_lifecycle_drivers.private_files import (
    locked,
    private_folder,
    read_whole,
    sync_folder,
    unique,
    write_whole,
)

MANIFEST = ".manifest"

Used = frozenset[tuple[str, str | None]]
"""Models in use, each by reference and digest; None: whatever the reference stands for."""


def default_folder() -> str:
    """Where models are kept if nobody says so: in the user's cache folder, as XDG has it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "pool-lifecycle", "models")


@frozen
class Kept:
    """A model in place. `files` has the name and the size of each."""

    digest: str
    lead: str
    folder: bool
    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)


@frozen
class Memory:
    """What a reference stood for when it was fetched last: a digest, and the validators it had then."""

    digest: str
    validators: tuple[tuple[str, str], ...]

    def holds(self, listing: Listing) -> bool:
        """Whether the source still has the very same."""
        now = tuple((file.name, file.validator) for file in listing.files)
        return all(validator for _, validator in now) and now == self.validators


class Holds:
    """The locks with which this process keeps others from taking what it uses."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, float]] = {}
        forks.register(self)
        weakref.finalize(self, _close_all, self._held)

    def add(self, digest: str, descriptor: int) -> None:
        """Take over a descriptor that holds the lock of a model."""
        previous = self._held.pop(digest, None)
        self._held[digest] = (descriptor, time.monotonic())
        if previous is not None:
            os.close(previous[0])

    def release(self, digest: str) -> None:
        """Let others take it."""
        if (held := self._held.pop(digest, None)) is not None:
            os.close(held[0])

    def release_unused(self, used: frozenset[str], grace: float) -> None:
        """Let go of all that is not used, and was not staged within the last `grace` seconds."""
        for digest, (_, since) in list(self._held.items()):
            if digest not in used and time.monotonic() - since >= grace:
                self.release(digest)

    def close(self) -> None:
        """Let others take all of it."""
        _close_all(self._held)

    def forked(self) -> None:
        """In a forked child: they are the parent's, who goes on holding them."""
        self.close()


def _close_all(held: dict[str, tuple[int, float]]) -> None:
    while held:
        with suppress(OSError):
            os.close(held.popitem()[1][0])


@define(eq=False)
class ModelCache:
    """Everything under one folder. To be used in worker threads: it touches the disk."""

    folder: str
    holds: Holds = field(factory=Holds)

    @property
    def blobs(self) -> str:
        """The models in place."""
        return os.path.join(self.folder, "blobs")

    def blob(self, digest: str) -> str:
        """The folder of a digest that has been checked to be one."""
        return os.path.join(self.blobs, digest.replace(":", "-"))

    def partial(self, reference: str) -> str:
        """The folder in which a reference is being fetched; its lock is beside it."""
        return os.path.join(self.folder, "partial", _hashed(reference))

    def prepare(self) -> None:
        """Make the folders, or see that they are ours. Raises OSError."""
        self.folder = os.path.realpath(self.folder)
        private_folder(self.folder)
        for name in ("blobs", "index", "partial"):
            private_folder(os.path.join(self.folder, name))

    # --- what is in place ------------------------------------------------------------------------------

    def find(self, digest: str) -> Kept | None:
        """The model of a digest if it is in place and whole."""
        return _read_manifest(self.blob(digest), digest)

    def use(self, digest: str) -> Kept | None:
        """As `find`; and nobody takes it until it is released."""
        manifest = os.path.join(self.blob(digest), MANIFEST)
        if (descriptor := locked(manifest, shared=True)) is None:
            return None
        if (kept := self.find(digest)) is None:
            os.close(descriptor)
            return None
        os.utime(descriptor)
        self.holds.add(digest, descriptor)
        return kept

    def path(self, kept: Kept, ending: str) -> str:
        """Where it is. A file also with that ending to its name, since engines go by it."""
        have = os.path.join(self.blob(kept.digest), kept.lead)
        if kept.folder or len(kept.files) > 1 or have.endswith(ending):
            return have
        also = have + ending
        with suppress(FileExistsError):
            os.link(have, also)
        return also

    def publish(
        self, listing: Listing, digest: str, files: dict[str, str], check: Callable[[str], None]
    ) -> None:
        """Move whole, verified, synced files (by name within the model: their paths) to their place, at once.

        `check` is called with the path of the model before it is there for anybody; it may raise.
        """
        made = private_folder(unique(self.blobs, ".new-"))
        try:
            self._assemble(made, listing, digest, files)
            check(os.path.join(made, listing.lead))
            self._place(made, digest)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        sync_folder(self.blobs)

    @staticmethod
    def _assemble(made: str, listing: Listing, digest: str, files: dict[str, str]) -> None:
        inner = private_folder(os.path.join(made, listing.lead)) if listing.folder else made
        sizes = tuple((name, os.stat(path).st_size) for name, path in files.items())
        for name, path in files.items():
            os.rename(path, os.path.join(inner, name))
        kept = Kept(digest, listing.lead, listing.folder, sizes)
        write_whole(os.path.join(made, MANIFEST), _manifest(kept))
        for folder in {inner, made}:
            sync_folder(folder)

    def _place(self, made: str, digest: str) -> None:
        place = self.blob(digest)
        try:
            os.rename(made, place)
        except OSError:
            if self.find(digest) is not None:  # somebody else was faster: the same bytes
                return
            self.discard(place)  # what is there is damaged
            os.rename(made, place)

    def remove(self, digest: str) -> bool:
        """Remove a model, unless somebody uses it, in this process or another one."""
        place = self.blob(digest)
        descriptor = locked(os.path.join(place, MANIFEST))
        if descriptor is None:
            return False
        try:
            self.discard(place)
        finally:
            os.close(descriptor)
        return True

    def discard(self, path: str) -> None:
        """Take something out of its place at once, then remove it."""
        away = unique(os.path.dirname(path), ".gone-")
        os.rename(path, away)
        if os.path.isdir(away) and not os.path.islink(away):
            shutil.rmtree(away, ignore_errors=True)
        else:
            os.unlink(away)

    def clear(self, reference: str) -> None:
        """Remove what was under way; its lock is held by the caller."""
        shutil.rmtree(self.partial(reference), ignore_errors=True)

    # --- what references stood for -----------------------------------------------------------------------

    def remember(self, reference: str, listing: Listing, digest: str) -> None:
        """Note what a reference stands for now."""
        validators = [[file.name, file.validator] for file in listing.files]
        note = json.dumps({"digest": digest, "validators": validators}).encode()
        write_whole(self._note(reference), note)

    def recall(self, reference: str) -> Memory | None:
        """What a reference stood for when it was fetched last."""
        try:
            note = json.loads(read_whole(self._note(reference)) or b"")
            validators = tuple((str(name), str(validator)) for name, validator in note["validators"])
            return Memory(_digest(note["digest"]), validators)
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def digests(self, used: Used) -> frozenset[str]:
        """What is in use, by digest."""
        named = {digest for _, digest in used if digest is not None}
        memories = [self.recall(reference) for reference, digest in used if digest is None]
        return frozenset(named | {memory.digest for memory in memories if memory is not None})

    def _note(self, reference: str) -> str:
        return os.path.join(self.folder, "index", f"{_hashed(reference)}.json")


def _hashed(reference: str) -> str:
    return hashlib.sha256(reference.encode(errors="surrogatepass")).hexdigest()


def _digest(text: Any) -> str:
    kind, _, digits = text.partition(":")
    if kind != "sha256" or len(bytes.fromhex(digits)) != 32:
        raise ValueError(text)
    return f"sha256:{bytes.fromhex(digits).hex()}"


def _manifest(kept: Kept) -> bytes:
    return json.dumps({"lead": kept.lead, "folder": kept.folder, "files": kept.files}).encode()


def _read_manifest(place: str, digest: str) -> Kept | None:
    try:
        told = json.loads(read_whole(os.path.join(place, MANIFEST)) or b"")
        files = tuple((str(name), int(size)) for name, size in told["files"])
        kept = Kept(digest, str(told["lead"]), bool(told["folder"]), files)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    inner = os.path.join(place, kept.lead) if kept.folder else place
    return kept if all(_is_whole(os.path.join(inner, name), size) for name, size in files) else None


def _is_whole(path: str, size: int) -> bool:
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
