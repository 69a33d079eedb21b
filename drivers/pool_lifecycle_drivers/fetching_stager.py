"""What the stagers of fetched models have in common: one cache, one download for all who ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TypeVar

from attrs import define, field

from pool_lifecycle.errors import ConfigError, DriverError
from pool_lifecycle.interfaces import InUse, ModelInfo, StagedModel, StageProgress
from pool_lifecycle.references import Reference, digest_defect
from pool_lifecycle_drivers.cache_room import trim
from pool_lifecycle_drivers.fetch_source import Source, Trouble, Watch, disk_trouble, refused
from pool_lifecycle_drivers.fetching import Fetching, is_inside
from pool_lifecycle_drivers.model_cache import ModelCache, Used, default_folder
from pool_lifecycle_drivers.offload import in_thread
from pool_lifecycle_drivers.sharing import Progress, Sharing

T = TypeVar("T")

GRACE = 600.0
"""Seconds for which a model that was staged is kept although nobody uses it yet: its engine is to start."""


def _nothing() -> Used:
    return frozenset()


def _never() -> bool:
    return False


@define(eq=False)
class FetchingStager:
    """Stages what a `source` has. `driver` is the name of the driver that this is for."""

    driver: str
    source: Callable[[Reference], Source]
    offline: Callable[[], bool] = _never
    grace: float = GRACE
    _cache: ModelCache | None = None
    _limit: int | None = None
    _in_use: InUse = _nothing
    _staging: Sharing[StagedModel] = field(factory=Sharing)
    _resolving: Sharing[ModelInfo] = field(factory=Sharing)
    _tidying: Sharing[None] = field(factory=Sharing)

    def keep_in(self, *, folder: str, limit: int | None, in_use: InUse) -> None:
        """Keep models under `folder`, at most `limit` bytes of them but for those in use."""
        self._cache = ModelCache(os.path.abspath(folder))
        self._limit = limit
        self._in_use = in_use

    async def resolve(self, *, reference: str) -> ModelInfo:
        """Name and size. Raises DriverError with stage STAGING."""
        fetching = self._fetching(reference, None)
        return await self._told(self._resolving, reference, fetching.resolve, _ignore)

    async def stage(self, *, reference: str, digest: str | None, progress: Progress) -> StagedModel:
        """The model in its place in the cache. Raises DriverError with stage STAGING."""
        fetching = self._fetching(reference, digest)
        staged = await self._told(self._staging, (reference, digest), fetching.stage, progress)
        with suppress(DriverError):  # what cannot be tidied up now may be later
            await self._tidy()
        progress(StageProgress(staged.size, staged.size))
        return staged

    async def evict(self, *, model: StagedModel) -> bool:
        """Remove it from the cache, unless somebody uses it. True if it is gone by this."""
        digest, cache, used = model.digest, self.cache, self._used()
        if digest is None or digest_defect(digest) is not None:
            return False
        return await in_thread(lambda: _evict(cache, model.path, digest, used))

    @property
    def cache(self) -> ModelCache:
        """Where models are kept."""
        if self._cache is None:
            self._cache = ModelCache(default_folder())
        return self._cache

    def _fetching(self, reference: str, digest: str | None) -> Fetching:
        try:
            parsed = Reference.parse(reference)
            if digest is not None and (defect := digest_defect(digest)) is not None:
                raise Trouble(f"the digest {digest!r} {defect}", "correct the digest", heals=False)
            source = self.source(parsed)
        except ConfigError as error:
            raise refused(self.driver, Trouble(str(error), "correct the reference", heals=False)) from error
        except Trouble as trouble:
            raise refused(self.driver, trouble) from trouble
        return Fetching(self.cache, source, parsed, digest, self._used(), self.offline)

    def _used(self) -> Used:
        return frozenset(self._in_use())

    async def _told(
        self, sharing: Sharing[T], key: Hashable, work: Callable[[Watch], T], progress: Progress
    ) -> T:
        try:
            return await sharing.do(key, work, progress)
        except Trouble as trouble:
            raise refused(self.driver, trouble) from trouble
        except OSError as error:
            raise refused(self.driver, disk_trouble(error, self.cache.folder)) from error

    async def _tidy(self) -> None:
        """Keep within the limit. Shared, as whoever comes first does it for all."""
        cache, limit, grace, used = self.cache, self._limit, self.grace, self._used()
        await self._told(self._tidying, used, lambda _: trim(cache, limit, used, grace), _ignore)


def _evict(cache: ModelCache, path: str, digest: str, used: Used) -> bool:
    if digest in cache.digests(used) or not is_inside(path, cache.blob(digest)):
        return False
    cache.holds.release(digest)
    return cache.remove(digest)


def _ignore(_: StageProgress) -> None:
    """Whoever does not care."""
