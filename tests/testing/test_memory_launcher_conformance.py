"""The memory launcher passes the check that every launcher has to pass."""

from __future__ import annotations

import itertools

import pytest

from pool_lifecycle.causes import Cause, ExitStatus, FailureClass, Stage
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle.testing.check_launcher import check_launcher
from pool_lifecycle.testing.memory import EngineScript, MemoryLauncher
from pool_lifecycle.testing.virtual_time import run

NO_PROGRAM = Cause(FailureClass.BAD_CONFIG, Stage.LAUNCH, "no such program", heals=False)

SCRIPTS = {
    "lasting": EngineScript(output=((0.1, 20),)),
    "stubborn": EngineScript(output=((0.1, 20),), ignores_term=True),
    "impossible": EngineScript(preflight=(NO_PROGRAM,), launch_error=NO_PROGRAM),
}
SLOW = EngineScript(output=((2.0, 20),), ready_after=5.0, launch_takes=3.0, term_takes=1.0)

TOKENS = (f"token-{n}" for n in itertools.count())


def request(port: int, *argv: str) -> LaunchRequest:
    """A launch of the engine named by `argv`, on this port."""
    return LaunchRequest("p", 1, next(TOKENS), Command(argv), "127.0.0.1", port, "/log", "/pid")


def script_for(asked: LaunchRequest) -> EngineScript:
    """The script that the engine's name stands for."""
    name, *codes = asked.command.argv
    return EngineScript(exits_after=0.0, exit=ExitStatus(code=int(codes[0]))) if codes else SCRIPTS[name]


@pytest.mark.parametrize("lasting", [SCRIPTS["lasting"], SLOW])
def test_the_memory_launcher_keeps_every_promise_of_a_launcher(
    lasting: EngineScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With engines that are quick and with engines that take their time."""
    monkeypatch.setitem(SCRIPTS, "lasting", lasting)
    launcher = MemoryLauncher(script_for)
    run(
        check_launcher(
            lambda: launcher,
            lasting=lambda port: request(port, "lasting"),
            stubborn=lambda port: request(port, "stubborn"),
            exiting=lambda port, code: request(port, "exiting", str(code)),
            impossible=lambda port: request(port, "impossible"),
        )
    )
