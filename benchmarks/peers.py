"""Other people's supervisors, where this system has them: how each is told to keep the engine running."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.supervised import Contender, Workshop

SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {folder}/log
pidfile = {folder}/pid
minfds = 4096
[program:engine]
command = {engine} {fifo} 0
process_name = %(process_num)s
numprocs = {count}
autorestart = true
startsecs = 0
stdout_logfile = NONE
stderr_logfile = NONE
"""

CIRCUSD = """
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
[watcher:engine]
cmd = {engine} {fifo} 0
numprocesses = {count}
max_retry = -1
"""

RUN = "#!{engine} {fifo}\n"
"""A service that is the engine itself: its second argument is then the name of this file, and no number."""


def _configured(text: str, made: Workshop, folder: Path, fifo: Path, count: int) -> str:
    path = folder / "configuration"
    path.write_text(text.format(folder=folder, engine=made.engine, fifo=fifo, count=count), encoding="ascii")
    return str(path)


def _beside(program: str) -> str | None:
    """A program of this very environment, or of the system."""
    path = Path(sys.executable).with_name(program)
    return str(path) if path.exists() else shutil.which(program)


def _supervisor(made: Workshop, folder: Path, fifo: Path, count: int) -> list[str]:
    return [_beside("supervisord") or "", "-c", _configured(SUPERVISORD, made, folder, fifo, count)]


def _circus(made: Workshop, folder: Path, fifo: Path, count: int) -> list[str]:
    return [_beside("circusd") or "", _configured(CIRCUSD, made, folder, fifo, count)]


def _services(made: Workshop, folder: Path, fifo: Path, count: int) -> str:
    """A folder of folders, each with a program named `run`: what daemontools made common."""
    scanned = folder / "services"
    for number in range(count):
        service = scanned / str(number)
        service.mkdir(parents=True)
        (service / "run").write_text(RUN.format(engine=made.engine, fifo=fifo), encoding="ascii")
        (service / "run").chmod(0o700)
    return str(scanned)


def _runit(made: Workshop, folder: Path, fifo: Path, count: int) -> list[str]:
    return ["runsvdir", _services(made, folder, fifo, count)]


def _s6(made: Workshop, folder: Path, fifo: Path, count: int) -> list[str]:
    return ["s6-svscan", _services(made, folder, fifo, count)]


SUPERVISOR = Contender("supervisor", _supervisor)
_PROGRAMS = {
    "supervisord": SUPERVISOR,
    "circusd": Contender("circus", _circus),
    "runsvdir": Contender("runit", _runit),
    "s6-svscan": Contender("s6", _s6),
}


def installed() -> list[Contender]:
    """Those that can be measured here."""
    return [peer for program, peer in _PROGRAMS.items() if _beside(program)]
