"""The stager for models of the Hugging Face hub."""

from __future__ import annotations

from pool_lifecycle.references import Reference
from pool_lifecycle_drivers.fetch_http import TIMEOUT
from pool_lifecycle_drivers.fetch_hub import HubSource, stays_offline
from pool_lifecycle_drivers.fetch_source import Source, Trouble
from pool_lifecycle_drivers.fetching_stager import GRACE, FetchingStager

NAME = "hub"


class HubStager(FetchingStager):
    """Fetches `hf:org/repo@revision::file=path` into a cache, verified, once for all; see docs/models.md.

    Without a file, the whole model in safetensors. Token, endpoint and whether to stay offline are those of
    huggingface_hub (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`); `endpoint` comes before that.
    """

    def __init__(
        self, *, endpoint: str | None = None, timeout: float = TIMEOUT, grace: float = GRACE
    ) -> None:
        def source(reference: Reference) -> Source:
            if reference.stager != NAME:
                words = f"{reference.text!r} is not of the hub"
                raise Trouble(words, f"use the stager {reference.stager!r}", heals=False)
            return HubSource(reference, endpoint, timeout)

        super().__init__(NAME, source, stays_offline, grace)
