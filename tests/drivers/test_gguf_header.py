"""Headers of GGUF files: what they say, and what they cannot make us do."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle_drivers.gguf_header import GgufHeader, read_gguf
from pool_lifecycle_drivers.header_bytes import Budget, HeaderBytes, Unreadable
from pool_lifecycle_drivers.serving_memory import Attention
from tests.drivers.small_models import (
    ARRAY,
    BOOL,
    F32,
    LLAMA,
    STRING,
    TENSORS,
    U8,
    U32,
    U64,
    Entry,
    GgufWriter,
    gguf,
)

Read = Callable[[bytes], GgufHeader]


def read_bytes(content: bytes, budget: Budget | None = None, size: int | None = None) -> GgufHeader:
    """The header of a file of that content, of `size` bytes if that is more."""
    descriptor = os.memfd_create("model")
    try:
        os.write(descriptor, content)
        os.truncate(descriptor, size or len(content))
        return read_gguf(HeaderBytes(descriptor, size or len(content), budget or Budget()))
    finally:
        os.close(descriptor)


def defect(content: bytes, size: int | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        read_bytes(content, size=size)
    return "" if caught.value.defect is None else caught.value.defect.message


def changed(*entries: Entry) -> tuple[Entry, ...]:
    """The entries of the small model, with these for the same keys or at the end."""
    keys = {one[0] for one in entries}
    return (*(one for one in LLAMA if one[0] not in keys), *entries)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_versions_and_byte_orders_say_the_same(order: str, version: int) -> None:
    """Whoever wrote the file, on whatever machine."""
    header = read_bytes(gguf(order=order, version=version))
    assert header.architecture == "llama"
    assert header.quantisation == "Q4_K_M"
    assert header.context == 4096
    assert header.vocabulary == 3
    assert header.elements == 64 * 3 + 256 * 2
    assert header.types == {"F32": 64 * 3 * 4, "Q4_K": 2 * 144}
    assert header.weights == 768 + 288
    assert header.attention == Attention(2 * 2, 16, 16, 4096)
    assert header.part() == (0, 1)
    assert header.unknown == 0


def test_the_order_of_entries_makes_no_difference() -> None:
    """The architecture, which other keys begin with, may come last."""
    assert read_bytes(gguf(reversed(LLAMA))).attention == read_bytes(gguf()).attention


@pytest.mark.parametrize(
    ("file_type", "name"),
    [
        (0, "F32"),
        (1, "F16"),
        (7, "Q8_0"),
        (15, "Q4_K_M"),
        (1024 + 17, "Q5_K_M"),
        (38, "MXFP4_MOE"),
        (999, "F32"),
    ],
)
def test_the_quantisation_has_llama_cpps_name(file_type: int, name: str) -> None:
    """Also if it was guessed; an unknown one is told by the type that most bytes have."""
    assert read_bytes(gguf(changed(("general.file_type", U32, file_type)))).quantisation == name


def test_without_a_file_type_most_bytes_say_the_quantisation() -> None:
    """As of files that only have tensors."""
    tensors = [("a", (64,), 0), ("b", (2560,), 14), ("c", (2, 2), 1)]
    assert read_bytes(gguf([], tensors)).quantisation == "Q6_K"
    assert read_bytes(gguf([], [])).quantisation == ""


def test_names_and_sizes_are_those_of_ggml() -> None:
    """Compared with the tables of llama.cpp's own package."""
    from gguf import GGML_QUANT_SIZES, LlamaFileType  # noqa: PLC0415 - NumPy is slow to import

    from pool_lifecycle_drivers.gguf_types import FILE_TYPES, GUESSED, TENSOR_TYPES  # noqa: PLC0415

    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    shared = theirs.keys() & TENSOR_TYPES.keys()  # an older or newer package knows others
    assert len(shared) > 20
    assert {kind: TENSOR_TYPES[kind] for kind in shared} == {kind: theirs[kind] for kind in shared}
    for kind in LlamaFileType:
        name = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        assert FILE_TYPES.get(int(kind), name) == name or kind == GUESSED


@pytest.mark.parametrize(
    ("entries", "attention"),
    [
        ([("llama.attention.key_length", U32, 24)], Attention(4, 24, 16, 4096)),
        ([("llama.attention.value_length", U32, 8)], Attention(4, 16, 8, 4096)),
        ([("llama.attention.head_count_kv", ARRAY, (U32, [0, 3]))], Attention(3, 16, 16, 4096)),
        ([("llama.attention.head_count_kv", ARRAY, (BOOL, [True, True]))], Attention(8, 16, 16, 4096)),
        ([("llama.attention.head_count_kv", U8, 0)], Attention(8, 16, 16, 4096)),
        ([("llama.attention.head_count", U32, 0)], None),
        ([("llama.attention.head_count", F32, 4.0)], None),
        ([("llama.attention.head_count", BOOL, True)], None),
        ([("llama.block_count", U64, 2**63)], None),
        ([("llama.context_length", STRING, "long")], None),
        ([("general.architecture", STRING, "gemma")], None),
    ],
)
def test_the_cache_follows_from_what_is_told(entries: list[Entry], attention: Attention | None) -> None:
    """Layers may differ; lengths may be told; what is missing or absurd makes no estimate."""
    assert read_bytes(gguf(changed(*entries))).attention == attention


@pytest.mark.parametrize("name", ["la\nma", "la\x1b[31mma", "l" * 65, "лама", "\ud7ff"])
def test_an_architecture_that_is_no_word_is_none(name: str) -> None:
    """It is shown on terminals and kept in files."""
    assert read_bytes(gguf(changed(("general.architecture", STRING, name)))).architecture == ""


