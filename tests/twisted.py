"""Drivers that keep their promises but for one verb, which does what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle.testing.memory import MemoryHealthProbe, MemoryLauncher, MemoryStager

Call = Callable[[], Awaitable[Any]]
Twist = Callable[[str, Call], Awaitable[Any]]
"""Given a verb and the real call: what happens instead."""


def twisted(twist: Twist) -> Callable[[Any], Any]:
    """For `a_world(twist=...)`: every verb of every driver, and of every engine, goes through `twist`."""

    def wrap(driver: Any) -> Any:
        match driver:
            case MemoryLauncher():
                return TwistedLauncher(driver, twist)
            case MemoryHealthProbe():
                return TwistedProbe(driver, twist)
            case MemoryStager():
                return TwistedStager(driver, twist)
        raise TypeError(driver)

    return wrap


def only(verb: str, how: Callable[[Call], Awaitable[Any]], *, times: int = 10**9) -> Twist:
    """Nothing but `verb`, and that at most so many times, is as `how` wants it."""
    left = [times]

    async def twist(called: str, call: Call) -> Any:
        if called != verb or left[0] == 0:
            return await call()
        left[0] -= 1
        return await how(call)

    return twist


# --- ways to go wrong -----------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[Call], Awaitable[Any]]:
    async def how(_call: Call) -> Any:
        raise error

    return how


def returning(value: object) -> Callable[[Call], Awaitable[Any]]:
    async def how(_call: Call) -> Any:
        return value

    return how


async def hanging(_call: Call) -> Any:
    """For ever, though it can be cancelled."""
    await asyncio.get_running_loop().create_future()


async def really(call: Call) -> Any:
    """As it should be."""
    return await call()


def deaf(seconds: float, then: Callable[[Call], Awaitable[Any]] = really) -> Callable[[Call], Awaitable[Any]]:
    """For so many seconds, whoever cancels it; then something else, by default the real call."""

    async def how(call: Call) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(end - loop.time())
        return await then(call)

    return how


# --- the drivers ----------------------------------------------------------------------------------------


class Passing:
    """Has `driver` do whatever it does not do itself.

    With methods of its own: from Python 3.12 on, what is only found by `__getattr__` makes nobody a driver.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        for name in dir(driver):
            if not name.startswith("_") and not hasattr(type(self), name) and callable(getattr(driver, name)):
                setattr(self, name, getattr(driver, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)


class TwistedLauncher:
    def __init__(self, real: MemoryLauncher, twist: Twist) -> None:
        self.real = real
        self.twist = twist

    async def reserve_port(self, *, host: str) -> Any:
        return await self.twist("reserve_port", lambda: self.real.reserve_port(host=host))

    async def preflight(self, *, request: Any) -> Any:
        return await self.twist("preflight", lambda: self.real.preflight(request=request))

    async def launch(self, *, request: Any) -> Any:
        async def launch() -> Any:
            return TwistedEngine(await self.real.launch(request=request), self.twist)

        return await self.twist("launch", launch)

    async def recover(self, *, handle: EngineHandle) -> Any:
        return await self.real.recover(handle=handle)


class TwistedEngine:
    def __init__(self, real: Any, twist: Twist) -> None:
        self.real = real
        self.twist = twist

    @property
    def handle(self) -> EngineHandle:
        handle: EngineHandle = self.real.handle
        return handle

    async def wait(self) -> Any:
        return await self.twist("wait", self.real.wait)

    async def stop(self, *, kill_after: float) -> Any:
        return await self.twist("stop", lambda: self.real.stop(kill_after=kill_after))

    async def inspect(self) -> Any:
        return await self.twist("inspect", self.real.inspect)

    async def output(self, *, after: int) -> Any:
        return await self.twist("output", lambda: self.real.output(after=after))


class TwistedProbe:
    def __init__(self, real: MemoryHealthProbe, twist: Twist) -> None:
        self.real = real
        self.twist = twist

    async def check(self, *, target: Any, timeout: float) -> Any:  # noqa: ASYNC109
        return await self.twist("check", lambda: self.real.check(target=target, timeout=timeout))


class TwistedStager:
    def __init__(self, real: MemoryStager, twist: Twist) -> None:
        self.real = real
        self.twist = twist

    async def resolve(self, *, reference: str) -> Any:
        return await self.twist("resolve", lambda: self.real.resolve(reference=reference))

    async def stage(self, *, reference: str, digest: str | None, progress: Any) -> Any:
        return await self.twist(
            "stage", lambda: self.real.stage(reference=reference, digest=digest, progress=progress)
        )

    async def evict(self, *, model: Any) -> Any:
        return await self.twist("evict", lambda: self.real.evict(model=model))
