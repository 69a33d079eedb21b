"""What the header of a GGUF file says. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Versions 2 and 3, of both byte orders. The tensors themselves are never read.
"""

from __future__ import annotations

import math
import struct
from collections import Counter

from attrs import define, field

from pool_lifecycle_drivers.gguf_types import FILE_TYPES, GUESSED, TENSOR_TYPES
from pool_lifecycle_drivers.header_bytes import HeaderBytes, Unreadable, number_up_to, word
from pool_lifecycle_drivers.serving_memory import Attention

MAGIC = b"GGUF"
LAYOUT = "4sIQQ"
"""Magic, version, and how many tensors and entries follow."""

ENTRY, TENSOR = 13, 24
"""The least bytes that describe one: an entry by the length of its name, its type and a value, a tensor by
lengths, type and offset."""
VERSIONS = range(1, 256)
"""Three were there by 2026. A version out of this range belongs to the other byte order, or to no GGUF."""
READ_VERSIONS = (2, 3)

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of values that have one size, as layouts of `struct`."""
STRING, ARRAY = 8, 9

ENTRIES_READ, TENSORS_READ = 10_000, 100_000
"""More than any model has: one has some hundred entries, and one of 1000 experts stacked one by one 60 000
tensors. A header with more of them is left alone."""
DIMENSIONS = 8
"""ggml knows four."""
TEXT, LIST, KEPT = 256, 1024, 64
"""The longest text and the longest array that are kept, and how many values in all."""

WANTED = frozenset(
    {
        "general.architecture", "general.file_type", "general.alignment", "split.no", "split.count",
        "tokenizer.ggml.tokens",
    }
)  # fmt: skip
OF_ARCHITECTURE = frozenset(
    {
        "context_length", "embedding_length", "block_count", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.value_length",
    }
)  # fmt: skip
"""Those have the architecture's name in front."""

Value = int | str | tuple[int, ...]


