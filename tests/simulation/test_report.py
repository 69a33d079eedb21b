"""A timeline in words and as JSON."""

from __future__ import annotations

import json

import pytest

from pool_lifecycle.restart.backoff import Backoff
from pool_lifecycle.restart.circuit import Breaker
from pool_lifecycle.simulation import Action, as_json, as_text
from pool_lifecycle.simulation.report import COLUMNS, clock
from tests.replays import a_config, a_pool, played, runs

LONG = "a-pool-with-a-name-as-long-as-a-name-of-a-pool-may-be-and-more"
UUID = "GPU-01234567-89ab-cdef-0123-456789abcdef"

SMALL = """\
chat
       time  waited  because of   served  ended as
  0:00:00.0       -  first start   3.0 s  cuda
  0:00:05.5   2.0 s  back-off     14.5 s  stopped
  0:00:20.5  * operator: stop

  served 17.5 s of 20.5 s wanted (85.3 %)
  1 restart, longest wait 2.0 s
  at the end: stopped
  1 run of the trace not reached

Nothing is left that could happen, 0:00:30.5 after the begin (seed 0).
"""


def test_a_small_simulation() -> None:
    """Every attempt, every action, and the sum of it."""
    timeline = played(*runs(3.0, reason="cuda"), *runs(60.0, 5.0), actions=[Action("chat", 20.5, "stop")])
    assert as_text(timeline) == SMALL


def test_no_line_is_longer_than_a_terminal_is_wide() -> None:
    """Also with long names, long waits, storms, and devices with names of forty characters."""
    hasty = {"backoff": Backoff(initial=0, jitter=0), "breaker": Breaker(threshold=900)}
    pools = a_pool(LONG, device_mask=UUID, **hasty), a_pool("b", device_mask=UUID)
    given = runs(1.0, 1.0, reason="device_lost", pool_id="b") + runs(1.0, reason="cuda", pool_id=LONG)
    given += runs(*[1.0] * 14, 200_000.0, reason="device_out_of_memory", pool_id=LONG)
    said = as_text(played(*given, config=a_config(*pools), actions=[Action("b", 1.0, "allow_one")]))
    assert max(map(len, said.splitlines())) <= COLUMNS
    for part in ("device_out_of_memory_storm", f"circuit device {UUID.lower()[:20]}", "…"):
        assert part in said


def test_what_did_not_come_to_an_end_is_said_so() -> None:
    """A reader must not take it for the whole."""
    assert "Not over: --until ended it, 0:00:02.0" in as_text(played(*runs(5.0), until=2.0))


def test_circuits_are_told_where_they_move() -> None:
    """Before the attempt that they make possible; a trial is called half-open."""
    lines = as_text(played(*runs(1, 1, 1, 1, 1))).splitlines()
    opened = next(number for number, line in enumerate(lines) if "opens" in line)
    assert [line.split(maxsplit=1)[1] for line in lines[opened : opened + 4]] == [
        "* circuit general opens after 5 failures",
        "* circuit general is half-open: one trial",
        "5 min  circuit general  10 min 10 s  runs on",
        "* circuit general closes",
    ]


def test_json_has_everything_and_the_sums() -> None:
    """For programs that compare configurations."""
    found = json.loads(as_json(played(*runs(1, 1, 1, 1, 1, reason="cuda"))))
    (pool,) = found["pools"]
    assert (found["rested"], found["seed"], pool["pool_id"]) == (True, 0, "chat")
    assert [one["ended_as"] for one in pool["attempts"]] == ["cuda"] * 5 + [""]
    assert pool["summary"] == {
        "state": "ready",
        "served_seconds": pytest.approx(5 + 600 + 10),
        "down_seconds": pytest.approx(6 * 0.51 + 2 + 4 + 8 + 16 + 300),
        "restarts": 5,
        "longest_wait_seconds": 300.0,
        "circuit_openings": {"cuda": 1},
        "storms": [],
        "runs_not_reached": 0,
    }


@pytest.mark.parametrize(
    ("at", "said"),
    [(0, "0:00:00.0"), (59.96, "0:01:00.0"), (3599.9, "0:59:59.9"), (86400 * 2 + 3661.25, "2 d 1:01:01.2")],
)
def test_the_clock(at: float, said: str) -> None:
    """Rounded once, so that no minute has sixty seconds."""
    assert clock(at) == said
