"""What a driver returned is held against what it promised."""

from __future__ import annotations

from typing import Any

import pytest

from pool_lifecycle.causes import LOST, Clue, ClueKind, ExitStatus
from pool_lifecycle.interfaces import Health
from pool_lifecycle.promises import SHOWN, expected, expected_health, expected_status


def test_a_value_of_the_wrong_kind_names_the_verb() -> None:
    """What fits is passed on."""
    health = Health(ok=True, detail="")
    assert expected(Health, health, "check") is health
    with pytest.raises(TypeError, match="'check' returned None, not a Health"):
        expected(Health, None, "check")


def test_of_nonsense_not_more_is_told_than_can_be_read() -> None:
    """S19: whatever its size."""
    with pytest.raises(TypeError) as error:
        expected(Health, b"\n" * 10**6, "check")
    assert len(str(error.value)) < 2 * SHOWN


KNOWN = ExitStatus(signal=9, clues=(Clue(ClueKind.OOM_KILL, "the kernel counted it", proof=True),))


@pytest.mark.parametrize("status", [KNOWN, LOST, ExitStatus(code=0)])
def test_how_an_engine_ended_is_passed_on(status: ExitStatus) -> None:
    """With its clues."""
    assert expected_status(status, "wait") is status


NONSENSE: Any = [
    None,
    ExitStatus(code="7"),  # type: ignore[arg-type]
    ExitStatus(signal=9.0),  # type: ignore[arg-type]
    ExitStatus(signal=9, clues=None),  # type: ignore[arg-type]
    ExitStatus(signal=9, clues=[]),  # type: ignore[arg-type]
    ExitStatus(signal=9, clues=("oom",)),  # type: ignore[arg-type]
    ExitStatus(signal=9, clues=(*KNOWN.clues, None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("status", NONSENSE)
def test_an_ending_with_nonsense_in_it_is_none(status: object) -> None:
    """S16: what is judged by it holds what it says it holds."""
    with pytest.raises(TypeError, match="'wait' returned"):
        expected_status(status, "wait")


@pytest.mark.parametrize(
    "health",
    [
        None,
        Health(ok="no", detail=""),  # type: ignore[arg-type]
        Health(ok=False, detail=None),  # type: ignore[arg-type]
        Health(ok=False, detail="", silent="maybe"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_with_nonsense_in_it_is_none(health: object) -> None:
    """A text that says no is true, as far as Python goes."""
    with pytest.raises(TypeError, match="'check' returned"):
        expected_health(health, "check")


def test_what_a_probe_says_fits_into_a_line() -> None:
    """S19: it goes into causes, records and snapshots, whatever a server has answered."""
    usual = Health(ok=True, detail="200 in 3 ms")
    assert expected_health(usual, "check") is usual
    flood = Health(ok=False, detail="\x1b[31m" * 10**6, silent=True)
    shown = expected_health(flood, "check")
    assert (shown.ok, shown.silent) == (False, True)
    assert shown.detail.startswith("\\x1b[31m")
    assert shown.detail.isprintable()
    assert len(shown.detail) <= SHOWN
