"""Memory engines keep the promises of the interfaces, follow their scripts, and cost little."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve

from pool_lifecycle import interfaces
from pool_lifecycle.causes import ExitStatus
from pool_lifecycle.interfaces import Command, LaunchRequest, StopReport
from pool_lifecycle.testing.memory import EngineScript, MemoryEngine, MemoryLauncher
from pool_lifecycle.testing.virtual_time import run, settle, timed

T = TypeVar("T")

REQUEST = LaunchRequest("p", 1, "token-1", Command(("engine",)), "127.0.0.1", 20000, "/log", "/pid")

TERMINATED = ExitStatus(signal=signal.SIGTERM)
KILLED = ExitStatus(signal=signal.SIGKILL)


def with_engine(script: EngineScript, use: Callable[[MemoryEngine], Coroutine[Any, Any, T]]) -> T:
    """Launch one engine by the script and use it."""

    async def main() -> T:
        return await use(await MemoryLauncher(script).launch(request=REQUEST))

    return run(main())


def test_an_engine_ends_when_its_script_says() -> None:
    """All who wait learn how, at that time, and so does anybody who asks later."""

    async def use(engine: MemoryEngine) -> None:
        waiting = asyncio.gather(*(timed(engine.wait()) for _ in range(3)))
        assert await waiting == [(ExitStatus(code=3), 7.0)] * 3
        assert await timed(engine.wait()) == (ExitStatus(code=3), 0.0)

    with_engine(EngineScript(exits_after=7.0, exit=ExitStatus(code=3)), use)


def test_an_engine_that_nobody_waits_for_ends_too() -> None:
    """A look at the right time finds it gone, with its port free."""

    async def main() -> None:
        launcher = MemoryLauncher(EngineScript(exits_after=7.0))
        engine = await launcher.launch(request=REQUEST)
        await asyncio.sleep(6.9)
        assert (await engine.inspect()).alive
        assert await launcher.preflight(request=REQUEST) != ()
        await asyncio.sleep(0.2)
        assert not (await engine.inspect()).alive
        assert await launcher.preflight(request=REQUEST) == ()

    run(main())


@pytest.mark.parametrize(
    ("script", "kill_after", "took", "report"),
    [
        (EngineScript(), 5.0, 0.0, StopReport(TERMINATED)),
        (
            EngineScript(term_takes=2.0, term_exit=ExitStatus(code=0)),
            5.0,
            2.0,
            StopReport(ExitStatus(code=0)),
        ),
        (EngineScript(term_takes=9.0), 5.0, 5.0, StopReport(KILLED, killed=True)),
        (EngineScript(ignores_term=True), 5.0, 5.0, StopReport(KILLED, killed=True)),
        (EngineScript(ignores_term=True), 0.0, 0.0, StopReport(KILLED, killed=True)),
        (EngineScript(ignores_term=True, exits_after=3.0), 5.0, 3.0, StopReport(ExitStatus(code=0))),
    ],
)
def test_stop_asks_first_and_kills_in_time(
    script: EngineScript, kill_after: float, took: float, report: StopReport
) -> None:
    """It takes what the engine takes, at most `kill_after`, and says whether it had to kill."""

    async def use(engine: MemoryEngine) -> None:
        wanted = evolve(report, ended=(engine.pid,))
        assert await timed(engine.stop(kill_after=kill_after)) == (wanted, took)
        assert await timed(engine.stop(kill_after=0.0)) == (wanted, 0.0)

    with_engine(script, use)


def test_a_second_stop_can_only_bring_the_kill_forward() -> None:
    """A later one with more patience changes nothing; one with less ends both waits."""

    async def stops(engine: MemoryEngine, first: float, second: float) -> list[float]:
        waits = [asyncio.create_task(timed(engine.stop(kill_after=first)))]
        await asyncio.sleep(1.0)
        waits.append(asyncio.create_task(timed(engine.stop(kill_after=second))))
        return [took for _, took in await asyncio.gather(*waits)]

    stubborn = EngineScript(ignores_term=True)
    assert with_engine(stubborn, lambda engine: stops(engine, 5.0, 60.0)) == [5.0, 4.0]
    assert with_engine(stubborn, lambda engine: stops(engine, 60.0, 5.0)) == [6.0, 5.0]
    slow = EngineScript(term_takes=3.0)
    assert with_engine(slow, lambda engine: stops(engine, 60.0, 60.0)) == [3.0, 2.0]


def test_cancelling_a_stop_does_not_cancel_the_kill() -> None:
    """The escalation goes on though nobody waits for it any more."""

    async def use(engine: MemoryEngine) -> None:
        stopping = asyncio.create_task(engine.stop(kill_after=5.0))
        await settle()
        stopping.cancel()
        assert await timed(engine.wait()) == (KILLED, 5.0)

    with_engine(EngineScript(ignores_term=True), use)


def test_stopping_an_engine_that_has_ended_by_itself_ends_nothing() -> None:
    """The report has the engine's own ending."""

    async def use(engine: MemoryEngine) -> None:
        engine.crash(ExitStatus(code=1))
        assert await timed(engine.stop(kill_after=5.0)) == (StopReport(ExitStatus(code=1)), 0.0)

    with_engine(EngineScript(), use)


