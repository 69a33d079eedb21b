"""What five hundred ready engines cost our process while nothing happens: without probes, and with them.

The engines answer for themselves, each on its own port; what they take is not counted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import psutil

from benchmarks.rows import Row
from benchmarks.supervised import BARE_LOOP, Contender, Workshop, our_contender, supervised, workshop

ENGINES = 500
QUIET, PROBED = 5.0, 20.0
"""Seconds over which is measured: two intervals, where engines are probed."""

SELDOM = {"probe": "tcp", "interval": 3600}
HTTP = {"probe": "http", "path": "/health", "interval": 10, "timeout": 5, "failures": 1000}
ILL = ("slow", "hung", "refusing")
MOSTLY_WELL = ("well",) * 17 + ILL


def run() -> Iterator[Row]:
    """In percent of one core."""
    if shutil.which("cc") is None:
        yield Row("idle", 0.0, "%", "no cc: not measured", None, None, "<= 2.5 %", met=False)
        return
    with workshop() as made:
        bare = _percent(BARE_LOOP, made, QUIET)
        for name, contender, seconds, most in (
            ("no probes", our_contender(health=SELDOM), QUIET, 0.2),
            ("HTTP probes every 10 s", our_contender(health=HTTP, modes=("well",)), PROBED, 2.5),
            (
                "15 % slow, hung or refusing",
                our_contender(health=HTTP, modes=MOSTLY_WELL),
                PROBED,
                2.5,
            ),
        ):
            taken = _percent(contender, made, seconds)
            yield Row.within(
                f"idle CPU, {ENGINES} engines, {name}",
                taken,
                "%",
                most,
                peer="bare asyncio relauncher, no probes",
                peer_value=bare,
            )


def _percent(contender: Contender, made: Workshop, seconds: float) -> float:
    with supervised(contender, made, ENGINES) as one:
        one.begin()
        one.settle()
        time.sleep(1.0)
        process = psutil.Process(one.process.pid)
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
    return round(100 * (after.user + after.system - before.user - before.system) / seconds, 3)
