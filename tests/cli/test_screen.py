"""The table of how the pools are."""

from __future__ import annotations

import io
from typing import Any

import pytest
from attrs import evolve
from rich.console import Console

from pool_lifecycle.cli.screen import MARGIN, Screen, now, table
from pool_lifecycle.lease import Blocker
from pool_lifecycle.lifecycle import LIFECYCLE, PoolState
from pool_lifecycle.status import PoolStatus
from pool_lifecycle.transfer import Transfer


def status(state: PoolState, **changes: Any) -> PoolStatus:
    """A pool in a state."""
    its = LIFECYCLE.states[state]
    plain = PoolStatus(
        pool_id="chat",
        state=state,
        since=65.0,
        live=its.live,
        ready=its.serving,
        draining="draining" in state,
        intent="run",
        generation=1,
        pid=7,
        url="http://127.0.0.1:9" if its.live else None,
        containment=None,
        model=None,
        slots=4,
        leases=(),
        waiting=0,
        circuits={},
        trial_in={},
        crash_count=0,
        restart_count=0,
        storm=None,
        failure=None,
        crash_logs="",
        last_error=None,
        next="",
        next_attempt_in=None,
        deadline_in=None,
        observed="",
        staging=None,
        explanation="",
    )
    return evolve(plain, **changes)


def drawn(pools: list[PoolStatus], width: int, **options: bool) -> str:
    """The table on a terminal without colours."""
    to = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    to.print(table(pools, width))
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        (status(PoolState.READY), "http://127.0.0.1:9"),
        (status(PoolState.STARTING, observed="503", deadline_in=12.0), "503; 12.0 s left"),
        (
            status(
                PoolState.BACKING_OFF, next="restart 3 in 3.0 s (x)", last_error="it died", deadline_in=60.0
            ),
            "restart 3 in 3.0 s (x); it died",
        ),
        (
            status(PoolState.BACKING_OFF, next="restart 3 in 3.0 s (its turn)", observed="its turn"),
            "restart 3 in 3.0 s (its turn)",
        ),
        (
            status(PoolState.BACKING_OFF, next="restart 3 once that is over", observed="no memory"),
            "no memory; restart 3 once that is over",
        ),
        (status(PoolState.FAILED, last_error="no such program"), "no such program"),
        (status(PoolState.READY, last_error="long ago"), "http://127.0.0.1:9"),
        (status(PoolState.RETIRING, deadline_in=9.0), "http://127.0.0.1:9"),
        (status(PoolState.READY, next="on trial"), "http://127.0.0.1:9; on trial"),
        (status(PoolState.STOPPED), ""),
    ],
)
def test_it_says_what_happens_now(pool: PoolStatus, says: str) -> None:
    """What is waited for and how long yet; what went wrong, unless it serves again."""
    assert now(pool) == says


def test_a_drain_names_whom_it_waits_for() -> None:
    """The first few, and how many more."""
    leases = tuple(Blocker(f"r{number}", "request", 2.0, number, None) for number in range(5))
    pool = status(PoolState.DRAINING, leases=leases, deadline_in=9.0)
    assert now(pool) == "waits for 5 leases: r0 (2.0 s), r1 (2.0 s), r2 (2.0 s) and 2 more; 9.0 s left"


@pytest.mark.parametrize("width", [30, 45, 72, 100, 200])
def test_it_fits_the_terminal(width: int) -> None:
    """A narrow one does without the time and the slots; a wide one leaves room for the echo of Ctrl-C."""
    pools = [status(state, last_error="word " * 20) for state in PoolState]
    lines = drawn(pools, width).splitlines()
    assert max(map(len, lines)) <= (width if width < 72 else width - MARGIN)
    assert ("1 min 5 s" in "".join(lines)) == (width >= 72)


ON_ITS_WAY = Transfer("file:a", int(1.2 * 2**30), int(4.7 * 2**30), 310.0 * 2**20, 11.3)


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        (
            status(PoolState.STAGING, staging=ON_ITS_WAY, observed="staging: 1", deadline_in=99.0),
            "staging: 1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left",
        ),
        (
            status(PoolState.SURGING_STAGING, staging=ON_ITS_WAY),
            "http://127.0.0.1:9; staging: 1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left",
        ),
        (
            status(PoolState.STAGING, staging=ON_ITS_WAY, last_error="it was cut off"),
            "staging: 1.2 of 4.7 GiB, 310 MiB/s, 11.3 s left; it was cut off",
        ),
        (status(PoolState.STAGING, observed="staging file:a", deadline_in=9.0), "staging file:a; 9.0 s left"),
    ],
)
def test_a_model_on_its_way_is_told_once(pool: PoolStatus, says: str) -> None:
    """How far it is, how fast, how long yet; beside the address of what serves meanwhile."""
    assert now(pool) == says


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_model_on_its_way_has_a_bar(width: int) -> None:
    """As much of the column as of the model, above the numbers; none where nobody knows the whole."""
    lines = drawn([status(PoolState.STAGING, staging=ON_ITS_WAY)], width).splitlines()
    bar = next(line for line in lines if "━" in line and "staging" in line)
    column = bar.split("│")[-2].strip(" ")
    assert set(column) <= {"━", "╸", "╺"}
    assert "staging: 1.2 of 4.7" in lines[lines.index(bar) + 1]
    endless = drawn([status(PoolState.STAGING, staging=Transfer("file:a", 17))], width)
    assert "━" not in endless.split("┡")[1].partition("\n")[2]
    assert "17 bytes" in endless


def test_hostile_text_is_shown_as_text() -> None:
    """An engine's last words, or a holder's name, can neither style the table nor steer the terminal."""
    text = drawn([status(PoolState.FAILED, last_error="[bold]\x1b[2J")], 100)
    assert "[bold]\\x1b[2J" in text


def test_a_terminal_that_is_gone_does_not_hurt_the_end() -> None:
    """The last look fails silently; those before tell."""

    class Gone(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(5, "Input/output error")
            return super().write(text)

    file = Gone()
    to = Console(file=file, force_terminal=True, width=80)
    with Screen(to, lambda: [status(PoolState.READY)]) as screen:
        screen.refresh()
        file.gone = True
        with pytest.raises(OSError, match="Input/output"):
            screen.refresh()
    assert "ready" in file.getvalue()
