"""The memory launcher keeps the promises of a launcher, and costs little."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from attrs import evolve

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle.testing.memory import EngineScript, MemoryLauncher
from pool_lifecycle.testing.virtual_time import run

REQUEST = LaunchRequest("p", 1, "token-1", Command(("engine",)), "127.0.0.1", 20000, "/log", "/pid")
BROKEN = Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "no such program", heals=False)


def text_of(path: str) -> str | None:
    """What is in the file, None if there is none."""
    return Path(path).read_text() if Path(path).exists() else None


def remove(path: str) -> None:
    """Remove a file."""
    Path(path).unlink()


def test_launching_takes_its_time_and_may_fail() -> None:
    """A failed or cancelled launch leaves nothing behind, and its request is on record."""

    async def main() -> None:
        launcher = MemoryLauncher(
            [EngineScript(launch_takes=2.0, launch_error=BROKEN), EngineScript(launch_takes=2.0)]
        )
        begun = asyncio.get_running_loop().time()
        with pytest.raises(DriverError, match="no such program") as caught:
            await launcher.launch(request=REQUEST)
        assert caught.value.cause == BROKEN
        assert asyncio.get_running_loop().time() - begun == 2.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(launcher.launch(request=REQUEST), 1.0)
        assert launcher.on_port(REQUEST.port) is None
        assert launcher.launched == [REQUEST, REQUEST]
        assert launcher.engines == []

    run(main())


def test_scripts_are_used_in_order_and_the_last_one_again() -> None:
    """One for each launch; the preflight before a launch speaks of that launch."""

    async def main() -> None:
        bad = EngineScript(exit=ExitStatus(code=1), exits_after=1.0, preflight=(BROKEN,))
        launcher = MemoryLauncher([bad, EngineScript(exit=ExitStatus(code=2), exits_after=1.0)])
        codes = []
        for preflight in ((BROKEN,), (), ()):
            assert await launcher.preflight(request=REQUEST) == preflight
            codes.append((await (await launcher.launch(request=REQUEST)).wait()).code)
        assert codes == [1, 2, 2]

    run(main())


def test_a_function_may_choose_the_script() -> None:
    """It sees the request."""

    async def main() -> None:
        launcher = MemoryLauncher(lambda request: EngineScript(ready_after=float(request.generation)))
        engine = await launcher.launch(request=evolve(REQUEST, generation=8))
        assert engine.script.ready_after == 8.0

    run(main())


def test_two_living_engines_never_share_a_port() -> None:
    """The second launch is refused and names the holder; once that is gone, the port is free (S7)."""

    async def main() -> None:
        launcher = MemoryLauncher()
        first = await launcher.launch(request=REQUEST)
        with pytest.raises(DriverError, match=f"held by pid {first.pid}") as caught:
            await launcher.launch(request=evolve(REQUEST, token="token-2"))
        assert caught.value.cause.kind is FailureClass.PORT_IN_USE
        await first.stop(kill_after=0.0)
        second = await launcher.launch(request=evolve(REQUEST, token="token-2"))
        assert second.pid != first.pid

    run(main())


def test_reserved_ports_are_new_and_free() -> None:
    """No port is handed out twice in a row, or while an engine holds it."""

    async def main() -> None:
        launcher = MemoryLauncher()
        await launcher.launch(request=evolve(REQUEST, port=20001))
        ports = [await launcher.reserve_port(host="127.0.0.1") for _ in range(100)]
        assert len(set(ports)) == 100
        assert 20001 not in ports

    run(main())


def test_when_every_port_is_held_that_is_an_error() -> None:
    """It ends, with a driver's error."""

    async def main() -> None:
        launcher = MemoryLauncher()
        for port in range(20000, 65536):
            await launcher.launch(request=evolve(REQUEST, port=port, token=str(port)))
        with pytest.raises(DriverError, match="no free port"):
            await launcher.reserve_port(host="127.0.0.1")

    run(main())


def test_the_living_are_recovered_and_nobody_else() -> None:
    """By their handle; the ended, and handles of others, give nothing."""

    async def main() -> None:
        launcher = MemoryLauncher()
        engine = await launcher.launch(request=REQUEST)
        assert await launcher.recover(handle=engine.handle) is engine
        assert await launcher.recover(handle=evolve(engine.handle, token="another")) is None
        engine.crash()
        assert await launcher.recover(handle=engine.handle) is None

    run(main())


def test_an_idle_engine_costs_little() -> None:
    """Less than 1 KiB, no task and no timer, so that ten thousand fit anywhere (S19)."""

    async def main() -> float:
        launcher = MemoryLauncher()
        requests = [evolve(REQUEST, port=20000 + n, token=f"t{n}") for n in range(1000)]
        before = tracemalloc.get_traced_memory()[0]
        for request in requests:
            await launcher.launch(request=request)
        assert len(asyncio.all_tasks()) == 1
        return (tracemalloc.get_traced_memory()[0] - before) / len(requests)

    tracemalloc.start()
    try:
        assert run(main()) < 1024
    finally:
        tracemalloc.stop()


def test_with_files_the_pid_file_is_there_while_the_engine_lives(tmp_path: Path) -> None:
    """Written before the launch returns, only digits, removed at the end; never without `files`."""
    request = evolve(REQUEST, pid_path=str(tmp_path / "run" / "p.pid"))
    (tmp_path / "run").mkdir()
    Path(request.pid_path).write_text("a stale one")

    async def main() -> None:
        engine = await MemoryLauncher(files=True).launch(request=request)
        assert text_of(request.pid_path) == str(engine.pid)
        await engine.stop(kill_after=1.0)
        assert text_of(request.pid_path) is None
        other = await MemoryLauncher(files=True).launch(request=request)
        remove(request.pid_path)
        await other.stop(kill_after=1.0)  # somebody else's removal is no trouble
        await MemoryLauncher().launch(request=request)
        assert text_of(request.pid_path) is None

    run(main())
