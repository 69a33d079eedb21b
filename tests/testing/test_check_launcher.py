"""The conformance check of launchers: a good one passes, and each broken promise is named."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from pool_lifecycle.causes import LOST, Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.interfaces import Command, EngineHandle, Inspection, LaunchRequest, StopReport
from pool_lifecycle.testing.check_launcher import check_launcher
from pool_lifecycle.testing.memory import EngineScript, MemoryEngine, MemoryLauncher
from pool_lifecycle.testing.virtual_time import run

TOKENS = itertools.count()
HOPELESS = Cause(FailureClass.PREFLIGHT, Stage.LAUNCH, "no such binary", heals=False)
SCRIPTS = {
    "lasting": EngineScript(output=((0.5, 10),)),
    "stubborn": EngineScript(output=((0.5, 10),), ignores_term=True),
    "exiting 0": EngineScript(exits_after=0.0, exit=ExitStatus(code=0)),
    "exiting 3": EngineScript(exits_after=0.0, exit=ExitStatus(code=3)),
    "impossible": EngineScript(preflight=(HOPELESS,), launch_error=HOPELESS),
}


def script(request: LaunchRequest) -> EngineScript:
    return SCRIPTS[request.command.argv[0]]


def request(name: str, port: int) -> LaunchRequest:
    token = f"token-{next(TOKENS)}"
    return LaunchRequest("p", 1, token, Command((name,)), "127.0.0.1", port, "/log", "/pid")


def check(launcher: MemoryLauncher) -> None:
    run(
        check_launcher(
            lambda: launcher,
            lasting=lambda port: request("lasting", port),
            stubborn=lambda port: request("stubborn", port),
            exiting=lambda port, code: request(f"exiting {code}", port),
            impossible=lambda port: request("impossible", port),
        )
    )


def test_the_memory_launcher_keeps_every_promise() -> None:
    """In virtual time, without a process: the fake that other tests rely on is one that conforms."""
    check(MemoryLauncher(script))


async def returns(value: Any) -> Any:
    return value


class Crooked(MemoryLauncher):
    """A launcher that can be told to break promises."""

    def __init__(self, engine: Callable[[MemoryEngine], Any], **verbs: Any) -> None:
        super().__init__(script)
        self._wrap = engine
        for name, verb in verbs.items():
            setattr(self, name, verb)

    async def launch(self, *, request: LaunchRequest) -> Any:
        return self._wrap(await super().launch(request=request))


class CrookedEngine:
    """An engine that can be told to break promises, and keeps the others."""

    def __init__(self, engine: MemoryEngine, **verbs: Any) -> None:
        self._engine = engine
        self._verbs = verbs

    @property
    def handle(self) -> EngineHandle:
        return self._verbs.get("handle", lambda engine: engine.handle)(self._engine)  # type: ignore[no-any-return]

    async def wait(self) -> ExitStatus:
        status: ExitStatus = await self._do("wait")
        return status

    async def stop(self, *, kill_after: float) -> StopReport:
        report: StopReport = await self._do("stop", kill_after=kill_after)
        return report

    async def inspect(self) -> Inspection:
        seen: Inspection = await self._do("inspect")
        return seen

    async def output(self, *, after: int) -> int:
        written: int = await self._do("output", after=after)
        return written

    async def _do(self, verb: str, **arguments: Any) -> Any:
        if verb in self._verbs:
            return await self._verbs[verb](self._engine, **arguments)
        return await getattr(self._engine, verb)(**arguments)


async def patient_stop(engine: MemoryEngine, *, kill_after: float) -> StopReport:
    """The first grace counts, whatever is asked for later."""
    return await engine.stop(kill_after=max(kill_after, 3600.0))


async def fragile_stop(engine: MemoryEngine, *, kill_after: float) -> StopReport:
    """The escalation dies with the caller."""
    await asyncio.sleep(1.0)
    return await engine.stop(kill_after=kill_after)


async def dead_forever(engine: MemoryEngine) -> Inspection:
    return Inspection(alive=False)


async def alive_forever(engine: MemoryEngine) -> Inspection:
    return Inspection(alive=True, pids=(engine.pid,))


async def lost(engine: MemoryEngine) -> ExitStatus:
    await engine.wait()
    return LOST


async def never(engine: MemoryEngine, **arguments: Any) -> Any:
    await asyncio.sleep(86400.0)


async def eager_output(engine: MemoryEngine, *, after: int) -> int:
    return await engine.output(after=0)


async def leaky_wait(engine: MemoryEngine) -> ExitStatus:
    status = await engine.wait()
    LEAKS.add(asyncio.create_task(asyncio.sleep(9.0)))
    return status


LEAKS: set[asyncio.Task[None]] = set()

BROKEN_ENGINES: dict[str, dict[str, Callable[..., Any]]] = {
    "a handle has the token, host and port": {"handle": lambda engine: evolve(engine.handle, token="other")},
    "a stopped engine is not alive": {"inspect": alive_forever},
    "a launched engine is alive": {"inspect": dead_forever},
    "wait and stop tell of one end": {"wait": lost},
    "wait returns": {"wait": never},
    "stop returns once nothing is left": {"stop": never},
    "output tells of the first byte": {"output": never},
    "output waits for more": {"output": eager_output},
    "yet after 30 s nothing happened": {"stop": patient_stop},
    "whose caller was cancelled": {"stop": fragile_stop},
    "leaves no task behind": {"wait": leaky_wait},
}


@pytest.mark.parametrize("promise", BROKEN_ENGINES)
def test_an_engine_that_breaks_a_promise_is_found_out(promise: str) -> None:
    """The sentence names the promise."""
    launcher = Crooked(lambda engine: CrookedEngine(engine, **BROKEN_ENGINES[promise]))
    with pytest.raises(AssertionError, match=promise):
        check(launcher)


BROKEN_LAUNCHERS: dict[str, dict[str, Callable[..., Any]]] = {
    "a port is handed out once": {"reserve_port": lambda *, host: returns(20000)},
    "a port is a number from 1": {"reserve_port": lambda *, host: returns(0)},
    "reserve_port returns a port": {"reserve_port": lambda *, host: asyncio.sleep(86400.0)},
    "preflight knows beforehand": {"preflight": lambda *, request: returns(())},
    "what cannot be executed does not heal": {
        "preflight": lambda *, request: returns((evolve(HOPELESS, heals=True),))
    },
    "a living engine is found": {"recover": lambda *, handle: returns(None)},
}


@pytest.mark.parametrize("promise", BROKEN_LAUNCHERS)
def test_a_launcher_that_breaks_a_promise_is_found_out(promise: str) -> None:
    """The sentence names the promise."""
    with pytest.raises(AssertionError, match=promise):
        check(Crooked(lambda engine: engine, **BROKEN_LAUNCHERS[promise]))


@pytest.mark.parametrize(
    ("error", "promise"),
    [
        (evolve(HOPELESS, stage=Stage.RUN), "has the stage LAUNCH"),
        (evolve(HOPELESS, heals=True), "trying again does not help"),
        (evolve(HOPELESS, message=""), "says why"),
        (None, "launch raises DriverError"),
    ],
)
def test_a_launch_that_fails_wrongly_is_found_out(error: Cause | None, promise: str) -> None:
    """What cannot be executed has to be refused, with a cause that a pool can act on."""
    wrong = EngineScript(preflight=(HOPELESS,), launch_error=error)
    launcher = MemoryLauncher(lambda asked: wrong if asked.command.argv == ("impossible",) else script(asked))
    with pytest.raises(AssertionError, match=promise):
        check(launcher)


def test_an_engine_found_by_another_token_is_found_out() -> None:
    """Identity is more than a number: a forged handle finds nobody."""
    launcher = MemoryLauncher(script)

    async def recover(*, handle: EngineHandle) -> MemoryEngine | None:
        return next(
            (engine for engine in launcher.engines if engine.handle.pid == handle.pid and engine.alive), None
        )

    setattr(launcher, "recover", recover)  # noqa: B010
    with pytest.raises(AssertionError, match="not found by another launch's token"):
        check(launcher)


Recover = Callable[[MemoryLauncher, EngineHandle], Any]


def only_with_a_pid(launcher: MemoryLauncher, handle: EngineHandle) -> Any:
    """As if the manager had always had the time to write down who it launched."""
    return launcher._by_token.get(handle.token) if handle.pid is not None else None


def anybody(launcher: MemoryLauncher, handle: EngineHandle) -> Any:
    """A handle that names no process finds whoever lives."""
    living = next(iter(launcher._by_token.values()), None)
    return living if handle.pid is None else launcher._by_token.get(handle.token)


def without_its_port(launcher: MemoryLauncher, handle: EngineHandle) -> Any:
    """What is found has the handle it was looked for with."""
    engine = launcher._by_token.get(handle.token)
    return engine and CrookedEngine(engine, handle=lambda _: handle)


def all_is_well(launcher: MemoryLauncher, handle: EngineHandle) -> Any:
    """Who was not there to see how an engine ended says that it was a success."""

    async def wait(engine: MemoryEngine) -> ExitStatus:
        status = await engine.wait()
        return status if status.signal is not None else ExitStatus(code=0)

    engine = launcher._by_token.get(handle.token)
    return engine and CrookedEngine(engine, wait=wait)


def deaf(launcher: MemoryLauncher, handle: EngineHandle) -> Any:
    """An engine found does not say when it ends."""
    engine = launcher._by_token.get(handle.token)
    return engine and CrookedEngine(engine, wait=never)


BROKEN_RECOVERIES: dict[str, Recover] = {
    "found by its token alone": only_with_a_pid,
    "a token that nobody was launched with": anybody,
    "what is found by its token says who it is": without_its_port,
    "exit code 3 is no success": all_is_well,
    "whoever waits is told": deaf,
}


@pytest.mark.parametrize("promise", BROKEN_RECOVERIES)
def test_a_recovery_that_breaks_a_promise_is_found_out(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the promise."""
    monkeypatch.setitem(SCRIPTS, "exiting 3", evolve(SCRIPTS["exiting 3"], exits_after=1.0))
    launcher = MemoryLauncher(script)
    broken = BROKEN_RECOVERIES[promise]
    setattr(launcher, "recover", lambda *, handle: returns(broken(launcher, handle)))  # noqa: B010
    with pytest.raises(AssertionError, match=promise):
        check(launcher)
