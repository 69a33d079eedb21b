"""Headers of safetensors files, and the documents beside them: what they say, and what they cannot do."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle_drivers.header_bytes import JSON_LIMIT, HeaderBytes, Unreadable
from pool_lifecycle_drivers.safetensors_header import ModelConfig, Tensors, read_safetensors
from pool_lifecycle_drivers.serving_memory import Attention
from tests.drivers.small_models import CONFIG, safetensors


def read_bytes(content: bytes, size: int | None = None) -> Tensors:
    descriptor = os.memfd_create("model")
    tensors = Tensors()
    try:
        os.write(descriptor, content)
        os.truncate(descriptor, size or len(content))
        read_safetensors(HeaderBytes(descriptor, size or len(content)), tensors)
    finally:
        os.close(descriptor)
    return tensors


def defect(content: bytes, size: int | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        read_bytes(content, size)
    return "" if caught.value.defect is None else caught.value.defect.message


def with_header(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def test_tensors_are_counted() -> None:
    """Their bytes by type, their elements, and the type that most bytes have."""
    tensors = read_bytes(safetensors({"a": ("BF16", (8, 4)), "b": ("F32", (2,)), "c": ("F32", ())}))
    assert tensors.types == {"BF16": 64, "F32": 12}
    assert tensors.weights == 76
    assert tensors.parameters == 32 + 2 + 1
    assert tensors.quantisation == "BF16"


def test_packed_weights_are_not_counted_by_their_elements() -> None:
    """Eight weights of four bits lie in one I32."""
    tensors = read_bytes(safetensors({"qweight": ("I32", (64, 4)), "scales": ("F16", (4,))}))
    assert tensors.quantisation == "I32"
    assert tensors.parameters is None


def test_an_unknown_type_is_not_counted() -> None:
    """It takes the bytes that it says, but nobody knows how many weights."""
    odd = {"dtype": "F5", "shape": [9], "data_offsets": [64, 70]}
    tensors = read_bytes(safetensors(None, odd=odd) + bytes(6))
    assert tensors.weights == 70
    assert tensors.parameters is None


def test_no_tensors_are_no_model_but_a_file() -> None:
    """An empty header is a sound one."""
    tensors = read_bytes(with_header(b"{}"))
    assert (tensors.weights, tensors.parameters, tensors.quantisation) == (0, None, "")


def test_every_cut_is_seen() -> None:
    """FAULTS: a file cut at any byte is refused, with a reason, and nothing else is raised."""
    whole = safetensors()
    for length in range(1, len(whole)):
        assert defect(whole[:length]).startswith("is damaged: it")
    missing = f"is damaged: it has {len(whole) - 9} bytes of {len(whole)}: 9 bytes of its tensors are missing"
    assert defect(whole[:-9]) == missing


@pytest.mark.parametrize(
    "said",
    [
        1,
        [],
        {},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F5", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F5", "shape": [2**63], "data_offsets": [0, 4]},
        {"dtype": "F5", "shape": [1] * 17, "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
    ],
)
def test_a_tensor_that_contradicts_itself_is_told(said: object) -> None:
    """Its name is in the message, shortened, whatever characters it has."""
    content = with_header(json.dumps({"x\n" * 100: said}).encode()) + bytes(64)
    assert "of tensor 'x\\nx\\n" in defect(content)
    assert len(defect(content)) < 300


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_header(b"[]"), "is not a JSON object"),
        (with_header(b"{"), "is not valid JSON"),
        (with_header(b"\xff\xfe"), "is not valid JSON"),
        (with_header(b'{"a": ' + b"9" * 5000 + b"}"), "is not valid JSON"),
        (with_header(b"[" * 100_000), ""),
        (with_header(b"[" * 60), "is not valid JSON"),
        (with_header(b"[" * 10_000 + b" " * 200_000), "is not valid JSON"),
        (with_header(b"{}" + b",{}" * 100_000), ""),
        (struct.pack("<Q", 2**64 - 1), "ends within its header"),
    ],
    ids=range(9),
)
def test_a_hostile_header_costs_little(content: bytes, words: str) -> None:
    """FAULTS: deep, long and lying JSON. What may be sound, for all we know, is no defect."""
    said = defect(content)
    assert words in said
    assert bool(words) is bool(said)


def test_a_header_beyond_the_limit_is_left_alone() -> None:
    """It is not even read."""
    assert defect(struct.pack("<Q", JSON_LIMIT + 1), JSON_LIMIT * 2) == ""


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Nothing else is raised."""
    for whole in (content + b"\0", with_header(content), safetensors()[:60] + content):
        try:
            read_bytes(whole)
        except Unreadable:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["a", "__metadata__", "b"]), JSON))
def test_any_json_is_read_or_refused(header: dict[str, Any]) -> None:
    """Whatever stands where a tensor should be."""
    try:
        read_bytes(with_header(json.dumps(header).encode()))
    except Unreadable:
        return


# --- config.json -----------------------------------------------------------------------------------------


def test_a_configuration_says_the_rest() -> None:
    """Architecture, context, and what the key-value cache follows from."""
    config = ModelConfig(CONFIG)
    assert config.architecture == "LlamaForCausalLM"
    assert config.context == 4096
    assert config.vocabulary == 100
    assert config.attention == Attention(4, 16, 16, 4096)
    assert config.quantisation == ""


@pytest.mark.parametrize(
    ("more", "attention"),
    [
        ({"head_dim": 24}, Attention(4, 24, 24, 4096)),
        ({"num_key_value_heads": None}, Attention(8, 16, 16, 4096)),
        ({"num_hidden_layers": 10**9}, None),
        ({"hidden_size": "64"}, None),
        ({"max_position_embeddings": 0}, None),
        ({"num_attention_heads": True}, None),
    ],
)
def test_what_is_missing_or_absurd_makes_no_estimate(
    more: dict[str, object], attention: Attention | None
) -> None:
    """A lie there must not become an estimate."""
    assert ModelConfig(CONFIG | more).attention == attention


def test_what_is_about_text_may_stand_apart() -> None:
    """As of models that also see."""
    config = ModelConfig({"architectures": ["Gemma3"], "model_type": "gemma3", "text_config": CONFIG})
    assert config.architecture == "Gemma3"
    assert config.attention == Attention(4, 16, 16, 4096)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq 4-bit"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "a\nb", "bits": 4}, ""),
        ({"bits": 4}, ""),
        ("awq", ""),
    ],
)
def test_how_it_was_quantised(said: object, name: str) -> None:
    """In the words of the configuration."""
    assert ModelConfig({"quantization_config": said}).quantisation == name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"architectures": [], "model_type": "llama"}, "llama"),
        ({"architectures": ["a\x1b"], "model_type": "llama"}, "llama"),
        ({"architectures": "LlamaForCausalLM"}, ""),
        ({}, ""),
    ],
)
def test_the_architecture_or_else_the_family(said: dict[str, object], name: str) -> None:
    """A name that cannot be shown is none."""
    assert ModelConfig(said).architecture == name


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys([*CONFIG, "text_config", "quantization_config"], JSON))
)
def test_any_configuration_is_taken(document: dict[str, Any]) -> None:
    """Nothing is raised, whatever stands in it."""
    config = ModelConfig(document)
    assert config.attention is None or config.context is not None
    assert config.architecture.isascii()
    assert config.quantisation.isascii()
    assert config.vocabulary >= 0
