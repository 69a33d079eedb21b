"""The stager for URLs: http and https by our own means, everything else through fsspec."""

from __future__ import annotations

from pool_lifecycle.references import Reference
from pool_lifecycle_drivers.fetch_fsspec import FsspecSource
from pool_lifecycle_drivers.fetch_http import TIMEOUT, HttpSource
from pool_lifecycle_drivers.fetch_source import Source, Trouble
from pool_lifecycle_drivers.fetching_stager import GRACE, FetchingStager

NAME = "fsspec"


class FsspecStager(FetchingStager):
    """Fetches models from URLs into a cache, verified, once for all who ask; see docs/models.md.

    A download that was cut off is gone on with. `timeout`: seconds without a byte after which an HTTP server
    counts as stalled. `grace`: seconds for which what was staged is kept although nobody says it is in use.
    """

    def __init__(self, *, timeout: float = TIMEOUT, grace: float = GRACE) -> None:
        def source(reference: Reference) -> Source:
            if reference.stager != NAME:
                words = f"{reference.text!r} is no URL that fsspec opens"
                raise Trouble(words, f"use the stager {reference.stager!r}", heals=False)
            if reference.scheme in {"http", "https"}:
                return HttpSource(reference.location, timeout=timeout)
            return FsspecSource(reference.location)

        super().__init__(NAME, source, grace=grace)
