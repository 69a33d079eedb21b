"""The command health probe, with real programs."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pool_lifecycle.causes import FailureClass
from pool_lifecycle.errors import DriverError
from pool_lifecycle.interfaces import Health, ProbeTarget
from pool_lifecycle.testing.check_health_probe import check_health_probe
from pool_lifecycle_drivers import health_command
from pool_lifecycle_drivers.health_command import CommandProbe

pytestmark = pytest.mark.slow

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LIMIT = 0.2


def check(*command: str, limit: float = 30.0) -> Coroutine[Any, Any, Health]:
    return CommandProbe().check(target=ProbeTarget("127.0.0.1", 8080, command=command), timeout=limit)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing could set an event
            await asyncio.sleep(0.005)


def ended(pid: int) -> bool:
    """Gone, or a zombie that its parent has not reaped yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def number_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


@pytest.mark.parametrize(
    ("command", "health"),
    [
        (("true",), Health(ok=True, detail="exit code 0")),
        (("sh", "-c", "exit 3"), Health(ok=False, detail="exit code 3")),
        (("sh", "-c", "kill -SEGV $$"), Health(ok=False, detail="killed by SIGSEGV")),
        (("sh", "-c", "yes | head -c 1000000; yes | head -c 1000000 >&2"), Health(True, "exit code 0")),
    ],
)
def test_exit_code_0_is_healthy_and_nothing_else(
    run_real: Run, command: tuple[str, ...], health: Health
) -> None:
    """The exit status alone decides; a signal is named; output is thrown away."""
    assert run_real(check(*command)) == health


def test_the_program_gets_path_host_and_port_and_nothing_else(run_real: Run, tmp_path: Path) -> None:
    """S18: the manager's own environment does not leak into probes."""
    script = f"env > {tmp_path}/env"
    assert run_real(check("sh", "-c", script)).ok
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "POOL_HOST", "POOL_PORT"}
    assert "POOL_PORT=8080\n" in (tmp_path / "env").read_text()


@pytest.fixture
def telling_stdin(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "typed").write_text("what somebody types")
    kept = os.dup(0)
    with (tmp_path / "typed").open() as typed:
        os.dup2(typed.fileno(), 0)
    yield
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.usefixtures("telling_stdin")
def test_the_program_does_not_read_what_is_typed_to_the_manager(run_real: Run, tmp_path: Path) -> None:
    """Standard input is empty, not the manager's."""
    assert run_real(check("sh", "-c", f"cat > {tmp_path}/read")).ok
    assert (tmp_path / "read").read_text() == ""


def test_arguments_reach_the_program_unchanged(run_real: Run) -> None:
    """No shell reads the command."""
    assert run_real(check("test", "$HOME; a  b", "=", "$HOME; a  b")).ok


def test_a_time_out_kills_the_whole_group(run_real: Run, tmp_path: Path) -> None:
    """A probe past its time is over, and so is everything it started in its group."""
    pid = tmp_path / "pid"
    script = f"trap '' TERM; sleep 600 & echo $! > {pid}; wait; sleep 600"

    async def program() -> Health:
        probing = asyncio.ensure_future(check("sh", "-c", script, limit=1.0))
        await until(lambda: number_in(pid))
        health = await probing
        assert not psutil.Process().children()
        await until(lambda: ended(number_in(pid)))
        return health

    assert run_real(program()) == Health(ok=False, detail="no answer within 1 s", silent=True)


def test_cancelling_kills_the_whole_group(run_real: Run, tmp_path: Path) -> None:
    """A cancelled probe lets CancelledError pass and leaves no process."""
    pid = tmp_path / "pid"

    async def program() -> None:
        probing = asyncio.ensure_future(check("sh", "-c", f"sleep 600 & echo $! > {pid}; wait"))
        await until(lambda: number_in(pid))
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        assert not psutil.Process().children()
        await until(lambda: ended(number_in(pid)))

    run_real(program())


def test_a_program_that_cannot_be_killed_now_is_reaped_later(
    run_real: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe does not wait for it, and no zombie is left when it ends at last."""
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    monkeypatch.setattr(health_command, "KILL_TAKES", 0.01)

    async def program() -> None:
        assert (await check("sleep", "0.3", limit=0.05)).detail == "no answer within 0.05 s"
        assert psutil.Process().children()
        await until(lambda: not psutil.Process().children())

    run_real(program())


def test_what_a_finished_program_left_in_its_group_is_ended(run_real: Run, tmp_path: Path) -> None:
    """A program that answers and leaves a child behind does not add up to many."""
    pid = tmp_path / "pid"

    async def program() -> None:
        assert (await check("sh", "-c", f"sleep 600 & echo $! > {pid}")).ok
        await until(lambda: ended(number_in(pid)))

    run_real(program())


@pytest.fixture
def sigchld_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("sigchld_ignored")
def test_a_lost_exit_status_is_no_success(run_real: Run) -> None:
    """S16: where the host program ignores SIGCHLD no status is left, and that is not healthy."""
    assert run_real(check("true")) == Health(ok=False, detail="exit status unknown")


@pytest.mark.parametrize("limit", [30.0, LIMIT])
def test_it_works_without_pidfds(run_real: Run, monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    """On an old kernel the end is found by looking."""

    def missing(*_: object) -> int:
        raise OSError(errno.ENOSYS, "no pidfd_open")

    monkeypatch.setattr(os, "pidfd_open", missing)
    command = ("sh", "-c", "exit 4") if limit > 1 else ("sleep", "600")
    expected = "exit code 4" if limit > 1 else "no answer within 0.2 s"
    assert run_real(check(*command, limit=limit)) == Health(False, expected, silent=limit < 1)


@pytest.mark.parametrize(
    "command",
    [(), ("/nonexistent/probe",), ("no-such-program-anywhere",), ("/",), ("/etc/passwd",), ("a\0b",)],
)
def test_a_program_that_cannot_be_run_does_not_heal(run_real: Run, command: tuple[str, ...]) -> None:
    """A missing or wrong program is a mistake in the configuration, not an unhealthy engine."""
    with pytest.raises(DriverError) as caught:
        run_real(check(*command))
    assert caught.value.cause.kind is FailureClass.BAD_CONFIG
    assert not caught.value.cause.heals


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE])
def test_a_host_that_cannot_fork_does_not_blame_the_engine(
    run_real: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """EAGAIN and EMFILE pass: a DriverError that heals."""

    def no_more(*_: object, **__: object) -> None:
        raise OSError(number, "no more")

    monkeypatch.setattr(subprocess, "Popen", no_more)
    with pytest.raises(DriverError) as caught:
        run_real(check("true"))
    assert caught.value.cause.heals


def test_it_keeps_the_promises_of_a_health_probe(run_real: Run) -> None:
    """The public conformance check, cancellation and leaks included."""
    loop_for_ever = (sys.executable, "-c", "import time; time.sleep(600)")
    run_real(
        check_health_probe(
            CommandProbe,
            healthy=ProbeTarget("h", 1, command=("true",)),
            unhealthy=ProbeTarget("h", 1, command=("false",)),
            silent=ProbeTarget("h", 1, command=loop_for_ever),
        )
    )
