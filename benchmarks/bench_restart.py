"""How soon a killed engine is replaced, and five hundred; how soon five hundred are started. Real processes.

Beside the least there is: a loop in C that does nothing else, and one on asyncio. Supervisors that wait
before they start anything again are shown as they are installed.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator

from benchmarks.peers import SUPERVISOR, installed
from benchmarks.rows import Row
from benchmarks.supervised import (
    BARE_LOOP,
    C_LOOP,
    OURS,
    Contender,
    Supervised,
    Workshop,
    supervised,
    workshop,
)

BLOCKS, KILLS = 4, 10
"""One engine is killed so often, by turns: a block of kills for each contender, then again."""

PEER_KILLS = 3
SETTLING, PEER_SETTLING = 0.05, 1.2
"""Seconds from one replacement to the next kill; some supervisors hold back what ran less than a second."""

MANY, MANY_ROUNDS, MANY_KILLS = 500, 2, 3


def run() -> Iterator[Row]:
    """Nothing is left running, however this ends. Without a C compiler there is no engine to be killed."""
    if shutil.which("cc") is None:
        yield Row("killed to executing", 0.0, "ms", "no cc: not measured", None, None, "<= 2 x", met=False)
        return
    with workshop() as made:
        yield from _one(made)
        yield from _many(made)


# --- one engine ---------------------------------------------------------------------------------------------


def _one(made: Workshop) -> Iterator[Row]:
    times: dict[str, list[float]] = {one.name: [] for one in (OURS, C_LOOP, BARE_LOOP)}
    for _ in range(BLOCKS):
        for contender in (OURS, C_LOOP, BARE_LOOP):
            times[contender.name] += _kills(contender, made, KILLS, SETTLING)
    ours, *least = (statistics.median(taken) * 1e3 for taken in times.values())
    name = "killed to executing, zero delay"
    for contender, value, most in zip((C_LOOP, BARE_LOOP), least, (2.0, 2.0), strict=True):
        yield Row.against(name, ours, "ms", contender.name, value, most=most)
    for peer in installed():
        value = statistics.median(_kills(peer, made, PEER_KILLS, PEER_SETTLING)) * 1e3
        yield Row.against(name, ours, "ms", peer.name, value, most=2.0)


def _kills(contender: Contender, made: Workshop, number: int, settling: float) -> list[float]:
    with supervised(contender, made, 1) as one:
        one.begin()
        return [_kill(one, settling) for _ in range(number)]


def _kill(one: Supervised, settling: float) -> float:
    one.settle()
    time.sleep(settling)
    return one.kill()


# --- many ---------------------------------------------------------------------------------------------------


def _many(made: Workshop) -> Iterator[Row]:
    starts: dict[str, list[float]] = {OURS.name: [], BARE_LOOP.name: []}
    kills: dict[str, list[float]] = {OURS.name: [], BARE_LOOP.name: []}
    for _ in range(MANY_ROUNDS):
        for contender in (BARE_LOOP, OURS):
            _started_and_killed(contender, made, MANY_KILLS, starts[contender.name], kills[contender.name])
    peers = [BARE_LOOP]
    if SUPERVISOR in installed():
        peers.append(SUPERVISOR)
        starts[SUPERVISOR.name], kills[SUPERVISOR.name] = [], []
        _started_and_killed(SUPERVISOR, made, 1, starts[SUPERVISOR.name], kills[SUPERVISOR.name])
    for name, times in ((f"{MANY} killed until executing", kills), (f"{MANY} started", starts)):
        ours = statistics.median(times[OURS.name])
        for peer in peers:
            yield Row.against(name, ours, "s", peer.name, statistics.median(times[peer.name]), most=1.6)


def _started_and_killed(
    contender: Contender, made: Workshop, number: int, starts: list[float], kills: list[float]
) -> None:
    with supervised(contender, made, MANY) as one:
        starts.append(one.begin())
        kills += [_kill(one, SETTLING) for _ in range(number)]
