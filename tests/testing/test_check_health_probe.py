"""The conformance check for health probes finds each broken promise, and passes a probe without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from pool_lifecycle.interfaces import Command, Health, LaunchRequest, ProbeTarget
from pool_lifecycle.testing import virtual_time
from pool_lifecycle.testing.check_health_probe import check_health_probe, check_work_probe
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryLauncher, ProbeScript

HEALTHY, UNHEALTHY, SILENT = (ProbeTarget("h", port) for port in (1, 2, 3))


class Sound:
    """Keeps every promise; the broken ones below break one each."""

    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        await asyncio.sleep(timeout if target == SILENT else timeout / 100)
        return Health(target == HEALTHY, "seen", silent=target == SILENT)


class SaysNo(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(ok=False, detail="never")


class SaysYes(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(ok=True, detail="always")


class HealthyAndSilent(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health(target == HEALTHY, "seen", silent=True)


class NeverSilent(Sound):
    async def check(self, *, target: ProbeTarget, timeout: float) -> Health:  # noqa: ASYNC109
        return Health((await super().check(target=target, timeout=timeout)).ok, "seen")


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
        (HealthyAndSilent, "a healthy answer is not silent"),
        (NeverSilent, "no answer at all is a silent Health"),
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


# --- counters --------------------------------------------------------------------------------------------


class Counts:
    """Keeps every promise of a work probe; the broken ones below break one each."""

    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        await asyncio.sleep(timeout if target == SILENT else timeout / 100)
        return 42.0 if target == HEALTHY and names == ("work",) else None


class CountsWrong(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        return None


class CountsAnything(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        return 42.0 if target == HEALTHY else None


class CountsNothing(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        return await super().count(target=target, names=names, timeout=timeout) or (
            0.0 if names == ("work",) else None
        )


class CountRaises(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        if target != HEALTHY:
            raise ConnectionRefusedError
        return await super().count(target=target, names=names, timeout=timeout)


class CountsForEver(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        return await super().count(target=target, names=names, timeout=timeout * 10)


class CountLeavesATask(Counts):
    async def count(self, *, target: ProbeTarget, names: tuple[str, ...], timeout: float) -> float | None:  # noqa: ASYNC109
        self.left = asyncio.ensure_future(asyncio.sleep(1000))
        return await super().count(target=target, names=names, timeout=timeout)


def examine_counts(make: Callable[[], Counts]) -> None:
    async def program() -> None:
        try:
            await check_work_probe(
                make, counting=HEALTHY, names=("work",), expected=42.0, useless=UNHEALTHY, silent=SILENT
            )
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    virtual_time.run(program())


def test_a_sound_work_probe_passes() -> None:
    """No promise is asked for that a plain one does not keep."""
    examine_counts(Counts)


def test_the_memory_probe_passes_as_a_work_probe() -> None:
    """Without a launcher everything is told everywhere, so nothing is useless; with one, nobody listens."""

    async def program() -> None:
        launcher = MemoryLauncher()
        probe = MemoryHealthProbe(launcher)
        probe.metrics = {"work": 40.0, "more": 2.0, "other": 1.0}
        request = LaunchRequest("p", 1, "t", Command(("engine",)), "h", 20000, "/log", "/pid")
        engine = await launcher.launch(request=request)
        target = ProbeTarget("h", 20000)
        sum_, names = {"expected": 42.0, "useless": UNHEALTHY}, ("work", "more")
        await check_work_probe(lambda: probe, counting=target, names=names, **sum_)  # type: ignore[arg-type]
        engine.hang()
        assert await virtual_time.timed(probe.count(target=target, names=names, timeout=3.0)) == (None, 3.0)
        engine.crash()
        assert await virtual_time.timed(probe.count(target=target, names=names, timeout=3.0)) == (None, 0.0)
        assert probe.counts == 5

    virtual_time.run(program())


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (Sound, "has a method count"),
        (CountsWrong, "add up to 42"),
        (CountsAnything, "a metric that is not told has no sum"),
        (CountsNothing, "no usable answer is None, not 0"),
        (CountRaises, "no usable answer is None, not the exception"),
        (CountsForEver, "is over within its time-out"),
        (CountLeavesATask, "no task behind"),
    ],
)
def test_a_broken_promise_of_a_count_is_named(make: Callable[[], Counts], promise: str) -> None:
    """Each in its own sentence."""
    with pytest.raises(AssertionError, match=promise):
        examine_counts(make)
