"""A real manager, killed at its system calls one after the other, and what the next one makes of that.

`strace` kills it as it enters the n-th call of a kind: between the store and the launch, between the launch
and the record of it, in a stop, a drain, a change of model. Only the event loop's thread is watched: what the
store's own thread does is tried in its own tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "killed" / "program.py"
CALLS = ("pwrite64", "vfork", "pidfd_open", "pidfd_send_signal", "rename", "mkdir", "unlink", "write")
"""The store's writes, the launch, its identity, signals, pid files, cgroups, what is removed, or said."""

PATIENCE = 90.0
POINTS = int(os.environ.get("POOL_LIFECYCLE_KILL_POINTS", "3"))
"""How many points of each kind of call are tried, spread over all there are."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sources,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace"),
]


def run(folder: Path, policy: str, what: str, *strace: str) -> list[dict[str, Any]]:
    """What the program said, killed or not."""
    watched = ("strace", "-o", str(folder / "calls"), *strace) if strace else ()
    command = (*watched, sys.executable, "-X", "frozen_modules=on", str(PROGRAM), str(folder), policy, what)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.endswith("}")]


def engines(folder: Path) -> list[int]:
    """The processes launched for this folder that live."""
    mark = f"KILLED={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # gone, or not ours
                continue
    return found


@contextmanager
def a_folder(parent: Path, name: str) -> Iterator[Path]:
    """With two models; afterwards nothing runs any more that was launched for it."""
    folder = parent / name
    folder.mkdir()
    for model in ("old.bin", "new.bin"):
        (folder / model).write_bytes(b"a model")
    try:
        yield folder
    finally:
        for pid in engines(folder):
            os.kill(pid, 9)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a manager that nobody kills makes each call."""
    parent = tmp_path_factory.mktemp("counted")
    with a_folder(parent, "life") as folder:
        said = run(folder, "keep", "live", "-e", f"trace={','.join(CALLS)}")
        assert [one["answered"] for one in said if "answered" in one][-1] == "stop"
        assert (folder / "notes").read_text() == "beside\n"
        return Counter(line.partition("(")[0] for line in (folder / "calls").read_text().splitlines())


def points(count: int) -> list[int]:
    """Some of 1 … count, the last ones among them: what is done at first is mostly imports."""
    return sorted({count - number * max(1, count // POINTS) for number in range(min(POINTS, count))})


@pytest.mark.parametrize("policy", ["keep", "stop"])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_manager_was_about_to_do(
    call: str, policy: str, calls: Counter[str], tmp_path: Path
) -> None:
    """S3, S5, S6, S17, V1: never two engines at a time, none forgotten, and what was answered stays so."""
    for number in points(calls[call]):
        with a_folder(tmp_path, f"{call}{number}") as folder:
            said = run(folder, policy, "live", "-e", f"inject={call}:signal=KILL:when={number}")
            (seen,) = run(folder, policy, "look")
            told = f"killed at {call} number {number} after {said[-1:]}: {seen}"
            _never_too_many(said, folder / "notes", told)
            _agrees(said, seen, policy, told)
            _nothing_is_left(folder, told)


def _never_too_many(said: list[dict[str, Any]], notes: Path, told: str) -> None:
    """S3: two engines only once a surge was asked for; never three."""
    noted = set(notes.read_text().split("\n")) if notes.exists() else {""}
    surges = any(one.get("strategy") == "surge" for one in said)
    assert noted <= {"", "beside"}, told
    assert noted == {""} or surges, told


def _agrees(said: list[dict[str, Any]], seen: dict[str, Any], policy: str, told: str) -> None:
    """What was answered last is so, unless something else was asked for since."""
    assert seen["rests"]["state"] in {"ready", "stopped"}, told
    if not said or "answered" not in said[-1]:
        return
    last = said[-1]
    expected = "stopped" if last["answered"] in {"drain", "stop"} else "ready"
    assert (seen["rests"]["state"], seen["rests"]["model"]) == (expected, last["model"]), told
    if policy == "keep":
        assert seen["rests"]["pid"] == last["pid"], told
    if last["answered"] == "grant" and policy == "keep":
        assert seen["held"] in (last["leases"], []), told  # it may have been released meanwhile


def _nothing_is_left(folder: Path, told: str) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while engines(folder) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert not engines(folder), told
    assert not list((folder / "state" / "run").iterdir()), told
