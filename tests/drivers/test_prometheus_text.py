"""Counters in Prometheus' text format: added up right, and never a trap for whoever reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle_drivers.prometheus_text import total

VLLM = b"""\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a \\"b\\" } 7 c"} 1234.0
vllm:generation_tokens_total{engine="1",model_name="x"} 1.0e+06
vllm:generation_tokens_created{engine="0"} 1.7e+09
vllm:prompt_tokens_total{engine="0"} 0.5 1700000000000
"""
NAMES = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")


def test_every_sample_of_every_name_counts() -> None:
    """Whatever its labels, its time stamp, and the brackets and quotes in a label."""
    assert total(VLLM, NAMES) == 1_001_234.5
    assert total(VLLM.replace(b"\n", b"\r\n"), NAMES) == 1_001_234.5
    assert total(VLLM, NAMES[1:]) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"other 1\n",
        b"work_more 1\n",
        b"more_work 1\n",
        b" work 1\n",
        b"# work 1\n",
        b"work\n",
        b"work 1x\n",
        b"work1\n",
        b"work one\n",
        b"work 1e\n",
        b"work nan\n",
        b"work NaN\nwork +Inf\nwork -Inf\n",
        b"work 1_000\n",
        b"work 1e999\n",
        b"work " + b"9" * 65 + b"\n",
        b'work{a="b} 1\n',
        b'work{a="\n"} 1\n',
        b"work\n1\n",
        b"work\x001\n",
    ],
)
def test_what_is_no_sample_is_no_number(text: bytes) -> None:
    """Neither another metric's, nor a comment's, nor one that is not a number, or not finite."""
    assert total(text, ("work",)) is None


@pytest.mark.parametrize(
    "text", [b"work 1", b"work\t1\n", b"work{} 1\n", b'work{a="\\\\"} 1\n', b"work +1. \n"]
)
def test_what_is_a_sample_is_read(text: bytes) -> None:
    """As the format allows it, also on a last line that does not end."""
    assert total(b"junk\n" + text, ("work",)) == 1.0


def test_a_name_is_taken_literally() -> None:
    """A dot in it is no wildcard."""
    assert total(b"axb 1\na.b 2\n", ("a.b",)) == 2.0


LABEL = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20)


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "a_b"]), LABEL, st.integers(0, 2**40))))
def test_what_is_written_by_the_book_is_added_up(samples: list[tuple[str, str, int]]) -> None:
    """Law: the sum is that of the samples wanted, None if there is none."""
    text = "".join(f'{name}{{l="{escaped(label)}",m=""}} {value}\n' for name, label, value in samples)
    wanted = [value for name, _, value in samples if name in {"a", "a_b"}]
    assert total(text.encode(), ("a", "a_b")) == (sum(wanted) if wanted else None)


PIECES = [b"work", b"{", b"}", b'"', b"\\", b"=", b",", b" ", b"\n", b"1", b"e", b"-", b"\xff", b"\0"]


@given(st.lists(st.sampled_from(PIECES)).map(b"".join) | st.binary())
def test_whatever_is_written_is_survived(text: bytes) -> None:
    """FAULTS, hostile text: a finite number or None."""
    found = total(text, ("work",))
    assert found is None or abs(found) < float("inf")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", [b"work{", b'work{"', b'work{a="b"', b'"\\', b"work " + b"1" * 60, b"work \t ", b"{}", b"\n"]
)
def test_hostile_text_costs_no_more_than_any_other(piece: bytes) -> None:
    """Linear time: a mebibyte of what would be tried again and again is through at once."""
    for text in (piece * (2**20 // len(piece)), b"work{" + piece * (2**20 // len(piece))):
        total(text, ("work",))
