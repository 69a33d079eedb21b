"""Steps about programs that are not ours, and about people who act past the manager."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

from features.vocabulary import given, then, when
from features.world import FAKE_ENGINE, World
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import EngineHandle
from pool_lifecycle_drivers import pidfile
from pool_lifecycle_drivers.process import stop_by_pid_file
from pool_lifecycle_drivers.procfs import boot_id, identify


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def begin_listening(world: World, port: int) -> None:
    argv = (sys.executable, "-I", "-S", str(FAKE_ENGINE), "--port", str(port))
    world.strangers.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))


@given("another program runs")
def begin_answering(world: World) -> None:
    """A program that says back what it is told."""
    pipe = subprocess.PIPE
    world.strangers.append(subprocess.Popen(("cat",), bufsize=0, stdin=pipe, stdout=pipe))


@given("another program listens on the engine's port")
async def holds_port(world: World) -> None:
    port = free_port()
    world.declare_engine(port=port)
    begin_listening(world, port)
    await world.until(lambda: listens(port))


@given("other programs take the first {count:d} ports")
def take_ports(world: World, count: int) -> None:
    world.cast.take_ports(count)


@given("a pool whose port is taken by another program")
def takes_declared_port(world: World) -> None:
    world.declare_engine(port=8080)
    world.cast.taken = {8080}


@given("an engine that never takes its port")
def never_listens(world: World) -> None:
    world.declare_engine(port=free_port(), args=(*world.spec.engine.args, "--no-listen"))


@given("another program takes it as soon as the engine is launched")
def takes_port(world: World) -> None:
    async def wait_and_take() -> None:
        await world.until(world.pid_file.exists)
        begin_listening(world, world.spec.engine.port or 0)

    world.begin("stranger", wait_and_take())


@given("a pid file that names it")
def named(world: World) -> None:
    world.pid_file.parent.mkdir(parents=True, exist_ok=True)
    world.pid_file.write_text(str(world.strangers[-1].pid))


@given("a pid file that names it as an engine that was launched long ago")
def named_with_identity(world: World) -> None:
    pid = world.strangers[-1].pid
    who = identify(pid)
    assert who is not None
    long_ago = EngineHandle("local", "long-ago", "127.0.0.1", 1, pid, boot_id(), who.start_ticks - 1000)
    pidfile.write(str(world.pid_file), long_ago)


@when("somebody stops the engine by its pid file")
async def stop_by_file(world: World) -> None:
    await world.attempt(stop_by_pid_file(str(world.pid_file), kill_after=1.0))


@then("that fails, naming the pid file")
def fails(world: World) -> None:
    assert isinstance(world.error, DriverError), repr(world.error)
    assert str(world.pid_file) in str(world.error)


@then("the pid file is gone")
def file_gone(world: World) -> None:
    assert not world.pid_file.exists()


@then("the other program still runs")
def still_runs(world: World) -> None:
    """It still answers: whatever was sent a deadly signal, however lately, cannot."""
    stranger = world.strangers[-1]
    assert stranger.stdin is not None
    assert stranger.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        stranger.stdin.write(b"are you there?\n")
    assert stranger.stdout.readline() == b"are you there?\n"


@then("the engine's port is free")
def port_free(world: World) -> None:
    port = int(world.notes["url"].rpartition(":")[2])
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
