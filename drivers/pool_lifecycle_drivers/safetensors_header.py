"""What the headers of safetensors files say, and the documents beside them.

The format: https://github.com/huggingface/safetensors#format. The index of a model of several files and its
`config.json` are those of https://github.com/huggingface/transformers. Tensors are never read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from attrs import define, field

from pool_lifecycle_drivers.header_bytes import (
    JSON_LIMIT,
    HeaderBytes,
    Unreadable,
    number_up_to,
    parsed,
    word,
)
from pool_lifecycle_drivers.serving_memory import Attention

BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Of one element of each type, as in safetensors/src/tensor.rs."""

PACKED = frozenset({"U8", "I32", "U32", "I64", "U64"})
"""Types that hold several weights in one element, where most of a model is of them."""


@define
class Tensors:
    """The tensors of one file or more. `types` has their bytes by type. `odd`: of an unknown type."""

    types: Counter[str] = field(factory=Counter[str])
    elements: int = 0
    odd: bool = False

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return self.types.total()

    @property
    def quantisation(self) -> str:
        """The type that most bytes have."""
        return max(self.types, key=lambda one: (self.types[one], one), default="")

    @property
    def parameters(self) -> int | None:
        """How many weights; None where they cannot be counted by their elements."""
        return None if self.odd or not self.elements or self.quantisation in PACKED else self.elements


def read_safetensors(file: HeaderBytes, tensors: Tensors) -> None:
    """Count the tensors of a file in. Raises Unreadable."""
    length = file.number("Q")
    if length > file.size - file.at:
        raise Unreadable(f"it ends within its header, after {file.size} bytes")
    if length > JSON_LIMIT:
        raise Unreadable
    header = parsed(file.take(length), "its header")
    end = max(
        (_read_tensor(name, one, tensors) for name, one in header.items() if name != "__metadata__"),
        default=0,
    )
    needs = file.at + end
    if needs > file.size:
        missing = f"{needs - file.size} bytes of its tensors are missing"
        raise Unreadable(f"it has {file.size} bytes of {needs}: {missing}")


def _read_tensor(name: str, said: object, tensors: Tensors) -> int:
    """Count a tensor in; the result is where it ends, after the header."""
    lie = Unreadable(f"what its header says of tensor {name[:80]!r} does not fit together")
    if not isinstance(said, dict):
        raise lie
    kind, shape, place = word(said.get("dtype")), _sizes(said.get("shape")), _sizes(said.get("data_offsets"))
    if not kind or shape is None or place is None or len(place) != 2 or place[0] > place[1]:
        raise lie
    elements, taken = math.prod(shape), place[1] - place[0]
    if kind in BITS and elements * BITS[kind] != taken * 8:
        raise lie
    tensors.types[kind] += taken
    tensors.elements += elements
    tensors.odd |= kind not in BITS
    return place[1]


def _sizes(value: object) -> tuple[int, ...] | None:
    """A short list of whole numbers from 0 on that fit into 64 bits."""
    if not isinstance(value, list) or len(value) > 16:
        return None
    good = all(type(one) is int and 0 <= one < 2**63 for one in value)
    return tuple(value) if good else None


class ModelConfig:
    """What `config.json` says. A model that also sees or hears keeps what is about text in `text_config`."""

    def __init__(self, document: Mapping[str, object]) -> None:
        text = document.get("text_config")
        self._documents = (document, text) if isinstance(text, dict) else (document,)

    @property
    def architecture(self) -> str:
        """The class that implements it, or else the family's name; empty when neither is told."""
        classes = self._get("architectures")
        first = classes[0] if isinstance(classes, list) and classes else None
        return word(first) or word(self._get("model_type"))

    @property
    def quantisation(self) -> str:
        """The method by which it was quantised, with its bits where they are told; empty when it was not."""
        said = self._get("quantization_config")
        if not isinstance(said, dict):
            return ""
        method, bits = word(said.get("quant_method")), number_up_to(said.get("bits"), 64)
        return f"{method} {bits}-bit" if method and bits else method

    @property
    def context(self) -> int | None:
        """The length that the model was trained for, in tokens."""
        return self._number("max_position_embeddings", 10**9)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows; 0 when it does not say."""
        return self._number("vocab_size", 10**8) or 0

    @property
    def attention(self) -> Attention | None:
        """What the key-value cache follows from; None when that is not told."""
        layers, heads = self._number("num_hidden_layers", 10**4), self._number("num_attention_heads", 10**5)
        width = self._number("hidden_size", 10**6)
        if layers is None or heads is None or width is None or self.context is None:
            return None
        kv_heads = self._number("num_key_value_heads", 10**5) or heads
        length = self._number("head_dim", 10**5) or width // heads
        return Attention(layers * kv_heads, length, length, self.context)

    def _number(self, key: str, most: int) -> int | None:
        return number_up_to(self._get(key), most)

    def _get(self, key: str) -> object:
        return next((one[key] for one in self._documents if one.get(key) is not None), None)
