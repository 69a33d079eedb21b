"""Which files make up a model, and what they are called here. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote, urlsplit

from pool_lifecycle.references import path_defect

INDEX = "model.safetensors.index.json"
WEIGHTS = ".safetensors"
BESIDE = (".json", ".jinja", ".model", ".py", ".tiktoken", ".txt")
"""What engines read beside the weights: configuration, tokenizers, templates and, if told to, code."""

LONGEST = 128
"""Characters of a name given to a model here."""

_PART = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(\.gguf|\.safetensors)", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]+")
MOST_PARTS = 10_000


class Incomplete(ValueError):
    """Files that make up no whole model; its text says what is missing."""


def parts_of(name: str) -> tuple[str, ...]:
    """All parts of a split model of which `name` is one, the first one first; else the name alone."""
    found = _PART.fullmatch(name)
    if found is None or not 1 <= int(found[2]) <= int(found[4]) <= MOST_PARTS:
        return (name,)
    before, _, of, last, after = found.groups()
    return tuple(f"{before}{number:05}{of}{last}{after}" for number in range(1, int(last) + 1))


def url_name(url: str) -> str:
    """A safe name for what a URL leads to; its ending stays."""
    return safe_name(unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]))


def safe_name(name: str) -> str:
    """The same name where it is harmless, else one like it that is; its ending stays."""
    plain = _UNSAFE.sub("_", name).lstrip(".-")
    return plain[-LONGEST:].lstrip(".-") or "model"


def whole_model(names: Collection[str], index: Mapping[str, object] | None) -> tuple[str, ...]:
    """The files of a folder that serve as one model in safetensors. Raises Incomplete.

    `index` is what `model.safetensors.index.json` holds, where there is one: then its parts are the weights,
    and other weights in the folder are the same once more.
    """
    flat = sorted(name for name in names if "/" not in name and path_defect(name) is None)
    weights = [name for name in flat if name.endswith(WEIGHTS)] if index is None else indexed(index)
    if not weights:
        raise Incomplete("there are no safetensors" + _instead(names))
    needed = {part for name in weights for part in parts_of(name)}
    if missing := sorted(needed - set(flat)):
        raise Incomplete(f"{len(missing)} of {len(needed)} parts are missing, {missing[0]!r} first")
    return tuple(sorted(needed | {name for name in flat if name.endswith(BESIDE)}))


def indexed(index: Mapping[str, object]) -> list[str]:
    """The parts that an index of safetensors names. Raises Incomplete for one that makes no sense."""
    weights = index.get("weight_map")
    if not isinstance(weights, Mapping):
        raise Incomplete(f"{INDEX} has no weight_map")
    parts = {str(part) for part in weights.values()}
    if hostile := sorted(part for part in parts if "/" in part or path_defect(part) is not None):
        raise Incomplete(f"{INDEX} names {hostile[0]!r}, which lies elsewhere")
    return sorted(parts)


def read_index(text: bytes) -> Mapping[str, object]:
    """An index of safetensors. Raises Incomplete."""
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Incomplete(f"{INDEX} is no JSON: {error}") from error
    if not isinstance(index, Mapping):
        raise Incomplete(f"{INDEX} is no JSON object")
    return index


def _instead(names: Iterable[str]) -> str:
    found = sorted(name for name in names if name.endswith(".gguf"))
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    return f"; name one of its files: {shown}" if found else ""


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """The digest of a model of several files, each a name and its digest.

    As `sha256sum * | sha256sum` tells it in a folder with these files, whose names sort byte by byte.
    """
    lines = (f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(files, key=_bytes))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _bytes(file: tuple[str, str]) -> bytes:
    return file[0].encode()
