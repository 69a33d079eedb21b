"""Small programs that embed the library, run by tests: what they do to themselves is done to nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 100.0
"""Seconds after which a program is given up: long before a test is, and far longer than any takes."""


_PYTHON = (sys.executable, "-W", "ignore:This process:DeprecationWarning")
"""Since 3.12 a fork beside threads is warned of: that is what some programs do."""


def outcome(source: str, *args: object) -> Any:
    """Run the program; what it printed last, as JSON. It ends with code 0 and complains of nothing."""
    command = [*_PYTHON, "-c", source, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def conversing(source: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Run the program while the test talks with it, line by line. Whatever holds its pipes has gone then."""
    command = [*_PYTHON, "-c", source, *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()
            program.communicate(timeout=PATIENCE)


def said(program: subprocess.Popen[str]) -> str:
    """Its next line; empty when there will be none."""
    assert program.stdout is not None
    return program.stdout.readline().strip()


def say(program: subprocess.Popen[str], line: str) -> None:
    """Give it a line."""
    assert program.stdin is not None
    program.stdin.write(f"{line}\n")
    program.stdin.flush()
