"""Small models for tests, byte by byte: GGUF and safetensors files, and folders of these."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from pool_lifecycle.interfaces import ModelDetails
from pool_lifecycle_drivers.gguf_types import TENSOR_TYPES
from pool_lifecycle_drivers.serving_memory import ENGINE

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
LAYOUTS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Entry = tuple[str, int, object]
"""A key, the number of its value's type, and the value; of an array the value is (type, values)."""

Tensor = tuple[str, tuple[int, ...], int]
"""A name, the dimensions, and the number of the type."""

LLAMA: tuple[Entry, ...] = (
    ("general.architecture", STRING, "llama"),
    ("general.name", STRING, "small"),
    ("general.file_type", U32, 15),
    ("llama.context_length", U32, 4096),
    ("llama.embedding_length", U32, 64),
    ("llama.block_count", U32, 2),
    ("llama.attention.head_count", U32, 4),
    ("llama.attention.head_count_kv", U32, 2),
    ("llama.rope.freq_base", F32, 10000.0),
    ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "a", "bc"])),
    ("tokenizer.ggml.scores", ARRAY, (F32, [0.0, 1.0, 2.0])),
)
TENSORS: tuple[Tensor, ...] = (("token_embd.weight", (64, 3), 0), ("blk.0.attn_q.weight", (256, 2), 12))

CACHE = 2 * 2 * 2 * 16 * 2 * 4096
"""Bytes of the small models' key-value cache: keys and values of 2 layers, 2 heads of 16 and 4096 tokens."""

SMALL = ModelDetails("gguf", "llama", "Q4_K_M", 704, 4096, 1056 + CACHE + 512 * 3 * 4 + ENGINE)
"""What the header of the small GGUF file tells."""


def gguf(
    entries: Iterable[Entry] = LLAMA,
    tensors: Iterable[Tensor] = TENSORS,
    *,
    order: str = "<",
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A whole GGUF file, with zeros for weights."""
    entries, tensors = tuple(entries), tuple(tensors)
    writer = GgufWriter(order)
    header = struct.pack(order + "4sIQQ", b"GGUF", version, len(tensors), len(entries))
    header += b"".join(writer.entry(*one) for one in entries)
    offset = 0
    for name, dimensions, kind in tensors:
        header += writer.tensor(name, dimensions, kind, offset)
        offset = _up(offset + tensor_bytes(dimensions, kind), alignment)
    data = bytes(offset)
    return header + bytes(_up(len(header), alignment) - len(header)) + data if tensors else header


def tensor_bytes(dimensions: Iterable[int], kind: int) -> int:
    """How many bytes a tensor takes."""
    _, weights, size = TENSOR_TYPES[kind]
    return -(-math.prod(dimensions) // weights) * size


def _up(number: int, alignment: int) -> int:
    return -(-number // alignment) * alignment


class GgufWriter:
    """Writes the parts of a GGUF header in one byte order."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def text(self, text: str) -> bytes:
        raw = text.encode()
        return struct.pack(self.order + "Q", len(raw)) + raw

    def value(self, kind: int, value: object) -> bytes:
        if kind == STRING:
            return self.text(str(value))
        if kind == ARRAY and isinstance(value, tuple):
            of, values = value
            head = struct.pack(self.order + "IQ", of, len(values))
            return head + b"".join(self.value(of, one) for one in values)
        return struct.pack(self.order + LAYOUTS[kind], value)

    def entry(self, key: str, kind: int, value: object) -> bytes:
        return self.text(key) + struct.pack(self.order + "I", kind) + self.value(kind, value)

    def tensor(self, name: str, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
        numbers = struct.pack(f"{self.order}I{len(dimensions)}Q", len(dimensions), *dimensions)
        return self.text(name) + numbers + struct.pack(self.order + "IQ", kind, offset)


def safetensors(tensors: Mapping[str, tuple[str, tuple[int, ...]]] | None = None, **more: object) -> bytes:
    """A whole safetensors file, with zeros for weights. `more` goes into its header as it is."""
    sizes = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I32": 4}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in (tensors or {"a.weight": ("BF16", (8, 4))}).items():
        begin, end = end, end + math.prod(shape) * sizes[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    raw = json.dumps(header | more).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(end)


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 4096,
    "vocab_size": 100,
}


def folder(path: Path, *, shards: int = 2, config: Mapping[str, object] | None = None) -> Path:
    """A model in a folder: its index, its configuration and so many files with one tensor each."""
    path.mkdir()
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    for number, name in enumerate(names):
        (path / name).write_bytes(safetensors({f"{number}.weight": ("BF16", (8, 4))}))
    index = {"metadata": {}, "weight_map": {f"{number}.weight": name for number, name in enumerate(names)}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "config.json").write_text(json.dumps(CONFIG | dict(config or {})))
    (path / "README.md").write_text("Not a file of the model.")
    return path


def split(path: Path, *, parts: int = 3) -> Path:
    """A GGUF file in so many parts, `path` without its ending; returns the first part."""
    names = [path.with_name(f"{path.name}-{number:05}-of-{parts:05}.gguf") for number in range(1, parts + 1)]
    for number, name in enumerate(names):
        about = (*LLAMA, ("split.no", 2, number), ("split.count", 2, parts))
        entries = about if number == 0 else about[-2:]
        name.write_bytes(gguf(entries, [(f"blk.{number}.weight", (64, 2), 0)]))
    return names[0]
