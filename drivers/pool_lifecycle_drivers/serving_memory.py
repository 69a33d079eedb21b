"""How much memory serving a model takes, estimated before it is launched. Pure.

    weights + key-value cache + logits + the engine itself

An estimate for one engine with one slot, right to a factor of two where the weights are most of it. What an
engine really takes depends on its flags; whoever knows better declares it.
"""

from __future__ import annotations

from attrs import frozen

CACHED_CONTEXT = 8192
"""Tokens of context that are counted. Trained contexts of 128 K and more are seldom allocated as a whole:
they would outweigh the model itself. Who serves a longer one declares the memory."""

BYTES_PER_VALUE = 2
"""Of the cache: 16-bit floats are the default of llama.cpp (`--cache-type-k f16`) and of vLLM
(`--kv-cache-dtype auto`, the model's own type)."""

BATCH = 512
"""Tokens computed at once, llama.cpp's `--ubatch-size`: so many rows of logits, one 32-bit float for each
word of the vocabulary. They are the largest of its compute buffers."""

ENGINE = 128 * 2**20
"""Bytes for the engine itself. llama.cpp's server took 10 MiB beside a model of 0.6 MB, and 95 MiB in all
with one of 83 MiB; a CUDA context takes some hundred MiB more, on the device."""


@frozen
class Attention:
    """What the key-value cache's size follows from.

    `kv_heads` counts over all layers, which need not be alike; `key_length` and `value_length` are what one
    head keeps of one token.
    """

    kv_heads: int
    key_length: int
    value_length: int
    context: int


def serving_memory(weights: int, attention: Attention | None, vocabulary: int) -> int:
    """Bytes. `weights` are those of the tensors; `attention` None: not told, and not counted."""
    return weights + cache(attention) + BATCH * vocabulary * 4 + ENGINE


def cache(attention: Attention | None) -> int:
    """Bytes of the key-value cache: one key and one value for each head that keeps them, layer and token.

    With equal layers and lengths this is the usual 2 * layers * kv_heads * head_dim * bytes * context. In
    llama.cpp it is `n_embd_k_gqa` and `n_embd_v_gqa` of src/llama-hparams.cpp, added up by
    src/llama-kv-cache.cpp. Sliding windows make it smaller, which is not counted.
    """
    if attention is None:
        return 0
    each = attention.kv_heads * (attention.key_length + attention.value_length)
    return each * BYTES_PER_VALUE * min(attention.context, CACHED_CONTEXT)
