"""Model references: which model, from where, as one checked value. Pure.

file:/models/a.gguf, /models/a.gguf         a file or folder on this host, taken literally
hf:org/repo@revision::file=path             one file of a repository of the Hugging Face hub
hf:org/repo@revision                        the whole model of that repository
https://host/a.gguf, s3://bucket/folder     whatever fsspec can open
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from attrs import field, frozen

from pool_lifecycle.errors import ConfigError, Problem

STAGERS = {"": "file", "file": "file", "hf": "hub"}
"""Which driver stages references of which scheme; all others are fsspec's."""

MAIN = "main"
"""The revision of a repository where none is named."""

LONGEST = 4096
"""Characters of a reference."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,198}[A-Za-z0-9_-])?")
_LOGGED_IN = re.compile(r"[A-Za-z0-9+.-]+://[^/?#]*:[^/?#]*@")

HUB_FORM = "must be like hf:org/repo@revision::file=path (without @revision the newest, without ::file= all)"


@frozen
class Reference:
    """A reference taken apart. `text` is what was written, the rest what it means.

    `location` is a path for the scheme "file", a URL for fsspec's, and empty for the hub's, which has
    `repository`, `revision` and the `files` asked for: none means the whole model.
    """

    text: str
    scheme: str
    location: str = ""
    repository: str = ""
    revision: str = ""
    files: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, text: object) -> Reference:
        """Take a reference apart. Raises ConfigError, which says what would be valid."""
        if (defect := reference_defect(text)) is not None or not isinstance(text, str):
            raise ConfigError([Problem("model", text, defect or "must be text")])
        name = scheme(text) or "file"
        if name == "file":
            return cls(text, name, location=_path(text))
        if name == "hf":
            repository, revision, files = _hub_parts(text)
            return cls(text, name, repository=repository, revision=revision, files=files)
        return cls(text, name, location=text)

    @property
    def stager(self) -> str:
        """The name of the driver that stages it, unless a pool names another one."""
        return STAGERS.get(self.scheme, "fsspec")

    @property
    def immutable(self) -> bool:
        """Whether it can never come to stand for anything else: it names a commit."""
        return _COMMIT.fullmatch(self.revision) is not None


def scheme(reference: str) -> str:
    """The scheme, in small letters; empty for a plain path."""
    found = _SCHEME.match(reference)
    if found is None:
        return ""
    name = found[1].lower()
    return name if found[2] or name in STAGERS else ""


def stager_of(reference: str) -> str:
    """The name of the driver that stages it, unless a pool names another one."""
    return STAGERS.get(scheme(reference), "fsspec")


def reference_defect(value: object) -> str | None:
    """What would be valid instead of this reference; None when it is."""
    if not isinstance(value, str) or not value or "\0" in value:
        return "must be a model reference, not empty and without NUL bytes"
    if len(value) > LONGEST:
        return f"must be a model reference of at most {LONGEST} characters"
    name = scheme(value)
    if name in {"", "file"}:
        return _path_defect(value)
    return _hub_defect(value) if name == "hf" else _url_defect(value)


def digest_defect(value: object) -> str | None:
    """What would be valid instead of this digest; None when it is."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return None
    return "must be sha256: and 64 hexadecimal digits in small letters"


def path_defect(path: str) -> str | None:
    """What is wrong with the path of a file within a model; None when it stays inside."""
    if not path.isprintable() or "\\" in path or len(path.encode(errors="replace")) > 1024:
        return "must be a path of at most 1024 printable bytes, without backslashes"
    if any(part in {"", ".", ".."} or len(part.encode(errors="replace")) > 255 for part in path.split("/")):
        return "must be a relative path without empty parts, . or .., each at most 255 bytes"
    return None


def _path(text: str) -> str:
    path = text[len("file:") :] if text[:5].lower() == "file:" else text
    return path[2:] if path.startswith("///") else path


def _path_defect(text: str) -> str | None:
    path = _path(text)
    if not path:
        return "must name a path, for example file:/models/a.gguf"
    if path.startswith("//"):
        return "must name a path on this host: file:/path or file:///path"
    return None


def _url_defect(text: str) -> str | None:
    rest = text.partition("://")[2]
    if not text.isprintable() or " " in text:
        return "must be a URL without spaces and control characters (write them as %20 and the like)"
    if scheme(text) in {"http", "https"} and not _can_be_split(text):
        return "must be a URL as it should be: brackets around addresses of IPv6, a port up to 65535"
    if not rest or (scheme(text) in {"http", "https"} and rest[0] in "/?#:@"):
        return "must say what is meant after ://, for example https://host/a.gguf"
    if _LOGGED_IN.match(text):
        return "must not hold a password, which would be shown with it; give it in the environment"
    return None


def _can_be_split(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _hub_defect(text: str) -> str | None:
    repository, revision, files = _hub_parts(text)
    names = repository.split("/")
    # The hub allows neither -- nor .. in names; its own folders depend on it.
    if len(names) > 2 or not all(map(_NAME.fullmatch, names)) or "--" in repository or ".." in repository:
        return HUB_FORM
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        return f"{HUB_FORM}; the revision is a branch, a tag or a commit"
    if len(text.split("::")) - 1 != len(files):
        return HUB_FORM
    wrong = next((defect for path in files if (defect := path_defect(path))), None)
    return f"{HUB_FORM}; the path {wrong}" if wrong else None


def _hub_parts(text: str) -> tuple[str, str, tuple[str, ...]]:
    where, *options = text[len("hf:") :].split("::")
    repository, at, revision = where.partition("@")
    files = tuple(option[len("file=") :] for option in options if option.startswith("file="))
    return repository, revision if at else MAIN, files
