"""Models of the Hugging Face hub, by its HTTP interface.

huggingface_hub lends what the user has told it: token, endpoint, whether to stay offline, its own cache. The
bytes are fetched as all others are, so that they are verified, gone on with and counted in the same way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from urllib.parse import quote

from attrs import frozen

from pool_lifecycle.references import Reference
from pool_lifecycle_drivers.fetch_http import TIMEOUT, HttpBody, HttpSource
from pool_lifecycle_drivers.fetch_source import Listing, Remote, Trouble, Watch
from pool_lifecycle_drivers.model_files import (
    INDEX,
    Incomplete,
    parts_of,
    read_index,
    safe_name,
    whole_model,
)
from pool_lifecycle_drivers.private_files import read_whole

MOST_TOLD = 64 << 20
"""Bytes that a list of files or an index may have."""


@frozen
class HubSource:
    """What a reference of the scheme `hf` means now."""

    reference: Reference
    endpoint: str | None = None
    timeout: float = TIMEOUT

    def look(self, watch: Watch) -> Listing:
        """Ask the hub which files there are, with their digests where it knows them."""
        if stays_offline():
            words = f"{self.reference.text!r} cannot be asked for: HF_HUB_OFFLINE says to stay offline"
            remedy = "fetch it once while online, or unset HF_HUB_OFFLINE"
            raise Trouble(words, remedy, heals=False, unasked=True)
        told = self._json(
            f"/api/models/{_quoted(self.reference.repository)}/revision/{self._revision}", watch
        )
        commit, files = told.get("sha"), told.get("siblings")
        if not isinstance(commit, str) or not commit.isalnum() or not isinstance(files, list):
            raise self._nonsense("it names no commit and no files")
        listed = {one["rfilename"]: one for one in files if isinstance(one, dict) and "rfilename" in one}
        return self._listing(commit, listed, watch)

    def open(self, file: Remote, offset: int, watch: Watch) -> HttpBody:
        """Its bytes. What they are is known by the commit already, whatever a server may call it."""
        return self._http(file.address).open(file, offset, watch)

    def settle(self, listing: Listing) -> None:
        """A commit does not change."""

    def in_place(self) -> tuple[str, ...] | None:
        """The files, if huggingface_hub's own cache has all of them."""
        if (folder := _snapshot(self.reference)) is None:
            return None
        try:
            if self.reference.files:
                names = tuple(part for path in self.reference.files for part in _parts(path))
            else:
                index = read_whole(os.path.join(folder, INDEX), MOST_TOLD)
                names = whole_model(os.listdir(folder), None if index is None else read_index(index))
        except Incomplete:
            return None
        paths = tuple(os.path.join(folder, name) for name in names)
        return paths if all(map(os.path.isfile, paths)) else None

    @property
    def _revision(self) -> str:
        return quote(self.reference.revision, safe="")

    @property
    def _base(self) -> str:
        return (self.endpoint or _hub().constants.ENDPOINT).rstrip("/")

    def _http(self, url: str) -> HttpSource:
        token = _hub().get_token()
        return HttpSource(
            url, {"Authorization": f"Bearer {token}"} if token else {}, self.timeout, fixed=True
        )

    def _json(self, path: str, watch: Watch) -> Mapping[str, Any]:
        url = f"{self._base}{path}?blobs=true"
        try:
            told = json.loads(self._http(url).get(url, watch, most=MOST_TOLD))
        except (ValueError, RecursionError) as error:
            raise self._nonsense(str(error)) from error
        if not isinstance(told, dict):
            raise self._nonsense("it is no JSON object")
        return told

    def _listing(self, commit: str, listed: Mapping[str, Mapping[str, Any]], watch: Watch) -> Listing:
        try:
            if asked := self.reference.files:
                return self._files(commit, asked, listed)
            index = self._index(commit, watch) if INDEX in listed else None
            names = whole_model(listed, index)
        except Incomplete as error:
            words = f"{self.reference.text!r} is no whole model: {error}"
            raise Trouble(words, "correct the reference", heals=False) from error
        lead = safe_name(self.reference.repository.rpartition("/")[2])
        return Listing(lead, tuple(self._remote(commit, name, listed[name]) for name in names), folder=True)

    def _files(self, commit: str, asked: tuple[str, ...], listed: Mapping[str, Mapping[str, Any]]) -> Listing:
        paths = list(dict.fromkeys(part for path in asked for part in _parts(path)))
        if missing := [path for path in paths if path not in listed]:
            raise Incomplete(f"there is no {missing[0]!r}")
        names = [path.rpartition("/")[2] for path in paths]
        if len(set(names)) < len(names):
            raise Incomplete("two of its files have the same name")
        single = safe_name(names[0]) if len(names) == 1 else names[0]
        names[0] = single
        return Listing(
            single,
            tuple(
                self._remote(commit, path, listed[path], name)
                for path, name in zip(paths, names, strict=True)
            ),
        )

    def _remote(self, commit: str, path: str, told: Mapping[str, Any], name: str = "") -> Remote:
        stored = told.get("lfs")
        stored = stored if isinstance(stored, dict) else {}
        size, digest = stored.get("size", told.get("size")), stored.get("sha256")
        url = f"{self._base}/{_quoted(self.reference.repository)}/resolve/{commit}/{_quoted(path)}"
        return Remote(
            name or path,
            url,
            size if isinstance(size, int) and size >= 0 else None,
            f"{commit}:{told.get('blobId') or digest or path}",
            f"sha256:{digest}" if isinstance(digest, str) else None,
        )

    def _index(self, commit: str, watch: Watch) -> Mapping[str, object]:
        url = f"{self._base}/{_quoted(self.reference.repository)}/resolve/{commit}/{INDEX}"
        return read_index(self._http(url).get(url, watch, most=MOST_TOLD))

    def _nonsense(self, words: str) -> Trouble:
        remedy = "look at the endpoint: something else may answer in its place"
        whole = f"the hub's answer about {self.reference.text!r} makes no sense: {words}"
        return Trouble(whole, remedy, heals=True)


def stays_offline() -> bool:
    """Whether the user has told huggingface_hub not to ask. Raises Trouble when that is not installed."""
    return bool(_hub().constants.HF_HUB_OFFLINE)


def _snapshot(reference: Reference) -> str | None:
    """The folder in huggingface_hub's own cache that a revision stands for there."""
    cache = _hub().constants.HF_HUB_CACHE
    repository = os.path.join(cache, "models--" + reference.repository.replace("/", "--"))
    commit = reference.revision
    if not reference.immutable:
        told = read_whole(os.path.join(repository, "refs", *reference.revision.split("/")), 64) or b""
        commit = told.decode(errors="replace").strip()
    folder = os.path.join(repository, "snapshots", commit)
    return folder if commit.isalnum() and os.path.isdir(folder) else None


def _parts(path: str) -> list[str]:
    folder, slash, name = path.rpartition("/")
    return [folder + slash + part for part in parts_of(name)]


def _quoted(path: str) -> str:
    return quote(path, safe="/")


def _hub() -> ModuleType:
    try:
        import huggingface_hub.constants  # noqa: PLC0415 - only who needs it has it
    except ImportError as error:
        remedy = "pip install 'pool-lifecycle[staging]'"
        raise Trouble("huggingface_hub is not installed", remedy, heals=False) from error
    return huggingface_hub
