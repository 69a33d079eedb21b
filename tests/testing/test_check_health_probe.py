"""The conformance check for health probes finds each broken promise, and passes a probe without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.check_health_probe import check_health_probe
from pool_lifecycle.testing.memory import MemoryHealthProbe, ProbeScript

HEALTHY, UNHEALTHY, SILENT = (ProbeTarget("h", port) for port in (1, 2, 3))


class Sound:
    """Keeps every promise; the broken ones below break one each."""

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        await asyncio.sleep(timeout if target == SILENT else timeout / 100)
        return Health(target == HEALTHY, "seen")


class SaysNo(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(ok=False, detail="never")


class SaysYes(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(ok=True, detail="always")


class Raises(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        if target == UNHEALTHY:
            raise ConnectionRefusedError
        return await super().check(target=target, timeout=timeout)


class Slow(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return await super().check(target=target, timeout=timeout * 10)


class SwallowsCancellation(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        try:
            return await super().check(target=target, timeout=timeout)
        except asyncio.CancelledError:
            return Health(ok=False, detail="cancelled")


class OutlivesCancellation(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        try:
            return await super().check(target=target, timeout=timeout)
        except asyncio.CancelledError:
            await asyncio.sleep(timeout * 100)
            raise


class QuotesTheEngine(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(target == HEALTHY, "\x1b[31mred")


class TalksTooMuch(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(target == HEALTHY, "x" * 1000)


class MixesUp(Sound):
    last = HEALTHY

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        self.last = target
        await asyncio.sleep(timeout / 100)
        return Health(self.last == HEALTHY, "seen")


class LeavesATask(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        self.left = asyncio.ensure_future(asyncio.sleep(1000))
        return await super().check(target=target, timeout=timeout)


OPENED: list[int] = []


class LeavesADescriptor(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        OPENED.append(os.open("/dev/null", os.O_RDONLY))
        return await super().check(target=target, timeout=timeout)


class NoProbe(Sound):
    check = None  # type: ignore[assignment]


def examine(make: Callable[[], Sound]) -> None:
    async def program() -> None:
        try:
            await check_health_probe(make, healthy=HEALTHY, unhealthy=UNHEALTHY, silent=SILENT)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            while OPENED:
                os.close(OPENED.pop())

    virtual_time.run(program())


def test_a_sound_probe_passes() -> None:
    """No promise is asked for that a plain probe does not keep."""
    examine(Sound)


def test_the_memory_probe_passes() -> None:
    """The memory driver keeps the promises of the real ones, in virtual time."""

    def answer(target: ProbeTarget) -> Health | ProbeScript:
        if target == SILENT:
            return ProbeScript(takes=1e9)
        return Health(target == HEALTHY, "as told")

    virtual_time.run(
        check_health_probe(
            lambda: MemoryHealthProbe(answers=answer), healthy=HEALTHY, unhealthy=UNHEALTHY, silent=SILENT
        )
    )


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (NoProbe, "has a method check"),
        (SaysNo, "a healthy engine is found healthy"),
        (SaysYes, "an unhealthy engine is found unhealthy"),
        (Raises, "an unhealthy engine is a value"),
        (Slow, "is over within its time-out"),
        (SwallowsCancellation, "lets CancelledError pass"),
        (OutlivesCancellation, "a cancelled check ends within"),
        (QuotesTheEngine, "without control characters"),
        (TalksTooMuch, "1 to 120 characters"),
        (MixesUp, "do not disturb each other"),
        (LeavesATask, "no task behind"),
        (LeavesADescriptor, "no descriptor open"),
    ],
)
def test_a_broken_promise_is_named(make: Callable[[], Sound], promise: str) -> None:
    """Each broken promise is told in its own sentence."""
    with pytest.raises(AssertionError, match=promise):
        examine(make)
