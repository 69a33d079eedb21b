"""What every health probe promises, as one check.

    await check_health_probe(MyProbe, healthy=target, unhealthy=other, silent=third)
    await check_work_probe(MyProbe, counting=target, names=("tokens_total",), expected=42.0, useless=other)

The second is for a probe that can read a counter of work as well. Each raises AssertionError with a sentence
naming the broken promise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pool_lifecycle.interfaces import Health, HealthProbe, ProbeTarget, WorkProbe

SLACK = 1.0
"""Seconds a probe may take beyond its time-out: for a loaded machine, and for ending a program it ran."""

LONGEST = 120
"""Characters a detail may have."""


async def check_health_probe(
    make: Callable[[], HealthProbe],
    *,
    healthy: ProbeTarget,
    unhealthy: ProbeTarget,
    silent: ProbeTarget | None = None,
    timeout: float = 1.0,  # noqa: ASYNC109 - what the probe is given, not a limit on this check
) -> None:
    """Check a probe made by `make`.

    `healthy` is where it must say yes, `unhealthy` where it must say no, `silent` where it gets no answer
    at all (None if its kind cannot meet that). A look at `silent` takes `timeout` seconds.
    """
    probe = make()
    assert isinstance(probe, HealthProbe), "a health probe has a method check(*, target, timeout)"
    descriptors, tasks = _descriptors(), asyncio.all_tasks()
    await _yes(probe, healthy, timeout)
    await _no(probe, unhealthy, timeout)
    await _both_at_once(probe, healthy, unhealthy, timeout)
    for target in (unhealthy,) if silent is None else (unhealthy, silent):
        await _cancelled(probe, target, timeout)
    if silent is not None:
        health = await _in_time(probe, silent, timeout)
        assert health.silent, "no answer at all is a silent Health, or nobody can tell a busy engine"
    await _yes(probe, healthy, timeout)
    await _nothing_left(descriptors, tasks)


async def check_work_probe(
    make: Callable[[], WorkProbe],
    *,
    counting: ProbeTarget,
    names: tuple[str, ...],
    expected: float,
    useless: ProbeTarget,
    silent: ProbeTarget | None = None,
    timeout: float = 1.0,  # noqa: ASYNC109 - what the probe is given, not a limit on this check
) -> None:
    """Check what a probe made by `make` makes of counters.

    At `counting` the metrics `names` add up to `expected`; `useless` answers something else, `silent` nothing
    (None if its kind cannot meet that). A look at `silent` takes `timeout` seconds.
    """
    probe = make()
    assert isinstance(probe, WorkProbe), "a work probe has a method count(*, target, names, timeout)"
    descriptors, tasks = _descriptors(), asyncio.all_tasks()
    count = await probe.count(target=counting, names=names, timeout=timeout)
    assert count == expected, f"the samples of {names} add up to {expected:g}, not {count!r}"
    unknown = await probe.count(target=counting, names=("no such metric",), timeout=timeout)
    assert unknown is None, f"a metric that is not told has no sum, not {unknown!r}"
    for target in (useless,) if silent is None else (useless, silent):
        await _no_count(probe, target, names, timeout)
    await _nothing_left(descriptors, tasks)


async def _no_count(probe: WorkProbe, target: ProbeTarget, names: tuple[str, ...], limit: float) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        count = await probe.count(target=target, names=names, timeout=limit)
    except Exception as error:
        raise AssertionError(f"no usable answer is None, not the exception {error!r}") from error
    assert count is None, f"no usable answer is None, not {count!r}"
    took = loop.time() - begun
    assert took <= limit + SLACK, f"a count is over within its time-out of {limit:g} s, not after {took:g} s"


async def _yes(probe: HealthProbe, target: ProbeTarget, limit: float) -> None:
    health = _sound(await probe.check(target=target, timeout=limit))
    assert health.ok, f"a healthy engine is found healthy, not {health.detail!r}"
    assert not health.silent, "a healthy answer is not silent"


async def _no(probe: HealthProbe, target: ProbeTarget, limit: float) -> Health:
    try:
        health = await probe.check(target=target, timeout=limit)
    except Exception as error:
        raise AssertionError(f"an unhealthy engine is a value, not the exception {error!r}") from error
    assert not _sound(health).ok, f"an unhealthy engine is found unhealthy, not {health.detail!r}"
    return health


async def _both_at_once(
    probe: HealthProbe, healthy: ProbeTarget, unhealthy: ProbeTarget, limit: float
) -> None:
    answers = await asyncio.gather(
        *(probe.check(target=target, timeout=limit) for target in (healthy, unhealthy) * 2)
    )
    assert [answer.ok for answer in answers] == [True, False] * 2, (
        "checks at the same time do not disturb each other"
    )


async def _cancelled(probe: HealthProbe, target: ProbeTarget, limit: float) -> None:
    check = asyncio.ensure_future(probe.check(target=target, timeout=limit))
    await asyncio.sleep(0)
    was_under_way = check.cancel()
    await asyncio.wait((check,), timeout=SLACK)
    assert check.done(), f"a cancelled check ends within {SLACK:g} s"
    assert check.cancelled() is was_under_way, "a cancelled check lets CancelledError pass"


async def _in_time(probe: HealthProbe, target: ProbeTarget, limit: float) -> Health:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    health = await _no(probe, target, limit)
    took = loop.time() - begun
    assert took <= limit + SLACK, f"a check is over within its time-out of {limit:g} s, not after {took:g} s"
    return health


async def _nothing_left(descriptors: int, tasks: set[asyncio.Task[object]]) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + SLACK  # closing takes the loop a round or two, and an engine in it some more
    while (asyncio.all_tasks() - tasks or _descriptors() > descriptors) and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    left = asyncio.all_tasks() - tasks
    assert not left, f"a check leaves no task behind, such as {left}"
    more = _descriptors() - descriptors
    assert more <= 0, f"a check leaves no descriptor open; there are {more} more than before"


def _sound(health: Health) -> Health:
    assert isinstance(health, Health), f"a check returns a Health, not {health!r}"
    assert isinstance(health.ok, bool), f"Health.ok is True or False, not {health.ok!r}"
    detail = health.detail
    assert 1 <= len(detail) <= LONGEST, f"the detail has 1 to {LONGEST} characters, not {detail!r}"
    assert detail.isprintable(), f"the detail is one line without control characters, not {detail!r}"
    return health


def _descriptors() -> int:
    """How many file descriptors this process has open; 0 where that cannot be told."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
