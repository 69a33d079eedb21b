"""What a worker thread does to stage a model: what is kept already, else fetched, verified, published."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from pool_lifecycle.interfaces import ModelInfo, StagedModel
from pool_lifecycle.references import Reference, path_defect
from pool_lifecycle_drivers.cache_room import make_room
from pool_lifecycle_drivers.digests import read_digest
from pool_lifecycle_drivers.fetch_file import Partial, fetch_file
from pool_lifecycle_drivers.fetch_source import Listing, Remote, Source, Trouble, Watch, disk_trouble
from pool_lifecycle_drivers.header_bytes import Defect
from pool_lifecycle_drivers.model_cache import Kept, ModelCache, Used
from pool_lifecycle_drivers.model_files import digest_of
from pool_lifecycle_drivers.model_header import details, examine
from pool_lifecycle_drivers.private_files import lock, private_folder


@frozen
class Fetching:
    """One model to stage. `used` is what may not be taken to make room for it.

    `offline`: the user has said that the source is not to be asked, so that what was fetched last will do.
    """

    cache: ModelCache
    source: Source
    reference: Reference
    digest: str | None = None
    used: Used = frozenset()
    offline: Callable[[], bool] = lambda: False

    def resolve(self, watch: Watch) -> ModelInfo:
        """What the reference stands for; where the source cannot be asked, what it stood for last."""
        try:
            if self.reference.immutable and (kept := self._last(use=False)) is not None:
                return self._info(kept)
            listing = self.source.look(watch)
        except Trouble as trouble:
            if not trouble.unasked:
                raise
            if (kept := self._last(use=False)) is None:
                return self._info_in_place(trouble)
            return self._info(kept)
        return ModelInfo(self.reference.text, listing.lead, listing.size)

    def stage(self, watch: Watch) -> StagedModel:
        """The model in its place. Raises Trouble and Stopped."""
        try:
            return self._stage(watch)
        except OSError as error:
            raise disk_trouble(error, self.cache.folder) from error

    def _stage(self, watch: Watch) -> StagedModel:
        self.cache.prepare()
        if self.digest is not None and (kept := self.cache.use(self.digest)) is not None:
            return self._staged(kept)
        partial = self.cache.partial(self.reference.text)
        held = lock(f"{partial}.lock", lambda: _look_on(partial, watch))
        watch.done = 0
        try:
            kept = self._known() or self._fetched(partial, watch)
            with suppress(OSError):
                os.unlink(f"{partial}.lock")
        except Trouble as trouble:
            if not trouble.unasked or (found := self._in_place(watch)) is None:
                raise
            return found
        finally:
            os.close(held)
        return self._staged(kept)

    def _in_place(self, watch: Watch) -> StagedModel | None:
        """The model where somebody else keeps it, if it is surely what is meant."""
        sure = self.digest is not None or self.reference.immutable or self.offline()
        if not sure or (paths := self.source.in_place()) is None:
            return None
        digest = read_digest(paths, lambda _: watch.check())
        if self.digest not in (None, digest):
            raise _other_digest(self.reference, digest, self.digest)
        path = paths[0] if self.reference.files else os.path.dirname(paths[0])
        self._sound(path)
        size = sum(os.stat(path).st_size for path in paths)
        return StagedModel(self.reference.text, path, size, digest, details(path))

    # --- without fetching ------------------------------------------------------------------------------

    def _known(self) -> Kept | None:
        """The model, if it is in place and surely what is meant."""
        if self.digest is not None:
            return self.cache.use(self.digest)  # fetched while the lock was waited for
        if self.reference.immutable or self.offline():
            return self._last(use=True)
        return None

    def _last(self, *, use: bool) -> Kept | None:
        """What the reference stood for when it was fetched last."""
        memory = self.cache.recall(self.reference.text)
        if memory is None or self.digest not in (None, memory.digest):
            return None
        return self.cache.use(memory.digest) if use else self.cache.find(memory.digest)

    def _unchanged(self, listing: Listing) -> Kept | None:
        """What is in place, if the source says that it is still the same."""
        told = [file.digest for file in listing.files]
        if None not in told:
            told_digest = _whole_digest(listing, [digest or "" for digest in told])
            return self._checked(listing, told_digest)
        memory = self.cache.recall(self.reference.text)
        return self.cache.use(memory.digest) if memory is not None and memory.holds(listing) else None

    def _checked(self, listing: Listing, told: str) -> Kept | None:
        if self.digest not in (None, told):
            raise _other_digest(self.reference, told, self.digest)
        if (kept := self.cache.use(told)) is not None:
            self.cache.remember(self.reference.text, listing, told)
        return kept

    # --- fetching ----------------------------------------------------------------------------------------

    def _fetched(self, partial: str, watch: Watch) -> Kept:
        listing = self._look(watch)
        if (kept := self._unchanged(listing)) is not None and self.digest in (None, kept.digest):
            return kept
        _see_names(listing)
        private_folder(partial)
        parts = [Partial(os.path.join(partial, f"{number}.part")) for number in range(len(listing.files))]
        try:
            for part in parts:
                part.open()
            there = sum(part.there(file) for part, file in zip(parts, listing.files, strict=True))
            make_room(self.cache, max(0, (listing.size or 0) - there), self.used)
            return self._receive(listing, parts, watch)
        finally:
            for part in parts:
                part.close()

    def _look(self, watch: Watch) -> Listing:
        try:
            return self.source.look(watch)
        except Trouble as trouble:
            memory = self.cache.recall(self.reference.text)
            if trouble.unasked and memory is not None and self.cache.find(memory.digest) is not None:
                remedy = (
                    f"{trouble.remedy}; or ask for {memory.digest}, what was fetched last, by that digest"
                )
                raise Trouble(trouble.message, remedy, heals=trouble.heals, unasked=True) from trouble
            raise

    def _receive(self, listing: Listing, parts: list[Partial], watch: Watch) -> Kept:
        watch.total = listing.size
        received: list[tuple[Remote, str]] = []
        for file, part in zip(listing.files, parts, strict=True):
            now, digest = fetch_file(self.source, file, part, watch)
            received.append((now, digest))
            if file.digest not in (None, digest):
                part.discard()
                words = f"{file.name!r} arrived as {digest}, but its source says {file.digest}"
                raise Trouble(words, "try again; if it stays so, the source is damaged", heals=True)
        try:
            self.source.settle(listing)
            return self._publish(
                Listing(listing.lead, tuple(now for now, _ in received), listing.folder),
                [digest for _, digest in received],
                parts,
            )
        except Trouble:
            for part in parts:
                part.discard()
            raise

    def _publish(self, listing: Listing, digests: list[str], parts: list[Partial]) -> Kept:
        digest = _whole_digest(listing, digests)
        if self.digest not in (None, digest):
            raise _other_digest(self.reference, digest, self.digest)
        if self.cache.find(digest) is None:
            names = [file.name for file in listing.files]
            paths = dict(zip(names, (part.path for part in parts), strict=True))
            self.cache.publish(listing, digest, paths, self._sound)
        self.cache.clear(self.reference.text)
        self.cache.remember(self.reference.text, listing, digest)
        kept = self.cache.use(digest)
        if kept is None:
            raise Trouble("the model was taken away as soon as it was there", "try again", heals=True)
        return kept

    def _sound(self, path: str) -> None:
        """Raise Trouble for what no engine can load, such as an error page under a model's name."""
        if isinstance(defect := examine(path), Defect):
            words = f"what {self.reference.text!r} leads to {defect.message}"
            raise Trouble(words, "look at what the source has there", heals=False)

    # --- what is told ------------------------------------------------------------------------------------

    def _staged(self, kept: Kept) -> StagedModel:
        path = self.cache.path(kept, self._wanted())
        return StagedModel(self.reference.text, path, kept.size, kept.digest, details(path))

    def _info(self, kept: Kept) -> ModelInfo:
        path = self.cache.path(kept, self._wanted())
        return ModelInfo(self.reference.text, os.path.basename(path), kept.size, details(path))

    def _info_in_place(self, trouble: Trouble) -> ModelInfo:
        if (paths := self.source.in_place()) is None:
            raise trouble
        path = paths[0] if self.reference.files else os.path.dirname(paths[0])
        size = sum(os.stat(one).st_size for one in paths)
        return ModelInfo(self.reference.text, os.path.basename(path), size, details(path))

    def _wanted(self) -> str:
        return ".gguf" if self.reference.text.partition("?")[0].lower().endswith(".gguf") else ""