@define
class GgufHeader:
    """What a header says. `values` has the wanted entries; of an array of strings, only how many they are.

    `elements` counts weights. `needs` is how long the file must be for all its tensors. `types` has the bytes
    of tensors by the name of their type; those of types that we do not know are `unknown`.
    """

    values: dict[str, Value] = field(factory=dict)
    elements: int = 0
    needs: int = 0
    types: Counter[str] = field(factory=Counter[str])
    unknown: int = 0

    @property
    def architecture(self) -> str:
        """In llama.cpp's word; empty when there is none."""
        return word(self.values.get("general.architecture"))

    @property
    def quantisation(self) -> str:
        """The name that llama.cpp gives it, or else of the type that most bytes of tensors have."""
        declared = self.values.get("general.file_type")
        name = FILE_TYPES.get(declared & ~GUESSED, "") if isinstance(declared, int) else ""
        return name or max(self.types, key=lambda one: (self.types[one], one), default="")

    @property
    def weights(self) -> int:
        """Bytes of all tensors whose type we know."""
        return self.types.total()

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows; 0 when it does not say."""
        return number_up_to(self.values.get("tokenizer.ggml.tokens"), 10**8) or 0

    @property
    def context(self) -> int | None:
        """The length that the model was trained for, in tokens."""
        return number_up_to(self._own("context_length"), 10**9)

    @property
    def attention(self) -> Attention | None:
        """What the key-value cache follows from; None when that is not told, as of models without one."""
        layers = number_up_to(self._own("block_count"), 10**4)
        heads = self._per_layer("attention.head_count", layers)
        kv_heads = self._per_layer("attention.head_count_kv", layers) or heads
        width = number_up_to(self._own("embedding_length"), 10**6)
        if heads is None or kv_heads is None or width is None or layers is None or self.context is None:
            return None
        usual = width // max(1, heads // layers)
        key = number_up_to(self._own("attention.key_length"), 10**5) or usual
        value = number_up_to(self._own("attention.value_length"), 10**5) or usual
        return Attention(kv_heads, key, value, self.context)

    def part(self) -> tuple[int, int]:
        """Which part of how many this file is, counted from 0. (0, 1): it is the whole model."""
        number, count = self.values.get("split.no"), self.values.get("split.count")
        if isinstance(count, int) and count > 1:
            return (number if isinstance(number, int) else 0), count
        return 0, 1

    def _own(self, key: str) -> Value | None:
        return self.values.get(f"{self.architecture}.{key}")

    def _per_layer(self, key: str, layers: int | None) -> int | None:
        """The sum over all layers of a number that is told once, or once for each."""
        value = self._own(key)
        if isinstance(value, tuple):
            return number_up_to(sum(value), 10**8)
        each = number_up_to(value, 10**5)
        return None if each is None or layers is None else each * layers


def read_gguf(file: HeaderBytes) -> GgufHeader:
    """The header of a file that begins with `MAGIC`. Raises Unreadable."""
    tensors, entries = _counts(file)
    header = GgufHeader()
    for _ in range(entries):
        _read_entry(file, header.values)
    alignment = header.values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise Unreadable(f"its alignment is {alignment}, no power of two")
    end = 0
    for _ in range(tensors):
        end = max(end, _read_tensor(file, header))
    begin = -(-file.at // alignment) * alignment
    header.needs = begin + max(end, header.weights) if tensors else file.at
    if header.needs > file.size:
        raise Unreadable(_missing(file.size, header.needs))
    return header


def _missing(size: int, needs: int) -> str:
    return f"it has {size} bytes of {needs}: {needs - size} bytes of its tensors are missing"


def _counts(file: HeaderBytes) -> tuple[int, int]:
    """How many tensors and entries follow. Sets the byte order."""
    start = file.take(struct.calcsize("<" + LAYOUT))
    for file.order in "<>":
        _, version, tensors, entries = struct.unpack(file.order + LAYOUT, start)
        if version in VERSIONS:
            _check_counts(file.size, version, tensors, entries)
            return tensors, entries
    raise Unreadable(f"no version of GGUF is numbered {start[4:8].hex(' ')}")


def _check_counts(size: int, version: int, tensors: int, entries: int) -> None:
    if version == VERSIONS.start:  # its counts were half as long; nobody reads it any more
        raise Unreadable
    if struct.calcsize("<" + LAYOUT) + tensors * TENSOR + entries * ENTRY > size:
        counted = f"its header counts {tensors} tensors and {entries} entries"
        raise Unreadable(f"{counted}, which {size} bytes cannot hold")
    if version not in READ_VERSIONS or tensors > TENSORS_READ or entries > ENTRIES_READ:
        raise Unreadable


def _read_entry(file: HeaderBytes, values: dict[str, Value]) -> None:
    key = _text(file)
    value = _value(file, file.number("I"))
    wanted = key in WANTED or key.partition(".")[2] in OF_ARCHITECTURE
    if wanted and len(values) < KEPT:
        values[key] = value


def _value(file: HeaderBytes, kind: int) -> Value:
    if kind == STRING:
        return _text(file)
    if kind == ARRAY:
        return _array(file)
    return file.number(_layout(kind))


def _layout(kind: int) -> str:
    layout = SCALARS.get(kind)
    if layout is None:  # of a later version perhaps: where it ends, nobody knows
        raise Unreadable
    return layout


def _text(file: HeaderBytes) -> str:
    """The next string; empty if it is too long to be one that we look for."""
    length = file.number("Q")
    if length > TEXT:
        file.skip(length)
        return ""
    return file.take(length).decode(errors="replace")


def _array(file: HeaderBytes) -> Value:
    kind, count = file.number("I"), file.number("Q")
    if kind == STRING:
        file.skip_strings(count)
        return count
    layout = _layout(kind)
    size = count * struct.calcsize("<" + layout)
    if count > LIST or layout in "fd?":
        file.skip(size)
        return ()
    return struct.unpack(f"{file.order}{count}{layout}", file.take(size))


def _read_tensor(file: HeaderBytes, header: GgufHeader) -> int:
    """Count a tensor in; the result is where it ends, after the beginning of all of them."""
    file.skip(file.number("Q"))  # its name
    dimensions = file.number("I")
    if dimensions > DIMENSIONS:
        raise Unreadable
    elements = math.prod(file.number("Q") for _ in range(dimensions))
    kind, offset = file.number("I"), file.number("Q")
    header.elements += elements
    if kind not in TENSOR_TYPES:
        header.unknown += 1
        return offset
    name, weights, size = TENSOR_TYPES[kind]
    taken = -(-elements // weights) * size
    header.types[name] += taken
    return offset + taken
