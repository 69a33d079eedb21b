"""Engines of programs that block or ignore signals."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_lifecycle_drivers import signals, spawn
from pool_lifecycle_drivers.signals import can_reset, passed_on, spawn_reset
from tests.drivers.real_processes import Bench
from tests.programs import outcome

pytestmark = pytest.mark.slow

BLOCKED = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMAX})


@pytest.fixture
def tainted() -> Iterator[None]:
    """A program whose launching thread blocks some signals, and which ignores others."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGCHLD, before[1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Executes something to its end, and says what it wrote."""
    with open(tmp_path / "log", "wb+") as log:
        yield Run(log.fileno(), tmp_path)


class Run:
    """Executes programs one after the other."""

    def __init__(self, log: int, folder: Path) -> None:
        self.log, self.folder = log, folder

    def __call__(self, *argv: str, cwd: str | None = None, **env: str) -> tuple[int, str]:
        pid = spawn_reset(argv, {"PATH": os.environ["PATH"], **env}, cwd, self.log)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, (self.folder / "log").read_text()


STATUS = "cat /proc/$$/status | grep -E 'Sig(Blk|Ign)'"
OWN = 1 << 31 | 1 << 32
"""Signals that the C library has for itself; no program can have them blocked or ignored."""


@pytest.mark.usefixtures("tainted")
def test_what_a_child_would_inherit_is_seen() -> None:
    """As the kernel has it: Python knows nothing of what other code of the program has done."""
    assert passed_on() >= BLOCKED | {signal.SIGINT, signal.SIGCHLD}
    assert signal.SIGPIPE not in passed_on()


def test_python_itself_passes_nothing_on() -> None:
    """It ignores SIGPIPE, which subprocess gives back its default."""
    source = (
        "import json; from pool_lifecycle_drivers.signals import *; print(json.dumps(sorted(passed_on())))"
    )
    assert outcome(source) == []


@pytest.mark.parametrize("name", ["SIG_BLOCK", "SIG_IGN"])
def test_an_engine_hears_what_its_program_does_not(tmp_path: Path, name: str) -> None:
    """FAULTS: it can be asked to end, and its own workers' statuses reach it; as launched in real."""
    change = (
        "pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})"
        if name == "SIG_BLOCK"
        else "signal(signal.SIGTERM, signal.SIG_IGN)"
    )
    source = f"""
import asyncio, json, signal, sys
from pool_lifecycle.interfaces import Command, LaunchRequest
from pool_lifecycle_drivers.process import LocalLauncher

async def main():
    folder = sys.argv[1]
    files = f"{{folder}}/log", f"{{folder}}/pid"
    command = Command(("/bin/sh", "-c", "echo up; sleep 1000"))
    request = LaunchRequest("p", 1, "signals", command, "127.0.0.1", 1, *files)
    engine = await LocalLauncher().launch(request=request)
    await engine.output(after=0)
    report = await engine.stop(kill_after=60)
    print(json.dumps([report.exit.signal, report.killed]))

signal.{change}
asyncio.run(main())
"""
    assert outcome(source, tmp_path) == [signal.SIGTERM, False]


@pytest.mark.usefixtures("tainted")
def test_nothing_is_blocked_or_ignored_in_what_is_executed(tmp_path: Path) -> None:
    """Not even SIGCHLD and the real-time ones; and the program itself goes on as it was."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # so that it can be waited for
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with open(tmp_path / "log", "wb+") as log:
        code, said = Run(log.fileno(), tmp_path)("/bin/sh", "-c", STATUS)
    masks = [int(line.split()[1], 16) & ~OWN for line in said.splitlines()]
    assert (code, masks) == (0, [0, 0])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_it_is_executed_as_subprocess_would(run: Run, tmp_path: Path) -> None:
    """Arguments, environment, folder, session, input and nothing else open: none of ours either."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    (tmp_path / "here").mkdir()
    said = '; echo "$1,$A,$PWD"; readlink /proc/$$/fd/*; echo $(cut -d" " -f6 /proc/$$/stat) $$'
    _, text = run("sh", "-c", f"cat{said}", "zero", "it's 1", cwd=str(tmp_path / "here"), A="b c")
    words, *links, session = text.splitlines()
    os.close(reading)
    os.close(writing)
    assert words == f"it's 1,b c,{tmp_path}/here"
    assert links == ["/dev/null", str(tmp_path / "log"), str(tmp_path / "log")]
    assert len(set(session.split())) == 1


