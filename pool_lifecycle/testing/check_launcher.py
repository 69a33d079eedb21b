"""What every engine launcher promises, as one check.

    await check_launcher(MyLauncher, lasting=..., stubborn=..., exiting=..., impossible=...)

Raises AssertionError with a sentence naming the broken promise. Reads no clock but the loop's and knows
nothing of processes, so that launchers on the real clock and in virtual time pass the same check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from pool_lifecycle.causes import LOST, Cause, ExitStatus, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import (
    Engine,
    EngineHandle,
    EngineLauncher,
    Inspection,
    LaunchRequest,
    StopReport,
)

T = TypeVar("T")

RequestFor = Callable[[int], LaunchRequest]
"""Makes a launch request, with a token never used before, for an engine on this port."""

PORTS = 50
"""How many ports are asked for at once."""

FOR_EVER = 7 * 86400.0
"""A grace in seconds that no check waits for."""

SHORT = 0.05
"""A grace in seconds that is waited for."""


async def check_launcher(
    make: Callable[[], EngineLauncher],
    *,
    lasting: RequestFor,
    stubborn: RequestFor,
    exiting: Callable[[int, int], LaunchRequest],
    impossible: RequestFor,
    host: str = "127.0.0.1",
    within: float = 30.0,
) -> None:
    """Check the launchers that `make` returns. Nothing asked of them may take longer than `within` seconds.

    Of one that `make` returned, engines must be found by one it returns later, as after a manager's
    restart; a launcher that keeps engines in memory has to be returned again. The requests are for engines
    that write something and then last until asked to end (`lasting`); that write something and then last
    until killed (`stubborn`); that exit at once by themselves, with the code given after the port
    (`exiting`); and for one that cannot be executed, whatever is tried (`impossible`).
    """
    before = asyncio.all_tasks()
    bench = _Bench(make, host, within)
    await _gives_different_ports(bench)
    await _refuses_the_impossible(bench, impossible)
    await _tells_who_an_engine_is(bench, lasting)
    await _reports_its_end_to_all(bench, lasting)
    for code in (0, 3):
        await _reports_an_exit(bench, exiting, code)
    await _reports_output(bench, lasting)
    await _kills_the_stubborn(bench, stubborn)
    await _only_moves_the_kill_earlier(bench, stubborn)
    for moment in (0.0, SHORT / 2):
        await _keeps_its_word_when_cancelled(bench, stubborn, moment)
    await _recovers_the_living(bench, lasting)
    await _recovers_by_the_token(bench, lasting)
    await _lets_the_found_end_by_itself(bench, exiting)
    left = asyncio.all_tasks() - before
    assert not left, f"a launcher leaves no task behind once its engines are stopped, unlike {left}"


@attrs.frozen
class _Bench:
    """What the checks work with."""

    make: Callable[[], EngineLauncher]
    host: str
    within: float

    async def soon(self, doing: Awaitable[T], promise: str) -> T:
        try:
            return await asyncio.wait_for(doing, self.within)
        except TimeoutError as error:
            raise AssertionError(f"{promise}, yet after {self.within:g} s nothing happened") from error

    async def port(self, launcher: EngineLauncher) -> int:
        return await self.soon(launcher.reserve_port(host=self.host), "reserve_port returns a port")

    async def launch(self, launcher: EngineLauncher, request_for: RequestFor) -> Engine:
        request = request_for(await self.port(launcher))
        causes = await self.soon(launcher.preflight(request=request), "preflight comes to an end")
        assert causes == (), f"nothing is wrong beforehand with a launch that works, unlike {causes!r}"
        engine = await self.soon(launcher.launch(request=request), "launch returns an engine")
        assert isinstance(engine, Engine), "what launch returns has all that Engine lists"
        return engine

    async def writing(self, request_for: RequestFor) -> Engine:
        """An engine that has got as far as to write something."""
        engine = await self.launch(self.make(), request_for)
        await self.soon(engine.output(after=0), "output tells of the first byte written")
        return engine

    async def stop(self, engine: Engine, kill_after: float = FOR_EVER) -> StopReport:
        return await self.soon(engine.stop(kill_after=kill_after), "stop returns once nothing is left")


async def _gives_different_ports(bench: _Bench) -> None:
    launcher = bench.make()
    assert isinstance(launcher, EngineLauncher), "a launcher has all that EngineLauncher lists"
    ports = await asyncio.gather(*(bench.port(launcher) for _ in range(PORTS)))
    assert all(0 < port < 65536 for port in ports), f"a port is a number from 1 to 65535, unlike in {ports}"
    assert len(set(ports)) == PORTS, (
        f"a port is handed out once while it is pending, unlike in {sorted(ports)}"
    )


async def _refuses_the_impossible(bench: _Bench, impossible: RequestFor) -> None:
    launcher = bench.make()
    request = impossible(await bench.port(launcher))
    for _ in range(2):
        causes = await bench.soon(launcher.preflight(request=request), "preflight comes to an end")
        assert isinstance(causes, tuple), f"preflight returns a tuple of causes, not {causes!r}"
        assert causes, "preflight knows beforehand what cannot be executed, and looking changes nothing"
        assert all(isinstance(cause, Cause) for cause in causes), (
            f"preflight returns causes, unlike {causes!r}"
        )
        assert not all(cause.heals for cause in causes), f"what cannot be executed does not heal: {causes!r}"
    try:
        await bench.soon(launcher.launch(request=request), "a launch that cannot work fails")
    except DriverError as error:
        cause = error.cause
        assert cause.stage == Stage.LAUNCH, f"a failed launch has the stage LAUNCH, unlike {cause!r}"
        assert cause.message, "a failed launch says why"
        assert not cause.heals, f"trying again does not help what cannot be executed, unlike {cause!r}"
    else:
        raise AssertionError("launch raises DriverError when the engine cannot be executed")


async def _tells_who_an_engine_is(bench: _Bench, lasting: RequestFor) -> None:
    launcher = bench.make()
    request = lasting(await bench.port(launcher))
    engine = await bench.soon(launcher.launch(request=request), "launch returns an engine")
    handle = engine.handle
    assert isinstance(handle, EngineHandle), f"a handle is an EngineHandle, not {handle!r}"
    assert handle.driver, "a handle names its driver"
    told = (handle.token, handle.host, handle.port)
    asked = (request.token, request.host, request.port)
    assert told == asked, f"a handle has the token, host and port asked for, unlike {handle!r}"
    assert handle == engine.handle, "a handle stays the same"
    seen = await bench.soon(engine.inspect(), "inspect returns what it sees")
    assert isinstance(seen, Inspection), f"inspect returns an Inspection, not {seen!r}"
    assert seen.alive, "a launched engine is alive until it ends"
    assert handle.pid is None or handle.pid in seen.pids, (
        f"the engine's own pid is in its tree, unlike {seen!r}"
    )
    await _is_over(bench, engine, await bench.stop(engine))


async def _is_over(bench: _Bench, engine: Engine, report: StopReport) -> None:
    """After a stop nothing is left, and nothing that is asked changes that."""
    assert isinstance(report, StopReport), f"stop returns a StopReport, not {report!r}"
    status = await bench.soon(engine.wait(), "wait returns once the engine has ended")
    assert status == report.exit, f"wait and stop tell of one end, unlike {status} and {report.exit}"
    seen = await bench.soon(engine.inspect(), "inspect returns what it sees")
    assert not seen.alive, "a stopped engine is not alive"
    assert not seen.pids, f"once stop has returned nothing of the tree is left, unlike {seen!r}"
    assert not seen.listening, f"once stop has returned the port is free, unlike {seen!r}"
    again = await bench.stop(engine, 0.0)
    assert again.exit == status, f"an engine ends once: not with {status} and then with {again.exit}"
    found = await bench.soon(bench.make().recover(handle=engine.handle), "recover comes to an end")
    assert found is None, "an engine that was stopped is not found again"


async def _reports_its_end_to_all(bench: _Bench, lasting: RequestFor) -> None:
    engine = await bench.launch(bench.make(), lasting)
    waiting = [asyncio.ensure_future(engine.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    report = await bench.stop(engine)
    ends = await bench.soon(asyncio.gather(*waiting), "wait returns to each who waits, one cancelled or not")
    assert all(end == report.exit for end in ends), f"all who wait are told the same, unlike {ends}"
    assert not report.killed, f"an engine that ends when asked is not killed, unlike in {report!r}"
    await _is_over(bench, engine, report)


async def _reports_an_exit(bench: _Bench, exiting: Callable[[int, int], LaunchRequest], code: int) -> None:
    engine = await bench.launch(bench.make(), lambda port: exiting(port, code))
    status = await bench.soon(engine.wait(), "wait returns when the engine ends by itself")
    assert status == ExitStatus(code=code), f"exit code {code} is reported as it is, not as {status}"
    report = await bench.stop(engine)
    assert not report.killed, f"what ended by itself is not killed, unlike in {report!r}"
    await _is_over(bench, engine, report)


async def _reports_output(bench: _Bench, lasting: RequestFor) -> None:
    engine = await bench.writing(lasting)
    written = await bench.soon(engine.output(after=0), "output returns at once when there is more")
    assert written > 0, f"output returns how much there is, which is more than asked, not {written}"
    idle = asyncio.ensure_future(engine.output(after=FOR_EVER_BYTES))
    await asyncio.sleep(0)
    assert not idle.done(), "output waits for more than there is"
    idle.cancel()
    await _is_over(bench, engine, await bench.stop(engine))


FOR_EVER_BYTES = 2**60
"""More output than any engine writes."""


async def _kills_the_stubborn(bench: _Bench, stubborn: RequestFor) -> None:
    engine = await bench.writing(stubborn)
    report = await bench.stop(engine, SHORT)
    assert report.killed, f"what does not end when asked is killed, and the report says so, unlike {report!r}"
    await _is_over(bench, engine, report)


async def _only_moves_the_kill_earlier(bench: _Bench, stubborn: RequestFor) -> None:
    engine = await bench.writing(stubborn)
    patient = asyncio.ensure_future(bench.stop(engine))
    await asyncio.sleep(0)
    hasty, slow = asyncio.ensure_future(bench.stop(engine, SHORT)), asyncio.ensure_future(bench.stop(engine))
    reports = await asyncio.gather(patient, hasty, slow)
    assert all(report.killed for report in reports), (
        f"the earliest kill asked for counts, unlike in {reports}"
    )
    assert all(report == reports[0] for report in reports), f"all who stop are told the same: {reports}"
    await _is_over(bench, engine, reports[0])


async def _keeps_its_word_when_cancelled(bench: _Bench, stubborn: RequestFor, moment: float) -> None:
    engine = await bench.writing(stubborn)
    stopping = asyncio.ensure_future(engine.stop(kill_after=SHORT))
    await asyncio.sleep(moment)
    stopping.cancel()
    await asyncio.wait([stopping])
    await bench.soon(engine.wait(), "a stop whose caller was cancelled still ends the engine")
    await _is_over(bench, engine, await bench.stop(engine))


async def _recovers_the_living(bench: _Bench, lasting: RequestFor) -> None:
    engine = await bench.writing(lasting)
    forged = attrs.evolve(engine.handle, token=f"{engine.handle.token}x")
    stranger = await bench.soon(bench.make().recover(handle=forged), "recover comes to an end")
    assert stranger is None, "an engine is not found by another launch's token"
    found = await bench.soon(bench.make().recover(handle=engine.handle), "recover comes to an end")
    assert found is not None, "a living engine is found by its handle"
    assert found.handle == engine.handle, f"an engine found is the same, unlike {found.handle!r}"
    seen = await bench.soon(found.inspect(), "inspect returns what it sees")
    assert seen.alive, "an engine found is alive"
    written = await bench.soon(found.output(after=0), "output is told of an engine found, too")
    assert written > 0, f"an engine found has written what it had written, not {written}"
    waiting = [asyncio.ensure_future(one.wait()) for one in (engine, found)]
    report = await bench.stop(found)
    assert not report.killed, f"an engine found ends when asked, unlike in {report!r}"
    ends = await bench.soon(asyncio.gather(*waiting), "whoever waits is told, whoever stopped the engine")
    told = {ends[0], ends[1]} - {LOST}
    assert len(told) <= 1, f"an engine has one end, whoever is told of it, unlike {ends}"
    await _is_over(bench, found, report)
    await bench.stop(engine)


async def _recovers_by_the_token(bench: _Bench, lasting: RequestFor) -> None:
    """A manager that was killed as soon as an engine was launched knows no more of it."""
    engine = await bench.writing(lasting)
    known = EngineHandle(driver="", token=engine.handle.token, host=bench.host, port=0)
    nobody = attrs.evolve(known, token=f"{known.token}x")
    stranger = await bench.soon(bench.make().recover(handle=nobody), "recover comes to an end")
    assert stranger is None, "a token that nobody was launched with finds nobody"
    found = await bench.soon(bench.make().recover(handle=known), "recover comes to an end")
    assert found is not None, "a living engine is found by its token alone"
    assert found.handle == engine.handle, (
        f"what is found by its token says who it is, unlike {found.handle!r}"
    )
    await _is_over(bench, found, await bench.stop(found))
    await bench.stop(engine)


async def _lets_the_found_end_by_itself(bench: _Bench, exiting: Callable[[int, int], LaunchRequest]) -> None:
    """An engine that ended while nobody looked is not found again, nor taken for a success."""
    engine = await bench.launch(bench.make(), lambda port: exiting(port, 3))
    found = await bench.soon(bench.make().recover(handle=engine.handle), "recover comes to an end")
    if found is not None:  # it still lived
        status = await bench.soon(found.wait(), "wait returns when an engine found ends by itself")
        assert not status.success, f"exit code 3 is no success, nor is not to know it: {status}"
        await bench.stop(found)
    await bench.stop(engine)
    gone = await bench.soon(bench.make().recover(handle=engine.handle), "recover comes to an end")
    assert gone is None, "an engine that has ended is not found again"
