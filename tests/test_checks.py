"""Checks on declared values: every kind of wrong value meets its sentence, and all of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.checks import (
    Check,
    a,
    check_all,
    check_order,
    checked,
    number,
    one_of,
    optional,
    pool_id,
    seconds,
    text,
    text_pairs,
    texts,
    whole,
)
from pool_lifecycle.errors import ConfigError
from pool_lifecycle.redaction import HIDDEN

HUGE = 10**5000
"""More digits than Python is willing to write out."""

NUMBER = number(1.0, 10.0, "times")
WHOLE = whole(1, 10)
PAIRS = text_pairs("variables")

VALID: list[tuple[Check, object]] = [
    (NUMBER, 1), (NUMBER, 10.0), (NUMBER, 2.5),
    (seconds(), 0), (seconds(), 7 * 86400), (seconds(0.001), 0.001),
    (WHOLE, 1), (WHOLE, 10),
    (text(), "ä"), (text(), " "), (text(), "\n"),
    (texts("names"), ()), (texts("names"), ("", "--flag")),
    (PAIRS, ()), (PAIRS, (("A", ""), ("B", "x=y"))),
    (one_of(("on", "off")), "on"),
    (optional(WHOLE), None), (optional(WHOLE), 3),
    (a(dict), {}),
    (pool_id, "a"), (pool_id, "0.b_c-d"), (pool_id, "x" * 63),
]  # fmt: skip

NOT_A_NUMBER = "must be a number of times from 1 to 10"
NOT_SECONDS = "must be a number of seconds from 0 to 604800"
NOT_WHOLE = "must be a whole number from 1 to 10"
NOT_TEXT = "must be text, not empty and without NUL bytes"
NOT_TEXTS = "must be a list of names, each a string without NUL bytes"
NOT_PAIRS = "must be a table of variables, names and values strings without NUL bytes"
NOT_AN_ID = "must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit"

INVALID: list[tuple[Check, str, list[object]]] = [
    (NUMBER, NOT_A_NUMBER, [
        0.999, 10.001, -1, math.nan, math.inf, -math.inf, HUGE, -HUGE, True, "2", None, 2j,
    ]),
    (seconds(), NOT_SECONDS, [-0.001, 604801, math.nan, math.inf, False, "1s", None]),
    (WHOLE, NOT_WHOLE, [0, 11, -1, 5.0, math.nan, HUGE, True, False, "5", None]),
    (text(), NOT_TEXT, ["", "a\0b", "\0", b"bytes", 5, None, ["a"]]),
    (texts("names"), NOT_TEXTS, ["one string", ("a", 1), ("a\0",), ["a list"], None, (b"a",)]),
    (PAIRS, NOT_PAIRS, [
        {"A": "1"}, (("A",),), (("A", "1", "2"),), (("", "1"),), (("A=B", "1"),), (("A", 1),),
        (("A\0", "1"),), (("A", "1\0"),), ("AB",), None,
    ]),
    (one_of(("on", "off")), "must be one of 'on', 'off'", ["On", "", None, 1, ["on"], "on "]),
    (optional(WHOLE), NOT_WHOLE, [0, "", False]),
    (a(dict), "must be a dict", [None, [], "{}"]),
    (pool_id, NOT_AN_ID, [
        "", "x" * 64, "A", ".hidden", "-flag", "_x", "a/b", "..", "../a", "a b", "a\n", "\na", "a\0",
        "ch\N{CYRILLIC SMALL LETTER A}t", "\N{SMALL ROMAN NUMERAL ONE}", "a\N{ARABIC-INDIC DIGIT THREE}",
        "\N{FULLWIDTH LATIN SMALL LETTER A}", "é", "a\N{ZERO WIDTH SPACE}", None, 5, b"a",
    ]),
]  # fmt: skip
CASES = [(check, said, value) for check, said, values in INVALID for value in values]


@pytest.mark.parametrize(("check", "value"), VALID)
def test_valid_values_pass(check: Check, value: object) -> None:
    """What is valid is let through, the bounds included."""
    assert check(value) is None


@pytest.mark.parametrize(
    ("check", "sentence", "value"), CASES, ids=[str(number) for number in range(len(CASES))]
)
def test_hostile_values_meet_the_sentence(check: Check, sentence: str, value: object) -> None:
    """B-CONFIG-x1: each wrong value is answered with what would be valid, and never with an accident."""
    assert check(value) == sentence


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
CHECKS: list[Callable[[Any], str | None]] = [check for check, _, _ in INVALID]


@given(st.sampled_from(CHECKS), ANYTHING)
def test_no_value_breaks_a_check(check: Check, value: object) -> None:
    """A check answers about anything at all."""
    assert check(value) is None or "must be" in str(check(value))


# --- on fields -------------------------------------------------------------------------------------------


@frozen
class Thing:
    """Something declared."""

    size: int = field(metadata=checked(whole(1, 10)))
    secret: str = field(repr=False, metadata=checked(text()))
    free: object = None
    least: float = 0.0
    most: float = 10.0

    def __attrs_post_init__(self) -> None:
        check_all(self)
        check_order(self, "least", "size", larger="most")


def problems(**fields: Any) -> list[str]:
    """What is wrong with a thing, one line each."""
    with pytest.raises(ConfigError) as raised:
        Thing(**fields)
    assert [str(one) for one in raised.value.problems] == str(raised.value).split("\n")
    return str(raised.value).split("\n")


def test_every_problem_at_once() -> None:
    """B-CONFIG-x1: who declares two wrong values is told of both."""
    assert problems(size=99, secret="") == [
        "size = 99: must be a whole number from 1 to 10",
        f"secret = {HIDDEN!r}: must be text, not empty and without NUL bytes",
    ]


def test_secrets_are_never_shown() -> None:
    """S18: a field without a repr may hold a secret, also where it is wrong."""
    with pytest.raises(ConfigError) as raised:
        Thing(size=1, secret="hunter2\0")
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(raised.value.problems)


def test_order_problems_at_once() -> None:
    """Each field that is more than the larger one is named."""
    assert problems(size=9, secret="x", least=8.0, most=7.0) == [
        "least = 8.0: must not exceed most (7)",
        "size = 9: must not exceed most (7)",
    ]


def test_order_allows_equal() -> None:
    """At most means at most."""
    Thing(size=7, secret="x", least=7.0, most=7.0)


def test_a_field_without_a_check_may_be_anything() -> None:
    """Only what is declared checked is checked."""
    assert Thing(size=1, secret="x", free=HUGE).free == HUGE


@pytest.mark.parametrize(
    ("value", "shown"),
    [(HUGE, "a huge int"), ("y" * 200, "'" + "y" * 76 + "..."), ([1], "[1]")],
    ids=["digits", "text", "list"],
)
def test_what_is_shown_is_bounded(value: object, shown: str) -> None:
    """S19: a value of any size makes a line of bounded length."""
    assert problems(size=value, secret="x") == [f"size = {shown}: must be a whole number from 1 to 10"]