def test_programs_are_found_where_subprocess_finds_them(run: Run, tmp_path: Path) -> None:
    """Relative to the folder, and on the engine's own PATH, not on ours."""
    (tmp_path / "tool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "tool").chmod(0o755)
    assert run("./tool", cwd=str(tmp_path)) == (0, "found\n")
    assert run("tool", PATH=str(tmp_path))[0] == 0
    assert run("tool", cwd=str(tmp_path), PATH=".")[0] == 0


@pytest.mark.parametrize(
    ("argv", "cwd", "number", "named"),
    [
        (("none-such",), None, errno.ENOENT, "none-such"),
        (("/none/such",), None, errno.ENOENT, "/none/such"),
        (("true",), "/none/such", errno.ENOENT, "/none/such"),
        (("/etc/passwd",), None, errno.EACCES, "/etc/passwd"),
        (("/dev/null/x",), None, errno.ENOENT, "/dev/null/x"),
    ],
)
def test_errors_name_what_they_are_about(
    run: Run, argv: tuple[str, ...], cwd: str | None, number: int, named: str
) -> None:
    """As those of subprocess do, which the words for people are made of."""
    with pytest.raises(OSError, match=r".") as caught:
        run(*argv, cwd=cwd)
    assert (caught.value.errno, caught.value.filename) == (number, named)


def test_a_file_that_is_no_program_is_refused(run: Run, tmp_path: Path) -> None:
    """ENOEXEC: no shell is tried on it."""
    (tmp_path / "data").write_text("echo no")
    (tmp_path / "data").chmod(0o755)
    with pytest.raises(OSError, match=r".") as caught:
        run(str(tmp_path / "data"))
    assert caught.value.errno == errno.ENOEXEC


@pytest.mark.parametrize(
    ("argv", "env"), [(("true", "a\0b"), {}), (("true",), {"A": "nul\0"}), (("true",), {"A=B": "x"})]
)
def test_what_cannot_be_handed_over_is_refused(run: Run, argv: tuple[str, ...], env: dict[str, str]) -> None:
    """Not cut short at the first NUL; without telling it (S18)."""
    with pytest.raises(ValueError, match=r"null byte|illegal") as caught:
        run(*argv, **env)
    assert "nul" not in str(caught.value).replace("null", "")


def test_where_the_library_cannot_the_engine_inherits_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old C library: launched all the same, by subprocess."""
    monkeypatch.setattr(signals, "_CLOSEFROM", "no_such_function")
    assert not can_reset()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        with open(tmp_path / "log", "wb+") as log:
            pid = spawn.spawn(bench.sh(STATUS), {"PATH": os.environ["PATH"]}, log.fileno())
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert f"SigBlk:\t{1 << (signal.SIGUSR1 - 1):016x}" in (tmp_path / "log").read_text()


def test_a_program_without_standard_streams_launches_too(tmp_path: Path) -> None:
    """The log's own descriptor may then be one of those that the engine's streams go by."""
    source = """
import os, sys
from pool_lifecycle_drivers.signals import spawn_reset
result = os.dup(1)
for number in (0, 1, 2):
    os.close(number)
log = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
argv = ("sh", "-c", "echo out; echo err >&2; readlink /proc/$$/fd/0")
pid = spawn_reset(argv, {"PATH": os.environ["PATH"]}, None, log)
os.waitpid(pid, 0)
os.write(result, str(log).encode())
"""
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", source, log], stdout=subprocess.PIPE, check=True, timeout=60)
    assert (done.stdout, log.read_text()) == (b"0", "out\nerr\n/dev/null\n")
