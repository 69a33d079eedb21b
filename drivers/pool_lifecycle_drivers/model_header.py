"""What a model's own header tells: a GGUF file, a safetensors file, a folder of them with `config.json`.

    details("/models/chat.gguf")
    # ModelDetails(format='gguf', architecture='llama', quantisation='Q4_K_M', parameters=..., ...)

Only headers are read, and whatever a file says, no more than `header_bytes.BUDGET`. Blocking: call it in a
thread.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from attrs import frozen

from pool_lifecycle.interfaces import ModelDetails
from pool_lifecycle_drivers.gguf_header import MAGIC, GgufHeader, read_gguf
from pool_lifecycle_drivers.header_bytes import JSON_LIMIT, Budget, Defect, HeaderBytes, Unreadable, parsed
from pool_lifecycle_drivers.model_files import INDEX, WEIGHTS, Incomplete, whole_model
from pool_lifecycle_drivers.safetensors_header import ModelConfig, Tensors, read_safetensors
from pool_lifecycle_drivers.serving_memory import serving_memory

CONFIG = "config.json"
PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL | re.IGNORECASE)
"""How the parts of a split GGUF file are named, counted from 1."""

MOST_FILES = 2000
"""Of one model. The largest models known have some two hundred."""


@frozen
class Examined:
    """A model that is there. `files` are all of its files, `size` are their bytes together.

    `details` None: its format is not one that we read.
    """

    files: tuple[str, ...]
    size: int
    details: ModelDetails | None = None


class Unusable(Exception):
    """Carries a defect out of a look."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.defect = Defect(message, remedy) if remedy else Defect(message)


def details(path: str | os.PathLike[str]) -> ModelDetails | None:
    """What the header of the model at `path` tells; None when it tells nothing. Raises nothing."""
    try:
        found = examine(os.fspath(path))
    except (OSError, ValueError):
        return None
    return found.details if isinstance(found, Examined) else None


def examine(path: str) -> Examined | Defect:
    """Look at the model at `path`: are all its files there, and as long as their headers say?

    Raises OSError when it cannot be opened or read, and ValueError when no file system can have that name.
    """
    try:
        with _opened(path) as (descriptor, found):
            if stat.S_ISDIR(found.st_mode):
                return _folder(path)
            return _file(path, descriptor, _regular(found))
    except Unusable as error:
        return error.defect


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, os.stat_result]]:
    # Without O_NONBLOCK, opening a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor, os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _regular(found: os.stat_result, what: str = "") -> int:
    """The size of a regular file that is not empty. `what`: a model's file, where it has several."""
    if not stat.S_ISREG(found.st_mode):
        raise Unusable(f"{what}is not a regular file", "put a model file there")
    if found.st_size == 0:
        raise Unusable(f"{what}is empty")
    return found.st_size


@contextmanager
def _beside(path: str, size_of: Budget) -> Iterator[HeaderBytes]:
    """A file that belongs to a model, opened. Raises Unusable when it is missing, or is no file."""
    name = f"is not whole: {os.path.basename(path)!r} "
    try:
        with _opened(path) as (descriptor, found):
            yield HeaderBytes(descriptor, _regular(found, name), size_of)
    except FileNotFoundError as error:
        raise Unusable(f"{name}is not there") from error


# --- one file --------------------------------------------------------------------------------------------


def _file(path: str, descriptor: int, size: int) -> Examined | Defect:
    file = HeaderBytes(descriptor, size)
    magic = os.pread(descriptor, len(MAGIC), 0)
    name = path.lower()
    try:
        if magic == MAGIC:
            return _gguf(path, file)
        if name.endswith(".safetensors"):
            return _safetensors(path, file)
    except Unreadable as error:
        return error.defect or Examined((path,), size)
    if name.endswith(".gguf"):
        remedy = "get the model again; perhaps an error page was saved instead"
        return Defect(f"is not a GGUF file: it begins with {magic!r}", remedy)
    return Examined((path,), size)


def _safetensors(path: str, file: HeaderBytes) -> Examined:
    tensors = Tensors()
    read_safetensors(file, tensors)
    return Examined((path,), file.size, _described(tensors, ModelConfig({})))


def _described(tensors: Tensors, config: ModelConfig) -> ModelDetails:
    return ModelDetails(
        format="safetensors",
        architecture=config.architecture,
        quantisation=config.quantisation or tensors.quantisation,
        parameters=tensors.parameters,
        context=config.context,
        memory=serving_memory(tensors.weights, config.attention, config.vocabulary),
    )


# --- GGUF, whole or split --------------------------------------------------------------------------------