def _whole_digest(listing: Listing, digests: list[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    return digest_of((file.name, digest) for file, digest in zip(listing.files, digests, strict=True))


def _look_on(partial: str, watch: Watch) -> None:
    """While somebody else fetches the model: how far that is."""
    watch.check()
    with suppress(OSError):
        parts = [entry.stat().st_size for entry in os.scandir(partial) if entry.name.endswith(".part")]
        watch.done = max(watch.done, sum(parts))


def _see_names(listing: Listing) -> None:
    """Raise Trouble unless every name is harmless as a part of a path, and none is like one of ours."""
    names = [listing.lead, *(file.name for file in listing.files)]
    wrong = [name for name in names if path_defect(name) is not None or "/" in name or name[0] == "."]
    if wrong or len(set(names[1:])) < len(listing.files):
        words = f"the source names a file {(wrong or names)[0]!r}, which cannot be kept"
        raise Trouble(words, "look at what the source has there", heals=False)


def _other_digest(reference: Reference, found: str, asked: str | None) -> Trouble:
    words = f"what {reference.text!r} leads to is {found}, not {asked}"
    return Trouble(
        words, "correct the digest or the reference, after finding out which is right", heals=False
    )


def is_inside(path: str, folder: str) -> bool:
    """Whether a path, links followed, lies in a folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
