"""The handoff document: what a pool that became ready tells the programs around it.

One JSON file per pool. The same document, read back from a file or a message, makes a pool ready in a
registry (`Registry.register_ready_from_handoff`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from attrs import field, frozen

from pool_lifecycle.errors import HandoffError, StateDirError
from pool_lifecycle.redaction import hide_secrets
from pool_lifecycle.spec import PoolSpec


@frozen
class Handoff:
    """How a ready pool is reached, and what serves there. Secrets among `flags` are hidden when it is made.

    `engine` is the engine profile's name, `provisioning_mode` the launcher's. `device_mask` None means
    unrestricted, `engine_version` None that it is not known.
    """

    pool_id: str
    replica_id: str
    engine: str
    url: str
    slots: int
    engine_version: str | None = None
    model_path: str | None = None
    flags: tuple[str, ...] = field(default=(), converter=hide_secrets)
    provisioning_mode: str = "local"
    device_mask: str | None = None

    @classmethod
    def of(
        cls, spec: PoolSpec, *, url: str, model_path: str | None, engine_version: str | None = None
    ) -> Handoff:
        """The handoff of a pool declared by `spec`, ready at `url`. A declared version is the default."""
        return cls(
            pool_id=spec.pool_id,
            replica_id=spec.replica_id,
            engine=spec.engine.profile,
            url=url,
            slots=spec.slots,
            engine_version=engine_version or spec.engine.version,
            model_path=model_path,
            flags=spec.engine.args,
            provisioning_mode=spec.launcher,
            device_mask=spec.device_mask,
        )

    def document(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return {
            "engine": self.engine,
            "engine_version": self.engine_version,
            "url": self.url,
            "pool_id": self.pool_id,
            "replica_id": self.replica_id,
            "model": {"path": self.model_path},
            "flags": list(self.flags),
            "provisioning_mode": self.provisioning_mode,
            "device_mask": self.device_mask,
            "slots": self.slots,
        }

    def to_json(self) -> str:
        """The document as indented JSON with a final line end."""
        members = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.document().items())
        return "{\n" + ",\n".join(members) + "\n}\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Put the document at `path`: readers see the whole old or the whole new one, never half of it.

        Only our own user may read it. The folder must exist. Raises StateDirError when it cannot be
        written; nothing is left behind then.
        """
        folder, name = os.path.split(path)
        part = os.path.join(folder, f".{name}.part")
        try:
            _write_private(part, self.to_json())
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise StateDirError(
                f"the handoff file {path} cannot be written: {error.strerror or error}",
                pool_id=self.pool_id,
                remedy="make its folder writable for this user, with space left",
            ) from error


def _write_private(path: str, text: str) -> None:
    """Write a file that was not there before, so that a planted link is not followed."""
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except FileExistsError:  # left by a manager that was killed, or planted
        os.unlink(path)
        descriptor = os.open(path, _NEW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(text.encode())


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def url_at(path: str | os.PathLike[str]) -> str | None:
    """The address in the document at `path`; None where there is no such document."""
    try:
        with open(path, "rb") as file:
            url = json.load(file)["url"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return url if isinstance(url, str) else None


def remove(path: str | os.PathLike[str]) -> bool:
    """Take the handoff file away. False when there was none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


class HandoffFields(TypedDict, total=False):
    """What a registry takes from a handoff document; a key is absent where the document has none."""

    engine_version: str | None
    device_mask: str | None
    slots_total: int
    slots_free: int


def read(document: object) -> HandoffFields:
    """Check every field that is known and return those that concern a registry. Unknown ones are ignored.

    `slots` stands for `slots_total` and `slots_free` alike, where those are absent. Raises HandoffError
    naming the first field of a wrong type.
    """
    if not isinstance(document, Mapping):
        raise HandoffError("(document)", _shown(document), "an object")
    for name, (valid, is_valid) in _FIELDS.items():
        if name in document and not is_valid(document[name]):
            raise HandoffError(name, _shown(document[name]), valid)
    fields: HandoffFields = {}
    if "slots" in document:
        fields["slots_total"] = fields["slots_free"] = document["slots"]
    for key in ("engine_version", "device_mask", "slots_total", "slots_free"):
        if key in document:
            fields[key] = document[key]
    return fields


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_model(value: object) -> bool:
    return isinstance(value, Mapping) and _is_text_or_null(value.get("path"))


_TEXT = ("a string", _is_text)
_TEXT_OR_NULL = ("a string or null", _is_text_or_null)
_WHOLE = ("a whole number", _is_whole)

_FIELDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "engine": _TEXT,
    "engine_version": _TEXT_OR_NULL,
    "url": _TEXT,
    "pool_id": _TEXT,
    "replica_id": _TEXT,
    "model": ("an object whose path is a string or null", _is_model),
    "flags": ("a list of strings", _is_texts),
    "provisioning_mode": _TEXT,
    "device_mask": _TEXT_OR_NULL,
    "slots": _WHOLE,
    "slots_total": _WHOLE,
    "slots_free": _WHOLE,
}


def _shown(value: object) -> object:
    """The value as an error may show it: never a whole foreign document."""
    if isinstance(value, str):
        return value if len(value) <= 80 else value[:77] + "..."
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__