def _gguf(path: str, file: HeaderBytes) -> Examined:
    first = read_gguf(file)
    number, count = first.part()
    if count == 1:
        return Examined((path,), file.size, _gguf_details([first]))
    paths = _parts(path, number, count)
    headers, size = [first], file.size
    for expected, other in enumerate(paths[1:], 1):
        with _beside(other, file.budget) as part:
            headers.extend(_read_part(part, os.path.basename(other), expected, count))
            size += part.size
    return Examined(paths, size, _gguf_details(headers) if len(headers) == count else None)


def _parts(path: str, number: int, count: int) -> tuple[str, ...]:
    """The paths of all parts, of which `path` must be the first: engines find the others by its name."""
    named = PART.fullmatch(path)
    if named is None or int(named["count"]) != count or int(named["number"]) != number + 1:
        raise Unusable(
            f"is part {number + 1} of {count} of a split model, but its name does not say so",
            f"give it the name that ends in -{number + 1:05}-of-{count:05}.gguf, as the engine expects it",
        )
    if number:
        raise Unusable(f"is part {number + 1} of {count} of a split model", "name the first part")
    if count > MOST_FILES:
        raise Unusable(f"is split into {count} parts, more than {MOST_FILES}")
    end = path[named.end("count") :]
    return tuple(f"{named['stem']}-{one:05}-of-{count:05}{end}" for one in range(1, count + 1))


def _read_part(file: HeaderBytes, name: str, number: int, count: int) -> tuple[GgufHeader, ...]:
    """The header of a later part; none if it is not understood, but the others still have to be there."""
    if os.pread(file.descriptor, len(MAGIC), 0) != MAGIC:
        raise Unusable(f"is not whole: {name!r} is not a GGUF file")
    try:
        header = read_gguf(file)
    except Unreadable as error:
        _refuse(name, error)
        return ()
    if header.part() != (number, count):
        raise Unusable(f"is not whole: {name!r} is not its part {number + 1} of {count}")
    return (header,)


def _refuse(name: str, error: Unreadable) -> None:
    """Raise Unusable for a defect of one of several files; what is not known to be wrong may pass."""
    if error.defect is not None:
        raise Unusable(f"is not whole: {name!r} {error.defect.message}") from error


def _gguf_details(headers: list[GgufHeader]) -> ModelDetails:
    whole = headers[0]
    whole.types = sum((one.types for one in headers), Counter[str]())
    whole.elements = sum(one.elements for one in headers)
    known = not any(one.unknown for one in headers)
    return ModelDetails(
        format="gguf",
        architecture=whole.architecture,
        quantisation=whole.quantisation,
        parameters=whole.elements or None if known else None,
        context=whole.context,
        memory=serving_memory(whole.weights, whole.attention, whole.vocabulary) if known else None,
    )


# --- a folder --------------------------------------------------------------------------------------------


def _folder(path: str) -> Examined:
    """A model as vLLM and others take it: all that `model_files.whole_model` counts as one."""
    names = _names(path)
    budget = Budget()
    try:
        index = _document(path, INDEX, budget) if INDEX in names else None
        names = whole_model(names, index)
        known = True
    except Incomplete as error:
        raise Unusable(
            f"is a folder, but no whole model: {error}", "name a model file, or complete it"
        ) from error
    except Unreadable as error:
        if error.defect:
            raise Unusable(error.defect.message) from error
        known = False
    files = tuple(os.path.join(path, name) for name in names)
    told = _folder_details(path, [name for name in names if name.endswith(WEIGHTS)], budget)
    return Examined(files, sum(os.stat(one).st_size for one in files), told if known else None)


def _names(path: str) -> tuple[str, ...]:
    """The files right in a folder."""
    with os.scandir(path) as entries:
        found = [one.name for one in entries if one.is_file()]
    if len(found) > MOST_FILES:
        raise Unusable(
            f"is a folder of more than {MOST_FILES} files", "name a folder that holds one model only"
        )
    return tuple(found)


def _folder_details(path: str, names: Iterable[str], budget: Budget) -> ModelDetails | None:
    """Also sees that each file with tensors is there and whole."""
    tensors = Tensors()
    known = True
    for name in names:
        with _beside(os.path.join(path, name), budget) as file:
            try:
                read_safetensors(file, tensors)
            except Unreadable as error:
                _refuse(name, error)
                known = False
    return _described(tensors, _config(path, budget)) if known else None


def _config(path: str, budget: Budget) -> ModelConfig:
    """Without one that can be read, nothing is known but the tensors; the engine may know what to do."""
    try:
        return ModelConfig(_document(path, CONFIG, budget))
    except (Unreadable, Unusable):
        return ModelConfig({})


def _document(path: str, name: str, budget: Budget) -> dict[str, object]:
    with _beside(os.path.join(path, name), budget) as file:
        if file.size > JSON_LIMIT:
            raise Unreadable
        return parsed(file.take(file.size), name)
