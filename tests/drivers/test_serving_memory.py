"""The estimate of what serving takes."""

from __future__ import annotations

from pool_lifecycle_drivers.serving_memory import (
    BATCH,
    CACHED_CONTEXT,
    ENGINE,
    Attention,
    cache,
    serving_memory,
)

GIB = 2**30


def test_the_usual_formula_comes_out() -> None:
    """2 * layers * kv_heads * head_dim * 2 bytes * context: Llama 3 8B takes 1 GiB for 8192 tokens."""
    llama = Attention(kv_heads=32 * 8, key_length=128, value_length=128, context=8192)
    assert cache(llama) == 2 * 32 * 8 * 128 * 2 * 8192 == GIB


def test_a_long_context_is_counted_in_part() -> None:
    """Nobody allocates a million tokens by default."""
    assert cache(Attention(1, 1, 1, 10**6)) == cache(Attention(1, 1, 1, CACHED_CONTEXT))
    assert cache(Attention(1, 1, 1, 100)) == 2 * 2 * 100


def test_everything_is_added_up() -> None:
    """Weights, cache, logits, engine; what is not told is not counted."""
    assert serving_memory(5 * GIB, None, 0) == 5 * GIB + ENGINE
    assert serving_memory(0, Attention(1, 1, 1, 1), 1000) == 4 + BATCH * 1000 * 4 + ENGINE