def test_an_ended_engine_never_changes_again() -> None:
    """Late crashes, output, healing and release have no effect (S2)."""

    async def use(engine: MemoryEngine) -> None:
        engine.crash(ExitStatus(code=1))
        engine.crash(ExitStatus(code=2))
        engine.write(10)
        engine.heal()
        engine.release()
        assert await engine.wait() == ExitStatus(code=1)
        assert engine.written == 0
        assert not engine.ready

    with_engine(EngineScript(exits_after=1.0, unkillable=True), use)


def test_the_unkillable_is_gone_only_when_released() -> None:
    """A stop waits as long as it takes; the kill it has got then ends it at once."""

    async def use(engine: MemoryEngine) -> None:
        stopping = asyncio.create_task(timed(engine.stop(kill_after=5.0)))
        await asyncio.sleep(500.0)
        assert (await engine.inspect()).alive
        engine.release()
        assert await stopping == (StopReport(KILLED, killed=True, ended=(engine.pid,)), 500.0)

    with_engine(EngineScript(unkillable=True), use)


def test_released_before_it_was_killed_it_ends_as_asked() -> None:
    """Then it is an ordinary engine again."""

    async def use(engine: MemoryEngine) -> None:
        stopping = asyncio.create_task(engine.stop(kill_after=5.0))
        await asyncio.sleep(1.0)
        engine.release()
        assert not (await stopping).killed

    with_engine(EngineScript(unkillable=True), use)


def test_output_arrives_when_the_script_says_and_when_a_test_writes() -> None:
    """Who waits for more than there is gets it as soon as it is there."""

    async def use(engine: MemoryEngine) -> None:
        assert await timed(engine.output(after=0)) == (20, 1.0)
        assert await timed(engine.output(after=19)) == (20, 0.0)
        assert await timed(engine.output(after=20)) == (50, 2.0)
        more = asyncio.create_task(timed(engine.output(after=50)))
        await asyncio.sleep(4.0)
        engine.write(5)
        assert await more == (55, 4.0)

    with_engine(EngineScript(output=((1.0, 20), (3.0, 30))), use)


def test_an_ended_engine_writes_no_more() -> None:
    """What its script had for later never comes, so waiting for it is in vain."""

    async def use(engine: MemoryEngine) -> None:
        await asyncio.sleep(2.0)
        engine.crash()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.output(after=20), 60.0)
        assert engine.written == 20

    with_engine(EngineScript(output=((1.0, 20), (3.0, 30))), use)


def test_an_engine_listens_from_ready_to_end() -> None:
    """Its port is seen in `inspect` only then."""

    async def use(engine: MemoryEngine) -> None:
        assert (await engine.inspect()).listening == ()
        await asyncio.sleep(3.0)
        assert await engine.inspect() == interfaces.Inspection(True, (engine.pid,), (20000,), "memory")
        engine.crash()
        assert await engine.inspect() == interfaces.Inspection(False, (), (), "memory")

    with_engine(EngineScript(ready_after=3.0), use)


def test_an_engine_that_is_never_ready_can_be_healed() -> None:
    """`ready_after` None lasts until a test says otherwise."""

    async def use(engine: MemoryEngine) -> None:
        await asyncio.sleep(1e6)
        assert not engine.ready
        engine.heal()
        assert engine.ready

    with_engine(EngineScript(ready_after=None), use)


def test_the_pid_names_no_real_process() -> None:
    """Were it ever signalled by mistake, no process of this host would be hit (S4)."""

    async def use(engine: MemoryEngine) -> None:
        assert engine.handle.pid == engine.pid > 2**22
        assert engine.handle.boot_id is None

    with_engine(EngineScript(), use)


def test_waiting_and_stopping_again_and_again_piles_nothing_up() -> None:
    """One timer at most, and no memory of those who have stopped waiting (S19)."""

    async def use(engine: MemoryEngine) -> None:
        for _ in range(100):
            calls = [engine.wait(), engine.output(after=99), engine.stop(kill_after=60.0)]
            tasks = [asyncio.create_task(call) for call in calls]
            await settle()
            engine.write(0)
            await settle()
            for task in tasks:
                task.cancel()
        await settle()
        assert not engine._waiters
        loop = asyncio.get_running_loop()
        assert sum(not timer.cancelled() for timer in loop._scheduled) == 1  # type: ignore[attr-defined]

    with_engine(EngineScript(term_takes=50.0, exits_after=70.0, output=((9.0, 9),)), use)


def test_an_ended_engine_leaves_no_timer() -> None:
    """Nothing of it keeps time going."""

    async def use(engine: MemoryEngine) -> None:
        engine.crash()
        loop = asyncio.get_running_loop()
        assert all(timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]

    with_engine(EngineScript(exits_after=60.0), use)


def test_what_an_engine_says_is_in_its_log(tmp_path: Path) -> None:
    """A real file, for whoever reads logs, and counted as output; the dead say nothing."""
    log = tmp_path / "logs" / "p.log"

    async def main() -> None:
        engine = await MemoryLauncher().launch(request=evolve(REQUEST, log_path=str(log)))
        engine.say("loading")
        engine.say("naïve")
        assert engine.written == len("loading\nnaïve\n".encode())
        engine.crash()
        engine.say("too late")

    run(main())
    assert log.read_text() == "loading\nnaïve\n"
