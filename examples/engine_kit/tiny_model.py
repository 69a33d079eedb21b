#!/usr/bin/env python3
"""Make a tiny language model that a real engine loads: valid GGUF, random weights, half a megabyte.

    python examples/engine_kit/tiny_model.py OUT.gguf

It talks nonsense, in real words. The same seed gives the same file, byte for byte. A larger `n_embd` gives
a larger model that takes longer to load and to answer; an `architecture` that nobody has heard of gives one
that is whole, and that every engine fails to load.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import gguf
import numpy as np

N_LAYERS = 2
N_HEADS = 4
N_CONTEXT = 4096

SPECIALS = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
CHARACTERS = tuple("\u2581" if code == ord(" ") else chr(code) for code in range(32, 127))
SPEECH = (
    "a the one every some this that quiet small warm bright slow honest patient engine pool lease "
    "model slot token answer question river stone garden window morning winter machine letter story "
    "reader waits opens drains serves counts remembers listens grows turns sleeps returns finds under "
    "over before after beside through while because and or but never always soon again gently here "
    "there perhaps"
)
WORDS = tuple(f"\u2581{word}" for word in SPEECH.split())
VOCABULARY = SPECIALS + BYTES + CHARACTERS + WORDS
SPOKEN = frozenset(WORDS)

STEADY = 10.0
"""The value every token's embedding has in channel 0; no layer writes there, so it reaches the output."""
SILENCED = -20.0
"""The output weight of channel 0 for tokens never to be said: with STEADY it makes them impossible.

Random bytes would be invalid UTF-8, to which the server answers 500; an end token would end a completion
before the length asked for.
"""


def make_tiny_model(
    path: str | Path, *, seed: int = 0, n_embd: int = 64, architecture: str = "llama"
) -> Path:
    """Write the model to `path`, whole or not at all, and return the path.

    `n_embd` is the width, a multiple of 8 (two for each head): 64 gives 0.6 MB, 1024 gives 87 MB. With any
    `architecture` but "llama", such as "unheard-of", nothing is wrong with the file, but it does not load.
    """
    if n_embd < 8 or n_embd % 8:
        raise ValueError(f"n_embd is {n_embd}: give a multiple of 8")
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        _write(unfinished, np.random.default_rng(seed), n_embd, architecture)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _write(path: Path, random: np.random.Generator, n_embd: int, architecture: str) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    _describe(writer, n_embd)
    _vocabulary(writer)
    _embeddings(writer, random, n_embd)
    for layer in range(N_LAYERS):
        _layer(writer, random, n_embd, f"blk.{layer}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, n_embd: int) -> None:
    writer.add_name("tiny random words")
    writer.add_context_length(N_CONTEXT)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(2 * n_embd)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_rope_dimension_count(n_embd // N_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _vocabulary(writer: gguf.GGUFWriter) -> None:
    kinds = gguf.TokenType
    special = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    rest = len(CHARACTERS) + len(WORDS)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(VOCABULARY))
    writer.add_token_scores([-float(index) for index in range(len(VOCABULARY))])
    writer.add_token_types(special + [kinds.BYTE] * len(BYTES) + [kinds.NORMAL] * rest)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _embeddings(writer: gguf.GGUFWriter, random: np.random.Generator, n_embd: int) -> None:
    tokens = _weights(random, len(VOCABULARY), n_embd)
    tokens[:, 0] = STEADY
    output = _weights(random, len(VOCABULARY), n_embd)
    output[:, 0] = [0.0 if token in SPOKEN else SILENCED for token in VOCABULARY]
    writer.add_tensor("token_embd.weight", tokens)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(n_embd, dtype=np.float32))


def _layer(writer: gguf.GGUFWriter, random: np.random.Generator, n_embd: int, name: str) -> None:
    n_ff = 2 * n_embd
    for norm in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{name}.{norm}.weight", np.ones(n_embd, dtype=np.float32))
    for part, rows, columns in (
        ("attn_q", n_embd, n_embd),
        ("attn_k", n_embd, n_embd),
        ("attn_v", n_embd, n_embd),
        ("ffn_gate", n_ff, n_embd),
        ("ffn_up", n_ff, n_embd),
    ):
        writer.add_tensor(f"{name}.{part}.weight", _weights(random, rows, columns))
    for part, columns in (("attn_output", n_embd), ("ffn_down", n_ff)):
        weights = _weights(random, n_embd, columns)
        weights[0, :] = 0.0  # these two write to the residual stream: keep channel 0 steady
        writer.add_tensor(f"{name}.{part}.weight", weights)


def _weights(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return random.standard_normal((rows, columns), dtype=np.float32) / np.float32(np.sqrt(columns) / 2)


def main() -> None:
    """Read the command line and make the model."""
    parser = argparse.ArgumentParser(description="Make a tiny random GGUF model.")
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same file (default: 0)")
    parser.add_argument("--n-embd", type=int, default=64, help="width, a multiple of 8 (default: 64)")
    options = parser.parse_args()
    try:
        path = make_tiny_model(options.out, seed=options.seed, n_embd=options.n_embd)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
