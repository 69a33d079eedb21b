"""Numbers, names and sentences as they are put before people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_lifecycle.wording import SHOWN, amount, cut, ordinal, part, plural, seconds, sentence, shown, size


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (120, "2 min"),
        (3599.7, "1 h"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_are_said_as_people_do(value: float, said: str) -> None:
    """Rounded to what matters, never `60.0 s` or `1000 ms`."""
    assert seconds(value) == said


@given(st.floats(0, 7 * 86400))
def test_no_part_of_a_duration_overflows(value: float) -> None:
    """Less than 1000 ms, 60 s, 60 min."""
    for name, limit in (("ms", 1000), ("s", 60), ("min", 60)):
        for number, unit in zip(seconds(value).split()[::2], seconds(value).split()[1::2], strict=True):
            assert unit != name or float(number) < limit


def test_words() -> None:
    """One lease, two leases; a sentence begins and ends like one."""
    assert (plural(1, "lease"), plural(2, "lease"), plural(0, "slot")) == ("1 lease", "2 leases", "0 slots")
    assert sentence("look at the log") == "Look at the log."
    assert sentence("Done.") == "Done."
    assert sentence("") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("req-17", "req-17"),
        ("größe 7", "größe 7"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("x" * 60, "x" * 60),
        ("x" * 10_000, "x" * 57 + "..."),
    ],
)
def test_a_name_fits_into_one_line(name: str, said: str) -> None:
    """Whatever a holder calls itself, it forges no line of a log and moves no cursor."""
    assert shown(name) == said


@given(st.text(st.characters(codec=None)))
def test_every_name_can_be_shown(name: str) -> None:
    """Printable, encodable, and short: an escape is at most ten characters."""
    assert shown(name).isprintable()
    assert len(shown(name).encode()) <= 10 * SHOWN


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (21, "21st"),
        (113, "113th"),
    ],
)
def test_ordinals(count: int, said: str) -> None:
    """As people write them."""
    assert ordinal(count) == said


def test_a_text_is_cut_to_its_most() -> None:
    """And what could steer a terminal is escaped."""
    assert cut("x" * 20, 10) == "x" * 7 + "..."
    assert cut("a\x1b[2J", 10) == "a\\x1b[2J"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1023.7, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (99.94 * 2**20, "99.9 MiB"),
        (99.96 * 2**20, "100 MiB"),
        (1023.6 * 2**20, "1.0 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count: float, said: str) -> None:
    """With the unit that fits, and three digits at most."""
    assert size(count) == said


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [
        (1.2 * 2**30, 4.7 * 2**30, "1.2 of 4.7 GiB"),
        (310 * 2**20, 4.7 * 2**30, "310 MiB of 4.7 GiB"),
        (5, 900, "5 of 900 bytes"),
        (1, 1, "1 of 1 byte"),
    ],
)
def test_a_part_of_a_size_has_one_unit_where_it_can(done: float, total: float, said: str) -> None:
    """As on a download."""
    assert part(done, total) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (135_616, "135616"),
        (494e6, "494 million"),
        (999.8e6, "1.0 billion"),
        (7.24e9, "7.2 billion"),
        (1.04e12, "1.0 trillion"),
    ],
)
def test_large_amounts_are_said_as_people_say_them(count: float, said: str) -> None:
    """Nobody counts the digits of a number of parameters."""
    assert amount(count) == said