def test_a_part_says_which_it_is() -> None:
    """Counted from 0, as in the file."""
    assert read_bytes(gguf(changed(("split.no", 2, 1), ("split.count", 2, 3)))).part() == (1, 3)
    assert read_bytes(gguf(changed(("split.count", 2, 3)))).part() == (0, 3)
    assert read_bytes(gguf(changed(("split.no", 2, 1), ("split.count", 2, 1)))).part() == (0, 1)


def test_missing_bytes_are_counted() -> None:
    """A download cut short among the tensors: the header is whole, the engine would fail."""
    whole = gguf()
    needs = read_bytes(whole).needs
    assert needs <= len(whole)
    assert read_bytes(whole[:needs]).needs == needs
    assert defect(whole[: needs - 10]) == (
        f"is damaged: it has {needs - 10} bytes of {needs}: 10 bytes of its tensors are missing"
    )


def test_every_cut_is_seen() -> None:
    """FAULTS: a file cut at any byte is refused, with a reason, and nothing else is raised."""
    whole = gguf()
    for length in range(24, read_bytes(whole).needs):
        assert defect(whole[:length]).startswith("is damaged: it")


def test_tensors_that_lie_on_each_other_are_more_than_the_file() -> None:
    """The sum of all tensors has to fit, not only the end of the last."""
    writer = GgufWriter()
    head = struct.pack("<4sIQQ", b"GGUF", 3, 2, 0)
    content = head + 2 * writer.tensor("a", (64,), 0, 0)
    begin = -(-len(content) // 32) * 32
    assert "256 bytes of its tensors are missing" in defect(content.ljust(begin + 256, b"\0"))


@pytest.mark.parametrize("alignment", [0, 3, 48])
def test_an_alignment_is_a_power_of_two(alignment: int) -> None:
    """Every engine gives up on others."""
    assert "no power of two" in defect(gguf(changed(("general.alignment", U32, alignment))))


def test_another_alignment_is_heeded() -> None:
    """Where tensors begin depends on it."""
    entries = changed(("general.alignment", U32, 4096))
    assert read_bytes(gguf(entries, alignment=4096)).needs > 4096


ENTRY = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + GgufWriter().text("k")


@pytest.mark.parametrize(
    ("content", "size", "words"),
    [
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 0), None, "cannot hold"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**63), None, "cannot hold"),
        (ENTRY + struct.pack("<IQ", STRING, 2**63), 2**40, "ends within its header"),
        (ENTRY + struct.pack("<IIQ", ARRAY, U64, 2**61), 2**40, "ends within its header"),
        (ENTRY + struct.pack("<IIQ", ARRAY, STRING, 2**60), 2**40, "ends within its header"),
        (ENTRY + struct.pack("<IIQ", ARRAY, STRING, 2**30), 2**40, ""),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**30, 0), 2**40, ""),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**30), 2**40, ""),
        (ENTRY + struct.pack("<IIQ", ARRAY, ARRAY, 2**30), 2**40, ""),
        (ENTRY + struct.pack("<I", 13), 2**20, ""),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + struct.pack("<QI", 0, 2**31), 2**40, ""),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), None, ""),
        (struct.pack("<4sIQQ", b"GGUF", 4, 0, 0), None, ""),
    ],
    ids=range(13),
)
def test_a_hostile_header_costs_little(content: bytes, size: int | None, words: str) -> None:
    """FAULTS: huge counts and lengths, in a file that is huge too. What may be sound is no defect."""
    said = defect(content, size)
    assert words in said
    assert bool(words) is bool(said)


def test_no_more_is_read_than_allowed() -> None:
    """A header as long as it likes ends the look, and says nothing against the file."""
    strings = ENTRY + struct.pack("<IIQ", ARRAY, STRING, 100_000) + bytes(800_000)
    assert read_bytes(strings).values == {}
    with pytest.raises(Unreadable) as caught:
        read_bytes(strings, Budget(400_000))
    assert caught.value.defect is None


def test_types_that_nobody_knows_are_told() -> None:
    """Their size is unknown, so that only where they begin is checked."""
    content = gguf(LLAMA, [])
    count = struct.pack("<4sIQQ", b"GGUF", 3, 1, len(LLAMA))
    odd = count + content[24:] + GgufWriter().tensor("a", (64,), 4711, 0)
    assert read_bytes(odd + bytes(64)).unknown == 1
    far = count + content[24:] + GgufWriter().tensor("a", (64,), 4711, 2**40)
    assert "are missing" in defect(far + bytes(64))


def test_the_header_of_a_real_writer_is_read(tiny_model: Path) -> None:
    """Of llama.cpp's own package."""
    with tiny_model.open("rb") as file:
        header = read_gguf(HeaderBytes(file.fileno(), tiny_model.stat().st_size))
    assert header.architecture == "llama"
    assert header.needs <= tiny_model.stat().st_size
    assert header.attention == Attention(8, 16, 16, 4096)
    assert header.quantisation == "F32"


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Nothing else is raised, whatever follows the magic."""
    for start in (b"", struct.pack("<4sI", b"GGUF", 3), gguf()[:24], gguf()[:200]):
        try:
            read_bytes(start + content + b"\0")
        except Unreadable:
            continue


@given(st.data())
def test_a_changed_byte_is_read_or_refused(data: st.DataObject) -> None:
    """Nothing else is raised for a file with damage anywhere, and then cut anywhere."""
    content = bytearray(gguf(LLAMA, TENSORS, order=data.draw(st.sampled_from("<>"))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    except Unreadable:
        return
