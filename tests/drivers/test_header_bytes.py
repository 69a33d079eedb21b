"""Reading on in a file: bounded by what may be read and by what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pool_lifecycle_drivers.header_bytes import (
    BLOCK,
    Budget,
    HeaderBytes,
    Unreadable,
    number_up_to,
    parsed,
    word,
)


@pytest.fixture
def descriptor() -> Iterator[int]:
    descriptor = os.memfd_create("model")
    yield descriptor
    os.close(descriptor)


def test_numbers_are_read_in_either_order(descriptor: int) -> None:
    """As the file says."""
    os.write(descriptor, bytes([1, 0, 0, 0, 1, 0xFF]))
    file = HeaderBytes(descriptor, 6)
    assert file.number("H") == 1
    file.order = ">"
    assert (file.number("H"), file.number("B"), file.number("b")) == (0, 1, -1)


def test_what_is_skipped_is_not_read(descriptor: int) -> None:
    """Gigabytes of tensors lie between what is read."""
    os.truncate(descriptor, 2**32)
    os.pwrite(descriptor, b"xyz", 2**32 - 3)
    budget = Budget(2 * BLOCK)
    file = HeaderBytes(descriptor, 2**32, budget)
    file.take(1)
    file.skip(2**32 - 4)
    assert file.take(3) == b"xyz"
    assert budget.left == 0


def test_nothing_is_read_beyond_the_budget(descriptor: int) -> None:
    """It is shared: what one file took, another cannot."""
    os.truncate(descriptor, 10 * BLOCK)
    budget = Budget(3 * BLOCK)
    HeaderBytes(descriptor, 10 * BLOCK, budget).take(2 * BLOCK)
    other = HeaderBytes(descriptor, 10 * BLOCK, budget)
    assert len(other.take(BLOCK)) == BLOCK
    with pytest.raises(Unreadable) as caught:
        other.take(1)
    assert caught.value.defect is None


def test_the_end_of_the_file_is_told(descriptor: int) -> None:
    """Whether bytes, strings or nothing at all is wanted there."""
    os.write(descriptor, b"\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0")
    for want, count in ((HeaderBytes.take, 19), (HeaderBytes.skip, 19)):
        with pytest.raises(Unreadable, match="ends within its header, after 18 bytes"):
            want(HeaderBytes(descriptor, 18), count)
    for count in (2, 3):
        with pytest.raises(Unreadable, match="ends within its header, after 18 bytes"):
            HeaderBytes(descriptor, 18).skip_strings(count)


def test_a_file_cut_while_it_is_read_is_told(descriptor: int) -> None:
    """It was longer when it was opened."""
    os.write(descriptor, b"abc")
    with pytest.raises(Unreadable, match="ends within"):
        HeaderBytes(descriptor, 100).take(50)


@pytest.mark.parametrize("length", [0, 1, 7, 8, BLOCK - 9, BLOCK - 8, BLOCK - 7, BLOCK, 3 * BLOCK])
def test_strings_may_lie_across_blocks(descriptor: int, length: int) -> None:
    """Wherever the next length begins, the bytes behind the last string are found."""
    one = length.to_bytes(8, "little") + bytes(length)
    os.write(descriptor, 5 * one + b"end")
    file = HeaderBytes(descriptor, 5 * len(one) + 3)
    file.skip_strings(5)
    assert file.take(3) == b"end"


def test_json_is_an_object_or_refused() -> None:
    """With its name in the message."""
    assert parsed(b'{"a": 1}', "x.json") == {"a": 1}
    with pytest.raises(Unreadable, match=r"x\.json is not a JSON object"):
        parsed(b"1", "x.json")


def test_brackets_are_counted_before_they_are_parsed() -> None:
    """A list of empty lists takes 20 times its length in memory; honest documents are not like that."""
    with pytest.raises(Unreadable) as caught:
        parsed(b'{"a": [' + b"{}," * 1000 + b"{}]}", "x.json")
    assert caught.value.defect is None


@pytest.mark.parametrize(
    ("value", "told"),
    [("llama", "llama"), ("", ""), ("a\n", ""), ("é", ""), ("a" * 65, ""), (None, ""), (1, "")],
)
def test_words_can_be_shown(value: object, told: str) -> None:
    """Short and printable, or nothing."""
    assert word(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(1, 1), (9, 9), (10, None), (0, None), (-1, None), (True, None), (1.0, None)],
)
def test_numbers_are_in_bounds(value: object, told: int | None) -> None:
    """From 1 on, up to what makes sense."""
    assert number_up_to(value, 9) == told
